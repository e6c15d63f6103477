"""Thresholds against every threshold tried, what they do elsewhere, intervals that hold the choice, and readers at the curve."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vesalius.errors import NotEstimable, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import (
    bootstrap,
    compare_with_reader,
    confusion,
    operating_point,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    threshold_at,
    wilson_interval,
)


def cohort(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.where(random.random(n) < 0.1, np.nan, (random.random(n) < 0.4).astype(float))
    return labels, np.round(random.normal(size=n) + np.nan_to_num(labels), 1), random.integers(0, n // 3, n)


def tried(labels: np.ndarray, scores: np.ndarray) -> dict[float, object]:
    """Every threshold that can matter, and its counts."""
    return {cut: confusion(labels, scores >= cut) for cut in [*np.unique(scores[~np.isnan(labels)]), math.inf]}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_shares_are_reached_with_the_best_of_the_rest(seed: int, share: float) -> None:
    labels, scores, _ = cohort(seed)
    table = tried(labels, scores)
    assert threshold_at(labels, scores, sensitivity=share) == max(cut for cut, one in table.items() if one.sensitivity >= share)
    assert threshold_at(labels, scores, specificity=share) == min(cut for cut, one in table.items() if one.specificity >= share)
    found = [cut for cut, one in table.items() if one.ppv >= share]
    if found:
        assert threshold_at(labels, scores, ppv=share) == min(found)


@pytest.mark.parametrize("seed", range(5))
def test_rules_take_the_greatest(seed: int) -> None:
    labels, scores, _ = cohort(seed)
    table = tried(labels, scores)
    figures = {
        "youden": lambda one: one.sensitivity + one.specificity,
        "f1": lambda one: one.f1,
        "mcc": lambda one: -1 if math.isnan(one.mcc) else one.mcc,
    }
    for rule, figure in figures.items():
        best = max(figure(one) for one in table.values())
        assert threshold_at(labels, scores, rule=rule) == max(cut for cut, one in table.items() if figure(one) > best - 1e-12)


def test_weights_are_copies() -> None:
    labels, scores, _ = cohort(3)
    weights = np.random.default_rng(0).integers(0, 4, len(labels))
    copied = np.repeat(np.arange(len(labels)), weights)
    for target in ({"sensitivity": 0.8}, {"specificity": 0.8}, {"ppv": 0.6}, {"rule": "mcc"}):
        assert threshold_at(labels, scores, weights, **target) == threshold_at(labels[copied], scores[copied], **target)


def test_fixed_threshold_is_the_plain_bootstrap() -> None:
    labels, scores, patients = cohort(4)
    found = operating_point(labels, scores, patients, threshold=0.4, resamples=80, seed=2)
    assert found.threshold == 0.4
    assert found.threshold_interval is None
    for name in ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc"):
        plain = bootstrap(lambda w, n=name: getattr(confusion(labels, scores >= 0.4, w), n), patients, resamples=80, seed=2)
        own = getattr(found, name)
        assert (own.value, own.low, own.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12)
    assert (found.n_positive, found.n_negative) == (np.nansum(labels), (labels == 0).sum())
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("target", [{"sensitivity": 0.85}, {"specificity": 0.8}, {"ppv": 0.6}, {"rule": "youden"}])
def test_a_chosen_threshold_is_chosen_in_every_resample(target: dict) -> None:
    labels, scores, patients = cohort(5)
    found = operating_point(labels, scores, patients, **target, resamples=60, seed=1)
    assert found.threshold == threshold_at(labels, scores, **target)

    def anew(weights: np.ndarray, name: str) -> float:
        cut = threshold_at(labels, scores, weights, **target)
        return cut if name == "threshold_interval" else getattr(confusion(labels, scores >= cut, weights), name)

    for name in ("sensitivity", "specificity", "npv", "f1", "mcc", "threshold_interval"):
        plain = bootstrap(lambda w, n=name: anew(w, n), patients, resamples=60, seed=1)
        own = getattr(found, name)
        assert (own.value, own.low, own.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12), name


def test_sensitivity_at_a_fixed_specificity() -> None:
    labels, scores, patients = cohort(6)
    table = tried(labels, scores).values()
    assert sensitivity_at_specificity(labels, scores, 0.8) == max(one.sensitivity for one in table if one.specificity >= 0.8)
    assert specificity_at_sensitivity(labels, scores, 0.8) == max(one.specificity for one in table if one.sensitivity >= 0.8)
    plain = bootstrap(lambda w: sensitivity_at_specificity(labels, scores, 0.8, w), patients, resamples=50)
    point = operating_point(labels, scores, patients, specificity=0.8, resamples=50).sensitivity
    assert (point.value, point.low, point.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert math.isnan(sensitivity_at_specificity(np.ones(4), np.arange(4.0), 0.8))
    assert math.isnan(specificity_at_sensitivity(np.zeros(4), np.arange(4.0), 0.8))


def test_all_right_is_not_certain() -> None:
    labels, scores = np.repeat([1.0, 0.0], 17), np.repeat([0.9, 0.1], 17)
    patients = np.append(np.repeat(np.arange(9), 2)[:17], 100 + np.arange(17))
    found = operating_point(labels, scores, patients, threshold=0.5, resamples=30)
    assert (found.sensitivity.low, found.sensitivity.high) == wilson_interval(9, 9)
    assert (found.specificity.low, found.specificity.high) == wilson_interval(17, 17)
    assert found.ppv.reason is None
    nobody = operating_point(labels, scores, patients, threshold=math.inf, resamples=30)
    assert (nobody.sensitivity.value, nobody.sensitivity.low) == (0.0, 0.0)
    assert nobody.sensitivity.high == pytest.approx(wilson_interval(0, 9)[1])
    assert math.isnan(nobody.ppv.value)
    assert nobody.to_json()["threshold"] is None


def test_calling_nobody_is_an_infinite_threshold() -> None:
    labels, scores = np.array([1.0, 0, 0, 1]), np.array([1.0, 3.0, 2.0, 0.0])
    assert threshold_at(labels, scores, specificity=1.0) == math.inf
    assert operating_point(labels, scores, specificity=1.0, resamples=5).threshold_interval is None


def test_reader_beside_the_curve() -> None:
    labels, scores, patients = cohort(8)
    random = np.random.default_rng(1)
    calls = np.where(random.random(len(labels)) < 0.1, -1, (np.nan_to_num(labels) + random.normal(size=len(labels)) > 0.7))
    found = compare_with_reader(labels, scores, calls.astype(float), patients, resamples=40, seed=5)
    truth = np.where(calls == -1, np.nan, labels)

    def rates(weights: np.ndarray) -> tuple[float, float]:
        one = confusion(truth, calls, weights)
        return one.sensitivity, one.specificity

    figures = {
        "reader_sensitivity": lambda w: rates(w)[0],
        "reader_specificity": lambda w: rates(w)[1],
        "model_sensitivity": lambda w: sensitivity_at_specificity(truth, scores, rates(w)[1], w),
        "model_specificity": lambda w: specificity_at_sensitivity(truth, scores, rates(w)[0], w),
        "sensitivity_difference": lambda w: sensitivity_at_specificity(truth, scores, rates(w)[1], w) - rates(w)[0],
        "specificity_difference": lambda w: specificity_at_sensitivity(truth, scores, rates(w)[0], w) - rates(w)[1],
    }
    for name, figure in figures.items():
        plain, own = bootstrap(figure, patients, resamples=40, seed=5), getattr(found, name)
        assert (own.value, own.low, own.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12), name
    assert found.n == np.isfinite(truth).sum()
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(("target", "name"), [("specificity", "sensitivity"), ("sensitivity", "specificity")])
def test_a_reader_who_thresholds_the_model_is_the_model(target: str, name: str) -> None:
    """At the last threshold that keeps the reader's rate, there is nothing to gain; in a resample there may be, never to lose."""
    labels, scores, patients = cohort(9)
    calls = scores >= threshold_at(labels, scores, **{target: 0.8})
    change = getattr(compare_with_reader(labels, scores, calls.astype(float), patients, resamples=30), f"{name}_difference")
    assert change.value == 0.0
    assert change.low >= 0


def test_what_is_refused() -> None:
    labels, scores, patients = cohort(0)
    for wrong in ({}, {"sensitivity": 0.9, "specificity": 0.9}, {"npv": 0.9}):
        with pytest.raises(ValueOutOfRange, match="expected one of threshold, sensitivity"):
            threshold_at(labels, scores, **wrong)
    with pytest.raises(ValueOutOfRange, match="expected one of youden, f1, mcc"):
        operating_point(labels, scores, patients, rule="kappa")
    with pytest.raises(ValueOutOfRange, match=r"sensitivity 90; expected a share in \[0, 1\]"):
        threshold_at(labels, scores, sensitivity=90)
    with pytest.raises(ValueOutOfRange, match="threshold NaN"):
        threshold_at(labels, scores, threshold=math.nan)
    with pytest.raises(NotEstimable, match=r"no threshold meets ppv 0\.9 on 1 present and 1 absent cases; ask for less"):
        threshold_at(np.array([0.0, 1.0]), np.array([1.0, 0.0]), ppv=0.9)
    with pytest.raises(NotEstimable, match="0 absent"):
        operating_point(np.ones(4), np.arange(4.0), rule="youden")
    with pytest.raises(ShapeMismatch, match="one call a case"):
        compare_with_reader(labels, scores, np.ones(3))
