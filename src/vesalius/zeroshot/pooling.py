"""How the patches of a slide become one score: every pooling of every column of scores in one pass.

A column is one text (a class of one prompt set), so fifty prompt sets of three classes are 150 columns. The greatest K scores of a
column are kept while patches stream by; the mean needs only a sum. Nothing depends on the order of the patches.

Sources:
    Lu et al. 2023, arXiv:2306.07831 (MI-Zero: top-K pooling). Campanella et al. 2019 (K = 1 is max pooling).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange

Scores = Float[np.ndarray, "patch column"]

DEFAULT_KS = (1, 5, 10, 50, 100)


@dataclass(frozen=True)
class Pooled:
    """Scores of one slide, one a column.

    Attributes:
        top: From K to the mean (or sum) of the K greatest scores; K = 1 is the maximum. A slide of fewer patches than K uses all.
        mean: Mean over all patches.
        patches: How many there were.
    """

    top: dict[int, Float64[np.ndarray, " column"]]
    mean: Float64[np.ndarray, " column"]
    patches: int


def pool(scores: Scores | Iterable[Scores], ks: Sequence[int] = DEFAULT_KS, *, how: Literal["mean", "sum"] = "mean") -> Pooled:
    """Pools each column by its K greatest scores, for every K, and by its mean; a stream of batches is pooled as it comes.

    Args:
        scores: All patches, or batches of them in any order: memory is that of a batch and of the greatest K.
        ks: Whole numbers of at least 1.
        how: `mean` of the greatest K; `sum` is what MI-Zero's code does. Both order the classes of a slide alike, but only the mean
            can be compared between slides of few patches and of many.

    Raises:
        EmptyInput: No patch; the slide has no tissue.
        ShapeMismatch: Batches of different width.
        ValueOutOfRange: A score that is not finite, or a K below 1.

    Source: Lu et al. 2023, section 3.3; the sum is in the authors' code.
    Checked against: sorting each column whole (tests/unit).
    """
    if not ks or min(ks) < 1:
        raise ValueOutOfRange(f"K of {tuple(ks)}; expected whole numbers of at least 1")
    batches = [scores] if isinstance(scores, np.ndarray) else scores
    kept: Float64[np.ndarray, "patch column"] | None = None
    total: Float64[np.ndarray, " column"] | float = 0.0
    patches = 0
    for batch in batches:
        rows = _checked(batch, None if kept is None else kept.shape[1])
        total = total + rows.sum(axis=0)
        patches += len(rows)
        kept = _greatest(rows if kept is None else np.concatenate([kept, rows]), max(ks))
    if kept is None or patches == 0:
        raise EmptyInput("no patch to pool; the slide has no tissue, or none was found on it")
    falling = -np.sort(-kept, axis=0)
    sums = np.cumsum(falling, axis=0)
    top = {k: sums[min(k, patches) - 1] / (min(k, patches) if how == "mean" else 1) for k in ks}
    return Pooled(top, np.asarray(total / patches), patches)


def _greatest(rows: Float64[np.ndarray, "patch column"], k: int) -> Float64[np.ndarray, "patch column"]:
    """The K greatest of each column, in any order."""
    if len(rows) <= k:
        return rows
    greatest: Float64[np.ndarray, "patch column"] = np.partition(rows, len(rows) - k, axis=0)[-k:]
    return greatest


def _checked(batch: Scores, columns: int | None) -> Float64[np.ndarray, "patch column"]:
    rows = np.asarray(batch, dtype=np.float64)
    if rows.ndim != 2 or (columns is not None and rows.shape[1] != columns):
        raise ShapeMismatch(f"scores {rows.shape}; expected (patch, {'column' if columns is None else columns})")
    if not np.isfinite(rows).all():
        raise ValueOutOfRange("a patch score is not finite; look at the features of that slide")
    return rows
