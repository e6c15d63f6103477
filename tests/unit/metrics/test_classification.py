"""Unknown labels, undefined figures and refused input of the ranking and decision metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auprc, auroc, confusion, known_labels, prevalence, sensitivity_specificity

NAN = math.nan


def test_known_labels_maps_doubt_and_nothing_to_nan() -> None:
    found = known_labels(np.array([[1, 0], [-1, None]], dtype=object))
    assert np.array_equal(found, [[1, 0], [NAN, NAN]], equal_nan=True)


def test_known_labels_leaves_its_input_alone() -> None:
    labels = np.array([1.0, -1.0])
    known_labels(labels)
    assert labels.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("label", [2, 0.5, -2])
def test_strange_label_is_refused(label: float) -> None:
    with pytest.raises(ValueOutOfRange, match=f"labels hold {label:g}"):
        known_labels(np.array([1, label]))


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], [NAN, NAN], [1, NAN]])
def test_auroc_of_one_class_is_not_defined(labels: list[float]) -> None:
    assert math.isnan(auroc(np.array(labels), np.array([0.2, 0.4])))


def test_auprc_needs_a_present_case_only() -> None:
    assert math.isnan(auprc(np.array([0, 0]), np.array([0.2, 0.4])))
    assert auprc(np.array([1, 1]), np.array([0.2, 0.4])) == 1


def test_by_hand() -> None:
    labels, scores = np.array([1, 0, 1, 0, NAN]), np.array([0.9, 0.8, 0.7, 0.1, 5.0])
    assert auroc(labels, scores) == 0.75
    assert auprc(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert prevalence(labels) == 0.5
    assert math.isnan(prevalence(np.array([NAN])))


def test_one_tie_block_is_a_coin() -> None:
    labels = np.array([1, 0, 0, 1, 0])
    assert auroc(labels, np.full(5, 0.3)) == 0.5
    assert auprc(labels, np.full(5, 0.3)) == pytest.approx(0.4)


def test_infinite_scores_rank() -> None:
    assert auroc(np.array([1, 0, 0]), np.array([np.inf, 3.0, -np.inf])) == 1


def test_nan_score_is_refused_only_where_it_counts() -> None:
    assert auroc(np.array([1, 0, NAN]), np.array([1.0, 0.0, NAN])) == 1
    with pytest.raises(ValueOutOfRange, match="set that label to NaN"):
        auroc(np.array([1, 0]), np.array([1.0, NAN]))


def test_lengths_must_agree() -> None:
    with pytest.raises(ShapeMismatch, match=r"labels \(2,\), values \(3,\)"):
        auroc(np.array([1, 0]), np.zeros(3))


def test_negative_weight_is_refused() -> None:
    with pytest.raises(ValueOutOfRange, match="multiplicities"):
        auroc(np.array([1, 0]), np.zeros(2), np.array([1, -1]))


def test_abstained_cases_are_left_out() -> None:
    labels, decisions = np.array([1, 1, 0, 0, NAN]), np.array([1, -1, 0, 1, 1])
    table = confusion(labels, decisions)
    assert (table.true_positive, table.false_positive, table.true_negative, table.false_negative) == (1, 1, 1, 0)
    assert sensitivity_specificity(labels, decisions) == (1.0, 0.5)


def test_rates_without_a_denominator_are_nan() -> None:
    table = confusion(np.array([0.0]), np.array([0]))
    assert math.isnan(table.sensitivity)
    assert math.isnan(table.ppv)
    assert math.isnan(table.f1)
    assert (table.specificity, table.npv) == (1.0, 1.0)
