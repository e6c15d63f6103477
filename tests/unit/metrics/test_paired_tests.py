"""Two models on the same resamples, finding by finding, and Holm's steps by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auprc, auroc, bootstrap_difference, brier, compare_models, confusion, holm
from vesalius.metrics.paired_tests import PairedOptions


def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.where(random.random((150, 2)) < 0.1, np.nan, (random.random((150, 2)) < 0.4).astype(float))
    first, second = (1 / (1 + np.exp(-(random.normal(size=(150, 2)) + np.nan_to_num(labels)))) for _ in range(2))
    return labels, first, second, random.integers(0, 60, 150)


def test_holm_by_hand() -> None:
    """0.01 x 3; then 0.02 x 2, raised to no less; the last as it is, but no less than the one before."""
    assert holm(np.array([0.03, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    with_gap = holm(np.array([[0.01, np.nan], [0.2, 0.04]]))
    assert with_gap.shape == (2, 2)
    assert np.allclose(with_gap, [[0.03, np.nan], [0.2, 0.08]], equal_nan=True)
    assert holm(np.array([])).shape == (0,)
    with pytest.raises(ValueOutOfRange, match="p-value"):
        holm(np.array([1.2]))


def test_rows_are_the_plain_differences() -> None:
    labels, first, second, patients = cohort()
    options = PairedOptions(("auroc", "auprc", "brier", "sensitivity", "f1", "mcc"), resamples=60, seed=4)
    cuts = ([0.5, 0.4], [0.6, 0.5])
    rows = compare_models(labels, first, second, patients, findings=["A", "B"], thresholds=cuts, options=options)
    assert [(row.metric, row.finding) for row in rows[:3]] == [("auroc", "A"), ("auroc", "B"), ("auroc", "macro")]
    assert len(rows) == 18
    plain = {
        "auroc": lambda y, p, w, cut: auroc(y, p, w),
        "auprc": lambda y, p, w, cut: auprc(y, p, w),
        "brier": lambda y, p, w, cut: brier(y, p, w),
        "sensitivity": lambda y, p, w, cut: confusion(y, p >= cut, w).sensitivity,
        "f1": lambda y, p, w, cut: confusion(y, p >= cut, w).f1,
        "mcc": lambda y, p, w, cut: confusion(y, p >= cut, w).mcc,
    }
    for metric, figure in plain.items():
        family = [row for row in rows if row.metric == metric]
        for k, row in enumerate(family[:2]):
            y = labels[:, k]
            expected = bootstrap_difference(
                lambda w, f=figure, y=y, k=k: f(y, first[:, k], w, cuts[0][k]),
                lambda w, f=figure, y=y, k=k: f(y, second[:, k], w, cuts[1][k]),
                patients,
                resamples=60,
                seed=4,
            )
            found = row.difference
            assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-10)
            assert found.p_value == pytest.approx(expected.p_value)
            assert row.second.value - row.first.value == pytest.approx(found.value)
        assert [row.p_holm for row in family] == pytest.approx(
            [*holm(np.array([row.difference.p_value for row in family[:2]])), family[2].difference.p_value]
        )
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_a_finding_without_a_positive_is_no_test() -> None:
    labels, first, second, patients = cohort()
    labels[:, 1] = 0.0
    rows = compare_models(labels, first, second, patients, options=PairedOptions(("auroc",), resamples=40))
    assert math.isnan(rows[1].p_holm)
    assert rows[1].to_json()["p_holm"] is None
    assert rows[0].p_holm == rows[0].difference.p_value
    assert rows[2].difference.value == pytest.approx(rows[0].difference.value)


def test_what_is_refused() -> None:
    labels, first, second, patients = cohort()
    with pytest.raises(ValueOutOfRange, match="expected some of auroc, auprc"):
        compare_models(labels, first, second, options=PairedOptions(("auc",)))
    with pytest.raises(ValueOutOfRange, match="f1 needs thresholds"):
        compare_models(labels, first, second, options=PairedOptions(("f1",)))
    with pytest.raises(ShapeMismatch, match="3 names for 2 findings"):
        compare_models(labels, first, second, findings=["A", "B", "C"])
    with pytest.raises(ShapeMismatch, match="1 thresholds for 2 findings"):
        compare_models(labels, first, second, thresholds=([0.5], [0.5]), options=PairedOptions(("f1",)))
    with pytest.raises(ShapeMismatch):
        compare_models(labels, first, second[:-1], patients)
