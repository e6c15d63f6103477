"""What is gained by setting the unsure cases aside: risk against coverage, and the areas under it.

Uncertainty: higher = less sure. Cases are kept from the surest on, whole blocks of equal uncertainty at a time, so that no figure
depends on the order of the rows (torch-uncertainty 0.13 sorts without regard to ties, and gives another AURC for another order).

Sources: Geifman & El-Yaniv 2017, arXiv:1705.08500 (selective risk, AURC); Traub 2024, arXiv:2407.01032 (AUGRC, achievable AURC).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange

AreaRule = Literal["trapezoid", "mean"]


@dataclass(frozen=True)
class RiskCoverage:
    """Points of a risk-coverage curve, one at the end of each block of equal uncertainty, rising coverage.

    Attributes:
        coverage: Share of the cases that is kept, in (0, 1].
        risk: Mean residual of the kept cases.
        uncertainty: The greatest uncertainty that is kept.
    """

    coverage: Float64[np.ndarray, " point"]
    risk: Float64[np.ndarray, " point"]
    uncertainty: Float64[np.ndarray, " point"]

    def risk_at_coverage(self, coverage: float) -> float:
        """Risk when at least this share is kept, whole tie blocks at a time."""
        # A coverage of 0.7 of ten cases is 7 / 10, not the 8th: rounding must not take one more case.
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-12)])

    def coverage_at_risk(self, risk: float) -> float:
        """Greatest share that can be kept at or below this risk; 0 where none can. A plug-in figure: see `RiskControl`."""
        allowed = self.coverage[self.risk <= risk]
        return float(allowed[-1]) if allowed.size else 0.0

    def aurc(self, rule: AreaRule = "trapezoid") -> float:
        """Area under this curve; see `aurc`."""
        if rule == "trapezoid":
            return float(np.trapezoid(np.append(self.risk[0], self.risk), np.append(0.0, self.coverage)))
        if rule != "mean":
            raise ValueOutOfRange(f"rule {rule!r}; expected trapezoid or mean")
        return float((np.diff(self.coverage, prepend=0.0) * self.risk).sum())

    def augrc(self) -> float:
        """Area under the generalised risk; see `augrc`."""
        return float(np.trapezoid(np.append(0.0, self.risk * self.coverage), np.append(0.0, self.coverage)))

    def achievable_aurc(self) -> float:
        """AURC of the best mixture of these thresholds; see `achievable_aurc`."""
        kept, lost = np.append(0.0, self.coverage), np.append(0.0, self.risk * self.coverage)
        hull = _lower_hull(kept, lost)
        c, e = kept[hull], lost[hull]
        slope = np.diff(e) / np.diff(c)
        # On a straight piece the errors are e0 + s (c - c0), so the risk is s + (e0 - s c0) / c; the first piece starts at 0.
        offset = e[1:-1] - slope[1:] * c[1:-1]
        return float((slope * np.diff(c)).sum() + (offset * np.log(c[2:] / c[1:-1])).sum())


def risk_coverage(
    uncertainty: Real[np.ndarray, " case"], residuals: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> RiskCoverage:
    """Risk of the kept cases as the most uncertain are set aside.

    For several areas of the same cases make the curve once and ask it: `curve.aurc()`, `curve.augrc()`. One finding or one
    list of studies at a time; `label_risk_coverage` and `study_risk_coverage` do so for a table.

    Args:
        uncertainty: Any score; higher means less sure.
        residuals: 0/1 errors or any loss; NaN where the truth is unknown (left out).
        weights: Multiplicities of the cases.

    Raises:
        EmptyInput: No case with a known residual.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: An uncertainty is NaN where the residual is known.

    Source: Geifman & El-Yaniv 2017, eq. 1-2, with points only at the ends of tie blocks.
    Checked against: brute force over all thresholds (tests/reference).
    """
    doubt, loss = np.asarray(uncertainty, dtype=np.float64), np.asarray(residuals, dtype=np.float64)
    counts = None if weights is None else np.asarray(weights, dtype=np.float64)
    if doubt.ndim != 1 or doubt.shape != loss.shape or (counts is not None and counts.shape != loss.shape):
        shapes = f"uncertainty {doubt.shape}, residuals {loss.shape}, weights {None if counts is None else counts.shape}"
        raise ShapeMismatch(f"{shapes}; expected equal (case,)")
    known = ~np.isnan(loss) if counts is None else ~np.isnan(loss) & (counts > 0)
    if not known.all():
        doubt, loss, counts = doubt[known], loss[known], None if counts is None else counts[known]
    if not doubt.size:
        raise EmptyInput("no case with a known residual; a risk-coverage curve needs at least one")
    if np.isnan(doubt).any():
        raise ValueOutOfRange("an uncertainty is NaN where the residual is known; set that residual to NaN to leave it out")
    order = np.argsort(doubt)
    doubt, loss = doubt[order], loss[order]
    ends = np.flatnonzero(np.append(doubt[1:] != doubt[:-1], True))
    if counts is None:
        kept, lost = ends + 1.0, np.cumsum(loss)[ends]
    else:
        kept, lost = np.cumsum(counts[order])[ends], np.cumsum(counts[order] * loss)[ends]
    return RiskCoverage(kept / kept[-1], lost / kept, doubt[ends])


def aurc(
    uncertainty: Real[np.ndarray, " case"],
    residuals: Shaped[np.ndarray, " case"],
    weights: Real[np.ndarray, " case"] | None = None,
    *,
    rule: AreaRule = "trapezoid",
) -> float:
    """Area under the risk-coverage curve; lower is better, and it starts from the error of all cases.

    Unknown residuals (NaN) are left out. Two rules, which differ by a part of 1 / n:

    - "trapezoid": straight lines between the points, the first risk held back to coverage 0. fd-shifts reports this times 1000.
    - "mean": mean over the cases of the risk once that case (with all that tie with it) is kept.

    torch-uncertainty starts at a coverage of 1 / n and divides by 1 - 1 / n: a third figure.

    Raises:
        ValueOutOfRange: Another rule.

    Source: "mean" is Geifman & El-Yaniv 2017 (and Geifman 2019, eq. 4), "trapezoid" that of Jaeger 2023 (fd-shifts).
    Checked against: the closed forms of fd-shifts; the mean written out case by case (tests/reference).
    """
    return risk_coverage(uncertainty, residuals, weights).aurc(rule)


def e_aurc(
    uncertainty: Real[np.ndarray, " case"], residuals: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """AURC (trapezoid) above that of a perfect order of the same residuals; unknown residuals (NaN) are left out.

    For 0/1 errors the perfect order has e + (1 - e) ln(1 - e), the limit for many cases, so the figure can be just below 0 for
    few; for other losses it is the AURC of the sorted losses, each weighted copy a case of its own.

    Source: Geifman 2019, arXiv:1805.08206; both rules as in fd-shifts.
    Checked against: the closed forms of fd-shifts (tests/reference).
    """
    loss = np.asarray(residuals, dtype=np.float64)
    counts = np.ones(loss.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    area = aurc(uncertainty, loss, weights)
    known = ~np.isnan(loss) & (counts > 0)
    loss, counts = loss[known], counts[known]
    if np.isin(loss, (0, 1)).all():
        error = float((loss * counts).sum() / counts.sum())
        return area - (error + (1 - error) * math.log1p(-error) if error < 1 else 1.0)
    if not (counts == np.floor(counts)).all():
        raise ValueOutOfRange("weights are fractions; the perfect order of losses other than 0/1 needs whole multiplicities")
    perfect = np.sort(np.repeat(loss, counts.astype(np.int64)))
    return area - aurc(np.arange(perfect.size), perfect)


def augrc(
    uncertainty: Real[np.ndarray, " case"], residuals: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """Area under the generalised risk (errors kept, as a share of all cases) over coverage; in [0, 1/2], lower is better.

    It is the mean risk of an undetected failure when the coverage is not known beforehand. fd-shifts reports it times 1000.

    Source: Traub 2024, eq. 6.
    Checked against: the closed forms of fd-shifts and (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2 (tests/reference).
    """
    return risk_coverage(uncertainty, residuals, weights).augrc()


def achievable_aurc(
    uncertainty: Real[np.ndarray, " case"], residuals: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """AURC along the lower convex hull of kept errors over coverage: what tossing a coin between two thresholds can reach.

    Between two points of the hull the errors rise in a straight line and the risk does not, so the area is not that of
    trapezoids: with few tie blocks it can lie above `aurc`, which draws risks with a ruler. Other losses than 0/1 get the same
    hull; fd-shifts takes no hull for them (it keeps every point), so there the two differ wherever a point is not on the hull.

    Source: Traub 2024, appendix; fd-shifts `aurc_achievable`.
    Checked against: the closed forms of fd-shifts; the integral of the hull in small steps (tests/reference).
    """
    return risk_coverage(uncertainty, residuals, weights).achievable_aurc()


def decision_residuals(
    labels: Float64[np.ndarray, "*axes"], probabilities: Float64[np.ndarray, "*axes"], thresholds: Shaped[np.ndarray, "*t"] | float
) -> Float64[np.ndarray, "*axes"]:
    """1 where the call p >= threshold is wrong, 0 where it is right, NaN where the label is unknown."""
    wrong: Float64[np.ndarray, "*axes"] = np.where(np.isnan(labels), np.nan, (probabilities >= thresholds) != (labels == 1))
    return wrong


def _lower_hull(x: Float64[np.ndarray, " point"], y: Float64[np.ndarray, " point"]) -> Int64[np.ndarray, " vertex"]:
    """Positions of the vertices of the lower convex hull of points with rising x, first and last among them."""
    right, up = x.tolist(), y.tolist()
    hull: list[int] = []
    for i in range(len(right)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            # b stays only if the path turns left at it; equal slopes need no vertex.
            if (up[b] - up[a]) * (right[i] - right[a]) < (up[i] - up[a]) * (right[b] - right[a]):
                break
            hull.pop()
        hull.append(i)
    return np.array(hull)
