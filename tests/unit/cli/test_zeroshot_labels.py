"""`vesalius zeroshot --labels`: balanced accuracy of words on slides whose class is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from tests.tissue import KINDS, MPP, SIDE, make_tissue_bundle, write_prompts, write_slides
from vesalius.cli import main

CUT = ("--patch-px", str(SIDE), "--patch-mpp", str(MPP), "--pooling", "top-5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zeroshot-labels")
    make_tissue_bundle(folder / "bundle")
    write_prompts(folder / "classes.yaml")
    slides = write_slides(folder / "slides", 9, seed=3)
    with (folder / "slides" / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient_id", "split", "class"])
        for number, (name, kind) in enumerate(slides):
            said = "" if number == 8 else kind if number else KINDS[1]  # one unknown, one mislabelled
            writer.writerow([name, f"p{number // 2}", "test" if number % 2 else "calibration", said])
    return folder


def ask(made: Path, out: Path, *more: str) -> tuple[int, Path]:
    labels = ("--labels", str(made / "slides" / "labels.csv"), "--features", str(made / "features"))
    asked = ("--prompts", str(made / "classes.yaml"), *CUT, *labels)
    return main(["zeroshot", str(made / "bundle"), str(made / "slides"), "--out", str(out), *asked, *more]), out


def object_of(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said)
    return found


def test_the_figure_is_that_of_the_lines(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ask(made, tmp_path / "scores.jsonl", "--json")
    assert code == 0, "the labels in the folder are no case"
    told = object_of(capsys.readouterr().out)["judged"]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    said = {Path(line["case"]).name: int(np.argmax([one["logit"] for one in line["findings"]])) for line in lines}
    truth = [1, *(number % 3 for number in range(1, 8))]
    answers = [said[f"{number:02d}.tif"] for number in range(8)]
    (found,) = (one for one in told["accuracy"] if one["rule"] == "top-5")
    assert (told["slides"], told["patients"]) == (8, 4)
    assert found["median"]["value"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert found["median"]["value"] < 1, "one is mislabelled"


def test_every_prompt_set_is_judged_and_a_finished_run_says_the_same(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for _ in range(2):
        assert ask(made, tmp_path / "scores.jsonl", "--prompt-sets", "4", "--json")[0] == 0
        told.append(object_of(capsys.readouterr().out)["judged"])
    assert told[0] == told[1]
    assert {one["prompt_sets"] for one in told[0]["accuracy"]} == {4}
    for one in told[0]["accuracy"]:
        assert one["spread"]["minimum"] <= one["median"]["value"] <= one["spread"]["maximum"]
    assert ask(made, tmp_path / "scores.jsonl", "--prompt-sets", "4")[0] == 0
    said = capsys.readouterr().out
    assert "8 slides of 4 patients, 4 prompt set(s)" in said
    assert "median balanced accuracy" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--finding", "nodule"), "--labels judges slides and prompts of `kind: classes`"),
        (("--prompts", "renal"), "an unknown class; the classes are: CHRCC, CCRCC, PRCC"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_a_slide_is_read(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    labels = ("--labels", str(made / "slides" / "labels.csv"))
    assert main(["zeroshot", str(made / "bundle"), str(made / "slides"), "--out", str(tmp_path / "s.jsonl"), *flags, *labels]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s.jsonl").exists()


def test_slides_without_a_known_class_are_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("file,class\nelsewhere.tif,keratin\n")
    asked = ("--prompts", str(made / "classes.yaml"), *CUT, "--features", str(made / "features"))
    command = ["zeroshot", str(made / "bundle"), str(made / "slides" / "00.tif"), "--out", str(tmp_path / "s.jsonl"), *asked]
    assert main([*command, "--labels", str(tmp_path / "labels.csv")]) == 2
    assert not (tmp_path / "s.jsonl").exists(), "said before a slide is read"
    assert "none of 1 slides is of a known class" in capsys.readouterr().err


def test_where_no_labelled_slide_can_be_read_nothing_is_judged_and_it_is_said(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--prompts", str(made / "classes.yaml"), "--patch-px", str(SIDE), "--patch-mpp", "0.1")
    labels = ("--labels", str(made / "slides" / "labels.csv"), "--features", str(tmp_path / "features"))
    assert main(["zeroshot", str(made / "bundle"), str(made / "slides"), "--out", str(tmp_path / "s.jsonl"), *asked, *labels]) == 3
    assert "none of 8 slides of a known class could be read: nothing to judge" in capsys.readouterr().out
