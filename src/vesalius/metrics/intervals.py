"""How far a figure may be trusted: intervals that draw patients, not images.

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
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped, UInt16
from scipy.special import ndtri

from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.metrics.classification import known_table

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


@dataclass(frozen=True)
class PatientResamples:
    """Draws of patients with replacement: give the same object to several metrics, and they are compared on the same draws.

    Attributes:
        patient: Number of the patient of each case, 0 to n_patients - 1.
        n_patients: How many there are.
        resamples: How many draws.
        seed: Same seed, same draws.
    """

    patient: Int64[np.ndarray, "case"]
    n_patients: int
    resamples: int = 1000
    seed: int = 0

    @classmethod
    def of(
        cls, patients: Shaped[np.ndarray, "case"] | None, n_cases: int, *, resamples: int = 1000, seed: int = 0
    ) -> PatientResamples:
        """Numbers the patients; None makes each case its own patient (right only if no patient has two images).

        Raises:
            EmptyInput: No case.
            ShapeMismatch: Not one patient a case.
        """
        owners = np.arange(n_cases) if patients is None else np.asarray(patients)
        if n_cases == 0:
            raise EmptyInput("no case; an interval needs at least one")
        if owners.shape != (n_cases,):
            raise ShapeMismatch(f"patients {owners.shape}; expected one a case: ({n_cases},)")
        names, number = np.unique(owners, return_inverse=True)
        return cls(number.astype(np.int64), len(names), resamples, seed)

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
        for start in range(0, self.resamples, size):
            counts = np.empty((min(size, self.resamples - start), self.n_patients), dtype=np.uint16)
            for row in counts:
                row[:] = np.bincount(random.integers(self.n_patients, size=self.n_patients), minlength=self.n_patients)
            yield counts


def interval_of(
    draws: Float64[np.ndarray, "draw"], confidence: float = 0.95, *, n_patients: int | None = None, centred: bool = False
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


def difference_of(
    first: Float64[np.ndarray, "draw"],
    second: Float64[np.ndarray, "draw"],
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


def macro_draws(draws: Float64[np.ndarray, "draw finding"]) -> Float64[np.ndarray, "draw"]:
    """Mean over the findings that each resample defines; NaN where it defines none.

    A finding that the sample itself does not define is left out of every resample.
    """
    defined = draws[:, ~np.isnan(draws[0])]
    known = ~np.isnan(defined)
    total = np.where(known, defined, 0.0).sum(axis=1)
    mean: Float64[np.ndarray, "draw"] = np.full(len(draws), np.nan)
    np.divide(total, known.sum(axis=1), out=mean, where=known.any(axis=1))
    return mean


def bootstrap(
    metric: Callable[[Weights], float],
    patients: Shaped[np.ndarray, "case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Patient-clustered percentile interval of any metric that takes whole-number weights.

    Args:
        metric: From multiplicities of the cases to the figure; NaN where they do not define it.
        patients: Any name or number of the patient of each case.
        resamples: How many draws of patients.
        seed: Same seed, same draws.
        confidence: 0.95 for a 95 % interval.

    Raises:
        EmptyInput: No case.

    Source: Field & Welsh 2007; Efron & Tibshirani 1993, 13.3.
    Checked against: scipy.stats.bootstrap (tests/reference); its coverage in simulation (tests/statistical).
    """
    return bootstrap_many(
        lambda weights: np.array([metric(weights)]), patients, resamples=resamples, seed=seed, confidence=confidence
    )[0]


def bootstrap_many(
    metric: Callable[[Weights], Float64[np.ndarray, "value"]],
    patients: Shaped[np.ndarray, "case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """`bootstrap` for a metric of several figures, all on the same resamples."""
    plan = PatientResamples.of(patients, len(patients), resamples=resamples, seed=seed)
    draws = weighted_draws(metric, plan)
    return tuple(interval_of(column, confidence, n_patients=plan.n_patients) for column in draws.T)


def bootstrap_difference(
    first: Callable[[Weights], float],
    second: Callable[[Weights], float],
    patients: Shaped[np.ndarray, "case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Second metric minus first (two models, or after and before calibration), both on the same resamples of patients."""
    plan = PatientResamples.of(patients, len(patients), resamples=resamples, seed=seed)
    draws = weighted_draws(lambda weights: np.array([first(weights), second(weights)]), plan)
    return difference_of(draws[:, 0], draws[:, 1], confidence, n_patients=plan.n_patients)


def weighted_draws(
    metric: Callable[[Weights], Float64[np.ndarray, "value"]], plan: PatientResamples
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
    findings = [kernels.sort_finding(truth[:, k], numbers[:, k], plan.patient) for k in range(truth.shape[1])]
    parts = [kernels.ranking_draws(chunk, findings) for chunk in plan.chunks()]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


@dataclass(frozen=True)
class RankingIntervals:
    """AUROC and AUPRC, one interval a finding in order, and their macro over findings on the same resamples."""

    auroc: tuple[Interval, ...]
    auprc: tuple[Interval, ...]
    macro_auroc: Interval
    macro_auprc: Interval


def bootstrap_ranking(
    labels: Real[np.ndarray, "case finding"],
    scores: Real[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, "case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> RankingIntervals:
    """Patient-clustered intervals of AUROC and AUPRC of every finding and of their macro, from one set of resamples.

    Checked against: `bootstrap` with sklearn's weighted metrics on the same resamples (tests/reference).
    """
    plan = PatientResamples.of(patients, len(scores), resamples=resamples, seed=seed)

    def intervals(draws: Float64[np.ndarray, "draw finding"]) -> tuple[tuple[Interval, ...], Interval]:
        every = [interval_of(column, confidence, n_patients=plan.n_patients) for column in (*draws.T, macro_draws(draws))]
        return tuple(every[:-1]), every[-1]

    by_metric = [intervals(draws) for draws in ranking_draws(labels, scores, plan)]
    return RankingIntervals(by_metric[0][0], by_metric[1][0], by_metric[0][1], by_metric[1][1])


def bootstrap_ranking_difference(
    labels: Real[np.ndarray, "case finding"],
    first: Real[np.ndarray, "case finding"],
    second: Real[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, "case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, tuple[Difference, ...]]:
    """Second model minus first on the same resamples: `auroc` and `auprc`, one a finding, the macro last."""
    plan = PatientResamples.of(patients, len(first), resamples=resamples, seed=seed)
    pairs = zip(("auroc", "auprc"), ranking_draws(labels, first, plan), ranking_draws(labels, second, plan), strict=True)
    return {
        name: tuple(
            difference_of(a, b, confidence, n_patients=plan.n_patients)
            for a, b in zip((*before.T, macro_draws(before)), (*after.T, macro_draws(after)), strict=True)
        )
        for name, before, after in pairs
    }


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
