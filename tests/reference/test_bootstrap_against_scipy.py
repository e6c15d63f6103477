"""BCa on scipy's own draws: patients as the units, the same bias, the same jackknife, the same ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from vesalius.metrics.bca import bca_interval_of, ranking_influence
from vesalius.metrics.intervals import PatientResamples, interval_of


def cohort(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(40), random.integers(1, 6, 40))
    labels = (random.random(len(patients)) < 0.4).astype(float)
    return labels, np.round(random.normal(size=len(patients)) + labels, 1), patients


@pytest.mark.parametrize("seed", range(3))
def test_auroc_by_patient(seed: int) -> None:
    labels, scores, patients = cohort(seed)
    rows = [np.flatnonzero(patients == patient) for patient in range(40)]

    def of(drawn: np.ndarray) -> float:
        at = np.concatenate([rows[int(patient)] for patient in drawn])
        return float(roc_auc_score(labels[at], scores[at]))

    theirs = stats.bootstrap((np.arange(40),), of, vectorized=False, n_resamples=199, method="BCa", rng=seed)
    plain = stats.bootstrap((np.arange(40),), of, vectorized=False, n_resamples=199, method="percentile", rng=seed)
    draws = np.append(of(np.arange(40)), theirs.bootstrap_distribution)
    plan = PatientResamples.of(patients, len(labels))
    influence = ranking_influence(labels[:, None], scores[:, None], plan)[0][:, 0]
    ours = bca_interval_of(draws, influence)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    percentile = interval_of(draws)
    assert (percentile.low, percentile.high) == pytest.approx(tuple(plain.confidence_interval), abs=1e-12)


def test_auprc_by_its_slope_is_near_the_jackknife() -> None:
    """scipy leaves each patient out; the slope of the weight is the limit of that, and the ends differ by less than a draw does."""
    labels, scores, patients = cohort(7)
    rows = [np.flatnonzero(patients == patient) for patient in range(40)]

    def of(drawn: np.ndarray) -> float:
        at = np.concatenate([rows[int(patient)] for patient in drawn])
        return float(average_precision_score(labels[at], scores[at]))

    theirs = stats.bootstrap((np.arange(40),), of, vectorized=False, n_resamples=399, method="BCa", rng=1)
    draws = np.append(of(np.arange(40)), theirs.bootstrap_distribution)
    influence = ranking_influence(labels[:, None], scores[:, None], PatientResamples.of(patients, len(labels)))[1][:, 0]
    ours = bca_interval_of(draws, influence)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * draws.std())
