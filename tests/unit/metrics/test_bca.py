"""Influence of a patient against leaving it out and against a small change of its weight; what BCa does and when it declines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from vesalius.errors import ValueOutOfRange
from vesalius.metrics import auprc, auroc, bootstrap, bootstrap_many, bootstrap_ranking
from vesalius.metrics.bca import acceleration, bca_interval_of, ranking_influence
from vesalius.metrics.intervals import PatientResamples, interval_of, macro_draws, weighted_draws


def cohort(seed: int, decimals: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.where(random.random((70, 2)) < 0.1, np.nan, (random.random((70, 2)) < 0.4).astype(float))
    scores = np.round(random.normal(size=(70, 2)) + np.nan_to_num(labels), decimals)
    return labels, scores, random.integers(0, 25, 70)


@pytest.mark.parametrize("seed", range(4))
def test_auroc_influence_is_the_figure_without_the_patient(seed: int) -> None:
    labels, scores, patients = cohort(seed, decimals=seed % 2)
    plan = PatientResamples.of(patients, 70)

    def both(weights: np.ndarray) -> np.ndarray:
        return np.array([auroc(labels[:, k], scores[:, k], weights) for k in range(2)])

    left_out = weighted_draws(both, plan.leave_one_out())
    found = ranking_influence(labels, scores, plan)[0]
    assert np.allclose(found[:, :2], -left_out[1:], atol=1e-12)
    assert np.allclose(found[:, 2], -macro_draws(left_out)[1:], atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_auprc_influence_is_its_slope_along_the_weight(seed: int) -> None:
    labels, scores, patients = cohort(seed, decimals=seed % 2)
    plan = PatientResamples.of(patients, 70)
    found = ranking_influence(labels, scores, plan)[1]
    step = 1e-5
    for patient in range(plan.n_patients):
        moved = [auprc(labels[:, 0], scores[:, 0], 1.0 + sign * step * (plan.patient == patient)) for sign in (1, -1)]
        assert found[patient, 0] == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-8)
    assert np.allclose(found[:, 2], found[:, :2].mean(axis=1))
    assert found.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)  # all weights together scale nothing


def test_compiled_and_plain_bca_agree() -> None:
    labels, scores, patients = cohort(9)
    fast = bootstrap_ranking(labels, scores, patients, resamples=300, seed=3, method="bca")
    slow = bootstrap(lambda w: auroc(labels[:, 0], scores[:, 0], w), patients, resamples=300, seed=3, method="bca")
    assert (fast.auroc[0].low, fast.auroc[0].high) == pytest.approx((slow.low, slow.high), abs=1e-9)
    assert fast.auroc[0] != bootstrap_ranking(labels, scores, patients, resamples=300, seed=3).auroc[0]
    jackknifed = bootstrap(lambda w: auprc(labels[:, 0], scores[:, 0], w), patients, resamples=300, seed=3, method="bca")
    # The infinitesimal jackknife of 25 patients is near, not equal to, leaving each out.
    assert (fast.auprc[0].low, fast.auprc[0].high) == pytest.approx((jackknifed.low, jackknifed.high), abs=0.01)
    assert fast.macro_auroc.low < fast.macro_auroc.value < fast.macro_auroc.high


def test_without_bias_or_skewness_it_is_the_percentile_interval() -> None:
    draws = np.append(0.5, np.linspace(0, 1, 1001))
    flat = np.tile([1.0, -1.0], 20)
    assert acceleration(flat) == 0
    ours, plain = bca_interval_of(draws, flat), interval_of(draws)
    assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_bias_alone_shifts_both_percentiles_by_twice_its_size() -> None:
    draws = np.append(0.6, np.linspace(0, 1, 100_001))
    found = bca_interval_of(draws, np.tile([1.0, -1.0], 20))
    ends = ndtr(2 * ndtri(0.6) + ndtri(np.array([0.025, 0.975])))
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-4)


def test_acceleration_is_a_sixth_of_the_skewness() -> None:
    from scipy.stats import skew

    values = np.random.default_rng(0).gamma(1.0, size=50)
    assert acceleration(values) == pytest.approx(skew(values) / (6 * np.sqrt(50)))
    assert acceleration(np.full(9, 3.0)) == 0
    # One stratum is the same as none; two are each centred on their own mean.
    apart = np.append(values, values + 100.0)
    assert acceleration(apart, np.arange(100) < 50) == pytest.approx(skew(values) / (6 * np.sqrt(100)))


def test_when_it_declines() -> None:
    flat = np.tile([1.0, -1.0], 20)
    assert "one side" in str(bca_interval_of(np.append(2.0, np.linspace(0, 1, 99)), flat).reason)
    gone = np.append(flat, np.nan)
    assert "without one of the patients" in str(bca_interval_of(np.append(0.5, np.linspace(0, 1, 99)), gone).reason)
    heavy = np.append(np.zeros(60), 1.0)
    assert "outweighs" in str(bca_interval_of(np.append(0.001, np.linspace(0, 1, 9999)), -heavy, 0.9999).reason)
    assert bca_interval_of(np.array([0.5, np.nan]), flat).reason == "not estimable: undefined in 1 of 1 resamples"
    with pytest.raises(ValueOutOfRange, match="expected one of percentile, bca"):
        bootstrap(lambda w: 0.0, np.arange(3), method="BC")
    with pytest.raises(ValueOutOfRange, match="expected one of percentile, bca"):
        bootstrap_ranking(*cohort(0), method="BC")


def test_many_figures_each_have_their_own_bca() -> None:
    values = np.random.default_rng(3).gamma(1.0, size=40)

    def mean_and_square(weights: np.ndarray) -> np.ndarray:
        mean = float(weights @ values / weights.sum())
        return np.array([mean, mean**2])

    both = bootstrap_many(mean_and_square, np.arange(40), resamples=200, method="bca")
    first = bootstrap(lambda w: float(w @ values / w.sum()), np.arange(40), resamples=200, method="bca")
    assert both[0] == first
    # BCa commutes with a rising transformation but for its acceleration, which linearises; nearly here.
    assert both[1].high == pytest.approx(first.high**2, rel=0.02)
