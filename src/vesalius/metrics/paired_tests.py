"""Is the second model better? Each finding and metric on the same resamples of patients, and Holm's correction for asking often.

Sources: Holm 1979; Efron & Tibshirani 1993, chapter 16 (bootstrap tests); the pairing of resamples is that of `difference_of`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.metrics.draws import Draws, proper_draws, rate_draws
from vesalius.metrics.intervals import (
    Difference,
    Interval,
    PatientResamples,
    difference_of,
    interval_of,
    macro_draws,
    ranking_draws,
)

Metric = Literal["auroc", "auprc", "brier", "sensitivity", "specificity", "ppv", "npv", "f1", "mcc"]

_RATES = {"sensitivity", "specificity", "ppv", "npv", "f1", "mcc"}


def holm(p_values: Real[np.ndarray, "*tests"]) -> Float64[np.ndarray, "*tests"]:
    """Adjusted p-values of one family of tests, in [0, 1]: rejecting those below a level holds the chance of any false rejection.

    NaN (not estimable) stays NaN and counts as no test.

    Raises:
        ValueOutOfRange: A p-value outside [0, 1].

    Source: Holm 1979.
    Checked against: statsmodels.stats.multitest.multipletests(method="holm") (tests/reference/test_paired_tests.py).
    """
    values = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values.ravel()))
    raw = values.ravel()[known]
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueOutOfRange("a p-value lies outside [0, 1]; NaN where a test could not be made")
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate((raw.size - np.arange(raw.size)) * raw[order])
    adjusted = np.full(values.size, np.nan)
    adjusted[known[order]] = np.minimum(steps, 1.0)
    return adjusted.reshape(values.shape)


@dataclass(frozen=True)
class PairedTest:
    """One metric of one finding under two models.

    Attributes:
        finding: Its name, or "macro".
        metric: Name of the metric.
        first: Of the model compared with.
        second: Of the other model.
        difference: Second minus first, with its p-value.
        p_holm: The p-value among those of the same metric over all findings; that of the macro figure stands alone.
    """

    finding: str
    metric: str
    first: Interval
    second: Interval
    difference: Difference
    p_holm: float

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words."""
        cells = {name: getattr(self, name).to_json() for name in ("first", "second", "difference")}
        return {"finding": self.finding, "metric": self.metric, **cells, "p_holm": None if math.isnan(self.p_holm) else self.p_holm}


@dataclass(frozen=True)
class PairedOptions:
    """How two models are compared.

    Attributes:
        metrics: Any of `auroc auprc brier` (of probabilities) and, with thresholds, `sensitivity specificity ppv npv f1 mcc`.
        resamples: Draws of patients.
        seed: Same seed, same draws.
        confidence: Of the intervals.
    """

    metrics: tuple[Metric, ...] = ("auroc", "auprc")
    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95


def compare_models(
    labels: Real[np.ndarray, "case finding"],
    first: Real[np.ndarray, "case finding"],
    second: Real[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    findings: Sequence[str] | None = None,
    thresholds: tuple[Sequence[float], Sequence[float]] | None = None,
    options: PairedOptions = PairedOptions(),
) -> list[PairedTest]:
    """One row for each metric and finding, then its macro row: both models, the difference, and p-values before and after Holm.

    A p-value of draws is never below 2 / (resamples + 1): with many findings take more resamples, or `delong_test` for AUROC.

    Args:
        labels: 1, 0, NaN unknown.
        first: Scores or probabilities of the model compared with.
        second: Of the other model, on the same cases.
        patients: Whose case it is; None takes each as a patient of its own.
        findings: Names of the columns.
        thresholds: One a finding for the first model, and for the second: a score at or above it is called present.
        options: Metrics, resamples, seed, confidence.

    Raises:
        ShapeMismatch: The tables or thresholds do not go together.
        ValueOutOfRange: An unknown metric, or one of calls without thresholds.

    Checked against: `bootstrap_difference` of the plain metrics (tests/unit/metrics/test_paired_tests.py).
    """
    unknown = [name for name in options.metrics if name not in get_args(Metric)]
    if unknown:
        raise ValueOutOfRange(f"metric {unknown[0]!r}; expected some of {', '.join(get_args(Metric))}")
    if thresholds is None and _RATES & set(options.metrics):
        raise ValueOutOfRange(f"{sorted(_RATES & set(options.metrics))[0]} needs thresholds: one a finding for each model")
    truth, _ = known_table(labels, first)
    names = [f"finding {index}" for index in range(truth.shape[1])] if findings is None else list(findings)
    if len(names) != truth.shape[1]:
        raise ShapeMismatch(f"{len(names)} names for {truth.shape[1]} findings; expected one a column")
    plan = PatientResamples.of(patients, len(truth), resamples=options.resamples, seed=options.seed)
    before, after = (
        _draws(truth, known_table(labels, scores)[1], plan, cuts, options.metrics)
        for scores, cuts in zip((first, second), thresholds or (None, None), strict=True)
    )
    rows: list[PairedTest] = []
    for metric in options.metrics:
        rows += _rows(metric, names, (before[metric], after[metric]), plan, options.confidence)
    return rows


def _rows(
    metric: str,
    names: list[str],
    draws: tuple[Float64[np.ndarray, "draw finding"], Float64[np.ndarray, "draw finding"]],
    plan: PatientResamples,
    confidence: float,
) -> list[PairedTest]:
    columns = [[*side.T, macro_draws(side)] for side in draws]
    first, second = ([interval_of(one, confidence, n_patients=plan.n_patients) for one in side] for side in columns)
    changes = [difference_of(a, b, confidence, n_patients=plan.n_patients) for a, b in zip(*columns, strict=True)]
    adjusted = [*holm(np.array([one.p_value for one in changes[:-1]])), changes[-1].p_value]
    cells = zip([*names, "macro"], first, second, changes, adjusted, strict=True)
    return [PairedTest(name, metric, a, b, change, float(p)) for name, a, b, change, p in cells]


def _draws(
    labels: Float64[np.ndarray, "case finding"],
    scores: Float64[np.ndarray, "case finding"],
    plan: PatientResamples,
    thresholds: Sequence[float] | None,
    metrics: tuple[Metric, ...],
) -> dict[str, Float64[np.ndarray, "draw finding"]]:
    found: dict[str, Float64[np.ndarray, "draw finding"]] = {}
    if {"auroc", "auprc"} & set(metrics):
        found["auroc"], found["auprc"] = ranking_draws(labels, scores, plan)
    columns: dict[str, list[Draws]] = {}
    if thresholds is not None and len(thresholds) != labels.shape[1]:
        raise ShapeMismatch(f"{len(thresholds)} thresholds for {labels.shape[1]} findings; expected one a finding")
    for index in range(labels.shape[1]):
        truth, values = labels[:, index], scores[:, index]
        if "brier" in metrics:
            columns.setdefault("brier", []).append(proper_draws(truth, values, plan)["brier"])
        if thresholds is not None:
            for name, column in rate_draws(truth, values >= thresholds[index], plan).items():
                columns.setdefault(name, []).append(column)
    return found | {name: np.column_stack(every) for name, every in columns.items()}
