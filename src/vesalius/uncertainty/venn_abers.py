"""The two isotonic fits of Venn-ABERS for every place that a new case can take, in one walk over the calibration cases.

Source: Vovk, Petej & Fedorova 2015, arXiv:1511.00213, algorithms 1-2: the corners of the cumulative sum diagram's greatest convex
minorant are kept on a stack while the added case moves from score to score.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

Column = Float64[np.ndarray, "case"]
Table = Float64[np.ndarray, "score"]
AbsentSteps = tuple[Float64[np.ndarray, " start"], Float64[np.ndarray, " start"]]
PresentSteps = tuple[Float64[np.ndarray, " end"], Float64[np.ndarray, " end"]]
Point = tuple[float, float]


def venn_abers_tables(scores: Column, labels: Column) -> tuple[Table, Table, Table]:
    """Distinct calibration scores, rising, and for each the fit there with a case of that score added: absent, and present.

    A new case between two scores shares the fit of the one below if added as absent (it is pooled with it), of the one above if
    added as present.
    """
    distinct, block = np.unique(scores, return_inverse=True)
    counts, present = np.bincount(block).astype(np.float64), np.bincount(block, labels)
    with_present = _fits_with_present(counts, present)
    with_absent = 1 - _fits_with_present(counts[::-1], (counts - present)[::-1])[::-1]
    return distinct, with_absent, with_present


def venn_abers_steps(scores: Column, labels: Column) -> tuple[AbsentSteps, PresentSteps]:
    """The same two tables without what repeats: (start, value) of each step if added as absent, (end, value) if as present."""
    distinct, absent, present = venn_abers_tables(scores, labels)
    starts = np.append(True, np.diff(absent) != 0)
    ends = np.append(np.diff(present) != 0, True)
    return (distinct[starts], absent[starts]), (distinct[ends], present[ends])


def merged_probability(low: Float64[np.ndarray, "*axes"], high: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """p1 / (1 - p0 + p1): between both, and of least regret in log likelihood whichever is right."""
    merged: Float64[np.ndarray, "*axes"] = high / (1 - low + high)
    return merged


def _fits_with_present(counts: Table, present: Table) -> Table:
    """The isotonic fit at each score with one present case added there."""
    n = len(counts)
    points: list[Point] = [(-1.0, -1.0), (0.0, 0.0)]  # points[i + 1] is P_i
    points += list(zip(np.cumsum(counts).tolist(), np.cumsum(present).tolist(), strict=True))
    corners: list[Point] = [points[0], points[1]]
    for point in points[2:]:
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    corners.reverse()  # now the leftmost corner is on top of the stack
    fits = np.empty(n)
    for i in range(1, n + 1):
        (x0, y0), (x1, y1) = corners[-1], corners[-2]
        fits[i - 1] = (y1 - y0) / (x1 - x0)
        before, middle, after = points[i - 1], points[i], points[i + 1]
        moved = (before[0] + after[0] - middle[0], before[1] + after[1] - middle[1])
        points[i] = moved
        if _turn(corners[-1], corners[-2], moved) >= 0:
            continue  # on or above the first edge: the minorant stays
        corners.pop()
        while len(corners) > 1 and _turn(moved, corners[-1], corners[-2]) <= 0:
            corners.pop()
        corners.append(moved)
    return fits


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 where the way from a over b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
