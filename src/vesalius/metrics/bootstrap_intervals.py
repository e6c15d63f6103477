"""Patient-clustered intervals in one call: of any metric that takes weights, and, compiled, of AUROC and AUPRC.

Rules and parts: `vesalius.metrics.intervals`.

Sources: Efron & Tibshirani 1993, chapters 13 and 14; Field & Welsh 2007 (clustered bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import ValueOutOfRange
from vesalius.metrics.bca import bca_interval_of, ranking_influence
from vesalius.metrics.intervals import (
    Difference,
    Interval,
    PatientResamples,
    Weights,
    difference_of,
    interval_of,
    macro_draws,
    ranking_draws,
    weighted_draws,
)

Method = Literal["percentile", "bca"]


def bootstrap(
    metric: Callable[[Weights], float],
    patients: Shaped[np.ndarray, " case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    method: Method = "percentile",
    stratify_by: Shaped[np.ndarray, " case *finding"] | None = None,
) -> Interval:
    """Patient-clustered interval of any metric that takes whole-number weights.

    Args:
        metric: From multiplicities of the cases to the figure; NaN where they do not define it.
        patients: Any name or number of the patient of each case.
        resamples: How many draws of patients.
        seed: Same seed, same draws.
        confidence: 0.95 for a 95 % interval.
        method: "percentile", or "bca", which also leaves each patient out once (as many calls of `metric` more).
        stratify_by: Labels; patients with any present case are drawn apart from the others (see `PatientResamples.of`).

    Raises:
        EmptyInput: No case.
        ValueOutOfRange: An unknown method.

    Source: Field & Welsh 2007; Efron & Tibshirani 1993, 13.3 and 14.3.
    Checked against: scipy.stats.bootstrap, both methods (tests/reference); coverage in simulation (tests/statistical).
    """

    def one(weights: Weights) -> Float64[np.ndarray, " value"]:
        return np.array([metric(weights)])

    plan = PatientResamples.of(patients, len(patients), resamples=resamples, seed=seed, stratify_by=stratify_by)
    return _intervals(one, plan, confidence, method)[0]


def bootstrap_many(
    metric: Callable[[Weights], Float64[np.ndarray, " value"]],
    patients: Shaped[np.ndarray, " case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    method: Method = "percentile",
    stratify_by: Shaped[np.ndarray, " case *finding"] | None = None,
) -> tuple[Interval, ...]:
    """`bootstrap` for a metric of several figures, all on the same resamples."""
    plan = PatientResamples.of(patients, len(patients), resamples=resamples, seed=seed, stratify_by=stratify_by)
    return _intervals(metric, plan, confidence, method)


def _intervals(
    metric: Callable[[Weights], Float64[np.ndarray, " value"]], plan: PatientResamples, confidence: float, method: Method
) -> tuple[Interval, ...]:
    _check(method)
    draws = weighted_draws(metric, plan)
    if method == "percentile":
        return tuple(interval_of(column, confidence, n_patients=plan.n_patients) for column in draws.T)
    influence = -weighted_draws(metric, plan.leave_one_out())[1:]
    pairs = zip(draws.T, influence.T, strict=True)
    return tuple(bca_interval_of(column, one, confidence, positive=plan.positive) for column, one in pairs)


def _check(method: str) -> None:
    if method not in get_args(Method):
        raise ValueOutOfRange(f"method {method!r}; expected one of {', '.join(get_args(Method))}")


def bootstrap_difference(
    first: Callable[[Weights], float],
    second: Callable[[Weights], float],
    patients: Shaped[np.ndarray, " case"],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    stratify_by: Shaped[np.ndarray, " case *finding"] | None = None,
) -> Difference:
    """Second metric minus first (two models, or after and before calibration), both on the same resamples of patients.

    A percentile interval, which agrees with its p-value; for BCa give the difference itself to `bootstrap`.
    """
    plan = PatientResamples.of(patients, len(patients), resamples=resamples, seed=seed, stratify_by=stratify_by)
    draws = weighted_draws(lambda weights: np.array([first(weights), second(weights)]), plan)
    return difference_of(draws[:, 0], draws[:, 1], confidence, n_patients=plan.n_patients)


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
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    method: Method = "percentile",
    stratified: bool = False,
) -> RankingIntervals:
    """Patient-clustered intervals of AUROC and AUPRC of every finding and of their macro, from one set of resamples.

    `stratified` draws patients with any present case of any finding apart from the others. An AUROC of 1 in every draw gives an
    interval of no width: `delong` has a bound for it.

    Checked against: `bootstrap` with sklearn's weighted metrics on the same resamples (tests/reference).
    """
    _check(method)
    plan = PatientResamples.of(
        patients, len(scores), resamples=resamples, seed=seed, stratify_by=np.asarray(labels) if stratified else None
    )
    by_metric = [np.column_stack([draws, macro_draws(draws)]) for draws in ranking_draws(labels, scores, plan)]
    found: list[list[Interval]] = []
    if method == "percentile":
        found = [[interval_of(column, confidence, n_patients=plan.n_patients) for column in draws.T] for draws in by_metric]
    else:
        for draws, influence in zip(by_metric, ranking_influence(labels, scores, plan), strict=True):
            pairs = zip(draws.T, influence.T, strict=True)
            found.append([bca_interval_of(column, one, confidence, positive=plan.positive) for column, one in pairs])
    (*auroc, macro_auroc), (*auprc, macro_auprc) = found
    return RankingIntervals(tuple(auroc), tuple(auprc), macro_auroc, macro_auprc)


def bootstrap_ranking_difference(
    labels: Real[np.ndarray, "case finding"],
    first: Real[np.ndarray, "case finding"],
    second: Real[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, " case"] | None = None,
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
