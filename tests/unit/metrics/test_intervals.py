"""Patients drawn whole, undefined draws counted, one seed one answer."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import (
    Interval,
    auprc,
    auroc,
    bootstrap,
    bootstrap_difference,
    bootstrap_many,
    bootstrap_ranking,
    wilson_interval,
)
from vesalius.metrics.intervals import (
    PatientResamples,
    difference_of,
    interval_of,
    macro_draws,
    ranking_draws,
    share_interval_of,
    summed_draws,
)

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


def test_strata_keep_their_numbers() -> None:
    """Six patients, two of them with a present case: every draw has two of those and four of the others."""
    patients = np.array([0, 0, 1, 2, 3, 4, 5, 5])
    labels = np.array([1, 0, 0, NAN, -1, 0, 0, 1])
    plan = PatientResamples.of(patients, 8, resamples=200, seed=1, stratify_by=labels)
    counts = np.concatenate(list(plan.chunks()))
    assert plan.positive is not None
    assert plan.positive.tolist() == [True, False, False, False, False, True]
    assert (counts[:, plan.positive].sum(axis=1) == 2).all()
    assert (counts.sum(axis=1) == 6).all()
    assert len({tuple(row) for row in counts}) > 50
    several = np.column_stack([np.zeros(8), labels])
    assert PatientResamples.of(patients, 8, stratify_by=several).positive.tolist() == plan.positive.tolist()
    with pytest.raises(ShapeMismatch, match="one row a case"):
        PatientResamples.of(patients, 8, stratify_by=labels[:-1])


def test_one_stratum_is_the_plain_draw() -> None:
    plain, apart = (PatientResamples.of(None, 7, resamples=9, seed=3, stratify_by=by) for by in (None, np.ones(7)))
    assert np.array_equal(np.concatenate(list(plain.chunks())), np.concatenate(list(apart.chunks())))


def test_strata_make_a_rare_finding_estimable() -> None:
    labels = np.zeros(40)
    labels[:3] = 1
    scores = np.random.default_rng(0).normal(size=40) + labels
    apart, plain = (
        bootstrap(lambda w: auroc(labels, scores, w), np.arange(40), resamples=300, stratify_by=by) for by in (labels, None)
    )
    assert (apart.n_undefined, apart.reason) == (0, None)
    assert plain.n_undefined > 0
    table = bootstrap_ranking(labels[:, None], scores[:, None], resamples=300, stratified=True).auroc[0]
    assert (table.low, table.high) == pytest.approx((apart.low, apart.high))


def test_leaving_each_patient_out() -> None:
    patients = np.array(["b", "a", "b", "c"])
    plan = PatientResamples.of(patients, 4, resamples=9)
    rows = np.concatenate(list(plan.leave_one_out().chunks(size=2)))
    assert rows.tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert summed_draws(np.ones((4, 1)), plan.leave_one_out())[:, 0].tolist() == [4, 3, 2, 3]


def test_a_share_of_all_or_none_has_wilson_and_another_its_draws() -> None:
    every, none = (share_interval_of(np.full(30, value), 12) for value in (1.0, 0.0))
    assert (every.low, every.high) == wilson_interval(12, 12)
    assert (none.low, none.high) == wilson_interval(0, 12)
    draws = np.append(0.5, np.linspace(0, 1, 99))
    assert share_interval_of(draws, 12) == interval_of(draws)
    chosen = np.append(1.0, np.linspace(0.5, 1, 99))  # at its end, but not in every resample
    assert share_interval_of(chosen, 12) == interval_of(chosen)
    assert share_interval_of(np.array([NAN, 1.0]), 12).reason is not None
    assert share_interval_of(np.array([1.0, 1.0]), 1).high == 1.0


@pytest.mark.parametrize("times", [1, 300])
def test_a_patient_drawn_more_often_than_a_byte_counts(times: int) -> None:
    """The walk keeps multiplicities in a byte where they fit; where they do not, in two."""
    from vesalius.metrics import bootstrap_kernels as kernels

    random = np.random.default_rng(0)
    labels, scores, patient = random.integers(0, 2, 40).astype(float), random.integers(0, 9, 40).astype(float), np.arange(40) % 5
    counts = (times * random.integers(0, 3, (70, 5))).astype(np.uint16)
    walked = kernels.ranking_draws(counts, [kernels.sort_finding(labels, scores, patient)])
    residual = (scores > 4) != (labels == 1)
    risks = kernels.risk_draws(counts, [kernels.sort_risk(-scores, residual.astype(float), patient)])
    for at in (0, 63, 64, 69):
        weights = counts[at][patient].astype(np.int64)
        assert walked[0][at, 0] == pytest.approx(auroc(labels, scores, weights), abs=1e-12, nan_ok=True)
        assert walked[1][at, 0] == pytest.approx(auprc(labels, scores, weights), abs=1e-12, nan_ok=True)
        assert risks[1][at, 0] <= 0.5
        once = kernels.risk_draws(counts[at : at + 1], [kernels.sort_risk(-scores, residual.astype(float), patient)])
        assert risks[0][at, 0] == pytest.approx(once[0][0, 0], nan_ok=True)
