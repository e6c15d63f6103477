"""`vesalius predict`: lines, exit codes, files beside the answers, and what is said at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.bundles import make_bundle, make_film
from tests.films import PLANTED_NAME, film, picture_bytes, save
from vesalius.cli import main

LINE_KEYS = ["case", "image_id", "bundle", "seconds", "findings", "ood", "warnings", "error"]
FINDING_KEYS = ["name", "logit", "probability", "uncertainty", "decision", "reason"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "tiny"
    make_bundle(path, notices=["Simulated films only."])
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A DICOM film, a lateral one, a PNG, a file that is cut off and one that is no film."""
    folder = tmp_path / "study"
    folder.mkdir()
    save(film(levels(101)), folder, "IM1.dcm")
    save(film(levels(102), ViewPosition="LL"), folder, "IM2.dcm")
    (folder / "IM3.png").write_bytes(picture_bytes((levels(103) >> 4).astype(np.uint8), "png"))
    whole = save(film(levels(104)), folder, "IM4.dcm").read_bytes()
    (folder / "IM4.dcm").write_bytes(whole[:-2000])
    (folder / "notes").write_text("no film")
    return folder


def levels(seed: int) -> np.ndarray:
    return np.rint(make_film(seed).pixels * 4095).astype(np.uint16)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_line_a_case_as_the_contract_has_it(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "answers.jsonl"
    assert main(["predict", str(bundle), str(study), "--out", str(out)]) == 3, "some failed"
    lines = lines_of(out)
    assert [line["case"] for line in lines] == ["study/IM1.dcm", "study/IM2.dcm", "study/IM3.png", "study/IM4.dcm", "study/notes"]
    for line in lines:
        assert list(line) == LINE_KEYS
        assert line["bundle"].startswith("tiny@sha256:")
        for finding in line["findings"]:
            assert list(finding) == FINDING_KEYS
            assert (finding["reason"] is None) == (finding["decision"] != "abstain")
    assert [line["error"] and line["error"]["code"] for line in lines] == [None, None, None, "truncated", "not_an_image"]
    assert {finding["reason"] for finding in lines[1]["findings"]} == {"not_assessable"}
    assert {finding["probability"] for finding in lines[1]["findings"]} == {None}
    said = capsys.readouterr()
    assert "abstained: not assessable" in said.out
    assert "failed: not an image" in said.out
    assert "Simulated films only." in said.out
    assert PLANTED_NAME not in said.out + said.err + out.read_text()


def test_the_end_in_one_object_and_all_done(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "answers.jsonl"
    assert main(["predict", str(bundle), str(study / "IM1.dcm"), str(study / "IM2.dcm"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cases"] == 2
    assert told["abstained"]["not_assessable"] == 1
    assert told["failed"] == {}
    assert sum(told["findings"]["Effusion"].values()) == 2
    assert told["out"] == str(out)


def test_the_same_command_again_adds_nothing(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", str(bundle), str(study), "--out", str(study.parent / "answers.jsonl")]
    assert main(command) == 3
    before = (study.parent / "answers.jsonl").read_bytes()
    capsys.readouterr()
    assert main(command) == 3, "its failed cases are still failed"
    assert (study.parent / "answers.jsonl").read_bytes() == before
    assert "5 of 5 cases are in" in capsys.readouterr().out


def test_reports_for_dicom_and_a_warning_for_a_picture(bundle: Path, study: Path) -> None:
    out, reports = study / "answers.jsonl", study / "sr"
    main(["predict", str(bundle), str(study), "--out", str(out), "--sr", str(reports)])
    assert sorted(path.relative_to(reports).as_posix() for path in reports.rglob("*.dcm")) == [
        "study/IM1.dcm.sr.dcm",
        "study/IM2.dcm.sr.dcm",
    ]
    report = pydicom.dcmread(reports / "study" / "IM1.dcm.sr.dcm")
    assert report.StudyInstanceUID == pydicom.dcmread(study / "IM1.dcm").StudyInstanceUID
    warnings = {line["case"]: line["warnings"] for line in lines_of(out)}
    assert any("no DICOM report" in warning for warning in warnings["study/IM3.png"])
    assert not any("no DICOM report" in warning for warning in warnings["study/IM1.dcm"])
    assert main(["predict", str(bundle), str(study), "--out", str(out), "--sr", str(reports)]) == 3
    assert len(lines_of(out)) == 5, "what the command wrote into the folder is no input"


def test_a_heat_map_of_every_finding(bundle: Path, study: Path) -> None:
    out, maps = study.parent / "answers.jsonl", study.parent / "maps"
    main(["predict", str(bundle), str(study), "--out", str(out), "--heatmap", str(maps)])
    pictures = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*.png"))
    assert len([name for name in pictures if "IM1" in name]) == 2
    assert len([name for name in pictures if "IM3" in name]) == 2
    assert not [name for name in pictures if "IM4" in name or "notes" in name]


def test_files_that_lack_beside_finished_lines_are_made_and_the_lines_stay(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, maps, reports = study.parent / "answers.jsonl", study.parent / "maps", study.parent / "sr"
    command = ["predict", str(bundle), str(study), "--out", str(out)]
    assert main(command) == 3
    before = out.read_bytes()
    capsys.readouterr()
    beside = [*command, "--heatmap", str(maps), "--sr", str(reports)]
    assert main(beside) == 3
    said = capsys.readouterr().out
    assert "2 of 5 cases are in" in said, "two that failed"
    assert f"3 of 5 cases keep their lines in {out}, and get the files that lack beside them" in said
    assert out.read_bytes() == before
    assert len(list(maps.rglob("*.png"))) == 6
    first = sorted(maps.rglob("*.png"))[0].read_bytes()
    main([*command[:3], "--out", str(study.parent / "at-once.jsonl"), "--heatmap", str(study.parent / "maps2")])
    assert sorted((study.parent / "maps2").rglob("*.png"))[0].read_bytes() == first, "the same as at once"
    (reports / "study" / "IM1.dcm.sr.dcm").unlink()
    main(beside)
    assert (reports / "study" / "IM1.dcm.sr.dcm").exists()


def test_what_cannot_be_written_beside_a_line_is_not_tried_again(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(bundle), str(study), "--out", str(study.parent / "a.jsonl"), "--sr", str(study.parent / "sr")]
    assert main(command) == 3
    capsys.readouterr()
    assert main(command) == 3
    assert "5 of 5 cases are in" in capsys.readouterr().out, "a picture has no DICOM report, now or later"


def test_a_report_that_cannot_be_written_does_not_keep_a_map_from_being_drawn(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(bundle), str(study), "--out", str(study.parent / "a.jsonl"), "--sr", str(study.parent / "sr")]
    main(command)
    assert main([*command, "--heatmap", str(study.parent / "maps")]) == 3
    assert len([path for path in (study.parent / "maps").rglob("*.png") if "IM3" in path.name]) == 2, "a picture has no report"
    capsys.readouterr()
    main([*command, "--heatmap", str(study.parent / "maps")])
    assert "5 of 5 cases are in" in capsys.readouterr().out


def test_answers_of_another_bundle_are_not_mixed(
    bundle: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "other", name="other")
    out = study.parent / "answers.jsonl"
    assert main(["predict", str(bundle), str(study / "IM1.dcm"), "--out", str(out)]) == 0
    assert main(["predict", str(tmp_path / "other"), str(study / "IM1.dcm"), "--out", str(out)]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_a_changed_bundle_answers_nothing(bundle: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_bundle(tmp_path / "changed")
    (tmp_path / "changed" / "card.md").write_text("AUROC 1.000")
    assert main(["predict", str(tmp_path / "changed"), str(study), "--out", str(tmp_path / "answers.jsonl")]) == 2
    assert "card.md" in capsys.readouterr().err
    assert not (tmp_path / "answers.jsonl").exists()


def test_wrong_usage(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(bundle), "--out", str(tmp_path / "a.jsonl")]) == 2
    assert "no film given" in capsys.readouterr().err
    assert main(["predict", str(bundle), str(tmp_path / "missing.dcm"), "--out", str(tmp_path / "a.jsonl")]) == 3
    assert lines_of(tmp_path / "a.jsonl")[0]["error"]["code"] == "file_missing"


def test_no_warning_of_a_decoder_gets_out(
    bundle: Path, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import warnings

    from vesalius.bundle import stream

    real = stream.read

    def warn(path: Path, **options: Any) -> Any:
        warnings.warn(f"strange value {PLANTED_NAME}", UserWarning, stacklevel=1)
        return real(path, **options)

    monkeypatch.setattr(stream, "read", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        main(["predict", str(bundle), str(study), "--out", str(study.parent / "answers.jsonl"), "--workers", "3"])
    assert PLANTED_NAME not in capsys.readouterr().err
    assert len(lines_of(study.parent / "answers.jsonl")) == 5
