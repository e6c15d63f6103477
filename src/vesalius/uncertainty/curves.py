"""What is gained by setting the unsure cases aside: risk against coverage, and the area under it.

Uncertainty: higher = less sure. Cases are kept from the surest on, whole blocks of equal uncertainty at a time, so that no figure
depends on the order of the rows.

Sources: Geifman & El-Yaniv 2017, arXiv:1705.08500 (selective risk, AURC); Traub 2024, arXiv:2407.01032 (AUGRC).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange


@dataclass(frozen=True)
class RiskCoverage:
    """Points of a risk-coverage curve, one at the end of each block of equal uncertainty, rising coverage.

    Attributes:
        coverage: Share of the cases that is kept, in (0, 1].
        risk: Mean residual of the kept cases.
        uncertainty: The greatest uncertainty that is kept.
    """

    coverage: Float64[np.ndarray, "point"]
    risk: Float64[np.ndarray, "point"]
    uncertainty: Float64[np.ndarray, "point"]

    def risk_at_coverage(self, coverage: float) -> float:
        """Risk when at least this share is kept, whole tie blocks at a time."""
        # A coverage of 0.7 of ten cases is 7 / 10, not the 8th: rounding must not take one more case.
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-12)])

    def coverage_at_risk(self, risk: float) -> float:
        """Greatest share that can be kept at or below this risk; 0 where none can. A plug-in figure, without a guarantee."""
        allowed = self.coverage[self.risk <= risk]
        return float(allowed[-1]) if allowed.size else 0.0


def risk_coverage(
    uncertainty: Real[np.ndarray, "case"], residuals: Real[np.ndarray, "case"], weights: Real[np.ndarray, "case"] | None = None
) -> RiskCoverage:
    """Risk of the kept cases as the most uncertain are set aside.

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
    counts = np.ones(loss.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if doubt.ndim != 1 or not doubt.shape == loss.shape == counts.shape:
        raise ShapeMismatch(f"uncertainty {doubt.shape}, residuals {loss.shape}, weights {counts.shape}; expected equal (case,)")
    known = ~np.isnan(loss) & (counts > 0)
    if not known.any():
        raise EmptyInput("no case with a known residual; a risk-coverage curve needs at least one")
    if np.isnan(doubt[known]).any():
        raise ValueOutOfRange("an uncertainty is NaN where the residual is known; set that residual to NaN to leave it out")
    distinct, block = np.unique(doubt[known], return_inverse=True)
    kept = np.cumsum(np.bincount(block, counts[known]))
    lost = np.cumsum(np.bincount(block, counts[known] * loss[known]))
    return RiskCoverage(kept / kept[-1], lost / kept, distinct)


def aurc(
    uncertainty: Real[np.ndarray, "case"], residuals: Real[np.ndarray, "case"], weights: Real[np.ndarray, "case"] | None = None
) -> float:
    """Area under the risk-coverage curve by the trapezoid rule, with the first risk held back to coverage 0; lower is better.

    Unknown residuals (NaN) are left out. fd-shifts reports this times 1000.

    Source: Geifman & El-Yaniv 2017; the rule at coverage 0 is that of Jaeger 2023 (fd-shifts).
    Checked against: the closed forms of fd-shifts (tests/reference).
    """
    curve = risk_coverage(uncertainty, residuals, weights)
    coverage, risk = np.append(0.0, curve.coverage), np.append(curve.risk[0], curve.risk)
    return float(np.trapezoid(risk, coverage))


def e_aurc(uncertainty: Real[np.ndarray, "case"], residuals: Real[np.ndarray, "case"]) -> float:
    """AURC above that of a perfect order of the same residuals; unknown residuals (NaN) are left out.

    For 0/1 errors the perfect order has e + (1 - e) ln(1 - e), the limit for many cases, so the figure can be just below 0 for
    few; for other losses it is the AURC of the sorted losses.

    Source: Geifman 2019, arXiv:1805.08206; both rules as in fd-shifts.
    Checked against: the closed forms of fd-shifts (tests/reference).
    """
    loss = np.asarray(residuals, dtype=np.float64)
    known = np.sort(loss[~np.isnan(loss)])
    if not np.isin(known, (0, 1)).all():
        return aurc(uncertainty, loss) - aurc(np.arange(known.size), known)
    error = float(known.mean())
    best = error + (1 - error) * math.log1p(-error) if error < 1 else 1.0
    return aurc(uncertainty, loss) - best


def augrc(
    uncertainty: Real[np.ndarray, "case"], residuals: Real[np.ndarray, "case"], weights: Real[np.ndarray, "case"] | None = None
) -> float:
    """Area under the generalised risk (errors kept, as a share of all cases) over coverage; in [0, 1/2], lower is better.

    It is the mean risk of an undetected failure when the coverage is not known beforehand. fd-shifts reports it times 1000.

    Source: Traub 2024, eq. 6.
    Checked against: the closed forms of fd-shifts and (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2 (tests/reference).
    """
    curve = risk_coverage(uncertainty, residuals, weights)
    coverage = np.append(0.0, curve.coverage)
    return float(np.trapezoid(np.append(0.0, curve.risk * curve.coverage), coverage))


def decision_residuals(
    labels: Float64[np.ndarray, "*axes"], probabilities: Float64[np.ndarray, "*axes"], thresholds: Shaped[np.ndarray, "*t"] | float
) -> Float64[np.ndarray, "*axes"]:
    """1 where the call p >= threshold is wrong, 0 where it is right, NaN where the label is unknown."""
    wrong: Float64[np.ndarray, "*axes"] = np.where(np.isnan(labels), np.nan, (probabilities >= thresholds) != (labels == 1))
    return wrong
