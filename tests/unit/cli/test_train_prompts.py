"""The words of `vesalius train prompts`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.image_text import make_image_text_bundle
from tests.stores import square_films
from vesalius.cli import main


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli-prompts")
    make_image_text_bundle(folder / "towers")
    square_films(folder / "store", n=72)
    return folder


def command(given: Path, out: Path, *more: str) -> list[str]:
    where = ["--store", str(given / "store"), "--out", str(out), "--score-on", "calibration", "--accelerator", "cpu"]
    return ["train", "prompts", str(given / "towers"), *where, *["--steps", "2", "--batch-size", "4", "--resamples", "20"], *more]


def test_a_table_for_people(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(given, tmp_path / "run", "--shots", "0,1", "--repeats", "2", "--task", "multiclass")) == 0
    shown = capsys.readouterr().out
    for word in ("hand-written prompts", "learned prompts", "linear probe", "accuracy", "macro AUROC", "learned in"):
        assert word in shown
    assert main(command(given, tmp_path / "run", "--shots", "0,1", "--repeats", "2", "--task", "multiclass")) == 0
    assert "already finished" in capsys.readouterr().out


def test_one_object_for_machines(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(given, tmp_path / "run", "--shots", "1,full", "--json", "--no-class-vectors", "--no-bias")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == ["Upper", "Lower"]
    assert [(row["method"], row["shots"]) for row in said["curve"]] == [
        (method, shots) for shots in ("1", "full") for method in ("learned prompts", "linear probe")
    ]
    assert said["parameters"] == 4 * 64 + 24 * 16 + 16 * 64, "context, and a meta-network without biases"


def test_a_run_is_made_again_from_its_settings(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(given, tmp_path / "run", "--shots", "1")) == 0
    assert main(["train", "prompts", "--config", str(tmp_path / "run/run.toml"), "--out", str(tmp_path / "again")]) == 0
    runs = [json.loads((tmp_path / name / "few_shot.json").read_text()) for name in ("run", "again")]
    assert runs[0] == runs[1]


def test_a_wrong_word_is_one_line(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(given, tmp_path / "run", "--shots", "few")) == 2
    assert "expected numbers and full" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["train", "prompts", str(given / "store"), "--store", str(given / "store"), "--out", str(tmp_path / "run")]) == 2
    assert "no bundle at" in capsys.readouterr().err


def test_an_unfinished_run_is_not_calibrated(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(given, tmp_path / "run", "--shots", "1")) == 0
    (tmp_path / "run/model.json").unlink()
    assert main(["calibrate", str(tmp_path / "run"), "--store", str(given / "store"), "--out", str(tmp_path / "bundle")]) == 2
    assert "vesalius train prompts --config" in capsys.readouterr().err
