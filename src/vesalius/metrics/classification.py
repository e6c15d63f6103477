"""Ranking and decision metrics of one finding, with unknown labels and whole-number weights.

Every function takes labels 1 present, 0 absent, NaN unknown; unknown cases are left out, as if they were not in the sample.
`weights` are multiplicities (how often a resample drew the case). A metric that the sample does not define is NaN, never 0 or 0.5.

Sources: Fawcett 2006 (ROC analysis); Davis & Goadrich 2006 (why a precision-recall curve is not joined by straight lines).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange


def known_labels(labels: Shaped[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """Labels as 1, 0 and NaN: uncertain (-1), None and NaN all become NaN, for a reader's doubt is not a truth to measure by.

    Raises:
        ValueOutOfRange: A label that is none of 1, 0, -1, None, NaN; mend the table, or map it before.
    """
    values = np.array(labels, dtype=np.float64)
    values[values == -1] = np.nan
    strange = values[~(np.isnan(values) | (values == 0) | (values == 1))]
    if strange.size:
        raise ValueOutOfRange(f"labels hold {strange.flat[0]:g}; expected 1 present, 0 absent, -1 uncertain, NaN unknown")
    return values


def known_cases(
    labels: Shaped[np.ndarray, " case"], values: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> tuple[Float64[np.ndarray, " known"], Float64[np.ndarray, " known"], Float64[np.ndarray, " known"]]:
    """Labels, values and weights of the cases that count: label known, weight above 0.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A weight is negative, or a value is NaN where the label is known (set that label to NaN to leave the
            case out).
    """
    truth = known_labels(labels)
    numbers = np.asarray(values, dtype=np.float64)
    counts = np.ones(truth.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if truth.ndim != 1 or not truth.shape == numbers.shape == counts.shape:
        raise ShapeMismatch(f"labels {truth.shape}, values {numbers.shape}, weights {counts.shape}; expected three equal (case,)")
    if not (counts >= 0).all():
        raise ValueOutOfRange("a weight is negative or NaN; weights are multiplicities, 0 or more")
    keep = ~np.isnan(truth) & (counts > 0)
    if np.isnan(numbers[keep]).any():
        raise ValueOutOfRange("a value is NaN where the label is known; set that label to NaN to leave the case out")
    return truth[keep], numbers[keep], counts[keep]


def known_table(
    labels: Shaped[np.ndarray, "case finding"], values: Real[np.ndarray, "case finding"]
) -> tuple[Float64[np.ndarray, "case finding"], Float64[np.ndarray, "case finding"]]:
    """Labels and values of several findings as float64, checked; values of unknown labels may be anything.

    Raises:
        ShapeMismatch: Not two equal (case, finding).
        ValueOutOfRange: A value is NaN where the label is known.
    """
    truth, numbers = known_labels(labels), np.asarray(values, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != numbers.shape:
        raise ShapeMismatch(f"labels {truth.shape}, values {numbers.shape}; expected two equal (case, finding)")
    if np.isnan(numbers[~np.isnan(truth)]).any():
        raise ValueOutOfRange("a value is NaN where the label is known; set that label to NaN to leave the case out")
    return truth, numbers


@dataclass(frozen=True)
class Blocks:
    """Weight of positives and negatives in each block of tied scores, best score first."""

    scores: Float64[np.ndarray, " block"]
    positive: Float64[np.ndarray, " block"]
    negative: Float64[np.ndarray, " block"]


def tie_blocks(
    labels: Shaped[np.ndarray, " case"], scores: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> Blocks:
    """Sorts the known cases by falling score and joins equal scores, so that nothing depends on the order of the rows."""
    truth, numbers, counts = known_cases(labels, scores, weights)
    distinct, block = np.unique(-numbers, return_inverse=True)
    positive = np.bincount(block, counts * truth, len(distinct))
    return Blocks(-distinct, positive, np.bincount(block, counts * (1 - truth), len(distinct)))


def auroc(
    labels: Shaped[np.ndarray, " case"], scores: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """Chance that a present case scores above an absent one (a tie counts half), in [0, 1]; NaN with one class only.

    Source: Hanley & McNeil 1982; equals the Mann-Whitney U divided by the number of pairs.
    Checked against: sklearn.metrics.roc_auc_score with sample_weight, and all pairs counted (tests/reference).
    """
    blocks = tie_blocks(labels, scores, weights)
    pairs = blocks.positive.sum() * blocks.negative.sum()
    if not pairs:
        return math.nan
    above = np.cumsum(blocks.positive) - blocks.positive
    return float((blocks.negative * (above + 0.5 * blocks.positive)).sum() / pairs)


def partial_auroc(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    least_specificity: float,
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Area under the ROC curve where the specificity is at least this, on McClish's scale: 0.5 by chance, 1 at best.

    Raises:
        ValueOutOfRange: `least_specificity` outside [0, 1).

    Source: McClish 1989.
    Checked against: sklearn.metrics.roc_auc_score(max_fpr=1 - least_specificity) (tests/reference).
    """
    if not 0 <= least_specificity < 1:
        raise ValueOutOfRange(f"least_specificity {least_specificity}; expected [0, 1)")
    blocks = tie_blocks(labels, scores, weights)
    if not blocks.positive.sum() or not blocks.negative.sum():
        return math.nan
    hits, false = (np.append(0.0, np.cumsum(side) / side.sum()) for side in (blocks.positive, blocks.negative))
    end = 1.0 - least_specificity
    inside = false <= end
    x, y = np.append(false[inside], end), np.append(hits[inside], np.interp(end, false, hits))
    area = float(np.trapezoid(y, x))
    chance = end * end / 2
    return 0.5 * (1 + (area - chance) / (end - chance))


def auprc(
    labels: Shaped[np.ndarray, " case"], scores: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> float:
    """Average precision, in [0, 1]: precision at each threshold, weighted by the recall gained there; NaN without a positive.

    A useless score reaches the prevalence, so show the prevalence beside it. The trapezoid rule would flatter.

    Source: Davis & Goadrich 2006.
    Checked against: sklearn.metrics.average_precision_score with sample_weight (tests/reference), which answers 0 without a
    positive.
    """
    blocks = tie_blocks(labels, scores, weights)
    total = blocks.positive.sum()
    if not total:
        return math.nan
    found = np.cumsum(blocks.positive)
    called = found + np.cumsum(blocks.negative)
    return float((blocks.positive * found / called).sum() / total)


def prevalence(labels: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None) -> float:
    """Share of present among known cases, in [0, 1]; NaN without a known case."""
    truth, _, counts = known_cases(labels, np.zeros(len(labels)), weights)
    return float((truth * counts).sum() / counts.sum()) if counts.size else math.nan


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions against truth; each rate is in [0, 1], and NaN where its denominator is 0."""

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float

    @property
    def sensitivity(self) -> float:
        """Share of present cases called present (recall)."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of absent cases called absent."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> float:
        """Share of present among cases called present (precision)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> float:
        """Share of absent among cases called absent."""
        return _ratio(self.true_negative, self.true_negative + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and PPV; NaN where nothing is present and nothing was called."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def mcc(self) -> float:
        """Matthews' correlation of calls with truth, in [-1, 1]; NaN with one class or one kind of call (scikit-learn says 0)."""
        tp, fp, tn, fn = self.true_positive, self.false_positive, self.true_negative, self.false_negative
        return _ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def confusion(
    labels: Shaped[np.ndarray, " case"], decisions: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> Confusion:
    """Counts decisions (1 or True present, 0 or False absent, -1 abstained) against known labels; abstained cases are left out.

    Raises:
        ValueOutOfRange: A decision that is none of 1, 0, -1.
    """
    calls = known_labels(decisions)  # the same three codes; an abstention is as unknown as a missing label
    truth = np.where(np.isnan(calls), np.nan, known_labels(labels))
    truth, called, counts = known_cases(truth, calls, weights)
    return Confusion(
        true_positive=float((counts * truth * called).sum()),
        false_positive=float((counts * (1 - truth) * called).sum()),
        true_negative=float((counts * (1 - truth) * (1 - called)).sum()),
        false_negative=float((counts * truth * (1 - called)).sum()),
    )


def sensitivity_specificity(
    labels: Shaped[np.ndarray, " case"], decisions: Shaped[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None = None
) -> tuple[float, float]:
    """Sensitivity and specificity of given decisions; abstained (-1) cases are left out."""
    table = confusion(labels, decisions, weights)
    return table.sensitivity, table.specificity
