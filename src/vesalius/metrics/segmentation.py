"""How well masks agree, with stated rules for empty ones.

Masks are bool, or 0 and 1; label maps hold whole numbers, 0 the background. Any number of axes. A voxel whose truth is unknown is
left out with `known`. Counts are int64: a CT of 512 x 512 x 300 has more voxels than float32 can count.

Source: Dice 1945; Sorensen 1948; Taha & Hanbury 2015 (pitfalls of empty masks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange

BOTH_EMPTY = 1.0
"""Dice where neither mask has a voxel: they agree that nothing is there."""


def dice(
    labels: Shaped[np.ndarray, "*space"],
    predictions: Shaped[np.ndarray, "*space"],
    *,
    known: Bool[np.ndarray, "*space"] | None = None,
    both_empty: float = BOTH_EMPTY,
) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of two masks, in [0, 1].

    Empty masks: one empty, the other not: 0. Both empty: `both_empty`, 1 unless you say otherwise; NaN to leave such cases out of a
    mean. MONAI's default (`ignore_empty=True`) is NaN whenever the *truth* is empty, so that a false lesion in a healthy patient
    costs nothing; its `ignore_empty=False` is our default.

    Raises:
        ShapeMismatch: The shapes differ.
        ValueOutOfRange: A mask that holds something else than 0 and 1; for label maps use `dice_per_class`.

    Source: Dice 1945.
    Checked against: monai.metrics.compute_dice, both rules (tests/reference); counting (tests/unit).
    """
    truth, called = _mask(labels, "labels"), _mask(predictions, "predictions")
    _same_shape(truth, called, known)
    return dice_of_counts(*overlap_counts(truth, called, known), both_empty=both_empty)


def dice_per_class(
    labels: Shaped[np.ndarray, "*space"],
    predictions: Shaped[np.ndarray, "*space"],
    classes: Sequence[int],
    *,
    known: Bool[np.ndarray, "*space"] | None = None,
    both_empty: float = BOTH_EMPTY,
) -> Float64[np.ndarray, " cls"]:
    """Dice coefficient of each class of two label maps, in the order of `classes`; empty classes as in `dice`.

    Raises:
        ShapeMismatch: The shapes differ.
        ValueOutOfRange: No class is named.

    Checked against: `dice` class by class; monai.metrics.compute_dice (tests/reference).
    """
    truth, called = np.asarray(labels), np.asarray(predictions)
    _same_shape(truth, called, known)
    if not classes:
        raise ValueOutOfRange("no class is named; give the labels to measure, such as classes=(1, 2)")
    counts = (overlap_counts(truth == name, called == name, known) for name in classes)
    return np.array([dice_of_counts(*count, both_empty=both_empty) for count in counts], dtype=np.float64)


def overlap_counts(
    first: Bool[np.ndarray, "*space"], second: Bool[np.ndarray, "*space"], known: Bool[np.ndarray, "*space"] | None = None
) -> tuple[int, int, int]:
    """Voxels in both masks, in the first, in the second; only known ones."""
    if known is None:
        return int(np.count_nonzero(first & second)), int(np.count_nonzero(first)), int(np.count_nonzero(second))
    seen = first & known
    return int(np.count_nonzero(seen & second)), int(np.count_nonzero(seen)), int(np.count_nonzero(second & known))


def dice_of_counts(both: int, first: int, second: int, *, both_empty: float = BOTH_EMPTY) -> float:
    """Dice from the voxels in both masks, in the first and in the second."""
    return 2 * both / (first + second) if first + second else both_empty


def dice_of_overlaps(
    overlaps: Int64[np.ndarray, "*batch member member"], *, both_empty: float = BOTH_EMPTY
) -> Float64[np.ndarray, "*batch member member"]:
    """Dice of every pair from the matrix of common voxels, whose diagonal holds the volumes."""
    volumes = np.diagonal(overlaps, axis1=-2, axis2=-1)
    whole = volumes[..., :, None] + volumes[..., None, :]
    out: Float64[np.ndarray, "*batch member member"] = np.full(overlaps.shape, both_empty, dtype=np.float64)
    np.divide(2.0 * overlaps, whole, out=out, where=whole > 0)
    return out


def _mask(values: Shaped[np.ndarray, "*space"], what: str) -> Bool[np.ndarray, "*space"]:
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    mask: Bool[np.ndarray, "*space"] = array == 1
    strange = array[~mask & (array != 0)] if not (mask | (array == 0)).all() else array[:0]
    if strange.size:
        worst = float(strange.flat[0])
        held = "NaN" if math.isnan(worst) else f"{worst:g}"
        raise ValueOutOfRange(f"{what} hold {held}; expected a mask of 0 and 1. For label maps use dice_per_class(..., classes)")
    return mask


def _same_shape(first: Shaped[np.ndarray, "..."], second: Shaped[np.ndarray, "..."], known: Bool[np.ndarray, "..."] | None) -> None:
    if first.shape != second.shape or (known is not None and known.shape != first.shape):
        shapes = f"labels {first.shape}, predictions {second.shape}" + ("" if known is None else f", known {known.shape}")
        raise ShapeMismatch(f"{shapes}; expected equal shapes")
