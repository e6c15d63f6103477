"""Bins, edges, ties and counters of the calibration error and its table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ValueOutOfRange
from vesalius.metrics import brier, ece, ece_null_distribution, nll, reliability_table

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
