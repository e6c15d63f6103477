"""`vesalius features`: one file a slide, the rest still runs, nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.image_text import make_image_text_bundle
from tests.slides import tissue_picture, write_pyramid
from vesalius.cli import main
from vesalius.inference.feature_file import read_features
from vesalius.models.contracts import FAMILY_CONTRACTS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_image_text_bundle(tmp_path / "bundle")
    (tmp_path / "slides").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    code = main(["features", "bundle", "slides", "--out", "features", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_folder_of_slides(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pyramid(here / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    write_pyramid(here / "slides" / "b.tif", tissue_picture(box=(32, 32, 600, 440)), mpp=None)
    code, told = ask(capsys=capsys)
    found = read_features(here / "features" / "slides" / "a.tif.h5")
    assert code == 3
    assert told["patches"] == {"slides/a.tif": len(found)}
    assert told["failed"] == {"slides/b.tif": "missing_spacing"}
    assert found.facts is not None
    assert (found.facts.encoder, found.facts.patch_px, found.facts.patch_mpp) == (told["bundle"], 64, 0.5)
    made = (here / "features" / "slides" / "a.tif.h5").stat().st_mtime_ns
    code, told = ask("--mpp", "0.5", capsys=capsys)
    assert (code, sorted(told["failed"])) == (0, [])  # type: ignore[call-overload]
    assert (here / "features" / "slides" / "a.tif.h5").stat().st_mtime_ns == made


def test_flags_reach_the_cut(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pyramid(here / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    flags = ["--patch-px", "48", "--patch-mpp", "1.0", "--overlap", "0.5", "--least-tissue", "0.6", "--precision", "bfloat16"]
    code, _ = ask(*flags, "--batch-size", "5", "--workers", "2", capsys=capsys)
    facts = read_features(here / "features" / "slides" / "a.tif.h5").facts
    assert code == 0
    assert facts is not None
    assert (facts.patch_px, facts.patch_mpp, facts.overlap, facts.least_tissue, facts.precision) == (48, 1.0, 0.5, 0.6, "bfloat16")


def test_another_bundles_features_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pyramid(here / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    assert ask(capsys=capsys)[0] == 0
    make_image_text_bundle(here / "other", name="other")
    assert main(["features", "other", "slides", "--out", "features"]) == 3
    assert "another encoder" in capsys.readouterr().out


def test_no_slide_is_wrong_usage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "bundle", "slides", "--out", "features"]) == 2
    assert "no slide in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--overlap", "1"], "overlap"),
        (["--patch-mpp", "0"], "scale"),
        (["--batch-size", "0"], "at least 1"),
        (["--workers", "0"], "at least 1"),
    ],
)
def test_a_flag_that_cannot_be_is_wrong_usage_and_no_slides_fault(
    here: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    write_pyramid(here / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    assert main(["features", "bundle", "slides", "--out", "features", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "features").exists()


def test_a_disk_that_fails_at_one_slide_leaves_the_next(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import vesalius.slides.read as reading

    for name in "ab":
        write_pyramid(here / "slides" / f"{name}.tif", tissue_picture(box=(32, 32, 600, 440)))
    own = reading.open_slide

    def fails(path: Path, **more: object) -> object:
        if path.name == "a.tif":
            raise OSError(5, "Input/output error", str(path))
        return own(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "open_slide", fails)
    code, told = ask(capsys=capsys)
    assert code == 3
    assert told["failed"] == {"slides/a.tif": "unreadable"}
    assert list(told["patches"]) == ["slides/b.tif"]  # type: ignore[call-overload]


def test_checkpoints_of_films_say_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pyramid(here / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    make_image_text_bundle(here / "films", contract=FAMILY_CONTRACTS["medclip"].at_size(64))
    assert main(["features", "films", "slides", "--out", "features"]) == 0
    assert "mind: checkpoints of medclip were trained on chest films" in capsys.readouterr().out
