"""The two convex fits behind every calibrator here: one slope, and a line with Platt's targets.

Newton's method in float64, written out because the general optimisers stop at 1e-6 of the optimum and may leave the sign of the
slope to chance. Source: Lin, Lin & Weng 2007, "A note on Platt's probabilistic outputs for support vector machines".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, logit

from vesalius.metrics.proper_scores import case_nll

SLOPE_RANGE = (1e-3, 1e3)
"""Slopes (1 / temperature) that are searched: a perfectly parted finding would want an infinite one."""


def fit_slope(logits: Float64[np.ndarray, " known"], labels: Float64[np.ndarray, " known"]) -> float:
    """The slope in SLOPE_RANGE that minimises the mean of log(1 + exp(-+ slope z))."""

    def rise(slope: float) -> tuple[float, float]:
        p = expit(slope * logits)
        return float(((p - labels) * logits).mean()), float((p * (1 - p) * logits**2).mean())

    return bracketed_newton(rise)


def bracketed_newton(rise: Callable[[float], tuple[float, float]]) -> float:
    """Where a convex function of one slope is least: Newton's method inside a bracket that shrinks from SLOPE_RANGE.

    Args:
        rise: First and second derivative at a slope.
    """
    low, high = SLOPE_RANGE
    if rise(low)[0] >= 0:
        return low
    if rise(high)[0] <= 0:
        return high
    slope = 1.0
    for _ in range(200):
        gradient, curvature = rise(slope)
        low, high = (slope, high) if gradient < 0 else (low, slope)
        step = slope - gradient / curvature if curvature > 0 else low
        # Outside the bracket Newton has lost its way; halve the bracket on the scale on which slopes live.
        after = step if low < step < high else float(np.sqrt(low * high))
        if abs(after - slope) <= 1e-13 * slope:
            break
        slope = after
    return slope


def fit_line(
    logits: Float64[np.ndarray, " known"], labels: Float64[np.ndarray, " known"], *, smooth: bool = True
) -> tuple[float, float]:
    """Slope and intercept with Platt's targets, or with `smooth=False` the plain ones; the slope stays in SLOPE_RANGE.

    Plain targets of a perfectly parted finding have no best line: the slope then is the bound, the threshold lies in the middle of
    the gap (where the likelihood's maximum under a growing bound on the slope tends to), and cases on it get their own share.
    """
    if not smooth and parted(logits, labels):
        middle = (logits[labels == 1].min() + logits[labels == 0].max()) / 2
        share = labels[logits == middle].mean() if (logits == middle).any() else 0.5
        return SLOPE_RANGE[1], float(logit(share) - SLOPE_RANGE[1] * middle)
    targets = platt_targets(labels) if smooth else labels
    scale = float(np.abs(logits).max()) or 1.0  # one scale for both unknowns: Newton's matrix stays well conditioned
    slope, intercept = _newton(logits / scale, targets, free_slope=True)
    slope /= scale
    bounded = float(np.clip(slope, *SLOPE_RANGE))
    if bounded != slope:
        intercept = _newton(bounded * logits, targets, free_slope=False)[1]
    return bounded, intercept


def parted(logits: Float64[np.ndarray, " known"], labels: Float64[np.ndarray, " known"]) -> bool:
    """Whether no present case lies below an absent one, so that likelihood wants a slope without end; equal logits part nothing."""
    present, absent = logits[labels > 0.5], logits[labels <= 0.5]
    return bool(present.size and absent.size and present.min() >= absent.max() and present.max() > absent.min())


def platt_targets(labels: Float64[np.ndarray, " known"]) -> Float64[np.ndarray, " known"]:
    """(n+ + 1) / (n+ + 2) for present, 1 / (n- + 2) for absent: what a uniform prior on the rate would expect of a new case.

    Source: Platt 1999, section 2.2.
    """
    positive = float(labels.sum())
    return np.where(labels > 0.5, (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2))


def _newton(x: Float64[np.ndarray, " known"], targets: Float64[np.ndarray, " known"], *, free_slope: bool) -> tuple[float, float]:
    """Damped Newton for sigma(a x + b) against soft targets; with `free_slope=False` a stays 1."""
    design = np.column_stack([x, np.ones_like(x)])
    line = np.array([0.0 if free_slope else 1.0, np.log(targets.mean() / (1 - targets.mean()))])
    free = np.array([free_slope, True])

    def loss(at: Float64[np.ndarray, " two"]) -> float:
        return float(case_nll(targets, design @ at).mean())

    current = loss(line)
    for _ in range(100):
        p = expit(design @ line)
        gradient = design.T @ (p - targets) / len(x)
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(x) + 1e-12 * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        length = 1.0
        # Near the optimum a step changes the loss by less than its last digits: that is no reason to shorten it.
        while loss(line - length * step) > current * (1 + 1e-12) and length > 1e-10:
            length /= 2
        line = line - length * step
        current = loss(line)
        if np.abs(gradient[free]).max() < 1e-12:
            break
    return float(line[0]), float(line[1])
