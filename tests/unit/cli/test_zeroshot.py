"""`vesalius zeroshot`: lines as the contract has them, films and slides alike, going on after a stop, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.bundles import make_bundle, make_film
from tests.films import film, picture_bytes, save
from tests.image_text import make_image_text_bundle
from tests.slides import tissue_picture, write_pyramid
from vesalius.cli import main
from vesalius.models.contracts import FAMILY_CONTRACTS

LINE_KEYS = ["case", "image_id", "bundle", "seconds", "findings", "ood", "warnings", "error"]
FINDING_KEYS = ["name", "logit", "probability", "uncertainty", "decision", "reason"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zeroshot") / "words"
    make_image_text_bundle(path, context_length=64, notices=["Made in a test."])
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four films, DICOM and PNG, and a file that is none."""
    folder = tmp_path / "study"
    folder.mkdir()
    for seed in range(2):
        save(film(np.rint(make_film(seed).pixels * 4095).astype(np.uint16)), folder, f"IM{seed}.dcm")
    for seed in (2, 3):
        (folder / f"IM{seed}.png").write_bytes(picture_bytes((make_film(seed).pixels * 255).astype(np.uint8), "png"))
    (folder / "notes").write_text("no film")
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask(bundle: Path, *words: object) -> int:
    return main(["zeroshot", str(bundle), *map(str, words)])


def test_one_line_a_case_as_the_contract_has_it(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "scores.jsonl"
    assert ask(bundle, study, "--out", out, "--finding", "pleural effusion", "No Finding", "--finding", "nodule") == 3
    lines = lines_of(out)
    assert [line["case"] for line in lines] == [f"study/{name}" for name in ("IM0.dcm", "IM1.dcm", "IM2.png", "IM3.png", "notes")]
    for line in lines:
        assert list(line) == LINE_KEYS
        assert line["bundle"].startswith("tiny-words@sha256:")
        assert line["ood"] is None
    for line in lines[:4]:
        assert [finding["name"] for finding in line["findings"]] == ["pleural effusion", "No Finding", "nodule"]
        for finding in line["findings"]:
            assert list(finding) == FINDING_KEYS
            assert isinstance(finding["logit"], float)
            assert [finding[key] for key in FINDING_KEYS[2:]] == [None] * 4
        assert any("No Finding" in warning for warning in line["warnings"])
    assert lines[4]["findings"] == []
    assert lines[4]["error"]["code"] == "not_an_image"
    said = capsys.readouterr()
    assert "Made in a test." in said.out
    assert "normal chest radiograph" in said.out, "the polarity is said once more, where a person reads it"
    assert "no probabilities" in said.out


def test_json_prints_one_object(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "scores.jsonl"
    (study / "notes").unlink()
    assert ask(bundle, study, "--out", out, "--finding", "nodule", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["scored"], told["failed"]) == (4, 4, {})
    logits = [line["findings"][0]["logit"] for line in lines_of(out)]
    assert told["findings"]["nodule"]["median"] == pytest.approx(float(np.median(logits)))
    assert told["prompts"].startswith("asked@sha256:")
    assert told["notices"] == ["Made in a test."]


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("mi-zero", "checkpoints of mi-zero were trained on patches of slides, and films are read here"),
        ("chexzero", "checkpoints of chexzero were trained on chest films, and slides are read here"),
        ("openai-clip", None),
    ],
)
def test_checkpoints_of_another_kind_of_image_say_so_once(
    study: Path, capsys: pytest.CaptureFixture[str], family: str, said: str | None
) -> None:
    """A film and a slide each: of either kind but one there is something to say, and it is said once, not once a case."""
    folder = study.parent
    make_image_text_bundle(folder / "b", context_length=64, contract=FAMILY_CONTRACTS[family].at_size(64))
    write_pyramid(study / "slide.tif", tissue_picture(box=(64, 64, 620, 440)))
    (study / "notes").unlink()
    command = ("--out", folder / "s.jsonl", "--finding", "nodule", "--json")
    assert ask(folder / "b", study, *command) == 0, "nothing is refused"
    told = capsys.readouterr()
    notices = json.loads(told.out)["notices"]
    assert len(notices) == told.err.count("were trained on") == (said is not None)
    assert said is None or notices[0].startswith(said)
    of_slides = lines_of(folder / "s.jsonl")[-1]["warnings"]
    assert any("were trained on" in warning for warning in of_slides) == (family == "chexzero")


def test_a_stopped_run_goes_on_and_ends_the_same(bundle: Path, study: Path) -> None:
    command = ("--finding", "nodule", "--batch-size", 2)
    whole, cut = study.parent / "whole.jsonl", study.parent / "cut.jsonl"
    ask(bundle, study, "--out", whole, *command)
    ask(bundle, study, "--out", cut, *command)
    kept = cut.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(kept[:1]) + kept[1][:40])
    assert ask(bundle, study, "--out", cut, *command) == 3
    first, second = lines_of(whole), lines_of(cut)
    for line in (*first, *second):
        line.pop("seconds")
    assert first == second, "to the last bit"


def test_scores_of_another_question_do_not_mix(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "scores.jsonl"
    ask(bundle, study, "--out", out, "--finding", "nodule")
    before = out.read_bytes()
    for other in (
        ("--finding", "heart"),
        ("--finding", "nodule", "--average", "logits"),
        ("--finding", "nodule", "--prompt-sets", 3),
    ):
        assert ask(bundle, study, "--out", out, *other) == 2
        assert "other prompts" in capsys.readouterr().err
    asked = json.loads((out.parent / "scores.jsonl.asked.json").read_bytes())
    assert asked["prompts"]["findings"][0]["name"] == "nodule"
    (out.parent / "scores.jsonl.asked.json").unlink()
    assert ask(bundle, study, "--out", out, "--finding", "nodule") == 2
    assert "does not say to what" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_prompt_file_with_drawn_sets_and_a_score_by_name(bundle: Path, study: Path) -> None:
    out = study.parent / "scores.jsonl"
    assert ask(bundle, study / "IM0.dcm", "--out", out, "--prompts", "nih", "--prompt-sets", 4, "--score", "paired") == 0
    (line,) = lines_of(out)
    assert len(line["findings"]) == 15
    assert list(line) == [*LINE_KEYS, "spread", "paired_score"]
    for finding in line["findings"]:
        five = line["spread"][finding["name"]]
        assert five["minimum"] <= five["lower_quartile"] <= five["median"] == finding["logit"] <= five["maximum"]


def test_heat_maps_lie_beside_the_lines(bundle: Path, study: Path) -> None:
    out, maps = study.parent / "scores.jsonl", study.parent / "maps"
    ask(bundle, study, "--out", out, "--finding", "pleural effusion", "nodule", "--heatmap", maps)
    drawn = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*.png"))
    names = ("IM0.dcm", "IM1.dcm", "IM2.png", "IM3.png")
    assert drawn == sorted(f"study/{name}.{finding}.png" for name in names for finding in ("pleural_effusion", "nodule"))
    with PIL.Image.open(maps / drawn[0]) as picture:
        assert min(picture.size) > 300


def test_maps_that_lack_beside_finished_lines_are_drawn_and_the_lines_stay(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, maps = study.parent / "scores.jsonl", study.parent / "maps"
    ask(bundle, study, "--out", out, "--finding", "nodule")
    before = out.read_bytes()
    capsys.readouterr()
    ask(bundle, study, "--out", out, "--finding", "nodule", "--heatmap", maps)
    assert f"4 of 5 cases keep their lines in {out}" in capsys.readouterr().out
    assert out.read_bytes() == before
    assert len(list(maps.rglob("*.nodule.png"))) == 4


def test_a_map_that_cannot_be_drawn_later_is_said(bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "notes").unlink()
    out, maps = study.parent / "scores.jsonl", study.parent / "maps"
    assert ask(bundle, study, "--out", out, "--finding", "nodule") == 0
    before = out.read_bytes()
    (study / "IM2.png").write_text("no film any more")
    capsys.readouterr()
    assert ask(bundle, study, "--out", out, "--finding", "nodule", "--heatmap", maps) == 3
    said = capsys.readouterr().out
    assert "without the files that were asked for beside their lines: study/IM2.png (" in said
    assert out.read_bytes() == before
    assert len(list(maps.rglob("*.nodule.png"))) == 3


def test_maps_that_could_not_be_written_are_said_and_not_tried_until_their_lines_go(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "notes").unlink()
    out, maps = study.parent / "scores.jsonl", study.parent / "maps"
    maps.mkdir()
    (maps / "study").write_text("in the way of a folder")
    command = ("--out", out, "--finding", "nodule", "--heatmap", maps)
    assert ask(bundle, study, *command) == 0, "every film has its score"
    assert "beside their lines: study/IM0.dcm (no heat map: " in (said := capsys.readouterr().out)
    assert "and 3 more" in said
    assert all(any(one.startswith("no heat map: ") for one in line["warnings"]) for line in lines_of(out))
    (maps / "study").unlink()
    capsys.readouterr()
    ask(bundle, study, *command)
    assert "4 of 4 cases lack files that could not be written" in capsys.readouterr().out
    assert not list(maps.rglob("*.png"))
    ask(bundle, study, "--out", out, "--finding", "nodule")
    assert "lack files" not in capsys.readouterr().out, "nothing is asked for beside them"
    out.write_text("")
    ask(bundle, study, *command)
    assert len(list(maps.rglob("*.png"))) == 4


def test_a_slide_among_films_is_read_as_a_slide(bundle: Path, study: Path) -> None:
    write_pyramid(study / "slide.tif", tissue_picture(box=(64, 64, 620, 440)))
    (study / "notes").unlink()
    out = study.parent / "scores.jsonl"
    command = ("--out", out, "--finding", "heart", "--pooling", "mean", "--features", study.parent / "features")
    assert ask(bundle, study, *command) == 0
    lines = lines_of(out)
    assert [line["case"] for line in lines][-1] == "study/slide.tif"
    assert list(lines[-1]) == LINE_KEYS
    assert lines[-1]["findings"][0]["probability"] is None
    assert list((study.parent / "features").rglob("*.h5"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--finding TEXT ... or --prompts FILE"),
        (("--finding", "nodule", "--prompts", "nih"), "one of the two"),
        (("--prompts", "none.yaml"), "chexpert"),
        (("--finding", "nodule", "--score", "class"), "does not go with"),
        (("--finding", "no " * 80), "more tokens than the 64"),
        (("--finding", "nodule", "--batch-size", "0"), "at least 1"),
        (("--finding", "nodule", "--out", "."), "is a folder"),
        (("--finding", "nodule", "--out", "/dev/null/scores.jsonl"), "cannot be written"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    bundle: Path, study: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert ask(bundle, study, "--out", study.parent / "scores.jsonl", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_bundle_of_another_kind_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_bundle(study.parent / "classifier")
    assert ask(study.parent / "classifier", study, "--out", study.parent / "scores.jsonl", "--finding", "nodule") == 2
    assert "expected image-text" in capsys.readouterr().err
