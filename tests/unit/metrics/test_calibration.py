"""Bins, edges, ties and counters of the calibration error and its table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import (
    brier,
    classwise_ece,
    debiased_calibration_error,
    ece,
    ece_null_distribution,
    ece_per_finding,
    macro_ece,
    mce,
    nll,
    reliability_table,
    top_label,
    top_label_ece,
)

NAN = math.nan


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_certain_answers_are_counted(binning: str) -> None:
    """p = 0 and p = 1 are dropped or parted by several libraries; both wrong here, so the error is 1."""
    assert ece(np.array([1, 0]), np.array([0.0, 1.0]), binning=binning) == 1


def test_edges_belong_to_the_upper_bin() -> None:
    counts = [row.n for row in reliability_table(np.zeros(5), np.array([0.0, 0.25, 0.5, 0.75, 1.0]), bins=4)]
    assert counts == [1, 1, 1, 2]


def test_constant_predictor_has_the_error_of_its_prevalence() -> None:
    labels = np.array([1, 0, 0, 0])
    for binning in ("width", "mass"):
        assert ece(labels, np.full(4, 0.6), binning=binning) == pytest.approx(0.35)


def test_mass_never_parts_a_tie_block() -> None:
    """Two blocks of equal probabilities and two bins: each block's truth is its probability, in whatever order the rows come."""
    p = np.repeat([0.25, 0.75], [4, 8])
    labels = np.repeat([1, 0, 1, 0], [1, 3, 6, 2]).astype(float)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(12)
        assert ece(labels[order], p[order], bins=4, binning="mass") == pytest.approx(0, abs=1e-15)


def test_unknown_labels_are_left_out() -> None:
    labels, p = np.array([1, 0, NAN, -1]), np.array([0.8, 0.3, 0.5, 0.9])
    assert ece(labels, p) == pytest.approx(ece(labels[:2], p[:2]))
    assert brier(labels, p) == pytest.approx((0.04 + 0.09) / 2)
    assert sum(row.n for row in reliability_table(labels, p)) == 2
    for metric in (ece, brier, nll):
        assert math.isnan(metric(np.array([NAN]), np.array([0.5])))


def test_sure_and_wrong_costs_its_logit() -> None:
    assert nll(np.array([0.0]), np.array([800.0])) == 800
    assert nll(np.array([1.0]), np.array([800.0])) == 0


def test_counters_do_not_stop() -> None:
    """A float32 counter stands still at 16,777,216; four times as many values weighed as one case each must still add up."""
    weights = np.array([70_000_000, 30_000_000])
    assert ece(np.array([0.0, 1.0]), np.array([0.3, 0.3]), weights=weights) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("p", [-0.1, 1.2])
def test_logits_are_not_probabilities(p: float) -> None:
    for metric in (ece, brier):
        with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
            metric(np.array([1.0]), np.array([p]))
    with pytest.raises(ValueOutOfRange, match="labels hold"):
        ece(np.array([0.3, 0.4]), np.array([1.0, 0.0]))  # swapped


def test_table_of_mass_has_no_empty_bin() -> None:
    rows = reliability_table(np.array([0, 1, 1.0]), np.array([0.1, 0.1, 0.9]), bins=8, binning="mass")
    assert [(row.lower, row.upper, row.n) for row in rows] == [(0.1, 0.1, 2), (0.9, 0.9, 1)]
    empty = reliability_table(np.array([1.0]), np.array([0.9]), bins=2)[0]
    assert empty.n == 0
    assert all(math.isnan(value) for value in (empty.mean_probability, empty.observed, empty.low, empty.high))


def test_null_distribution() -> None:
    p = np.random.default_rng(0).random(50)
    known = p > 0.2
    draws = ece_null_distribution(p, known, resamples=40, seed=3)
    assert np.array_equal(draws, ece_null_distribution(p[known], resamples=40, seed=3))
    assert not np.array_equal(draws, ece_null_distribution(p[known], resamples=40, seed=4))
    assert (ece_null_distribution(np.array([0.0, 1.0]), resamples=5) == 0).all()
    with pytest.raises(EmptyInput):
        ece_null_distribution(p, np.zeros(50, dtype=bool))
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        ece_null_distribution(np.array([1.5]))


def test_null_of_equal_mass_and_of_the_other_norms() -> None:
    """Two tie blocks: the null is that of two coins' shares, whatever the rule that keeps the blocks whole."""
    p = np.repeat([0.2, 0.9], [30, 30])
    width = ece_null_distribution(p, bins=2, resamples=50)
    assert ece_null_distribution(p, bins=2, binning="mass", resamples=50) == pytest.approx(width, abs=1e-15)
    worst = ece_null_distribution(p, bins=2, norm="max", resamples=50)
    square = ece_null_distribution(p, bins=2, norm="l2", weight="bin", resamples=50)
    assert (width <= square + 1e-15).all()
    assert (square <= worst + 1e-15).all()
    assert (worst > width).any()
    one = np.full(10, 0.3)
    shares = ece_null_distribution(one, binning="mass", resamples=200)
    assert set(np.round(shares * 10, 9)) <= {abs(k - 3) for k in range(11)}


def test_weights_of_bins_and_norms_by_hand() -> None:
    """Three cases say 0.1 and one of them is present, one says 0.9 and is absent: gaps 0.7 / 3 and 0.9."""
    labels, p = np.array([1, 0, 0, 0.0]), np.array([0.1, 0.1, 0.1, 0.9])
    gaps = np.array([0.7 / 3, 0.9])
    assert ece(labels, p) == pytest.approx((3 * gaps[0] + gaps[1]) / 4)
    assert ece(labels, p, weight="bin") == pytest.approx(gaps.mean())
    assert ece(labels, p, norm="l2") == pytest.approx(np.sqrt((3 * gaps[0] ** 2 + gaps[1] ** 2) / 4))
    assert ece(labels, p, norm="l2", weight="bin") == pytest.approx(np.sqrt((gaps**2).mean()))
    assert mce(labels, p) == ece(labels, p, norm="max", weight="bin") == pytest.approx(0.9)


def test_debiased_by_hand() -> None:
    """Four say 0.5, two are present: no gap, and the variance 0.25 / 3 comes off; a lone case has no variance and adds nothing."""
    labels, p = np.array([1, 1, 0, 0, 1.0]), np.array([0.5, 0.5, 0.5, 0.5, 0.9])
    assert debiased_calibration_error(labels, p, squared=True) == pytest.approx(-4 / 5 * 0.25 / 3)
    assert debiased_calibration_error(labels, p) == 0
    assert debiased_calibration_error(labels[:1], p[:1], squared=True) == 0
    assert math.isnan(debiased_calibration_error(np.array([NAN]), np.array([0.5])))
    weights = np.array([2, 2, 2, 2, 1])
    twice = debiased_calibration_error(np.repeat(labels, weights), np.repeat(p, weights), squared=True)
    assert debiased_calibration_error(labels, p, squared=True, weights=weights) == pytest.approx(twice)


def test_macro_is_over_findings_with_a_known_case() -> None:
    labels = np.array([[1, NAN, 0], [0, NAN, -1], [NAN, NAN, 1.0]])
    p = np.array([[0.9, 0.5, 0.2], [0.2, NAN, 0.7], [0.4, 0.5, 0.6]])
    found = ece_per_finding(labels, p)
    assert found[[0, 2]] == pytest.approx([0.15, 0.3])
    assert math.isnan(found[1])
    assert macro_ece(labels, p) == pytest.approx((0.15 + 0.3) / 2)
    assert macro_ece(labels, p, weights=np.array([1, 1, 0])) == pytest.approx((0.15 + 0.2) / 2)
    assert math.isnan(macro_ece(labels[:, 1:2], p[:, 1:2]))


def test_top_label_of_findings_and_of_classes() -> None:
    labels, p = np.array([0, 1, NAN, 1]), np.array([0.2, 0.2, 0.9, 0.5])
    right, confidence = top_label(labels, p)
    assert right.tolist()[:2] == [1, 0]
    assert math.isnan(right[2])
    assert right[3] == 1  # at 0.5 "present" is said
    assert confidence.tolist() == [0.8, 0.8, 0.9, 0.5]
    both = top_label_ece(np.column_stack([labels, labels]), np.column_stack([p, 1 - p]))
    assert both == pytest.approx((top_label_ece(labels, p) + top_label_ece(labels, 1 - p)) / 2)
    assert top_label_ece(labels, p, bins=10) == pytest.approx((abs(2 * 0.8 - 1) + 0.5) / 3)
    classes = np.array([2, -1, 0])
    table = np.array([[0.1, 0.2, 0.7], [0.4, 0.3, 0.3], [0.2, 0.6, 0.2]])
    right, confidence = top_label(classes, table)
    assert right[[0, 2]].tolist() == [1, 0]
    assert math.isnan(right[1])
    assert top_label_ece(classes, table, bins=10) == pytest.approx((0.3 + 0.6) / 2)
    assert classwise_ece(classes, table, bins=10) == pytest.approx(np.mean([(0.1 + 0.8) / 2, 0.4, (0.3 + 0.2) / 2]))


def test_refused() -> None:
    labels, p = np.array([0, 1.0]), np.array([0.2, 0.8])
    for options, words in (
        ({"binning": "adaptive"}, "binning is 'adaptive'; expected one of: width, mass"),
        ({"weight": "none"}, "weight is 'none'; expected one of: mass, bin"),
        ({"norm": "l3"}, "norm is 'l3'; expected one of: l1, l2, max"),
        ({"bins": 0}, "bins is 0"),
    ):
        with pytest.raises(ValueOutOfRange, match=words):
            ece(labels, p, **options)
    for options in ({"binning": "adaptive"}, {"bins": 0}):
        with pytest.raises(ValueOutOfRange):
            reliability_table(labels, p, **options)
    with pytest.raises(ShapeMismatch, match=r"expected two equal \(case,\)"):
        ece(labels[:, None], p[:, None])
    with pytest.raises(ShapeMismatch, match="expected equal shapes"):
        ece(labels, p[:1])
    with pytest.raises(ShapeMismatch, match=r"or \(case,\) and \(case, class\)"):
        top_label(labels[:, None], p)
    with pytest.raises(ValueOutOfRange, match="add up to"):
        top_label_ece(labels, np.column_stack([p, p]))
    with pytest.raises(ShapeMismatch, match=r"\(case, finding\)"):
        macro_ece(labels, p)
