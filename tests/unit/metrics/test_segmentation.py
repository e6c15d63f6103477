from __future__ import annotations

import numpy as np
import pytest

import vesalius.metrics as vm
from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.segmentation import dice_of_overlaps

RANDOM = np.random.default_rng(0)


def test_dice_counts() -> None:
    truth, called = np.array([1, 1, 1, 0]), np.array([0, 1, 1, 1])
    assert vm.dice(truth, called) == pytest.approx(4 / 6)
    assert vm.dice(truth.astype(bool), called.astype(float)) == pytest.approx(4 / 6)
    known = np.array([True, True, False, False])
    assert vm.dice(truth, called, known=known) == pytest.approx(2 / 3)


def test_unknown_voxels_are_as_if_they_were_not_there() -> None:
    truth, called, known = RANDOM.integers(0, 3, (2, 5, 6)).tolist(), RANDOM.integers(0, 3, (5, 6)), RANDOM.random((5, 6)) < 0.7
    for one in np.array(truth):
        left = vm.dice_per_class(one, called, (1, 2), known=known)
        assert left == pytest.approx(vm.dice_per_class(one[known], called[known], (1, 2)))
        assert left == pytest.approx([vm.dice(one == c, called == c, known=known) for c in (1, 2)])


def test_dice_of_overlaps_is_dice_of_every_pair() -> None:
    masks = RANDOM.random((4, 50)) < 0.3
    masks[2:] = False
    overlaps = masks.astype(np.int64) @ masks.T.astype(np.int64)
    expected = [[vm.dice(a, b) for b in masks] for a in masks]
    assert dice_of_overlaps(overlaps) == pytest.approx(np.array(expected))


def test_refusals() -> None:
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        vm.dice(np.zeros((2, 2), dtype=bool), np.zeros((2, 3), dtype=bool))
    with pytest.raises(ShapeMismatch, match="known"):
        vm.dice(np.zeros(2, dtype=bool), np.zeros(2, dtype=bool), known=np.ones(3, dtype=bool))
    with pytest.raises(ValueOutOfRange, match="dice_per_class"):
        vm.dice(np.array([0, 2]), np.array([0, 1]))
    with pytest.raises(ValueOutOfRange, match="hold NaN"):
        vm.dice(np.array([0, 1.0]), np.array([0, np.nan]))
    with pytest.raises(ValueOutOfRange, match="no class"):
        vm.dice_per_class(np.array([0]), np.array([0]), ())
