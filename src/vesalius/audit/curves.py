"""The points that figures draw for one finding: reliability, ROC, risk and coverage, the spread of probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import logit

PICTURE_BINS = 20
"""Bars of a histogram of probabilities."""
CASES_A_GROUP, MOST_GROUPS = 12, 10
"""A reliability diagram cuts the cases into groups of about this many, at most so many groups; ECE itself uses 15 equal bins."""
FIRST_CASES = 10
"""A risk-coverage curve starts here: the first case alone would send it to 0 or 1."""
CURVE_POINTS = 120
SMALLEST = 1e-15


def logit_distance(p: Float64[np.ndarray, " case"], threshold: float) -> Float64[np.ndarray, " case"]:
    """How far each probability lies from the threshold, in logits; a probability of 0 or 1 is taken as 1e-15 from it."""
    p, cut = (np.clip(value, SMALLEST, 1 - SMALLEST) for value in (p, threshold))
    distance: Float64[np.ndarray, " case"] = np.abs(logit(p) - logit(cut))
    return distance


def reliability_bins(truth: Float64[np.ndarray, " known"], p: Float64[np.ndarray, " known"]) -> list[dict[str, Any]]:
    """Returns groups of equal size: what was said, what was seen, and Wilson's interval of that."""
    from vesalius.metrics import reliability_table

    if not len(truth):
        return []
    rows = []
    groups = min(MOST_GROUPS, max(3, len(truth) // CASES_A_GROUP))
    for row in reliability_table(truth, p, bins=groups, binning="mass"):
        numbers = {
            "mean_probability": row.mean_probability,
            "observed": row.observed,
            "observed_low": row.low,
            "observed_high": row.high,
        }
        plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        rows.append({"lower": row.lower, "upper": row.upper, "n": row.n, **plain})
    return rows


def roc_points(truth: Float64[np.ndarray, " known"], scores: Float64[np.ndarray, " known"]) -> dict[str, list[float]] | None:
    """Returns the ROC curve, or None where one class is all there is."""
    from vesalius.metrics.classification import tie_blocks

    blocks = tie_blocks(truth, scores)
    if not blocks.positive.sum() or not blocks.negative.sum():
        return None
    sensitivity = np.concatenate([[0.0], np.cumsum(blocks.positive) / blocks.positive.sum()])
    false_positive_rate = np.concatenate([[0.0], np.cumsum(blocks.negative) / blocks.negative.sum()])
    kept = thin(len(sensitivity))
    return {"false_positive_rate": rounded(false_positive_rate[kept]), "sensitivity": rounded(sensitivity[kept])}


def risk_coverage_points(
    uncertainty: Float64[np.ndarray, " known"], wrong: Float64[np.ndarray, " known"]
) -> dict[str, list[float]]:
    """Returns the share of wrong answers as the least sure cases are left out."""
    from vesalius.uncertainty import risk_coverage

    if not len(wrong):
        return {"coverage": [], "risk": []}
    curve = risk_coverage(uncertainty, wrong)
    first = min(int(np.searchsorted(curve.coverage * len(wrong), FIRST_CASES - 1e-9)), len(curve.coverage) - 1)
    kept = first + thin(len(curve.coverage) - first)
    return {"coverage": rounded(curve.coverage[kept]), "risk": rounded(curve.risk[kept])}


def histogram(truth: Float64[np.ndarray, " known"], p: Float64[np.ndarray, " known"]) -> dict[str, Any]:
    """Returns how many cases with and without the finding have a probability in each bar."""
    edges = np.linspace(0.0, 1.0, PICTURE_BINS + 1)
    counts = {word: np.histogram(p[truth == value], edges)[0].tolist() for word, value in (("present", 1), ("absent", 0))}
    return {"edges": rounded(edges)} | counts


def thin(n: int) -> Int64[np.ndarray, " kept"]:
    """About CURVE_POINTS positions out of n, ends kept: a curve on a page needs no more."""
    kept: Int64[np.ndarray, "kept"] = np.unique(np.linspace(0, n - 1, min(n, CURVE_POINTS)).round().astype(np.int64))
    return kept


def rounded(values: np.ndarray) -> list[float]:
    """Five decimals: enough for any screen."""
    return [round(float(value), 5) for value in values]
