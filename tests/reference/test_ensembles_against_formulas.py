"""Spreads and means of ensembles against scipy, torch, scikit-learn, and every member and pair counted by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax
from scipy.stats import entropy, mode
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from vesalius.metrics import brier
from vesalius.metrics.intervals import PatientResamples
from vesalius.uncertainty import (
    expected_entropy,
    mean_of,
    mutual_information,
    pairwise_disagreement,
    predictive_entropy,
    seed_spread,
    std_of_probabilities,
    variation_ratio,
)

RANDOM = np.random.default_rng(0)
Z = RANDOM.normal(0, 3, (5, 40, 3))
P = expit(Z)
CLASSES = softmax(Z, axis=-1)


def test_mean_of_logits_and_of_probabilities() -> None:
    np.testing.assert_allclose(mean_of(Z), Z.mean(axis=0))
    np.testing.assert_allclose(mean_of(Z, "probabilities"), logit(P.mean(axis=0)), rtol=1e-12)
    logs = torch.logsumexp(torch.log_softmax(torch.tensor(Z), dim=-1), dim=0).numpy() - np.log(5)
    np.testing.assert_allclose(mean_of(Z, "probabilities", task="multiclass"), logs, rtol=1e-12)
    np.testing.assert_allclose(softmax(mean_of(Z, "probabilities", task="multiclass"), axis=-1), CLASSES.mean(axis=0), rtol=1e-12)


def test_the_two_means_differ_where_one_member_is_very_sure() -> None:
    one_sure = np.array([[12.0], [-1.0], [-1.0]])
    assert expit(mean_of(one_sure))[0] > 0.95
    assert expit(mean_of(one_sure, "probabilities"))[0] == pytest.approx((1 + 2 * expit(-1.0)) / 3, abs=1e-5)


def test_std_is_that_of_torch_with_correction_0() -> None:
    np.testing.assert_allclose(std_of_probabilities(P), torch.tensor(P).std(dim=0, correction=0).numpy(), rtol=1e-12)
    assert not np.allclose(std_of_probabilities(P), torch.tensor(P).std(dim=0).numpy())  # torch divides by one less


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_entropies(task: str) -> None:
    p = np.stack([1 - P, P], axis=-1) if task == "multilabel" else CLASSES
    given = P if task == "multilabel" else CLASSES
    total, expected = entropy(p.mean(axis=0), axis=-1), entropy(p, axis=-1).mean(axis=0)
    np.testing.assert_allclose(predictive_entropy(given, task=task), total, rtol=1e-12)
    np.testing.assert_allclose(expected_entropy(given, task=task), expected, rtol=1e-12)
    np.testing.assert_allclose(mutual_information(given, task=task), total - expected, rtol=1e-9, atol=1e-14)


def test_mutual_information_of_members_that_nearly_agree_keeps_its_digits() -> None:
    # For p + d and p - d it is d^2 / (2 p (1 - p)) up to d^4; the difference of two entropies is only rounding there.
    p, d = 0.3, 1e-9
    members, truth = np.array([[p - d], [p + d]]), d * d / (2 * p * (1 - p))
    np.testing.assert_allclose(mutual_information(members), truth, rtol=1e-6, atol=0)
    difference = (predictive_entropy(members) - expected_entropy(members))[0]
    assert not 0.5 * truth < difference < 2 * truth


def test_variation_ratio_and_disagreement_by_counting() -> None:
    votes = CLASSES.argmax(axis=-1)
    np.testing.assert_allclose(variation_ratio(CLASSES, task="multiclass"), 1 - mode(votes, axis=0).count / 5)
    called = P >= 0.3
    np.testing.assert_allclose(variation_ratio(P, threshold=0.3), 1 - mode(called.astype(int), axis=0).count / 5)
    pairs = list(itertools.combinations(range(5), 2))
    by_hand = np.mean([votes[a] != votes[b] for a, b in pairs], axis=0)
    np.testing.assert_allclose(pairwise_disagreement(CLASSES, task="multiclass"), by_hand, atol=1e-15)
    by_hand = np.mean([called[a] != called[b] for a, b in pairs], axis=0)
    np.testing.assert_allclose(pairwise_disagreement(P, threshold=0.3), by_hand, atol=1e-15)


def members_and_labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = (random.random((120, 2)) < 0.4).astype(float)
    return 1.5 * labels + random.normal(size=(4, 120, 2)), labels, random.integers(0, 40, 120)


@pytest.mark.parametrize(("metric", "peer"), [("auroc", roc_auc_score), ("auprc", average_precision_score)])
def test_seed_spread_of_a_ranking_metric(metric: str, peer: object) -> None:
    z, labels, patients = members_and_labels()
    plan = PatientResamples.of(patients, 120, resamples=60, seed=5)
    found = seed_spread(metric, labels, z, patients, plan=plan)

    def macro(logits: np.ndarray, weights: np.ndarray) -> float:
        drawn = np.repeat(np.arange(120), weights)
        return float(np.mean([peer(labels[drawn, k], logits[drawn, k]) for k in range(2)]))

    every = list(plan.chunks())
    counts = np.concatenate(every)[:, plan.patient].astype(int)
    draws = np.array([[macro(logits, weights) for logits in (*z, z.mean(axis=0))] for weights in counts])
    np.testing.assert_allclose(found.members, draws[0, :4])
    assert found.mean == pytest.approx(draws[0, :4].mean())
    assert found.sd == pytest.approx(draws[0, :4].std(ddof=1))
    assert (found.low, found.high) == pytest.approx((draws[0, :4].min(), draws[0, :4].max()))
    gain = draws[:, 4] - draws[:, :4].mean(axis=1)
    assert found.gain.value == pytest.approx(gain[0])
    np.testing.assert_allclose((found.gain.low, found.gain.high), np.quantile(gain[1:], [0.025, 0.975]), atol=1e-12)
    first = draws[:, 4] - draws[:, 0]
    np.testing.assert_allclose((found.gains[0].low, found.gains[0].high), np.quantile(first[1:], [0.025, 0.975]), atol=1e-12)


def test_seed_spread_of_any_metric() -> None:
    z, labels, patients = members_and_labels()
    plan = PatientResamples.of(patients, 120, resamples=20)
    found = seed_spread(lambda y, p, weights: brier(y[:, 0], p[:, 0], weights=weights), labels, z, of="probabilities", plan=plan)
    np.testing.assert_allclose(found.members, [brier_score_loss(labels[:, 0], expit(member[:, 0])) for member in z])
    assert found.ensemble.value == pytest.approx(brier_score_loss(labels[:, 0], expit(z[..., 0]).mean(axis=0)))
    assert found.gain.value < 0  # the Brier score of a mean of probabilities is at most the mean Brier score: Jensen
