"""F1, MCC, partial area and points of the ROC curve against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef, precision_score, recall_score, roc_auc_score, roc_curve

from vesalius.metrics import confusion, operating_point, partial_auroc, sensitivity_at_specificity, threshold_at
from vesalius.metrics.draws import rate_draws
from vesalius.metrics.intervals import PatientResamples


def cohort(seed: int, n: int = 150, decimals: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(float)
    return labels, np.round(random.normal(size=n) + labels, decimals), random.integers(0, 4, n)


@pytest.mark.parametrize("seed", range(4))
def test_mcc_and_f1_with_weights(seed: int) -> None:
    labels, scores, weights = cohort(seed)
    calls = scores >= 0.6
    table = confusion(labels, calls, weights)
    assert table.mcc == pytest.approx(matthews_corrcoef(labels, calls, sample_weight=weights), abs=1e-12)
    assert table.f1 == pytest.approx(f1_score(labels, calls, sample_weight=weights), abs=1e-12)


def test_another_convention_where_nothing_is_called() -> None:
    """Where no case is called present, the correlation is 0 / 0: scikit-learn says 0, as of a coin; we say that there is none."""
    labels = np.array([1.0, 0.0, 0.0])
    assert matthews_corrcoef(labels, np.zeros(3)) == 0.0
    assert math.isnan(confusion(labels, np.zeros(3)).mcc)


def test_draws_of_every_rate_on_the_same_resamples() -> None:
    labels, scores, _ = cohort(5)
    calls = scores >= 0.6
    plan = PatientResamples.of(np.random.default_rng(0).integers(0, 50, 150), 150, resamples=30, seed=1)
    draws = rate_draws(labels, calls, plan)
    for at, counts in enumerate(row for chunk in plan.chunks() for row in chunk):
        weights = counts[plan.patient]
        expected = {
            "sensitivity": recall_score(labels, calls, sample_weight=weights),
            "specificity": recall_score(labels, calls, sample_weight=weights, pos_label=0),
            "ppv": precision_score(labels, calls, sample_weight=weights),
            "npv": precision_score(labels, calls, sample_weight=weights, pos_label=0),
            "f1": f1_score(labels, calls, sample_weight=weights),
            "mcc": matthews_corrcoef(labels, calls, sample_weight=weights),
        }
        for name, value in expected.items():
            assert draws[name][at] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("specificity", [0.0, 0.33, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("decimals", [0, 3])
def test_partial_area(seed: int, specificity: float, decimals: int) -> None:
    labels, scores, weights = cohort(seed, decimals=decimals)
    expected = roc_auc_score(labels, scores, max_fpr=1 - specificity, sample_weight=weights)
    assert partial_auroc(labels, scores, specificity, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_points_lie_on_the_roc_curve(seed: int) -> None:
    labels, scores, _ = cohort(seed)
    fpr, tpr, cuts = roc_curve(labels, scores, drop_intermediate=False)
    assert sensitivity_at_specificity(labels, scores, 0.9) == pytest.approx(tpr[1 - fpr >= 0.9 - 1e-12].max())
    best = np.flatnonzero(tpr - fpr >= (tpr - fpr).max() - 1e-12)[0]
    assert threshold_at(labels, scores, rule="youden") == cuts[best]
    point = operating_point(labels, scores, rule="youden", resamples=5)
    assert (point.sensitivity.value, point.specificity.value) == pytest.approx((tpr[best], 1 - fpr[best]))
