"""DeLong against pROC's published figures, MLstatkit, and all pairs written out, also for patients with several images."""

from __future__ import annotations

import numpy as np
import pytest
from MLstatkit import Delong_test
from sklearn.metrics import roc_auc_score

from vesalius.metrics import delong, delong_test
from vesalius.metrics.delong_variance import placements


def cohort(seed: int, decimals: int = 1, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.35).astype(float)
    truth = random.normal(size=n) + labels
    first, second = (np.round(truth + random.normal(size=n), decimals) for _ in range(2))
    return labels, first, second, random.integers(0, n // 3, n)


def pairs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One for each pair in order, a half for a tie: (present, absent)."""
    above = np.subtract.outer(scores[labels == 1], scores[labels == 0])
    return (above > 0) + 0.5 * (above == 0)


def test_subarachnoid_haemorrhage_by_wfns_grade() -> None:
    """pROC's example (Turck 2010): outcome by WFNS grade 1 to 5, poor 2, 12, 1, 8, 18 and good 37, 20, 3, 8, 4.

    pROC prints AUC 0.8237 and 95 % CI 0.7485-0.8988 (DeLong).
    """
    poor, good = [2, 12, 1, 8, 18], [37, 20, 3, 8, 4]
    grades = np.repeat(np.tile(np.arange(1.0, 6.0), 2), poor + good)
    labels = np.repeat([1.0, 0.0], [sum(poor), sum(good)])
    found = delong(labels, grades, scale="plain")
    assert found.value == pytest.approx(0.8236789, abs=5e-8)
    assert (found.low, found.high) == pytest.approx((0.7485, 0.8988), abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_paired_against_mlstatkit(seed: int, decimals: int) -> None:
    labels, first, second, _ = cohort(seed, decimals)
    z, p, ci_first, ci_second, auc_first, auc_second, _ = Delong_test(labels, first, second)
    found = delong_test(labels, first, second)
    assert (found.z, found.p_value) == pytest.approx((z, p), rel=1e-10)
    for scores, ends, value in ((first, ci_first, auc_first), (second, ci_second, auc_second)):
        own = delong(labels, scores, scale="plain")
        assert (own.value, own.low, own.high) == pytest.approx((value, *ends), abs=1e-12)
        assert own.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_variance_by_all_pairs(seed: int) -> None:
    labels, scores, _, _ = cohort(seed)
    table = pairs(labels, scores)
    m, n = table.shape
    expected = table.mean(axis=1).var(ddof=1) / m + table.mean(axis=0).var(ddof=1) / n
    assert delong(labels, scores).standard_error == pytest.approx(np.sqrt(expected), rel=1e-12)
    found = placements(labels == 1, scores)
    assert np.allclose(found.values[labels == 1], table.mean(axis=1), atol=1e-15)
    assert np.allclose(found.values[labels == 0], table.mean(axis=0), atol=1e-15)


def obuchowski(labels: np.ndarray, one: np.ndarray, two: np.ndarray, patients: np.ndarray) -> float:
    """Covariance of two AUROCs as Obuchowski 1997 writes it, patient by patient."""
    tables = [pairs(labels, scores) for scores in (one, two)]
    m, n = tables[0].shape
    owners_present, owners_absent = patients[labels == 1], patients[labels == 0]
    everyone = np.unique(patients)
    i10, i01, i = len(np.unique(owners_present)), len(np.unique(owners_absent)), len(everyone)
    sums = []
    for table in tables:
        area = table.mean()
        above, below = table.mean(axis=1), table.mean(axis=0)
        sums.append(
            [
                (
                    above[owners_present == who].sum() - (owners_present == who).sum() * area,
                    below[owners_absent == who].sum() - (owners_absent == who).sum() * area,
                )
                for who in everyone
            ]
        )
    (a, b), (c, d) = (np.array(rows).T for rows in sums)
    s10 = i10 / ((i10 - 1) * m) * (a @ c)
    s01 = i01 / ((i01 - 1) * n) * (b @ d)
    s11, s11_swapped = i / (i - 1) * (a @ d), i / (i - 1) * (c @ b)
    return float(s10 / m + s01 / n + (s11 + s11_swapped) / (m * n))


@pytest.mark.parametrize("seed", range(4))
def test_clustered_by_its_definition(seed: int) -> None:
    labels, first, second, patients = cohort(seed)
    for scores in (first, second):
        own = obuchowski(labels, scores, scores, patients)
        assert delong(labels, scores, patients).standard_error == pytest.approx(np.sqrt(own), rel=1e-12)
    variances = [obuchowski(labels, one, two, patients) for one, two in ((first, first), (second, second), (first, second))]
    found = delong_test(labels, first, second, patients)
    assert found.standard_error == pytest.approx(np.sqrt(variances[0] + variances[1] - 2 * variances[2]), rel=1e-10)


def test_float32_ranks_are_what_confidenceinterval_gets_wrong() -> None:
    """Its mid-ranks are float32: at two million and one ranks, neighbours share a number; ours count in float64."""
    n = 2_000_001
    labels = np.zeros(n)
    labels[n // 2 :] = 1
    scores = np.arange(n, dtype=np.float64)
    scores[n // 2 - 1], scores[n // 2] = scores[n // 2], scores[n // 2 - 1]  # one pair out of order
    m = int(labels.sum())
    assert 1 - delong(labels, scores).value == pytest.approx(1 / (m * (n - m)), rel=1e-3)
    ranks = np.arange(1, n + 1, dtype=np.float32)
    rounded = (ranks[n // 2 :].sum(dtype=np.float32) / (m * (n - m))) - (m + 1) / (2 * (n - m))
    assert abs(rounded - 1) > 1e-8
