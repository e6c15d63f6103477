"""Ranking, proper scores and their bootstrap against scikit-learn, scipy and counting."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, f1_score, log_loss, roc_auc_score

from vesalius.metrics import (
    auprc,
    auroc,
    bootstrap,
    bootstrap_ranking,
    bootstrap_ranking_difference,
    brier,
    confusion,
    ece_null_distribution,
    nll,
    reliability_table,
    wilson_interval,
)
from vesalius.metrics.intervals import PatientResamples


def sample(seed: int, n: int = 150, decimals: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, tied scores and whole-number weights."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(float)
    return labels, np.round(random.normal(size=n) + labels, decimals), random.integers(0, 4, n)


@pytest.mark.parametrize("seed", range(6))
def test_auroc_and_auprc_with_ties_and_weights(seed: int) -> None:
    labels, scores, weights = sample(seed)
    assert auroc(labels, scores, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    assert auprc(labels, scores, weights) == pytest.approx(
        average_precision_score(labels, scores, sample_weight=weights), abs=1e-12
    )


def test_auroc_by_counting_pairs() -> None:
    labels, scores, _ = sample(7, n=80, decimals=0)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in product(scores[labels == 1], scores[labels == 0])]
    assert auroc(labels, scores) == pytest.approx(sum(pairs) / len(pairs), abs=1e-13)


def test_brier_and_log_loss() -> None:
    labels, scores, weights = sample(8)
    p = 1 / (1 + np.exp(-scores))
    assert brier(labels, p, weights) == pytest.approx(brier_score_loss(labels, p, sample_weight=weights))
    assert nll(labels, scores, weights) == pytest.approx(log_loss(labels, p, sample_weight=weights))


def test_confusion() -> None:
    labels, scores, weights = sample(9)
    calls = scores > 0.5
    (tn, fp), (fn, tp) = confusion_matrix(labels, calls, sample_weight=weights)
    table = confusion(labels, calls, weights)
    counted = (table.true_negative, table.false_positive, table.false_negative, table.true_positive)
    assert counted == (tn, fp, fn, tp)
    assert table.f1 == pytest.approx(f1_score(labels, calls, sample_weight=weights))
    assert (table.sensitivity, table.specificity) == (tp / (tp + fn), tn / (tn + fp))
    assert (table.ppv, table.npv) == (tp / (tp + fp), tn / (tn + fn))


def test_compiled_draws_against_sklearn_on_the_same_resamples() -> None:
    random = np.random.default_rng(10)
    patients = random.integers(0, 40, 150)
    labels, scores = np.stack([sample(seed)[0] for seed in range(3)], 1), np.stack([sample(seed)[1] for seed in range(3)], 1)
    labels[random.random(labels.shape) < 0.1] = np.nan
    found = bootstrap_ranking(labels, scores, patients, resamples=60, seed=4)
    plan = PatientResamples.of(patients, 150, resamples=60, seed=4)
    draws = {roc_auc_score: [], average_precision_score: []}
    for counts in next(chunk for at, chunk in enumerate(plan.chunks()) if at == 1):
        weights = counts[plan.patient]
        for metric, rows in draws.items():
            known = [~np.isnan(labels[:, k]) & (weights > 0) for k in range(3)]
            rows.append([metric(labels[at, k], scores[at, k], sample_weight=weights[at]) for k, at in enumerate(known)])
    for metric, intervals, macro in (
        (roc_auc_score, found.auroc, found.macro_auroc),
        (average_precision_score, found.auprc, found.macro_auprc),
    ):
        expected = np.quantile(draws[metric], [0.025, 0.975], axis=0)
        assert np.allclose([(one.low, one.high) for one in intervals], expected.T, atol=1e-12)
        assert np.allclose((macro.low, macro.high), np.quantile(np.mean(draws[metric], axis=1), [0.025, 0.975]), atol=1e-12)


def test_difference_is_that_of_paired_draws() -> None:
    labels, first, _ = sample(11)
    second = first + np.random.default_rng(0).normal(size=150)
    found = bootstrap_ranking_difference(labels[:, None], first[:, None], second[:, None], resamples=80, seed=2)["auroc"]
    plan = PatientResamples.of(None, 150, resamples=80, seed=2)
    paired = []
    for counts in list(plan.chunks())[1]:
        at = counts[plan.patient]
        paired.append(roc_auc_score(labels, second, sample_weight=at) - roc_auc_score(labels, first, sample_weight=at))
    assert (found[0].low, found[0].high) == pytest.approx(tuple(np.quantile(paired, [0.025, 0.975])))
    tail = 1 + min(np.sum(np.array(paired) <= 0), np.sum(np.array(paired) >= 0))
    assert found[0].p_value == pytest.approx(min(1, 2 * tail / 81))


def test_bootstrap_against_scipy() -> None:
    """Each case its own patient: both draw the same population, so the intervals of a mean agree up to the draws' noise."""
    values = np.random.default_rng(12).gamma(2.0, size=200)
    ours = bootstrap(lambda weights: float(weights @ values / weights.sum()), np.arange(200), resamples=4000, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    standard_error = values.std() / np.sqrt(200)
    assert abs(ours.low - theirs.low) < 0.12 * standard_error
    assert abs(ours.high - theirs.high) < 0.12 * standard_error


@pytest.mark.parametrize(("successes", "n"), [(0, 12), (12, 12), (3, 17), (250, 1000)])
def test_wilson(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_published() -> None:
    """Newcombe 1998, table I, Wilson without continuity correction: 81 of 263, 15 of 148, 1 of 29."""
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)):
        assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("binning", "shared"), [("width", [[0, 1], [2], [3]]), ("mass", [[0, 1], [2, 3]])])
def test_null_distribution_against_every_truth(binning: str, shared: list[list[int]]) -> None:
    """Four cases, sixteen truths: mean and tail of the ECE by their exact probabilities, over the bins that the cases share."""
    p = np.array([0.1, 0.15, 0.6, 0.95])
    exact = []
    for truth in product((0, 1), repeat=4):
        y = np.array(truth)
        chance = float(np.prod(np.where(y == 1, p, 1 - p)))
        exact.append((sum(abs((p - y)[members].sum()) for members in shared) / 4, chance))
    bins = {"width": 5, "mass": 2}[binning]
    draws = ece_null_distribution(p, bins=bins, binning=binning, resamples=20_000, seed=0)
    mean = sum(value * chance for value, chance in exact)
    spread = np.sqrt(sum((value - mean) ** 2 * chance for value, chance in exact))
    assert draws.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(20_000))
    assert (draws > 0.3).mean() == pytest.approx(sum(chance for value, chance in exact if value > 0.3), abs=0.015)


def test_reliability_table_by_counting() -> None:
    labels, scores, _ = sample(13, n=400)
    p = 1 / (1 + np.exp(-scores))
    for row in reliability_table(labels, p, bins=10):
        members = [index for index in range(400) if row.lower <= p[index] < row.upper]
        assert row.n == len(members)
        if members:
            assert row.mean_probability == pytest.approx(np.mean(p[members]))
            assert row.observed == pytest.approx(np.mean(labels[members]))
