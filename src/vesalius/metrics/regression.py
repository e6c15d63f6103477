"""How good predicted numbers are together with the doubt that came with them: coverage, width, interval score, CRPS, NLL.

Targets are known numbers or NaN (unknown, left out, as if not in the sample); `weights` are multiplicities. Predictions are
intervals, Gaussians (mean and standard deviation), samples (member, case) or quantiles (case, level). All in the unit of the
target, but coverage and the miscalibration area (shares, in [0, 1]) and the log likelihood (nats). A score (interval score, CRPS,
pinball, NLL) is lower for a better forecast, and best in expectation for the true distribution: it cannot be gamed by wide
intervals. Coverage can: show it beside the width.

Sources: Gneiting & Raftery 2007, JASA 102:359 (interval score, CRPS, log score); Gneiting 2007, JRSS B 69:243 (sharpness subject
to calibration); Kuleshov 2018, arXiv:1807.00263 (calibration of quantiles); Ferro 2014, QJRMS 140:1917 (fair CRPS).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped
from scipy.special import ndtr

from vesalius.errors import NotEstimable, ShapeMismatch, ValueOutOfRange

Targets = Shaped[np.ndarray, "case"]
Weights = Real[np.ndarray, "case"]
Known = Float64[np.ndarray, "known"]


def interval_coverage(
    targets: Targets,
    lower: Real[np.ndarray, " case"],
    upper: Real[np.ndarray, " case"],
    weights: Weights | None = None,
) -> float:
    """Share of targets inside their interval, ends included (PICP), in [0, 1]; NaN without a known target.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: An end is NaN where the target is known, or a lower end lies above its upper one.

    Source: Khosravi 2011 (PICP); Gneiting 2007.
    Checked against: uncertainty_toolbox `get_proportion_in_interval`, counting (tests/reference).
    """
    y, (low, high), counts = _interval(targets, lower, upper, weights)
    return weighted_mean(((low <= y) & (y <= high)).astype(np.float64), counts)


def mean_interval_width(
    targets: Targets,
    lower: Real[np.ndarray, " case"],
    upper: Real[np.ndarray, " case"],
    weights: Weights | None = None,
) -> float:
    """Mean width of the intervals of the cases with a known target, in the unit of the target; inf if one is unbounded.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: As `interval_coverage`.

    Checked against: numpy's mean (tests/unit).
    """
    _, (low, high), counts = _interval(targets, lower, upper, weights)
    return weighted_mean(high - low, counts)


def interval_score(
    targets: Targets,
    lower: Real[np.ndarray, " case"],
    upper: Real[np.ndarray, " case"],
    weights: Weights | None = None,
    *,
    confidence: float,
) -> float:
    """Mean interval (Winkler) score of central intervals: width, plus 2 / (1 - confidence) times what a target misses by.

    uncertainty_toolbox's figure of this name is the mean of it over 99 confidences of a Gaussian, not one interval's score.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A confidence outside (0, 1); otherwise as `interval_coverage`.

    Source: Winkler 1972; Gneiting & Raftery 2007, section 6.2.
    Checked against: uncertainty_toolbox `interval_score` (tests/reference).
    """
    y, (low, high), counts = _interval(targets, lower, upper, weights)
    return weighted_mean(interval_scores(y, low, high, confidence), counts)


def interval_scores(y: Known, low: Known, high: Known, confidence: float) -> Known:
    """Interval score of each case, all known and checked.

    Raises:
        ValueOutOfRange: A confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
    missed = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    scores: Known = (high - low) + 2 / (1 - confidence) * missed
    return scores


def pinball_loss(
    targets: Targets,
    quantiles: Real[np.ndarray, "case level"],
    levels: Real[np.ndarray, " level"],
    weights: Weights | None = None,
) -> Float64[np.ndarray, " level"]:
    """Mean pinball (quantile, check) loss of each level; NaN without a known target. Twice its mean over levels nears the CRPS.

    Raises:
        ShapeMismatch: The shapes do not go together.
        ValueOutOfRange: A level outside (0, 1), or a quantile that is NaN where the target is known.

    Source: Koenker & Bassett 1978.
    Checked against: sklearn.metrics.mean_pinball_loss (tests/reference).
    """
    y, table, counts, grid = _quantiles(targets, quantiles, levels, weights)
    excess = y[:, None] - table
    loss = np.maximum(grid * excess, (grid - 1) * excess)
    return np.array([weighted_mean(column, counts) for column in loss.T], dtype=np.float64)


def sharpness(targets: Targets, standard_deviations: Real[np.ndarray, " case"], weights: Weights | None = None) -> float:
    """Root mean square of the predicted standard deviations of the cases with a known target: the doubt that is claimed.

    Small is sharp; sharp and wrong is worth nothing, so read it beside the miscalibration area.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A standard deviation is not above 0, or NaN where the target is known.

    Source: Gneiting 2007 (the notion); Kuleshov 2018 (this mean).
    Checked against: uncertainty_toolbox `sharpness` (tests/reference).
    """
    _, (sd,), counts = _known(targets, weights, standard_deviations)
    _check_positive(sd)
    return math.sqrt(weighted_mean(sd**2, counts))


def gaussian_nll(
    targets: Targets,
    means: Real[np.ndarray, " case"],
    standard_deviations: Real[np.ndarray, " case"],
    weights: Weights | None = None,
) -> float:
    """Mean negative log likelihood of Gaussian forecasts, in nats; it may be negative, and depends on the unit of the target.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A standard deviation is not above 0, or a prediction is NaN where the target is known.

    Source: Gneiting & Raftery 2007, section 4.1.
    Checked against: uncertainty_toolbox `nll_gaussian`, scipy.stats.norm.logpdf (tests/reference).
    """
    y, mean, sd, counts = _gaussian(targets, means, standard_deviations, weights)
    return weighted_mean(gaussian_nlls(y, mean, sd), counts)


def gaussian_nlls(y: Known, mean: Known, sd: Known) -> Known:
    """Negative log likelihood of each case, all known and checked."""
    loss: Known = 0.5 * math.log(2 * math.pi) + np.log(sd) + 0.5 * ((y - mean) / sd) ** 2
    return loss


def crps_gaussian(
    targets: Targets,
    means: Real[np.ndarray, " case"],
    standard_deviations: Real[np.ndarray, " case"],
    weights: Weights | None = None,
) -> float:
    """Mean continuous ranked probability score of Gaussian forecasts, in the unit of the target: the absolute error, grown up.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A standard deviation is not above 0, or a prediction is NaN where the target is known.

    Source: Gneiting & Raftery 2007, section 4.2.
    Checked against: uncertainty_toolbox `crps_gaussian`, the integral of the squared difference of distributions (tests/reference).
    """
    y, mean, sd, counts = _gaussian(targets, means, standard_deviations, weights)
    return weighted_mean(gaussian_crps(y, mean, sd), counts)


def gaussian_crps(y: Known, mean: Known, sd: Known) -> Known:
    """CRPS of each case, all known and checked."""
    z = (y - mean) / sd
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    score: Known = sd * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return score


def crps_samples(
    targets: Targets,
    samples: Real[np.ndarray, "member case"],
    weights: Weights | None = None,
    *,
    fair: bool = False,
) -> float:
    """Mean CRPS of the empirical distribution of each case's samples, E|X - y| - E|X - X'| / 2, in the unit of the target.

    With few members it rewards too little spread: `fair=True` takes X and X' from different members (M (M - 1) pairs in place of
    M^2), which is, in expectation, the score of the distribution that the members were drawn from; it can be below 0.

    Raises:
        NotEstimable: `fair` with one member; give two or more.
        ShapeMismatch: The shapes do not go together.
        ValueOutOfRange: A sample is NaN where the target is known.

    Source: Gneiting & Raftery 2007, section 4.2; Ferro 2014 (fair).
    Checked against: all pairs; the integral of the squared difference of distributions (tests/reference).
    """
    members = np.asarray(samples, dtype=np.float64)
    if members.ndim != 2 or not len(members):
        raise ShapeMismatch(f"samples {members.shape}; expected (member, case) with at least one member")
    y, columns, counts = _known(targets, weights, *members)
    if fair and len(columns) == 1:
        raise NotEstimable("the fair CRPS compares members with each other, and there is one; give two or more, or fair=False")
    return weighted_mean(sampled_crps(y, np.array(columns), fair=fair), counts)


def sampled_crps(y: Known, members: Float64[np.ndarray, "member known"], *, fair: bool) -> Known:
    """CRPS of each case from samples, all known and checked."""
    n = len(members)
    # Of M sorted samples the i-th (from 0) is subtracted from those above and added for those below: 2i - M + 1 times in all.
    rank = 2 * np.arange(n, dtype=np.float64) - n + 1
    spread = rank @ np.sort(members, axis=0)
    pairs = n * (n - 1) if fair else n * n
    score: Known = np.abs(members - y).mean(axis=0) - spread / pairs
    return score


def gaussian_pit(
    targets: Targets, means: Real[np.ndarray, " case"], standard_deviations: Real[np.ndarray, " case"]
) -> Float64[np.ndarray, " case"]:
    """Probability integral transform: where each target lies in its forecast, in [0, 1]; NaN where unknown. Uniform if calibrated.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A standard deviation is not above 0, or a prediction is NaN where the target is known.

    Source: Dawid 1984; Gneiting 2007.
    """
    y, mean, sd, _ = _gaussian(targets, means, standard_deviations, None)
    place = np.full(np.shape(targets), np.nan)
    place[~np.isnan(np.asarray(targets, dtype=np.float64))] = ndtr((y - mean) / sd)
    return place


def miscalibration_area(
    pit: Real[np.ndarray, " case"], weights: Weights | None = None, *, kind: Literal["interval", "quantile"] = "interval"
) -> float:
    """Area between the observed and the promised share, over all promises from 0 to 1; in [0, 1/2], 0 is calibrated.

    "interval": share of targets in the central interval of each confidence (blind to a bias that both sides share out);
    "quantile": share of targets below the quantile of each level. Exact: the observed share is a step function, and its distance
    from the diagonal is integrated piece by piece. uncertainty_toolbox joins 100 points by lines instead.

    Args:
        pit: As `gaussian_pit` gives it; NaN is left out.
        weights: Multiplicities.
        kind: Which promise.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A value outside [0, 1], or another kind.

    Source: Kuleshov 2018; Chung 2021, arXiv:2109.10254 (the area).
    Checked against: uncertainty_toolbox `miscalibration_area` on a fine grid; scipy.stats.wasserstein_distance (tests/reference).
    """
    if kind not in ("interval", "quantile"):
        raise ValueOutOfRange(f"kind {kind!r}; expected interval or quantile")
    place, _, counts = _known(pit, weights)
    if not ((place >= 0) & (place <= 1)).all():
        raise ValueOutOfRange("a probability integral transform lies outside [0, 1]; make it with gaussian_pit")
    if not place.size:
        return math.nan
    used = np.abs(2 * place - 1) if kind == "interval" else place
    order = np.argsort(used, kind="stable")
    return float(step_area(used[order], counts[order][None, :])[0])


def step_area(sorted_places: Known, counts: Float64[np.ndarray, "draw known"]) -> Float64[np.ndarray, " draw"]:
    """Integral over [0, 1] of |F - p| for the step functions F that jump by each draw's weights at the sorted places."""
    total = counts.sum(axis=1, keepdims=True)
    height = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1) / np.where(total > 0, total, np.nan)
    edges = np.concatenate([[0.0], sorted_places, [1.0]])
    # On a piece of height h from a to b: the integral of |h - p| is (|h-a| (h-a) - (h-b) |h-b|) / 2.
    left, right = height - edges[:-1], height - edges[1:]
    area: Float64[np.ndarray, " draw"] = 0.5 * (left * np.abs(left) - right * np.abs(right)).sum(axis=1)
    return area


def quantile_shares(
    targets: Targets,
    quantiles: Real[np.ndarray, "case level"],
    levels: Real[np.ndarray, " level"],
    weights: Weights | None = None,
) -> Float64[np.ndarray, " level"]:
    """Share of targets at or below each predicted quantile: the level itself where the quantiles are calibrated.

    uncertainty_toolbox subtracts the other way round and gives the share above the mirrored quantile: another number under a bias.

    Raises:
        ShapeMismatch: The shapes do not go together.
        ValueOutOfRange: A level outside (0, 1), or a quantile that is NaN where the target is known.

    Source: Kuleshov 2018.
    Checked against: uncertainty_toolbox `get_proportion_lists_vectorized(prop_type="quantile")`, mirrored (tests/reference).
    """
    y, table, counts, _ = _quantiles(targets, quantiles, levels, weights)
    below = (y[:, None] <= table).astype(np.float64)
    return np.array([weighted_mean(column, counts) for column in below.T], dtype=np.float64)


def weighted_mean(values: Known, counts: Known) -> float:
    """Mean of the known cases by weight; NaN without one."""
    total = counts.sum()
    return float((values * counts).sum() / total) if total > 0 else math.nan


def known_targets(targets: Targets) -> Bool[np.ndarray, " case"]:
    """True where the target is known.

    Raises:
        ShapeMismatch: Not one number a case.
        ValueOutOfRange: An infinite target.
    """
    y = np.asarray(targets, dtype=np.float64)
    if y.ndim != 1:
        raise ShapeMismatch(f"targets {y.shape}; expected (case,)")
    if np.isinf(y).any():
        raise ValueOutOfRange("a target is infinite; set it to NaN where it is unknown")
    return ~np.isnan(y)


def _known(targets: Targets, weights: object | None, *columns: Any) -> tuple[Known, tuple[Known, ...], Known]:
    known = known_targets(targets)
    y = np.asarray(targets, dtype=np.float64)
    counts = np.ones(y.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    given = [np.asarray(column, dtype=np.float64) for column in columns]
    for name, array in (("weights", counts), *(("a prediction", array) for array in given)):
        if array.shape != y.shape:
            raise ShapeMismatch(f"targets {y.shape}, {name} {array.shape}; expected equal (case,)")
    if not (counts >= 0).all():
        raise ValueOutOfRange("a weight is negative or NaN; weights are multiplicities, 0 or more")
    keep = known & (counts > 0)
    kept = tuple(array[keep] for array in given)
    if any(np.isnan(array).any() for array in kept):
        raise ValueOutOfRange("a prediction is NaN where the target is known; set that target to NaN to leave the case out")
    return y[keep], kept, counts[keep]


def _interval(targets: Targets, lower: object, upper: object, weights: object | None) -> tuple[Known, tuple[Known, Known], Known]:
    y, (low, high), counts = _known(targets, weights, lower, upper)
    if (low > high).any():
        raise ValueOutOfRange("a lower end lies above its upper end; sort the two, or predict them together")
    return y, (low, high), counts


def _gaussian(
    targets: Targets, means: object, standard_deviations: object, weights: object | None
) -> tuple[Known, Known, Known, Known]:
    y, (mean, sd), counts = _known(targets, weights, means, standard_deviations)
    _check_positive(sd)
    return y, mean, sd, counts


def _check_positive(sd: Known) -> None:
    if not ((sd > 0) & np.isfinite(sd)).all():
        raise ValueOutOfRange("a standard deviation is 0, negative or infinite where the target is known; expected above 0")


def _quantiles(
    targets: Targets, quantiles: object, levels: object, weights: object | None
) -> tuple[Known, Float64[np.ndarray, "known level"], Known, Float64[np.ndarray, " level"]]:
    table, grid = np.asarray(quantiles, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if table.ndim != 2 or grid.shape != table.shape[1:]:
        raise ShapeMismatch(f"quantiles {table.shape}, levels {grid.shape}; expected (case, level) and (level,)")
    if not ((grid > 0) & (grid < 1)).all():
        raise ValueOutOfRange("a level lies outside (0, 1)")
    y, columns, counts = _known(targets, weights, *table.T)
    return y, np.column_stack(columns) if columns else np.empty((len(y), 0)), counts, grid
