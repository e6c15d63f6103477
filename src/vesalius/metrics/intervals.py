"""How far a figure may be trusted: intervals that draw patients, not images. Their parts; the calls are in `bootstrap_intervals`.

Images of one patient are not independent. Drawing images makes a 95 % interval that covers the truth seven times in ten
(docs/intervals.md); so patients are drawn with replacement, and each image counts as often as its patient was drawn.

Rules held everywhere: the same seed gives the same resamples, whatever the number of threads; metrics that are compared share
their resamples; a draw that the metric does not define (one class only) is counted, and when more than 5 % are so there is
no interval but a reason; the macro figure of a resample is the mean over findings of that same resample.

Sources: Efron & Tibshirani 1993, chapters 8 and 13 (percentile interval); Field & Welsh 2007 (clustered bootstrap); Wilson 1927.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped, UInt16
from scipy.special import ndtri

from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.metrics.classification import known_labels, known_table

MAXIMUM_UNDEFINED = 0.05
"""Share of undefined resamples above which an interval is not estimable."""

_KEPT_COUNTS = 40_000_000  # draws of this many patients in all (80 MB) are kept for the next metric, more are drawn again

Weights = Int64[np.ndarray, "case"]


@dataclass(frozen=True)
class Interval:
    """A figure with the interval that holds it.

    Attributes:
        value: On the sample itself; NaN where the sample does not define it.
        low: Lower end; NaN where the interval is not estimable.
        high: Upper end.
        n_resamples: How many were drawn.
        n_undefined: In how many of them the figure was not defined.
        reason: Why there is no interval; None where there is one.
    """

    value: float
    low: float
    high: float
    n_resamples: int = 0
    n_undefined: int = 0
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns `{"value", "low", "high"}`, and `"reason"` where there is one; NaN becomes None."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        plain: dict[str, Any] = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return plain if self.reason is None else {**plain, "reason": self.reason}


@dataclass(frozen=True)
class Difference(Interval):
    """Second minus first on the same resamples.

    Attributes:
        p_value: Two-sided: 2 min(P(d <= 0), P(d >= 0)) over the draws, each count plus one; NaN where not estimable.
    """

    p_value: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Returns the interval's keys and `"p_value"`."""
        return {**super().to_json(), "p_value": self.p_value if math.isfinite(self.p_value) else None}


@dataclass(frozen=True)
class PatientResamples:
    """Draws of patients with replacement: give the same object to several metrics, and they are compared on the same draws.

    Attributes:
        patient: Number of the patient of each case, 0 to n_patients - 1.
        n_patients: How many there are.
        resamples: How many draws.
        seed: Same seed, same draws.
        positive: Which patients have any present case; if given, these and the others are drawn apart, each as many as there are.
    """

    patient: Int64[np.ndarray, " case"]
    n_patients: int
    resamples: int = 1000
    seed: int = 0
    positive: Bool[np.ndarray, " patient"] | None = None

    @classmethod
    def of(
        cls,
        patients: Shaped[np.ndarray, " case"] | None,
        n_cases: int,
        *,
        resamples: int = 1000,
        seed: int = 0,
        stratify_by: Shaped[np.ndarray, " case *finding"] | None = None,
    ) -> PatientResamples:
        """Numbers the patients; None makes each case its own patient (right only if no patient has two images).

        Args:
            patients: Any name or number of the patient of each case.
            n_cases: How many cases there are.
            resamples: How many draws.
            seed: Same seed, same draws.
            stratify_by: Labels of one finding or of several. Patients with any present case are then drawn apart from those with
                none, so that a rare finding is in every draw. The interval then takes their numbers as fixed by design: right for
                AUROC and sensitivity, a little narrow for what moves with the prevalence (AUPRC, PPV, F1).

        Raises:
            EmptyInput: No case.
            ShapeMismatch: Not one patient a case, or other labels than cases.
        """
        owners = np.arange(n_cases) if patients is None else np.asarray(patients)
        if n_cases == 0:
            raise EmptyInput("no case; an interval needs at least one")
        if owners.shape != (n_cases,):
            raise ShapeMismatch(f"patients {owners.shape}; expected one a case: ({n_cases},)")
        names, number = np.unique(owners, return_inverse=True)
        positive = None
        if stratify_by is not None:
            truth = known_labels(stratify_by)
            if len(truth) != n_cases:
                raise ShapeMismatch(f"stratify_by {truth.shape}; expected one row a case: {n_cases}")
            present = (truth.reshape(n_cases, -1) == 1).any(axis=1)
            positive = np.bincount(number, present, len(names)) > 0
        return cls(number.astype(np.int64), len(names), resamples, seed, positive)

    def chunks(self, size: int = 128) -> Iterator[UInt16[np.ndarray, "resample patient"]]:
        """Yields how often each patient was drawn, first once each (the sample itself), then every resample in turn."""
        yield np.ones((1, self.n_patients), dtype=np.uint16)
        if self.resamples * self.n_patients > _KEPT_COUNTS:
            yield from self._drawn(size)
        elif self.resamples:
            yield self._kept

    @cached_property
    def _kept(self) -> UInt16[np.ndarray, "resample patient"]:
        return np.concatenate(list(self._drawn(self.resamples)))

    def _drawn(self, size: int) -> Iterator[UInt16[np.ndarray, "resample patient"]]:
        random = np.random.default_rng(self.seed)
        strata: list[Any] = [slice(None)]
        if self.positive is not None:
            strata = [members for members in (np.flatnonzero(self.positive), np.flatnonzero(~self.positive)) if len(members)]
        sizes = [self.n_patients] if self.positive is None else [len(members) for members in strata]
        for start in range(0, self.resamples, size):
            counts = np.empty((min(size, self.resamples - start), self.n_patients), dtype=np.uint16)
            for row in counts:
                for members, n in zip(strata, sizes, strict=True):
                    row[members] = np.bincount(random.integers(n, size=n), minlength=n)
            yield counts

    def leave_one_out(self) -> PatientJackknife:
        """Returns the plan that leaves each patient out in turn: any metric that takes a plan then gives its jackknife."""
        return PatientJackknife(self.patient, self.n_patients, self.n_patients, self.seed, self.positive)


class PatientJackknife(PatientResamples):
    """Not draws, but all patients once each, then all but the first, all but the second, and so on."""

    def chunks(self, size: int = 128) -> Iterator[UInt16[np.ndarray, "resample patient"]]:
        """Yields the multiplicities of the patients: the sample itself, then the sample without each of them."""
        yield np.ones((1, self.n_patients), dtype=np.uint16)
        for start in range(0, self.n_patients, size):
            counts = np.ones((min(size, self.n_patients - start), self.n_patients), dtype=np.uint16)
            counts[np.arange(len(counts)), start + np.arange(len(counts))] = 0
            yield counts


def interval_of(
    draws: Float64[np.ndarray, " draw"], confidence: float = 0.95, *, n_patients: int | None = None, centred: bool = False
) -> Interval:
    """Percentile interval of draws whose first is the sample itself.

    Args:
        draws: The value on the sample, then on each resample; NaN where undefined.
        confidence: Share of the draws inside.
        n_patients: One alone gives no interval.
        centred: Moves the draws' mean onto the value, not below 0: for calibration errors, which resampling, by adding noise
            of its own, makes larger than they are, so that plain percentiles can lie wholly above the value.
    """
    value, drawn = float(draws[0]), draws[1:]
    undefined = int(np.isnan(drawn).sum())
    reason = None
    if math.isnan(value):
        reason = "undefined: the sample has no known case, or one class only"
    elif n_patients == 1:
        reason = "not estimable: one patient"
    elif not drawn.size:
        reason = "no resamples were asked for"
    elif undefined > MAXIMUM_UNDEFINED * drawn.size:
        reason = f"not estimable: undefined in {undefined} of {drawn.size} resamples"
    if reason is not None:
        return Interval(value, math.nan, math.nan, drawn.size, undefined, reason)
    valid = drawn[~np.isnan(drawn)]
    if centred:
        valid = np.maximum(valid - valid.mean() + value, 0.0)
    low, high = np.quantile(valid, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(value, float(low), float(high), drawn.size, undefined)


def share_interval_of(draws: Float64[np.ndarray, " draw"], n_patients: int, confidence: float = 0.95) -> Interval:
    """Percentile interval of a share of cases; of a share of none or of all, Wilson's, one count a patient.

    Every resample of 17 right calls of 17 says 100 %; an interval of no width would claim what nobody has shown.

    Args:
        draws: The share on the sample, then on each resample.
        n_patients: Patients with a case in the denominator.
        confidence: 0.95 for a 95 % interval.
    """
    found = interval_of(draws, confidence, n_patients=n_patients)
    if found.value in (0.0, 1.0) and (found.low == found.high == found.value or n_patients == 1):
        low, high = wilson_interval(n_patients if found.value else 0, n_patients, confidence=confidence)
        return replace(found, low=low, high=high, reason=None)
    return found


def difference_of(
    first: Float64[np.ndarray, " draw"],
    second: Float64[np.ndarray, " draw"],
    confidence: float = 0.95,
    *,
    n_patients: int | None = None,
) -> Difference:
    """Interval and p-value of second minus first, from draws of the same resamples."""
    change = second - first
    interval = interval_of(change, confidence, n_patients=n_patients)
    valid = change[1:][~np.isnan(change[1:])]
    p_value = math.nan
    if interval.reason is None:
        p_value = min(1.0, 2 * (1 + min((valid <= 0).sum(), (valid >= 0).sum())) / (1 + valid.size))
    return Difference(**vars(interval), p_value=float(p_value))


def macro_draws(draws: Float64[np.ndarray, "draw finding"]) -> Float64[np.ndarray, " draw"]:
    """Mean over the findings that each resample defines; NaN where it defines none.

    A finding that the sample itself does not define is left out of every resample.
    """
    defined = draws[:, ~np.isnan(draws[0])]
    known = ~np.isnan(defined)
    total = np.where(known, defined, 0.0).sum(axis=1)
    mean: Float64[np.ndarray, " draw"] = np.full(len(draws), np.nan)
    np.divide(total, known.sum(axis=1), out=mean, where=known.any(axis=1))
    return mean


def weighted_draws(
    metric: Callable[[Weights], Float64[np.ndarray, " value"]], plan: PatientResamples
) -> Float64[np.ndarray, "draw value"]:
    """The metric on the sample (first row) and on every resample."""
    rows = [metric(counts[plan.patient].astype(np.int64)) for chunk in plan.chunks() for counts in chunk]
    return np.asarray(rows, dtype=np.float64)


def summed_draws(terms: Float64[np.ndarray, "case term"], plan: PatientResamples) -> Float64[np.ndarray, "draw term"]:
    """Sum of each column over the sample (first row) and over every resample: one matrix product for all of them.

    Any metric that is a function of sums (Brier, sensitivity, ECE with fixed bins) follows from these without another pass.
    """
    order = np.argsort(plan.patient, kind="stable")
    starts = np.searchsorted(plan.patient[order], np.arange(plan.n_patients))
    by_patient = np.add.reduceat(terms[order], starts, axis=0)
    return np.concatenate([chunk.astype(np.float64) @ by_patient for chunk in plan.chunks()])


def ranking_draws(
    labels: Real[np.ndarray, "case finding"], scores: Real[np.ndarray, "case finding"], plan: PatientResamples
) -> tuple[Float64[np.ndarray, "draw finding"], Float64[np.ndarray, "draw finding"]]:
    """AUROC and AUPRC of each finding on the sample (first row) and on every resample.

    Raises:
        ShapeMismatch: Labels, scores and the plan do not go together.
        ValueOutOfRange: A score is NaN where the label is known.
    """
    from vesalius.metrics import bootstrap_kernels as kernels

    truth, numbers = known_table(labels, scores)
    if len(truth) != len(plan.patient):
        raise ShapeMismatch(f"labels {truth.shape}, patients {plan.patient.shape}; expected one patient a case")
    findings = kernels.sort_findings(truth, numbers, plan.patient)
    parts = [kernels.ranking_draws(chunk, findings) for chunk in kernels.one_ahead(plan.chunks(256))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, inside [0, 1] also at 0 and at n; (NaN, NaN) for n = 0. Takes the cases as independent.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001.
    Checked against: scipy.stats.binomtest(...).proportion_ci(method="wilson") (tests/reference).
    """
    if n == 0:
        return math.nan, math.nan
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
