"""Does a probability of 0.2 come true in one case of five? The calibration errors, each under its own name, and their table.

Probabilities are of the event (the finding is present), never "confidence": max(p, 1 - p) gives another number as soon as p
crosses 0.5, and stands here under "top label" only. Truth comes first in every call, as in scikit-learn; a swapped call is refused
by the range checks. The word ACE is not used: it is the average over bins in netcal and MONAI, and adaptive bins in Nixon 2019.

Every error takes `weights` (multiplicities), so `bootstrap(lambda w: ece(labels, p, weights=w), patients)` is its interval.

Sources: Naeini 2015 and Guo 2017 (ECE); Kumar 2019 (debiased); Nixon 2019 (mass); Broecker & Smith 2007 (consistency resampling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.metrics.bins import (
    Binning,
    BinSums,
    BinWeight,
    Norm,
    check_choice,
    check_probabilities,
    known_probabilities,
    number_bins,
    sum_bins,
)
from vesalius.metrics.classification import known_labels, known_table
from vesalius.metrics.intervals import wilson_interval
from vesalius.metrics.proper_scores import check_rows, known_classes


def ece(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Expected calibration error of one finding, in [0, 1]: |mean probability - share present| over bins of the event probability.

    NaN without a known case. The plug-in value is above 0 even for a perfect model: show it beside `ece_null_distribution`, and
    beside a proper score (always saying the prevalence has an ECE of 0).

    Args:
        labels: 1 present, 0 absent, NaN or -1 unknown.
        probabilities: Of the event, in [0, 1].
        bins: How many.
        binning: "width", or "mass" for bins of as equal size as whole blocks of tied probabilities allow (Nixon's "adaptive").
        weight: Bins weigh as their cases ("mass"), or each the same ("bin": the "ACE" of netcal and, for each image, of MONAI).
        norm: "l1" the mean, "l2" the root of the mean square (RMSCE), "max" the worst bin (MCE).
        weights: Multiplicities of the cases.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A label or probability that is none; an unknown word.

    Source: Naeini 2015; Guo 2017, eq. 3, which drops p = 0; here every probability in [0, 1] is counted once.
    Checked against: netcal.metrics.ECE, ACE and MCE; torchmetrics' three norms, but for p = 1, which it gives a bin of its own;
    MONAI's three reductions (tests/reference).
    """
    return error_of(sum_bins(labels, probabilities, bins, binning, weights), weight, norm)


def error_of(sums: BinSums, weight: BinWeight, norm: Norm) -> float:
    """The calibration error that follows from the sums of the bins; NaN if all are empty."""
    check_choice("weight", weight, BinWeight)
    check_choice("norm", norm, Norm)
    filled = sums.n > 0
    if not filled.any():
        return math.nan
    n, gap = sums.n[filled], np.abs(sums.said - sums.present)[filled]
    if norm == "max":
        return float((gap / n).max())
    share = n / n.sum() if weight == "mass" else np.full(n.shape, 1 / n.size)
    return float((share * gap / n).sum()) if norm == "l1" else math.sqrt((share * (gap / n) ** 2).sum())


def mce(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Maximum calibration error, in [0, 1]: the worst bin's |mean probability - share present|; `ece` with `norm="max"`.

    With equal widths the worst bin is often the one with the fewest cases: `binning="mass"` is the steadier figure.

    Source: Naeini 2015.
    Checked against: netcal.metrics.MCE (tests/reference).
    """
    return ece(labels, probabilities, bins=bins, binning=binning, norm="max", weights=weights)


def debiased_calibration_error(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    *,
    bins: int = 15,
    binning: Binning = "mass",
    squared: bool = False,
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """L2 calibration error without most of its upward bias: the variance of each bin's share present is taken off its squared gap.

    Where the difference is below 0 the root is given as 0; `squared=True` gives the difference itself, which may be below 0 and
    whose mean over samples is right. A bin with fewer than two cases has no variance to take off and adds 0, as in the authors'
    code. NaN without a known case.

    Source: Kumar, Liang & Ma 2019, section 5. Theirs has the variance of truths around one mean, which is exact where a bin has one
    probability and takes off a little too much where it has several.
    Checked against: figures of the authors' verified_calibration (`unbiased_l2_ce`), and the formula counted bin by bin
    (tests/reference); its mean over samples (tests/statistical).
    """
    sums = sum_bins(labels, probabilities, bins, binning, weights)
    if not sums.n.sum():
        return math.nan
    counted = sums.n >= 2
    n, share = sums.n[counted], sums.present[counted] / sums.n[counted]
    gap = sums.said[counted] / n - share
    square = float((n * (gap**2 - share * (1 - share) / (n - 1))).sum() / sums.n.sum())
    return square if squared else math.sqrt(max(square, 0.0))


def ece_per_finding(
    labels: Real[np.ndarray, "case finding"],
    probabilities: Real[np.ndarray, "case finding"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    weights: Real[np.ndarray, " case"] | None = None,
) -> Float64[np.ndarray, " finding"]:
    """`ece` of every finding over the cases whose label of that finding is known; NaN where there is none.

    Raises:
        ShapeMismatch: Not two equal (case, finding).
        ValueOutOfRange: As in `ece`.
    """
    truth, p = known_table(labels, probabilities)
    return np.array(
        [
            ece(truth[:, k], p[:, k], bins=bins, binning=binning, weight=weight, norm=norm, weights=weights)
            for k in range(truth.shape[1])
        ],
        dtype=np.float64,
    )


def macro_ece(
    labels: Real[np.ndarray, "case finding"],
    probabilities: Real[np.ndarray, "case finding"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Mean of `ece_per_finding` over the findings with a known case (marginal ECE), in [0, 1]; NaN where there is none.

    A rare finding's error is small because its probabilities are; show the findings beside the mean.
    """
    found = ece_per_finding(labels, probabilities, bins=bins, binning=binning, weight=weight, norm=norm, weights=weights)
    return _mean_of_defined(found)


def classwise_ece(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, "case class"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """`macro_ece` of exclusive classes, each against all others, in [0, 1]; labels are class numbers, -1 unknown.

    Source: Kull 2019; Nixon 2019 calls it static (width) and adaptive (mass).
    Checked against: torchmetrics.functional.classification.binary_calibration_error of each class (tests/reference).
    """
    truth, p, counts = known_classes(labels, probabilities, weights)
    check_rows(p)
    table = (truth[:, None] == np.arange(p.shape[1])).astype(np.float64)
    return macro_ece(table, p, bins=bins, binning=binning, weight=weight, norm=norm, weights=counts)


def top_label(
    labels: Shaped[np.ndarray, " case *finding"], probabilities: Real[np.ndarray, " case *outcome"]
) -> tuple[Float64[np.ndarray, " case *finding"], Float64[np.ndarray, " case *finding"]]:
    """Whether the likelier answer was right (1, 0, NaN unknown), and the probability it was given.

    These two go into every function of this page, in place of labels and probabilities; the null of the top-label ECE is
    `ece_null_distribution(confidence, ~np.isnan(right))`.

    Args:
        labels: (case,) or (case, finding) of 1, 0, -1, NaN; or (case,) class numbers for exclusive classes, -1 or NaN unknown.
        probabilities: Of the event, of the labels' shape; or (case, class), rows that add up to 1.

    Raises:
        ShapeMismatch: Neither of these pairs of shapes.
        ValueOutOfRange: A label or probability that is none.

    Source: Guo 2017, where confidence is the greatest softmax output. At p = 0.5 the answer is "present"; of equally likely
    classes the first is taken.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if np.ndim(labels) == 1 and p.ndim == 2:
        return _top_class(labels, p)
    truth = known_labels(labels)
    if truth.shape != p.shape:
        raise ShapeMismatch(f"labels {truth.shape}, probabilities {p.shape}; expected equal shapes, or (case,) and (case, class)")
    known = ~np.isnan(truth)
    check_probabilities(p[known])
    return np.where(known, (p >= 0.5) == truth, np.nan), np.maximum(p, 1 - p)


def _top_class(
    labels: Shaped[np.ndarray, " case"], p: Float64[np.ndarray, "case class"]
) -> tuple[Float64[np.ndarray, " case"], Float64[np.ndarray, " case"]]:
    truth, table, _ = known_classes(labels, p)
    check_rows(table)
    numbers = np.array(labels, dtype=np.float64)
    known = ~np.isnan(numbers) & (numbers != -1)
    right = np.full(len(p), np.nan)
    right[known] = table.argmax(axis=1) == truth
    return right, p.max(axis=1)


def top_label_ece(
    labels: Shaped[np.ndarray, " case *finding"],
    probabilities: Real[np.ndarray, " case *outcome"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Calibration error of the likelier answer's probability (confidence), in [0, 1]; another figure than `ece`.

    For one finding or several it is about max(p, 1 - p) >= 0.5, and the mean over findings; for exclusive classes about the
    greatest probability. On one side of 0.5 it is `ece` in other bins. Across it, 0.2 and 0.8 share a bin, and probabilities that
    are all too high cancel there (absent said too softly, present too loudly). So report `ece` for findings.

    Args:
        labels: As in `top_label`.
        probabilities: As in `top_label`.
        bins: As in `ece`, over [0, 1] (the lower half of them stays empty for one event).
        binning: As in `ece`.
        weight: As in `ece`.
        norm: As in `ece`.
        weights: As in `ece`.

    Raises:
        ShapeMismatch: See `top_label`.
        ValueOutOfRange: See `top_label`.

    Source: Guo 2017, eq. 3.
    Checked against: torchmetrics' multiclass_calibration_error, and netcal on (case, class); both call it plain ECE, as
    torchmetrics does its binary one, which is of the event (tests/reference).
    """
    right, confidence = top_label(labels, probabilities)
    right, confidence = right.reshape(len(right), -1), confidence.reshape(len(right), -1)
    return macro_ece(right, confidence, bins=bins, binning=binning, weight=weight, norm=norm, weights=weights)


def _mean_of_defined(values: Float64[np.ndarray, " finding"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


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

    @classmethod
    def of(cls, edges: tuple[float, float], n: int, present: int, said: float, confidence: float) -> ReliabilityBin:
        """The bar of `n` cases, `present` of them present, whose probabilities add up to `said`."""
        low, high = wilson_interval(present, n, confidence=confidence)
        return cls(*edges, n, said / n if n else math.nan, present / n if n else math.nan, low, high)


def reliability_table(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    *,
    bins: int = 15,
    binning: Binning = "width",
    confidence: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """The numbers of a reliability diagram, rising probability; "width" keeps empty bins, "mass" has none.

    Source: Wilson 1927 for the interval.
    Checked against: netcal's bins and statsmodels' published Wilson intervals (tests/reference).
    """
    truth, p, counts = known_probabilities(labels, probabilities, None)
    number = number_bins(p, counts, bins, binning)
    n, present = np.bincount(number, minlength=bins), np.bincount(number, truth, bins)
    said = np.bincount(number, p, bins)
    lower, upper = np.arange(bins) / bins, np.arange(1, bins + 1) / bins
    if binning == "mass":
        lower, upper = np.full(bins, np.inf), np.full(bins, -np.inf)
        np.minimum.at(lower, number, p)
        np.maximum.at(upper, number, p)
    return tuple(
        ReliabilityBin.of((float(lower[k]), float(upper[k])), int(n[k]), int(present[k]), float(said[k]), confidence)
        for k in range(bins)
        if n[k] or binning == "width"
    )


def ece_null_distribution(
    probabilities: Real[np.ndarray, " case"],
    known: Bool[np.ndarray, " case"] | None = None,
    *,
    bins: int = 15,
    binning: Binning = "width",
    weight: BinWeight = "mass",
    norm: Norm = "l1",
    resamples: int = 1000,
    seed: int = 0,
) -> Float64[np.ndarray, " resamples"]:
    """The `ece` that a perfectly calibrated model with these probabilities would show by chance.

    Truths are drawn from the probabilities themselves, one independent coin a case. Images of one patient share their truth, so
    for them the real spread is wider still. For the top label give the confidence of `top_label` in place of the probabilities.

    Args:
        probabilities: What the model said.
        known: Cases whose label is known in the sample (all, if None).
        bins: As in `ece`.
        binning: As in `ece`.
        weight: As in `ece`.
        norm: As in `ece`.
        resamples: How many draws.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No known case.
        ValueOutOfRange: A probability outside [0, 1]; an unknown word.

    Source: Broecker & Smith 2007 (consistency resampling); Vaicenavicius 2019.
    Checked against: the exact distribution over all truths of a tiny sample (tests/reference).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    p = p if known is None else p[np.asarray(known, dtype=bool)]
    if not p.size:
        raise EmptyInput("no case with a known label; the ECE's null distribution needs at least one")
    check_probabilities(p)
    number = number_bins(p, np.ones(p.size), bins, binning)
    order = np.argsort(number, kind="stable")
    p, number = p[order], number[order]
    starts = np.unique(number, return_index=True)[1]
    n, said = np.diff(np.append(starts, p.size)).astype(np.float64), np.add.reduceat(p, starts)
    random = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for index in range(resamples):
        present = np.add.reduceat(random.random(p.size) < p, starts, dtype=np.int64)
        draws[index] = error_of(BinSums(n, present.astype(np.float64), said), weight, norm)
    return draws
