"""Balanced accuracy of prompt sets against scikit-learn, and intervals that draw patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.zeroshot.slide_protocol import judge_prompt_sets, tables_of
from vesalius.zeroshot.slide_scores import SlideScores


def example(slides: int = 60, sets: int = 7, seed: int = 0, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.choice(3, slides, p=[0.6, 0.3, 0.1])
    labels[:3] = (0, 1, 2)
    table = random.normal(size=(slides, sets, 3))
    table[np.arange(slides), :, labels] += effect
    return table, labels, np.arange(slides)


def test_accuracy_of_every_set_is_that_of_scikit_learn() -> None:
    table, labels, patients = example()
    (found,) = judge_prompt_sets({"top-5": table}, labels, patients, resamples=50)
    expected = [balanced_accuracy_score(labels, table[:, number].argmax(axis=1)) for number in range(7)]
    np.testing.assert_allclose(found.accuracy, expected)
    assert found.median.value == pytest.approx(np.median(expected))
    assert found.median.low < found.median.value < found.median.high
    told = found.to_json()
    assert (told["rule"], told["prompt_sets"]) == ("top-5", 7)
    assert told["spread"]["minimum"] == pytest.approx(min(expected))
    assert told["spread"]["maximum"] == pytest.approx(max(expected))


def test_slides_of_one_patient_are_drawn_together() -> None:
    table, labels, patients = example(effect=0.8)
    thrice = [np.repeat(array, 3, axis=0) for array in (table, labels, patients)]
    once = judge_prompt_sets({"mean": table}, labels, patients)[0].median
    copies = judge_prompt_sets({"mean": thrice[0]}, thrice[1], thrice[2])[0].median
    apart = judge_prompt_sets({"mean": thrice[0]}, thrice[1], np.arange(180))[0].median
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high)), "two more slides of a patient tell nothing new"
    assert apart.high - apart.low < 0.75 * (once.high - once.low)


def test_the_interval_covers_as_it_says() -> None:
    """Two classes, one prompt set, right with probability 0.8 each: balanced accuracy 0.8; 95 % intervals of 200 samples."""
    random = np.random.default_rng(5)
    labels = np.repeat([0, 1], 40)
    covered = 0
    for number in range(200):
        right = random.random(80) < 0.8
        answer = np.where(right, labels, 1 - labels)
        table = np.eye(2)[answer][:, None]
        interval = judge_prompt_sets({"mean": table}, labels, np.arange(80), resamples=200, seed=number)[0].median
        covered += interval.low <= 0.8 <= interval.high
    assert 0.90 <= covered / 200 <= 0.985


def test_one_patient_gives_no_interval() -> None:
    table, labels, _ = example(5)
    found = judge_prompt_sets({"mean": table}, labels, np.zeros(5), resamples=20)[0].median
    assert np.isnan(found.low)
    assert "one patient" in str(found.reason)


def test_slides_as_they_are_scored() -> None:
    table, labels, patients = example(6)
    slides = [SlideScores({"top-1": rows, "mean": -rows}, np.zeros((1, 3), np.float32)) for rows in table]
    found = judge_prompt_sets(slides, labels, patients, resamples=10)
    assert [one.rule for one in found] == ["top-1", "mean"]
    np.testing.assert_array_equal(found[0].accuracy, judge_prompt_sets({"x": table}, labels, patients, resamples=10)[0].accuracy)


def test_what_cannot_be_judged() -> None:
    table, labels, patients = example(6)
    with pytest.raises(EmptyInput):
        tables_of([])
    with pytest.raises(ShapeMismatch):
        judge_prompt_sets({"mean": table}, labels[:5], patients)
    with pytest.raises(ValueOutOfRange, match="0 to 2"):
        judge_prompt_sets({"mean": table}, labels + 1, patients)
