"""`vesalius calibrate` of words that exclude each other, asked of films: one softmax, and the likeliest class or no answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import make_film, make_store
from tests.image_text import make_image_text_bundle
from vesalius.bundle.load import load_predictor
from vesalius.cli import main
from vesalius.types import Decision

CLASSES = """
name: upright or lying
kind: classes
templates: ["{}", "a film of {}"]
findings:
  - {name: Upright, synonyms: [standing upright]}
  - {name: Supine, synonyms: [lying on the back]}
"""


def classes_of(films: int) -> dict[str, np.ndarray]:
    """One class each; every seventh film of none that is known."""
    number = np.arange(films)
    upright = np.where(number % 7 == 6, 0.0, number % 2)
    return {"Upright": upright, "Supine": np.where(number % 7 == 6, 0.0, 1.0 - upright)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film-classes")
    make_image_text_bundle(folder / "words", context_length=64)
    (folder / "classes.yaml").write_text(CLASSES)
    make_store(folder / "store", labels=classes_of(60))
    return folder


def calibrate(folder: Path, out: Path, *more: str) -> int:
    asked = ["--prompts", str(folder / "classes.yaml")]
    return main(["calibrate", str(folder / "words"), "--store", str(folder / "store"), "--out", str(out), *asked, *more])


def test_probabilities_add_up_to_one_and_one_class_is_said_or_none(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(made, tmp_path / "cal", "--coverage", "0.7") == 0
    said = capsys.readouterr().out
    assert "classes exclude each other" in said
    known = sum(seed % 7 != 6 and seed % 10 != 9 for seed in range(60))
    assert f"({known} films of a known class)" in said
    predictor = load_predictor(tmp_path / "cal")
    assert predictor.description["policy"]["kind"] == "likeliest-class"
    assert "likeliest class, or abstain below the cut" in predictor.description["order"]
    assert predictor.description["provenance"]["calibration"]["options"]["threshold_rule"] == "likeliest class"
    card = (tmp_path / "cal" / "card.md").read_text()
    assert "Classes: Upright, Supine." in card
    assert "The classes exclude each other" in card
    assert main(["bundle", "inspect", str(tmp_path / "cal")]) == 0
    assert "exclude each other" in capsys.readouterr().out
    seen = set()
    for film in range(40):
        answer = predictor.predict(make_film(film))
        probabilities = [finding.probability for finding in answer.findings]
        assert sum(probability for probability in probabilities if probability is not None) == pytest.approx(1.0)
        decisions = [finding.decision for finding in answer.findings]
        seen.add(tuple(decisions))
        assert sorted(map(str, decisions)) in (["absent", "present"], ["abstain", "abstain"])
        if Decision.PRESENT in decisions:
            assert decisions.index(Decision.PRESENT) == int(np.argmax(np.array(probabilities, dtype=float)))
    assert len(seen) > 1, "some films are answered and some are not"


def test_the_audit_measures_it(made: Path, tmp_path: Path) -> None:
    assert calibrate(made, tmp_path / "cal") == 0
    make_store(tmp_path / "other", films=24, split="test", sites=("B",), labels=classes_of(24))
    report = tmp_path / "report"
    audit = ["audit", str(tmp_path / "cal"), "--store", str(tmp_path / "other"), "--out", str(report), "--resamples", "20"]
    assert main(audit) == 0
    assert json.loads((report / "audit.json").read_bytes())
    assert "Upright" in (report / "index.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--threshold-rule", "youden"), "classes have no thresholds"),
        (("--risk-confidence", "0.9"), "nothing is promised of classes"),
    ],
)
def test_what_classes_cannot_have_is_refused_at_once(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert calibrate(made, tmp_path / "cal", *more) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cal").exists()


def test_a_film_of_two_classes_is_of_none_that_is_known(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = classes_of(60)
    labels["Upright"][:4] = labels["Supine"][:4] = 1.0
    make_store(tmp_path / "store", labels=labels)
    out = tmp_path / "cal"
    asked = ["--prompts", str(made / "classes.yaml")]
    assert main(["calibrate", str(made / "words"), "--store", str(tmp_path / "store"), "--out", str(out), *asked]) == 0
    said = capsys.readouterr().out
    assert "4 of 54 films are of several classes at once: their class counts as unknown" in said
    known = sum(seed % 7 != 6 and seed % 10 != 9 for seed in range(4, 60))
    assert f"({known} films of a known class)" in said
    assert "several classes at once" in (out / "card.md").read_text()
