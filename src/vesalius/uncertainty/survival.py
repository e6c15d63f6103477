"""Intervals on the time of an event, where some patients left before it: how often they hold, and a lower bound that is promised.

A case has a `time` and an `event`: 1 where the event was seen at that time, 0 where the case was censored then (the event comes
later, nobody knows when), NaN unknown (left out). Units are those of the times.

What can be said, and what cannot:

- The share of intervals that hold is *bounded* without any assumption (`censored_coverage_bounds`): a case censored inside or
  before its interval may be either. With much censoring the bounds are wide, and that is the truth.
- With *independent* censoring (who leaves says nothing of when the event would come) inverse probability of censoring weights give
  a number (`censored_coverage_ipcw`). No data can show that censoring was independent.
- A *lower* bound can be promised (`survival_bound.SurvivalLowerBound`). A two-sided interval cannot, without assumptions on
  censoring: nothing is known of what comes after the last follow-up. There is no `fit` here that pretends to.

Sources: Kaplan & Meier 1958; Robins & Rotnitzky 1992 (IPCW); Graf 1999, Stat. Med. 18:2529 (weights at the times of interest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels
from vesalius.metrics.intervals import Interval, PatientResamples, interval_of, weighted_draws

Times = Real[np.ndarray, "case"]
Events = Shaped[np.ndarray, "case"]
Weights = Real[np.ndarray, "case"]
Known = Float64[np.ndarray, "known"]


@dataclass(frozen=True)
class KaplanMeier:
    """Estimated chance of being free of something after each time; a step function, 1 before the first time.

    Attributes:
        times: Rising; where it steps.
        survival: Its value from that time on.
    """

    times: Float64[np.ndarray, " step"]
    survival: Float64[np.ndarray, " step"]

    def after(self, times: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
        """P(T > t)."""
        return self._at(np.searchsorted(self.times, times, side="right"))

    def until(self, times: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
        """P(T >= t): what was there just before t."""
        return self._at(np.searchsorted(self.times, times, side="left"))

    def _at(self, place: Any) -> Float64[np.ndarray, "*axes"]:
        steps = np.concatenate([[1.0], self.survival])
        value: Float64[np.ndarray, "*axes"] = steps[place]
        return value


def kaplan_meier(times: Times, events: Events, weights: Weights | None = None, *, of: str = "event") -> KaplanMeier:
    """Product-limit estimate of P(no event after t), or of staying under observation.

    Args:
        times: Of the event or of censoring.
        events: 1 event, 0 censored, NaN unknown (left out).
        weights: Multiplicities.
        of: "event", or "censoring": then the roles are changed, and events at a time leave before those censored at it do, so that
            nobody is at risk of being censored after the event (libraries that only flip the column get this tie wrong).

    Raises:
        EmptyInput: No known case.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A time that is negative or not finite, a weight below 0, another `of`.

    Source: Kaplan & Meier 1958, censored after the event where tied.
    Checked against: statsmodels SurvfuncRight; products written out by hand, with ties (tests/reference).
    """
    if of not in ("event", "censoring"):
        raise ValueOutOfRange(f"of {of!r}; expected event or censoring")
    x, seen, counts = _known(times, events, weights)
    if not x.size:
        raise EmptyInput("no known case; a survival curve needs at least one")
    moments, place = np.unique(x, return_inverse=True)
    happened = np.bincount(place, counts * seen, len(moments))
    left = np.bincount(place, counts * (1 - seen), len(moments))
    at_risk = np.cumsum((happened + left)[::-1])[::-1]
    lost, risk = (happened, at_risk) if of == "event" else (left, at_risk - happened)
    share = np.divide(lost, risk, out=np.zeros(len(moments)), where=risk > 0)
    return KaplanMeier(moments, np.cumprod(1 - share))


def event_time_interval(
    quantiles: Real[np.ndarray, "case level"], levels: Real[np.ndarray, " level"], confidence: float
) -> Float64[np.ndarray, "case 2"]:
    """Central interval of the event time from predicted quantiles: those of levels (1 - c) / 2 and (1 + c) / 2.

    Levels between those given are interpolated in a straight line; quantiles that cross are sorted first. An upper quantile of inf
    (more than half may never have the event) stays inf.

    Raises:
        ShapeMismatch: The shapes do not go together.
        ValueOutOfRange: Levels that do not rise inside (0, 1) or do not reach the two that are needed, a confidence outside (0, 1),
            a quantile that is NaN or negative.

    Source: Chernozhukov 2010, Econometrica 78:1093 (sorting crossed quantiles).
    Checked against: scipy.stats.weibull_min.ppf where the levels are given exactly; numpy.interp (tests/unit).
    """
    table, grid = np.asarray(quantiles, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if table.ndim != 2 or grid.shape != table.shape[1:]:
        raise ShapeMismatch(f"quantiles {table.shape}, levels {grid.shape}; expected (case, level) and (level,)")
    if not 0 < confidence < 1:
        raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
    if not ((grid > 0) & (grid < 1)).all() or (np.diff(grid) <= 0).any():
        raise ValueOutOfRange("levels do not rise inside (0, 1)")
    if np.isnan(table).any() or (table < 0).any():
        raise ValueOutOfRange("a quantile is NaN or negative; an event time is 0 or later")
    wanted = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if wanted[0] < grid[0] - 1e-9 or wanted[1] > grid[-1] + 1e-9:
        needed = f"an interval of {confidence:g} needs {wanted[0]:g} to {wanted[1]:g}"
        raise ValueOutOfRange(f"levels {grid[0]:g} to {grid[-1]:g}; {needed}")
    ordered = np.sort(table, axis=1)
    right = np.clip(np.searchsorted(grid, wanted - 1e-9), 1, len(grid) - 1)
    share = np.clip((wanted - grid[right - 1]) / (grid[right] - grid[right - 1]), 0.0, 1.0)
    # A level that was given is taken as it is, though it was computed in another way; (1 - 0.8) / 2 is not 0.1 to the last digit.
    share = np.where(share < 1e-6, 0.0, np.where(share > 1 - 1e-6, 1.0, share))
    low, high = ordered[:, right - 1], ordered[:, right]
    with np.errstate(invalid="ignore"):
        between = np.where(np.isinf(high), np.inf, low + share * (high - low))
    ends: Float64[np.ndarray, "case 2"] = np.where(share == 0, low, np.where(share == 1, high, between))
    return ends


def censored_coverage_bounds(
    times: Times, events: Events, lower: Times, upper: Times, weights: Weights | None = None
) -> tuple[float, float]:
    """Least and greatest share of intervals that can hold the event time, whatever censoring hid; (NaN, NaN) without a known case.

    An event is inside or not. A case censored after its upper end is outside, for the event came later still. Any other censored
    case may be either.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A time that is negative or not finite, an end that is NaN, a lower end above its upper one.

    Source: Manski 2003 (worst-case bounds).
    Checked against: every completion of the censored times, counted (tests/reference).
    """
    x, seen, counts, low, high = _known_ends(times, events, lower, upper, weights)
    if not counts.sum() > 0:
        return math.nan, math.nan
    inside = (seen == 1) & (low <= x) & (x <= high)
    # Censored at the upper end itself: the event comes later, so the interval does not hold it.
    possible = inside | ((seen == 0) & (x < high))
    return float((counts * inside).sum() / counts.sum()), float((counts * possible).sum() / counts.sum())


def censored_coverage_ipcw(times: Times, events: Events, lower: Times, upper: Times, weights: Weights | None = None) -> float:
    """Share of intervals that hold the event time, if censoring is independent of the event, of its prediction, and of the patient.

    The mean of 1[X >= lower] / P(C >= lower) - 1[X > upper] / P(C > upper), with X the observed time and the law of the censoring
    time C from Kaplan-Meier. Everyone still followed at an end counts there, whatever comes later; so nothing need be known beyond
    the ends. It is unbiased in large samples, can leave [0, 1] by chance, and is noisy where few are followed to the ends. NaN
    where an end lies beyond all follow-up: use `inf` for an open interval, or `censored_coverage_bounds`.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: As `censored_coverage_bounds`.

    Source: Robins & Rotnitzky 1992; Graf 1999, with both ends of an interval.
    Checked against: sums written out by hand with ties; uncensored cases (plain coverage); a simulation (tests/reference).
    """
    x, seen, counts, low, high = _known_ends(times, events, lower, upper, weights)
    if not counts.sum() > 0:
        return math.nan
    # Where the last case followed is censored, nothing is known from its time on. Where it had its event, nobody is left.
    last = x.max()
    unknown_from_last = ((x == last) & (seen == 0)).any()
    if unknown_from_last and ((low > last) | (np.isfinite(high) & (high >= last))).any():
        return math.nan
    followed = kaplan_meier(x, seen, counts, of="censoring")
    still = np.where(np.isinf(high), 0.0, (x > high) / np.where(np.isinf(high), 1.0, followed.after(high)))
    return float((counts * ((x >= low) / followed.until(low) - still)).sum() / counts.sum())


def evaluate_event_times(
    times: Times,
    events: Events,
    interval: Real[np.ndarray, "case 2"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """How often intervals of the event time hold, four ways, each with its 95 % patient-clustered interval.

    `least` and `greatest`: the bounds that need no assumption. `ipcw`: the share if censoring is independent. `lower_ipcw`: the
    same for the lower end alone (the event is not before it), often known where the upper end lies beyond all follow-up. The
    censoring curve is fitted again in each resample.

    Raises:
        EmptyInput: No case.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: As `censored_coverage_bounds`.

    Checked against: each figure's own function, and `bootstrap` on the same resamples (tests/unit); its coverage in simulation
    (tests/statistical).
    """
    ends = np.asarray(interval, dtype=np.float64)
    if ends.ndim != 2 or ends.shape[1] != 2:
        raise ShapeMismatch(f"interval {ends.shape}; expected (case, 2): a lower and an upper end each")
    low, high = ends.T
    never = np.full(len(low), np.inf)
    plan = PatientResamples.of(patients, len(low), resamples=resamples, seed=seed)

    def figures(weights: Weights) -> Float64[np.ndarray, " figure"]:
        least, greatest = censored_coverage_bounds(times, events, low, high, weights)
        both = censored_coverage_ipcw(times, events, low, high, weights)
        return np.array([least, greatest, both, censored_coverage_ipcw(times, events, low, never, weights)])

    draws = weighted_draws(figures, plan)
    n_patients = len(np.unique(plan.patient[~np.isnan(known_labels(events))]))
    found = [interval_of(column, n_patients=n_patients) for column in draws.T]
    if math.isnan(found[2].value) and not math.isnan(found[3].value):
        why = "an upper end lies at or beyond the last follow-up: only `least` and `greatest` are known of both ends"
        found[2] = Interval(math.nan, math.nan, math.nan, plan.resamples, found[2].n_undefined, why)
    return dict(zip(("least", "greatest", "ipcw", "lower_ipcw"), found, strict=True))


def _known(times: object, events: Events, weights: object | None) -> tuple[Known, Known, Known]:
    x, seen = np.asarray(times, dtype=np.float64), known_labels(events)
    counts = np.ones(x.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 1 or not x.shape == seen.shape == counts.shape:
        raise ShapeMismatch(f"times {x.shape}, events {seen.shape}, weights {counts.shape}; expected equal (case,)")
    if not (counts >= 0).all():
        raise ValueOutOfRange("a weight is negative or NaN; weights are multiplicities, 0 or more")
    keep = ~np.isnan(seen) & (counts > 0)
    if not ((x[keep] >= 0) & np.isfinite(x[keep])).all():
        raise ValueOutOfRange("a time is negative or not finite; set its event to NaN to leave the case out")
    return x[keep], seen[keep], counts[keep]


def _known_ends(
    times: object, events: Events, lower: object, upper: object, weights: object | None
) -> tuple[Known, Known, Known, Known, Known]:
    x, seen, counts = _known(times, events, weights)
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    shape = np.asarray(times).shape
    if low.shape != shape or high.shape != shape:
        raise ShapeMismatch(f"times {shape}, lower {low.shape}, upper {high.shape}; expected equal (case,)")
    keep = ~np.isnan(known_labels(events)) & (np.ones(shape) if weights is None else np.asarray(weights) > 0).astype(bool)
    low, high = low[keep], high[keep]
    if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
        raise ValueOutOfRange("an end of an interval is NaN, or a lower end lies above its upper one")
    return x, seen, counts, low, high
