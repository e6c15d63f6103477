"""Variance of the AUROC without resampling (DeLong), for independent cases and for patients with several images.

The AUROC is a mean over pairs of a present and an absent case. The placement of a present case is the share of absent ones
below it (a tie counts half), that of an absent case the share of present ones above it; their spread gives the variance. One sort
finds all of them, in float64: with float32 ranks a million cases give an AUROC of 1.0000001.

Sources: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (by ranks); Obuchowski 1997 (clustered).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_cases
from vesalius.metrics.intervals import Difference, Interval

Scale = Literal["logit", "plain"]


@dataclass(frozen=True)
class DeLongInterval(Interval):
    """An AUROC with DeLong's interval.

    Attributes:
        standard_error: Of the AUROC itself; 0 at an AUROC of 0 or 1, whose interval comes from a bound; NaN where undefined.
        n_positive: Present cases.
        n_negative: Absent cases.
    """

    standard_error: float = math.nan
    n_positive: int = 0
    n_negative: int = 0


@dataclass(frozen=True)
class DeLongDifference(Difference):
    """Second AUROC minus first, with a p-value from its normal (paired) or t (unpaired) statistic.

    Attributes:
        z: Difference divided by its standard error; 0 for identical curves.
        standard_error: Of the difference.
        degrees: Of freedom of the t distribution; infinite for the paired test.
    """

    z: float = math.nan
    standard_error: float = math.nan
    degrees: float = math.inf


@dataclass(frozen=True)
class Placements:
    """Placement of each known case under one score, and the AUROC they are the mean of.

    Attributes:
        auroc: Mean over pairs.
        values: Of a present case the share of absent ones below it, of an absent case the share of present ones above it.
    """

    auroc: float
    values: Float64[np.ndarray, " known"]


def placements(truth: Bool[np.ndarray, " known"], scores: Float64[np.ndarray, " known"]) -> Placements:
    """Ranks the cases once, in float64, with ties at the middle of their block; both classes must be there.

    Source: Sun & Xu 2014, whose three rankings are one here: within a tie block the two counts are known from two running sums.
    Checked against: np.subtract.outer over all pairs (tests/reference/test_delong.py).
    """
    order = np.argsort(scores)
    ordered, present = scores[order], truth[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    n_cases, n_present = len(ordered), int(np.count_nonzero(present))
    positive = np.cumsum(present)[ends].astype(np.float64)
    negative = (ends + 1) - positive
    below = np.stack([negative, positive])
    below[:, 1:] = 0.5 * (below[:, 1:] + below[:, :-1])  # half a block counts as below its own members
    below[:, 0] *= 0.5
    if len(ends) < n_cases:
        below = np.repeat(below, np.diff(ends, prepend=-1), axis=1)
    n_absent = n_cases - n_present
    auroc = float(below[0, present].sum() / (float(n_present) * n_absent))
    values = np.empty(n_cases)
    values[order] = np.where(present, below[0] / n_absent, 1.0 - below[1] / n_present)
    return Placements(auroc, values)


def delong(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    confidence: float = 0.95,
    scale: Scale = "logit",
) -> DeLongInterval:
    """AUROC with DeLong's interval, in [0, 1]; with `patients`, by Obuchowski's variance for clusters.

    An AUROC of exactly 1 has no variance to estimate and yet is not certain: among k pairs of a present and an absent case, no
    patient in two pairs, all are in order with a chance of at most AUROC^k, so the lower end is ((1 - confidence) / 2)^(1 / k), the
    Clopper-Pearson bound of k in k (k is the smaller class when every case is its own patient). Conservative; mirrored at 0.

    Args:
        labels: 1, 0, -1 or NaN unknown (left out).
        scores: Higher means more likely present.
        patients: Whose case it is; None takes each as a patient of its own.
        confidence: 0.95 for a 95 % interval.
        scale: "logit" takes the normal interval of log(A / (1 - A)) and maps it back; "plain" takes A +- z SE and cuts it at 0
            and 1, as pROC and MLstatkit do.

    Returns:
        The interval; NaN ends and a reason where a class has one case, or where all cases of a class are one patient's.

    Raises:
        ValueOutOfRange: A score is NaN where the label is known, or an unknown scale.

    Source: DeLong 1988; Obuchowski 1997, eq. 5-8; Pepe 2003, p. 107 (logit).
    Checked against: pROC's published figures, MLstatkit, all pairs counted (tests/reference/test_delong.py); coverage
    (tests/statistical/test_delong_coverage.py). `confidenceinterval` ranks in float32 and lets the upper end pass 1.
    """
    if scale not in get_args(Scale):
        raise ValueOutOfRange(f"scale {scale!r}; expected one of {', '.join(get_args(Scale))}")
    case = _Case.of(labels, [scores], patients)
    counts: Any = {"n_positive": case.n_positive, "n_negative": len(case.truth) - case.n_positive}
    if case.undefined:
        return DeLongInterval(math.nan, math.nan, math.nan, reason=case.undefined, **counts)
    placed = placements(case.truth, case.scores[0])
    value = placed.auroc
    if case.too_few:
        return DeLongInterval(value, math.nan, math.nan, reason=case.too_few, **counts)
    error = math.sqrt(case.variance(case.deviations(placed)))
    alpha = (1 - confidence) / 2
    if value in (0.0, 1.0):
        bound = alpha ** (1 / case.separate_pairs())
        low, high = (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
    elif error == 0:
        why = "not estimable: all placements are the same (are all scores equal?)"
        return DeLongInterval(value, math.nan, math.nan, reason=why, standard_error=0.0, **counts)
    elif scale == "logit":
        half = float(-ndtri(alpha)) * error / (value * (1 - value))
        low, high = (float(expit(logit(value) + sign * half)) for sign in (-1, 1))
    else:
        half = float(-ndtri(alpha)) * error
        low, high = max(0.0, value - half), min(1.0, value + half)
    return DeLongInterval(value, low, high, standard_error=error, **counts)


def delong_test(
    labels: Shaped[np.ndarray, " case"],
    first: Real[np.ndarray, " case"],
    second: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    confidence: float = 0.95,
) -> DeLongDifference:
    """Second AUROC minus first on the same cases, paired; with `patients`, by Obuchowski's covariance for clusters.

    Identical curves give z = 0 and p = 1. Two curves that both separate the classes wholly also give p = 1, with a reason in
    place of an interval, for neither has a variance.

    Args:
        labels: 1, 0, -1 or NaN unknown (left out).
        first: Scores of the model compared with.
        second: Scores of the other model; a positive difference is in its favour.
        patients: Whose case it is; None takes each as a patient of its own.
        confidence: 0.95 for a 95 % interval, cut at -1 and 1.

    Raises:
        ValueOutOfRange: A score is NaN where the label is known.

    Source: DeLong 1988, eq. 5; Obuchowski 1997, eq. 9-10.
    Checked against: pROC's published paired tests, MLstatkit.Delong_test (tests/reference/test_delong.py).
    """
    case = _Case.of(labels, [first, second], patients)
    if case.undefined:
        return DeLongDifference(math.nan, math.nan, math.nan, reason=case.undefined)
    one, two = (placements(case.truth, scores) for scores in case.scores)
    value = two.auroc - one.auroc
    if case.too_few:
        return DeLongDifference(value, math.nan, math.nan, reason=case.too_few)
    error = math.sqrt(case.variance(case.deviations(two) - case.deviations(one)))
    if error == 0:
        why = "not estimable: no variance; both curves are of constant placements"
        if value != 0:
            return DeLongDifference(value, math.nan, math.nan, reason=why, standard_error=0.0)
        if one.auroc in (0.0, 1.0):
            return DeLongDifference(0.0, math.nan, math.nan, reason=why, p_value=1.0, z=0.0, standard_error=0.0)
        return DeLongDifference(0.0, 0.0, 0.0, p_value=1.0, z=0.0, standard_error=0.0)
    half = float(ndtri(0.5 + confidence / 2)) * error
    z = value / error
    return DeLongDifference(
        value, max(-1.0, value - half), min(1.0, value + half), p_value=float(2 * ndtr(-abs(z))), z=z, standard_error=error
    )


def delong_test_unpaired(
    first: tuple[Shaped[np.ndarray, " one"], Real[np.ndarray, " one"]],
    second: tuple[Shaped[np.ndarray, " two"], Real[np.ndarray, " two"]],
    *,
    patients: tuple[Shaped[np.ndarray, " one"], Shaped[np.ndarray, " two"]] | None = None,
    confidence: float = 0.95,
) -> DeLongDifference:
    """Second AUROC minus first on two separate samples (two sites), each given as (labels, scores); no patient in both.

    The statistic is compared with Student's t with Welch's degrees of freedom, counted in patients.

    Raises:
        ValueOutOfRange: A score is NaN where the label is known.

    Source: DeLong 1988; degrees of freedom as pROC's roc.test takes them (Welch 1947).
    Checked against: pROC's published unpaired statistics (tests/reference/test_delong.py).
    """
    owners = (None, None) if patients is None else patients
    sides = [
        (delong(labels, scores, owner, confidence=confidence), _n_patients(labels, scores, owner))
        for (labels, scores), owner in zip((first, second), owners, strict=True)
    ]
    (one, n_one), (two, n_two) = sides
    value = two.value - one.value
    error = math.hypot(one.standard_error, two.standard_error)
    reason = one.reason or two.reason
    if reason is None and 0 in (one.standard_error, two.standard_error):
        reason = "not estimable: an AUROC of 0 or 1 has no variance"
    if reason:
        return DeLongDifference(value, math.nan, math.nan, reason=reason, standard_error=error)
    degrees = error**4 / (one.standard_error**4 / (n_one - 1) + two.standard_error**4 / (n_two - 1))
    half = float(stdtrit(degrees, 0.5 + confidence / 2)) * error
    z = value / error
    p_value = float(2 * stdtr(degrees, -abs(z)))
    ends = max(-1.0, value - half), min(1.0, value + half)
    return DeLongDifference(value, *ends, p_value=p_value, z=z, standard_error=error, degrees=degrees)


def _n_patients(labels: Shaped[np.ndarray, " case"], scores: Real[np.ndarray, " case"], patients: np.ndarray | None) -> int:
    case = _Case.of(labels, [scores], patients)
    return len(case.truth) if case.patient is None else case.n_patients


@dataclass(frozen=True)
class _Case:
    """Known cases, their scores under each model, and the number of each one's patient (None: all different)."""

    truth: Bool[np.ndarray, " known"]
    scores: list[Float64[np.ndarray, " known"]]
    patient: Int64[np.ndarray, " known"] | None
    n_patients: int

    @classmethod
    def of(
        cls,
        labels: Shaped[np.ndarray, " case"],
        scores: list[Real[np.ndarray, " case"]],
        patients: Shaped[np.ndarray, " case"] | None,
    ) -> _Case:
        known = [known_cases(labels, one)[:2] for one in scores]
        truth = known[0][0] > 0.5
        if patients is None:
            return cls(truth, [one for _, one in known], None, len(truth))
        owners = np.asarray(patients)
        if owners.shape != np.shape(labels):
            raise ShapeMismatch(f"patients {owners.shape}, labels {np.shape(labels)}; expected one patient a case")
        keep = known_cases(labels, np.arange(len(owners)))[1].astype(np.int64)
        names, number = np.unique(owners[keep], return_inverse=True)
        return cls(truth, [one for _, one in known], number.astype(np.int64), len(names))

    @property
    def n_positive(self) -> int:
        return int(np.count_nonzero(self.truth))

    @property
    def undefined(self) -> str | None:
        one_class = self.n_positive in (0, len(self.truth))
        return "undefined: the sample has no known case, or one class only" if one_class else None

    @property
    def too_few(self) -> str | None:
        for word, side, owners in zip(("present", "absent"), (self.truth, ~self.truth), self.owners, strict=True):
            if np.count_nonzero(side) == 1:
                return f"not estimable: one {word} case has no spread"
            if owners.sum() == 1:
                return f"not estimable: every {word} case is of one patient"
        return None

    @cached_property
    def owners(self) -> tuple[Bool[np.ndarray, " patient"], Bool[np.ndarray, " patient"]]:
        """Which patients have a present case, and which an absent one."""
        if self.patient is None:
            return self.truth, ~self.truth
        present = np.bincount(self.patient, self.truth, self.n_patients)
        return present > 0, np.bincount(self.patient, minlength=self.n_patients) > present

    def deviations(self, placed: Placements) -> Float64[np.ndarray, " known"]:
        return placed.values - placed.auroc

    def variance(self, deviations: Float64[np.ndarray, " known"]) -> float:
        """Of the AUROC (or of a difference of two) whose placements deviate so from their mean."""
        m = self.n_positive
        n = len(self.truth) - m
        if self.patient is None:
            squares = deviations**2
            positive = float(squares[self.truth].sum())
            return positive / (m * (m - 1)) + float(squares[~self.truth].sum()) / (n * (n - 1))
        weights = np.where(self.truth, deviations, 0.0)
        above = np.bincount(self.patient, weights, self.n_patients) / m
        below = np.bincount(self.patient, deviations - weights, self.n_patients) / n
        n_above, n_below = (int(np.count_nonzero(side)) for side in self.owners)
        spread = (above @ above) * n_above / (n_above - 1) + (below @ below) * n_below / (n_below - 1)
        # The three factors differ, so that a handful of patients can bring the sum below 0.
        return max(0.0, float(spread + 2 * (above @ below) * self.n_patients / (self.n_patients - 1)))

    def separate_pairs(self) -> int:
        """How many pairs of a present and an absent case can be made with no patient in two of them, and none in one twice."""
        most = min(int(np.count_nonzero(side)) for side in self.owners)
        return most if self.patient is None else min(most, self.n_patients // 2)
