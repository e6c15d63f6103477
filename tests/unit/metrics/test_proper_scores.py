"""Proper scores at their ends, with unknown classes, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import brier, brier_decomposition, multiclass_brier, multiclass_nll, nll

NAN = math.nan


def test_sure_and_right_and_sure_and_wrong() -> None:
    labels, p = np.array([0, 1]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert multiclass_brier(labels, p) == 0
    assert multiclass_brier(np.array([1, 2]), p) == 2
    assert multiclass_brier(np.array([1, 2]), p, scale_by_half=True) == 1
    logits = np.array([[800.0, 0.0], [0.0, -800.0]])
    assert multiclass_nll(np.array([1, 1]), logits) == 800
    assert multiclass_nll(np.array([0, 0]), logits) == 0


def test_unknown_classes_are_left_out() -> None:
    labels = np.array([0, -1, 2, 1])
    p = np.array([[0.6, 0.3, 0.1], [NAN, NAN, NAN], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8]])
    keep = [0, 2, 3]
    expected = (0.16 + 0.09 + 0.01 + 0.04 + 0.04 + 0.16 + 0.01 + 0.81 + 0.64) / 3
    for same in (labels, np.where(labels < 0, NAN, labels), np.array([0, None, 2, 1], dtype=object)):
        assert multiclass_brier(same, p) == pytest.approx(expected)
        assert multiclass_nll(same, np.log(p)) == pytest.approx(multiclass_nll(labels[keep], np.log(p[keep])))
    weights = np.array([2, 1, 0, 1])
    assert multiclass_brier(labels, p, weights=weights) == pytest.approx(multiclass_brier(labels[[0, 0, 3]], p[[0, 0, 3]]))
    assert math.isnan(multiclass_brier(np.array([-1]), p[:1]))
    assert math.isnan(multiclass_nll(np.array([-1]), p[:1]))


def test_refused_classes() -> None:
    p = np.array([[0.5, 0.5]])
    with pytest.raises(ValueOutOfRange, match="labels hold 2; expected a class from 0 to 1"):
        multiclass_brier(np.array([2]), p)
    with pytest.raises(ValueOutOfRange, match=r"labels hold 0\.5"):
        multiclass_brier(np.array([0.5]), p)
    with pytest.raises(ValueOutOfRange, match=r"add up to 1\.2; expected 1"):
        multiclass_brier(np.array([0]), np.array([[0.5, 0.7]]))
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        multiclass_brier(np.array([0]), np.array([[3.0, -2.0]]))
    with pytest.raises(ShapeMismatch, match=r"expected \(case,\), \(case, class\)"):
        multiclass_nll(np.array([[0, 1]]), p)
    with pytest.raises(ValueOutOfRange, match="NaN where the class is known"):
        multiclass_nll(np.array([0]), np.array([[NAN, 1.0]]))
    with pytest.raises(ValueOutOfRange, match="weight is negative"):
        multiclass_nll(np.array([0]), p, np.array([-1]))


def test_float16_softmax_is_near_enough() -> None:
    p = np.random.default_rng(0).dirichlet([1] * 10, 50).astype(np.float16)
    assert 0 < multiclass_brier(np.zeros(50, dtype=int), p) < 2


def test_decomposition_at_its_ends() -> None:
    labels = np.array([0, 0, 1, 1])
    always = brier_decomposition(labels, np.full(4, 0.5))
    assert (always.reliability, always.resolution, always.uncertainty, always.skill) == (0, 0, 0.25, 0)
    perfect = brier_decomposition(labels, labels.astype(float))
    assert (perfect.reliability, perfect.resolution, perfect.brier, perfect.skill) == (0, 0.25, 0, 1)
    one_class = brier_decomposition(np.zeros(3), np.array([0.1, 0.2, 0.2]))
    assert one_class.uncertainty == 0
    assert math.isnan(one_class.skill)
    assert all(math.isnan(part) for part in vars(brier_decomposition(np.array([NAN]), np.array([0.5]))).values())


def test_decomposition_of_distinct_probabilities_needs_bins() -> None:
    """Where every probability is said once, Murphy's reliability is the whole score; over bins it is not."""
    random = np.random.default_rng(0)
    p = random.random(500)
    labels = (random.random(500) < p).astype(float)
    assert brier_decomposition(labels, p).reliability == pytest.approx(brier(labels, p))
    assert brier_decomposition(labels, p, 10).reliability < 0.01


def test_scores_take_masks_and_weights() -> None:
    labels, p = np.array([1, 0, NAN, -1, 1]), np.array([0.8, 0.3, NAN, 0.9, 0.8])
    parts = brier_decomposition(labels, p)
    assert parts.brier == pytest.approx(brier(labels, p)) == pytest.approx((2 * 0.04 + 0.09) / 3)
    assert brier_decomposition(labels[:2], p[:2], weights=np.array([2, 1])) == parts
    logits = np.array([2.0, -1.0, NAN, NAN, 2.0])
    assert nll(labels, logits) == pytest.approx(nll(labels[:2], logits[:2], np.array([2, 1])))
