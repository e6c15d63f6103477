"""Patients drawn whole, undefined draws counted, one seed one answer."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import Interval, auroc, bootstrap, bootstrap_difference, bootstrap_many, bootstrap_ranking
from vesalius.metrics.intervals import PatientResamples, difference_of, interval_of, macro_draws, ranking_draws, summed_draws

NAN = math.nan


def test_images_of_a_patient_are_drawn_together() -> None:
    seen = []
    patients = np.array(["b", "a", "b", "c", "a"])
    bootstrap(lambda weights: seen.append(weights.copy()) or 0.0, patients, resamples=50, seed=1)
    assert seen[0].tolist() == [1] * 5
    for weights in seen[1:]:
        assert weights[0] == weights[2]
        assert weights[1] == weights[4]
        assert weights[0] + weights[1] + weights[3] == 3
    assert len({tuple(weights) for weights in seen}) > 5


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=40)
    one, same, other = (bootstrap(lambda w: float(w @ values), np.arange(40), resamples=60, seed=seed) for seed in (5, 5, 6))
    assert one == same
    assert one != other
    assert one.n_resamples == 60


@pytest.mark.parametrize(("kept", "drawn"), [(40_000_000, 300), (10, 300)])
def test_kept_or_drawn_again_the_resamples_are_the_same(kept: int, drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.metrics.intervals._KEPT_COUNTS", kept)
    plan = PatientResamples.of(None, 7, resamples=drawn, seed=2)
    first = np.concatenate(list(plan.chunks()))
    assert first.shape == (drawn + 1, 7)
    assert (first.sum(axis=1) == 7).all()
    random = np.random.default_rng(2)
    expected = [np.bincount(random.integers(7, size=7), minlength=7) for _ in range(drawn)]
    assert np.array_equal(first[1:], expected)
    assert np.array_equal(first, np.concatenate(list(plan.chunks())))


def test_more_than_one_in_twenty_undefined_gives_a_reason() -> None:
    """Two positives of thirty, each of another patient: (28 / 30)^30 = 13 % of the draws have none."""
    labels = np.zeros(30)
    labels[:2] = 1
    found = bootstrap(lambda weights: auroc(labels, np.arange(30), weights), np.arange(30), resamples=400)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.value == 0.0 + auroc(labels, np.arange(30))
    assert found.n_undefined == pytest.approx(400 * (28 / 30) ** 30, abs=25)
    assert found.reason == f"not estimable: undefined in {found.n_undefined} of 400 resamples"


def test_few_undefined_are_left_out_and_counted() -> None:
    draws = np.array([0.5, *np.linspace(0, 1, 97), NAN, NAN, NAN])
    found = interval_of(draws)
    assert (found.n_undefined, found.reason) == (3, None)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


def test_reasons() -> None:
    assert "one class" in str(interval_of(np.array([NAN, 1.0])).reason)
    assert interval_of(np.array([1.0, 1.0]), n_patients=1).reason == "not estimable: one patient"
    assert interval_of(np.array([1.0])).reason == "no resamples were asked for"
    assert bootstrap(lambda weights: 1.0, np.array(["x", "x"])).reason == "not estimable: one patient"


def test_centred_interval_holds_its_value() -> None:
    """Draws of a calibration error lie above it; moved onto it they keep their width and stay at or above 0."""
    draws = np.array([0.02, *np.linspace(0.04, 0.14, 101)])
    plain, centred = interval_of(draws), interval_of(draws, centred=True)
    assert plain.low > plain.value
    assert centred.low == 0.0
    assert centred.high == pytest.approx(0.02 + (plain.high - 0.09))


def test_json() -> None:
    assert Interval(0.5, 0.4, 0.6, 10).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert Interval(NAN, NAN, NAN, reason="why").to_json() == {"value": None, "low": None, "high": None, "reason": "why"}


def test_macro_is_the_mean_of_the_same_resample() -> None:
    draws = np.array([[0.5, 0.7, NAN], [0.6, NAN, 1.0], [NAN, NAN, 1.0]])
    assert np.array_equal(macro_draws(draws), [0.6, 0.6, NAN], equal_nan=True)


def test_sums_by_patient() -> None:
    random = np.random.default_rng(1)
    plan = PatientResamples.of(random.integers(0, 9, 40), 40, resamples=20, seed=3)
    terms = random.normal(size=(40, 3))
    expected = [counts[plan.patient] @ terms for chunk in plan.chunks() for counts in chunk]
    assert np.allclose(summed_draws(terms, plan), expected)


def test_difference_pairs_its_draws() -> None:
    """A model against itself moved by a constant: every draw differs by that constant, so the interval has no width."""
    values = np.random.default_rng(2).normal(size=30)

    def mean(weights: np.ndarray, shift: float = 0.0) -> float:
        return float(weights @ values / weights.sum()) + shift

    found = bootstrap_difference(mean, lambda weights: mean(weights, 0.25), np.arange(30), resamples=99)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found.p_value == pytest.approx(2 / 100)
    same = bootstrap_difference(mean, mean, np.arange(30), resamples=99)
    assert same.p_value == 1
    assert math.isnan(difference_of(np.array([NAN, 1.0]), np.array([1.0, 1.0])).p_value)


def test_ranking_matches_the_plain_metric_on_every_resample() -> None:
    random = np.random.default_rng(4)
    labels = np.where(random.random((60, 2)) < 0.2, np.nan, random.integers(0, 2, (60, 2)))
    scores = random.integers(0, 6, (60, 2)).astype(float)
    patients = random.integers(0, 20, 60)
    fast = bootstrap_ranking(labels, scores, patients, resamples=50, seed=7)
    slow = bootstrap_many(
        lambda weights: np.array([auroc(labels[:, k], scores[:, k], weights) for k in range(2)]), patients, resamples=50, seed=7
    )
    for quick, plain in zip(fast.auroc, slow, strict=True):
        assert (quick.value, quick.low, quick.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12)


def test_the_number_of_threads_changes_nothing() -> None:
    program = """
import numpy as np
from vesalius.metrics import bootstrap_ranking
random = np.random.default_rng(0)
found = bootstrap_ranking(random.integers(0, 2, (90, 3)), random.normal(size=(90, 3)), random.integers(0, 30, 90), resamples=70)
print(repr(found))
"""
    outputs = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={"NUMBA_NUM_THREADS": threads}, capture_output=True, text=True, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "macro_auroc" in outputs[0]


def test_wrong_input() -> None:
    plan = PatientResamples.of(None, 3)
    with pytest.raises(ShapeMismatch, match="expected two equal"):
        ranking_draws(np.zeros((3, 2)), np.zeros((3, 1)), plan)
    with pytest.raises(ShapeMismatch, match="one patient a case"):
        ranking_draws(np.zeros((4, 2)), np.zeros((4, 2)), plan)
    with pytest.raises(ValueOutOfRange, match="NaN"):
        ranking_draws(np.zeros((3, 1)), np.full((3, 1), np.nan), plan)
    with pytest.raises(ShapeMismatch, match="patients"):
        PatientResamples.of(np.arange(2), 3)
    with pytest.raises(EmptyInput):
        bootstrap(lambda weights: 1.0, np.array([]))
