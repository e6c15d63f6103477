"""Does a probability of 0.2 come true in one case of five? Proper scores, calibration error, and the table behind the picture.

Probabilities are of the event (the finding is present), never "confidence": max(p, 1 - p) gives another number as soon as p
crosses 0.5. Truth comes first in every call, as in scikit-learn; a swapped call is refused by the range checks.
Counts are whole and sums float64, so that forty million values add up (float32 counters stop at 16,777,216).

Sources: Brier 1950; Naeini 2015 and Guo 2017 (ECE); Broecker & Smith 2007 (consistency resampling); Wilson 1927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, ValueOutOfRange
from vesalius.metrics.classification import known_cases
from vesalius.metrics.intervals import wilson_interval

Binning = Literal["width", "mass"]


def brier(
    labels: Shaped[np.ndarray, "case"],
    probabilities: Real[np.ndarray, "case"],
    weights: Real[np.ndarray, "case"] | None = None,
) -> float:
    """Mean squared distance of probability and truth, in [0, 1], lower is better; NaN without a known case.

    This is the one-event form. The sum over both classes, which some libraries report, is twice as large.

    Source: Brier 1950.
    Checked against: sklearn.metrics.brier_score_loss (tests/reference).
    """
    truth, p, counts = _probabilities(labels, probabilities, weights)
    return float((counts * (p - truth) ** 2).sum() / counts.sum()) if counts.size else math.nan


def nll(
    labels: Shaped[np.ndarray, "case"], logits: Real[np.ndarray, "case"], weights: Real[np.ndarray, "case"] | None = None
) -> float:
    """Mean negative log likelihood in nats, log(1 + exp(-z)) if present, log(1 + exp(z)) if absent; NaN without a known case.

    From logits nothing needs clipping, so a sure and wrong answer costs what it should.

    Checked against: sklearn.metrics.log_loss (tests/reference).
    """
    truth, z, counts = known_cases(labels, logits, weights)
    return float((counts * case_nll(truth, z)).sum() / counts.sum()) if counts.size else math.nan


def case_nll(labels: Float64[np.ndarray, "*axes"], logits: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """Negative log likelihood of each case, in nats; NaN where the label is."""
    loss: Float64[np.ndarray, "*axes"] = np.logaddexp(0.0, logits) - labels * logits
    return loss


def bin_of(probabilities: Float64[np.ndarray, "*axes"], bins: int) -> Int64[np.ndarray, "*axes"]:
    """Number of the equal-width bin [b / bins, (b + 1) / bins) that holds each probability; 1.0 belongs to the last."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def ece(
    labels: Shaped[np.ndarray, "case"],
    probabilities: Real[np.ndarray, "case"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weights: Real[np.ndarray, "case"] | None = None,
) -> float:
    """Expected calibration error, in [0, 1]: |mean probability - share present| of each bin, weighted by its cases.

    NaN without a known case.

    `binning="mass"` makes bins of as equal size as whole blocks of tied probabilities allow. The plug-in value is above 0 even
    for a perfect model: show it beside `ece_null_distribution`, and beside a proper score (a constant prevalence has an ECE of 0).

    Source: Naeini 2015; Guo 2017, eq. 3, which drops p = 0; here every probability in [0, 1] is counted once.
    Checked against: netcal.metrics.ECE, both binnings (tests/reference). netcal's "ACE" is another thing (bins weigh the same).
    """
    truth, p, counts = _probabilities(labels, probabilities, weights)
    if not counts.size:
        return math.nan
    number = bin_of(p, bins) if binning == "width" else _mass_bins(p, counts, bins)
    gap = np.bincount(number, counts * (p - truth))
    return float(np.abs(gap).sum() / counts.sum())


def _mass_bins(p: Float64[np.ndarray, "known"], counts: Float64[np.ndarray, "known"], bins: int) -> Int64[np.ndarray, "known"]:
    """Bins of equal weight that never part equal probabilities: a tie block goes where its middle falls."""
    distinct, block = np.unique(p, return_inverse=True)
    mass = np.bincount(block, counts, len(distinct))
    middle = np.cumsum(mass) - 0.5 * mass
    number: Int64[np.ndarray, "known"] = np.minimum((middle / mass.sum() * bins).astype(np.int64), bins - 1)[block]
    return number


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram.

    Attributes:
        lower: Lower edge of the bin; for "mass", the least probability in it.
        upper: Upper edge; for "mass", the greatest.
        n: Known cases in the bin.
        mean_probability: What was said; NaN in an empty bin.
        observed: Share that was present; NaN in an empty bin.
        low: Lower end of the Wilson interval of `observed`, which takes the cases as independent.
        high: Upper end.
    """

    lower: float
    upper: float
    n: int
    mean_probability: float
    observed: float
    low: float
    high: float


def reliability_table(
    labels: Shaped[np.ndarray, "case"],
    probabilities: Real[np.ndarray, "case"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    confidence: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """The numbers of a reliability diagram, rising probability; "width" keeps empty bins, "mass" has none.

    Source: Wilson 1927 for the interval.
    Checked against: netcal's bins and statsmodels' published Wilson intervals (tests/reference).
    """
    truth, p, _ = _probabilities(labels, probabilities, None)
    number = bin_of(p, bins) if binning == "width" else _mass_bins(p, np.ones_like(p), bins)
    rows = []
    for index in range(bins):
        members = number == index
        n, present = int(members.sum()), int(truth[members].sum())
        if binning == "mass" and not n:
            continue
        edges = (index / bins, (index + 1) / bins) if binning == "width" else (float(p[members].min()), float(p[members].max()))
        low, high = wilson_interval(present, n, confidence=confidence)
        mean_p, observed = (float(p[members].mean()), present / n) if n else (math.nan, math.nan)
        rows.append(ReliabilityBin(*edges, n, mean_p, observed, low, high))
    return tuple(rows)


def ece_null_distribution(
    probabilities: Real[np.ndarray, "case"],
    known: Bool[np.ndarray, "case"] | None = None,
    *,
    bins: int = 15,
    resamples: int = 1000,
    seed: int = 0,
) -> Float64[np.ndarray, "resamples"]:
    """ECE (equal width) that a perfectly calibrated model with these probabilities would show by chance.

    Truths are drawn from the probabilities themselves, one independent coin a case. Images of one patient share their truth, so
    for them the real spread is wider still.

    Args:
        probabilities: What the model said.
        known: Cases whose label is known in the sample (all, if None).
        bins: As in `ece`.
        resamples: How many draws.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No known case.

    Source: Broecker & Smith 2007 (consistency resampling); Vaicenavicius 2019.
    Checked against: the exact distribution over all truths of a tiny sample (tests/reference).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    p = p if known is None else p[np.asarray(known, dtype=bool)]
    if not p.size:
        raise EmptyInput("no case with a known label; the ECE's null distribution needs at least one")
    _check_probabilities(p)
    order = np.argsort(bin_of(p, bins), kind="stable")
    p = p[order]
    starts = np.unique(bin_of(p, bins), return_index=True)[1]
    expected = np.add.reduceat(p, starts)
    random = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for index in range(resamples):
        truth = random.random(p.size) < p
        draws[index] = np.abs(np.add.reduceat(truth, starts, dtype=np.int64) - expected).sum() / p.size
    return draws


def _probabilities(
    labels: Shaped[np.ndarray, "case"], probabilities: Real[np.ndarray, "case"], weights: Real[np.ndarray, "case"] | None
) -> tuple[Float64[np.ndarray, "known"], Float64[np.ndarray, "known"], Float64[np.ndarray, "known"]]:
    truth, p, counts = known_cases(labels, probabilities, weights)
    _check_probabilities(p)
    return truth, p, counts


def _check_probabilities(p: Float64[np.ndarray, "known"]) -> None:
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueOutOfRange(f"probabilities reach from {p.min():g} to {p.max():g}; expected [0, 1] (calibrate logits first)")
