"""Proper scores, of one finding and of exclusive classes: least, in the long run, for the one who says what is believed.

Truth comes first in every call, as in scikit-learn; a swapped call is refused by the range checks. Unknown labels (NaN, None, -1)
are left out. `weights` are multiplicities.

Sources: Brier 1950; Murphy 1973 and Stephenson, Coelho & Jolliffe 2008 (decomposition); Good 1952 (logarithmic score).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.bins import Binning, check_probabilities, known_probabilities, number_bins
from vesalius.metrics.classification import known_cases

_SUM_TOLERANCE = 1e-3  # of the probabilities of all classes from 1: float16 rounds each by up to a 2000th part


def brier(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Mean squared distance of probability and truth, in [0, 1], lower is better; NaN without a known case.

    This is the one-event form. The sum over both classes, which some libraries report, is twice as large (`multiclass_brier`).

    Source: Brier 1950.
    Checked against: sklearn.metrics.brier_score_loss (tests/reference).
    """
    truth, p, counts = known_probabilities(labels, probabilities, weights)
    return float((counts * (p - truth) ** 2).sum() / counts.sum()) if counts.size else math.nan


@dataclass(frozen=True)
class BrierDecomposition:
    """What a Brier score is made of; `brier` puts the parts together again.

    Attributes:
        reliability: Weighted mean of (mean probability - share present)^2 of each bin; 0 is best.
        resolution: Weighted mean of (share present in the bin - prevalence)^2; more is better, 0 says nothing about the case.
        uncertainty: prevalence (1 - prevalence); not the model's doing.
        within_bin_variance: Of the probabilities inside their bins; 0 where a bin is one probability.
        within_bin_covariance: Twice the covariance of probability and truth inside the bins.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float = 0.0
    within_bin_covariance: float = 0.0

    @property
    def brier(self) -> float:
        """Reliability - resolution + uncertainty + within-bin variance - within-bin covariance."""
        return self.reliability - self.resolution + self.uncertainty + (self.within_bin_variance - self.within_bin_covariance)

    @property
    def generalised_resolution(self) -> float:
        """Resolution with what the bins hid: resolution - within-bin variance + within-bin covariance."""
        return self.resolution - self.within_bin_variance + self.within_bin_covariance

    @property
    def skill(self) -> float:
        """1 - Brier / uncertainty: 1 is perfect, 0 is as good as always saying the prevalence; NaN with one class only."""
        return 1 - self.brier / self.uncertainty if self.uncertainty else math.nan


def brier_decomposition(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    bins: int | None = None,
    *,
    binning: Binning = "width",
    weights: Real[np.ndarray, " case"] | None = None,
) -> BrierDecomposition:
    """Parts the Brier score into reliability, resolution and uncertainty, whose sum with the within-bin terms is the score itself.

    With `bins=None` every distinct probability is its own bin (Murphy's form; the within-bin terms are 0). That suits a model that
    says few numbers; where all probabilities differ, each bin has one case and reliability is the Brier score: give bins.
    The three classical terms over bins do not add up to the score; the within-bin terms are what is missing.

    All parts are NaN without a known case.

    Raises:
        ValueOutOfRange: A probability outside [0, 1]; fewer than one bin; no such binning.

    Source: Murphy 1973; Stephenson, Coelho & Jolliffe 2008 for the within-bin terms.
    Checked against: all distinct forecasts by hand, and sklearn.metrics.brier_score_loss for the sum (tests/reference).
    """
    truth, p, counts = known_probabilities(labels, probabilities, weights)
    if not counts.size:
        return BrierDecomposition(math.nan, math.nan, math.nan, math.nan, math.nan)
    number = np.unique(p, return_inverse=True)[1] if bins is None else number_bins(p, counts, bins, binning)
    total = counts.sum()
    n = np.bincount(number, counts)
    filled = np.where(n > 0, n, 1.0)
    said, seen = np.bincount(number, counts * p) / filled, np.bincount(number, counts * truth) / filled
    if bins is None:
        said[number] = p  # the mean of equal numbers is that number, without a rounding
    prevalence = float((counts * truth).sum() / total)
    apart = p - said[number]
    return BrierDecomposition(
        reliability=float((n * (said - seen) ** 2).sum() / total),
        resolution=float((n * (seen - prevalence) ** 2).sum() / total),
        uncertainty=prevalence * (1 - prevalence),
        within_bin_variance=float((counts * apart**2).sum() / total),
        within_bin_covariance=float(2 * (counts * (truth - seen[number]) * apart).sum() / total),
    )


def nll(
    labels: Shaped[np.ndarray, " case"], logits: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """Mean negative log likelihood in nats, log(1 + exp(-z)) if present, log(1 + exp(z)) if absent; NaN without a known case.

    From logits nothing needs clipping, so a sure and wrong answer costs what it should; libraries that clip probabilities at 1e-12
    or 1e-8 stop counting at 27.6 or 18.4 nats.

    Checked against: sklearn.metrics.log_loss (tests/reference).
    """
    truth, z, counts = known_cases(labels, logits, weights)
    return float((counts * case_nll(truth, z)).sum() / counts.sum()) if counts.size else math.nan


def case_nll(labels: Float64[np.ndarray, "*axes"], logits: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """Negative log likelihood of each case, in nats; NaN where the label is."""
    loss: Float64[np.ndarray, "*axes"] = np.logaddexp(0.0, logits) - labels * logits
    return loss


def multiclass_brier(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, "case class"],
    *,
    scale_by_half: bool = False,
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Mean over cases of the squared distance summed over classes, in [0, 2], lower is better; NaN without a known case.

    With two classes it is twice `brier`. `scale_by_half=True` halves it, into [0, 1], so that the two agree; scikit-learn halves by
    itself when there are two classes, torch-uncertainty never. So say which, beside the figure.

    Args:
        labels: Number of the true class, 0 to class - 1; -1, NaN or None is unknown.
        probabilities: Of each class; each row adds up to 1.
        scale_by_half: Halves the figure.
        weights: Multiplicities.

    Raises:
        ShapeMismatch: Not (case,) and (case, class).
        ValueOutOfRange: No such class; a probability outside [0, 1]; a row that does not add up to 1.

    Source: Brier 1950, where the sum over classes is the definition.
    Checked against: sklearn.metrics.brier_score_loss, both scales (tests/reference).
    """
    truth, p, counts = known_classes(labels, probabilities, weights)
    check_rows(p)
    if not counts.size:
        return math.nan
    hit = p[np.arange(len(p)), truth]
    squares = (p**2).sum(axis=1) - 2 * hit + 1
    return float((counts * squares).sum() / counts.sum()) * (0.5 if scale_by_half else 1.0)


def multiclass_nll(
    labels: Shaped[np.ndarray, " case"], logits: Real[np.ndarray, "case class"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """Mean negative log likelihood of the true class under the softmax, in nats; NaN without a known case.

    Raises:
        ShapeMismatch: Not (case,) and (case, class).
        ValueOutOfRange: No such class; a logit is NaN where the label is known.

    Checked against: sklearn.metrics.log_loss and torch.nn.functional.cross_entropy (tests/reference).
    """
    truth, z, counts = known_classes(labels, logits, weights)
    if not counts.size:
        return math.nan
    above = z - z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(above).sum(axis=1)) - above[np.arange(len(z)), truth]
    return float((counts * loss).sum() / counts.sum())


def known_classes(
    labels: Shaped[np.ndarray, " case"],
    values: Real[np.ndarray, "case class"],
    weights: Real[np.ndarray, " case"] | None = None,
) -> tuple[Int64[np.ndarray, " known"], Float64[np.ndarray, "known class"], Float64[np.ndarray, " known"]]:
    """Class numbers, values and weights of the cases that count: class known (not -1, NaN or None), weight above 0.

    Raises:
        ShapeMismatch: Not (case,), (case, class) and (case,).
        ValueOutOfRange: A class number that is not whole or has no column; a negative weight; a NaN where the class is known.
    """
    numbers = np.array(labels, dtype=np.float64)
    table = np.asarray(values, dtype=np.float64)
    counts = np.ones(numbers.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if numbers.ndim != 1 or table.ndim != 2 or not len(table) == len(numbers) or counts.shape != numbers.shape:
        raise ShapeMismatch(
            f"labels {numbers.shape}, values {table.shape}, weights {counts.shape}; expected (case,), (case, class), (case,)"
        )
    known = ~np.isnan(numbers) & (numbers != -1)
    strange = numbers[known & ~np.isin(numbers, np.arange(table.shape[1]))]
    if strange.size:
        raise ValueOutOfRange(f"labels hold {strange[0]:g}; expected a class from 0 to {table.shape[1] - 1}, or -1 unknown")
    if not (counts >= 0).all():
        raise ValueOutOfRange("a weight is negative or NaN; weights are multiplicities, 0 or more")
    keep = known & (counts > 0)
    if np.isnan(table[keep]).any():
        raise ValueOutOfRange("a value is NaN where the class is known; set that label to -1 to leave the case out")
    return numbers[keep].astype(np.int64), table[keep], counts[keep]


def check_rows(probabilities: Float64[np.ndarray, "case class"]) -> None:
    """Refuses rows that are not the probabilities of exclusive classes.

    Raises:
        ValueOutOfRange: A value outside [0, 1], or a row that does not add up to 1.
    """
    check_probabilities(probabilities)
    apart = np.abs(probabilities.sum(axis=1) - 1)
    if apart.size and apart.max() > _SUM_TOLERANCE:
        total = float(probabilities[int(apart.argmax())].sum())
        raise ValueOutOfRange(
            f"the probabilities of a case add up to {total:g}; expected 1 (several findings at once are (case, finding) labels)"
        )
