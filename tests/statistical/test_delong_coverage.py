"""Intervals without resampling: do they cover, by patient and near a faultless curve, and is the paired p-value uniform?

Five hundred patients with one to eight images that share truth and difficulty, as in test_interval_coverage, more alike.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from vesalius.metrics import auroc, bootstrap_ranking, delong, delong_test, operating_point, threshold_at

SIMULATIONS = 2000


def cohort(seed: int, n_patients: int = 500, shared: float = 0.9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose variance is, for this share, the patient's own."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), random.integers(1, 9, n_patients))
    sick = (random.random(n_patients) < 0.3).astype(float)
    noise = np.sqrt(shared) * random.normal(size=n_patients)[patients] + np.sqrt(1 - shared) * random.normal(size=len(patients))
    return sick[patients], 1.2 * sick[patients] + noise, patients


TRUTH = float(ndtr(1.2 / np.sqrt(2)))  # of two normal scores with unit variance


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_clustered_interval_covers_and_row_interval_does_not(scale: str) -> None:
    covered = {"patient": 0, "row": 0}
    for seed in range(SIMULATIONS):
        labels, scores, patients = cohort(seed)
        for kind, owners in (("patient", patients), ("row", None)):
            found = delong(labels, scores, owners, scale=scale)
            covered[kind] += found.low <= TRUTH <= found.high
    share = {kind: count / SIMULATIONS for kind, count in covered.items()}
    # 2000 simulations of a 95 % interval: standard error 0.5 points.
    assert 0.93 <= share["patient"] <= 0.97, share
    assert share["row"] < 0.80, share


def test_paired_p_values_are_uniform_by_patient_and_too_small_by_row() -> None:
    low = {"patient": 0, "row": 0}
    for seed in range(SIMULATIONS):
        labels, first, patients = cohort(seed, 200)
        random = np.random.default_rng(100_000 + seed)
        own = random.normal(size=200)[patients]
        second = 1.2 * labels + np.sqrt(0.9) * own + np.sqrt(0.1) * random.normal(size=len(labels))
        for kind, owners in (("patient", patients), ("row", None)):
            low[kind] += delong_test(labels, first, second, owners).p_value < 0.05
    share = {kind: count / SIMULATIONS for kind, count in low.items()}
    assert 0.035 <= share["patient"] <= 0.07, share
    assert share["row"] > 0.15, share


@pytest.mark.parametrize("area", [0.9, 0.97, 0.995])
def test_the_bound_of_a_faultless_sample_covers(area: float) -> None:
    """Nine of each class: many samples have no pair out of order. Of those the bound has to hold the truth, and never at once 1."""
    from scipy.special import ndtri

    shift = float(ndtri(area) * np.sqrt(2))
    random = np.random.default_rng(1)
    labels = np.repeat([1.0, 0.0], 9)
    missed = faultless = 0
    for _ in range(SIMULATIONS):
        found = delong(labels, random.normal(size=18) + shift * labels)
        if found.value == 1.0:
            faultless += 1
            missed += not found.low <= area
            assert found.low == pytest.approx(0.025 ** (1 / 9))
    assert faultless > 20
    # The bound's promise: a faultless sample and a bound above the truth together in 2.5 % at most.
    assert missed / SIMULATIONS <= 0.025


@pytest.mark.slow
def test_bca_by_patient_covers() -> None:
    covered = {"percentile": 0, "bca": 0}
    for seed in range(1000):
        labels, scores, patients = cohort(seed)
        for method in covered:
            found = bootstrap_ranking(labels[:, None], scores[:, None], patients, resamples=500, seed=seed, method=method).auroc[0]
            covered[method] += found.low <= TRUTH <= found.high
    assert all(0.93 <= count / 1000 <= 0.97 for count in covered.values()), covered


@pytest.mark.slow
def test_sensitivity_at_a_locked_threshold_and_at_one_chosen_here() -> None:
    """The threshold of one set, on another; and a threshold chosen for a specificity on the set itself."""
    labels, scores, _ = cohort(999_999, 200_000)
    locked = threshold_at(labels, scores, rule="youden")
    truth = float((scores[labels == 1] >= locked).mean())
    cut = threshold_at(labels, scores, specificity=0.8)
    at_specificity = float((scores[labels == 1] >= cut).mean())
    covered = {"locked": 0, "chosen": 0, "row": 0}
    for seed in range(600):
        labels, scores, patients = cohort(seed, 250)
        for kind, owners in (("locked", patients), ("row", None)):
            found = operating_point(labels, scores, owners, threshold=locked, resamples=400, seed=seed).sensitivity
            covered[kind] += found.low <= truth <= found.high
        chosen = operating_point(labels, scores, patients, specificity=0.8, resamples=400, seed=seed).sensitivity
        covered["chosen"] += chosen.low <= at_specificity <= chosen.high
    share = {kind: count / 600 for kind, count in covered.items()}
    assert 0.92 <= share["locked"] <= 0.975, share
    assert 0.92 <= share["chosen"] <= 0.98, share
    assert share["row"] < 0.80, share
    assert auroc(labels, scores) > 0.6
