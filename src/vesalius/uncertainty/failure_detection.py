"""Which measure of doubt finds the wrong answers? Each one measured as a detector of failures, on one set of cases or on several.

    for row in failure_detection_table({"softmax distance": u, "spread": v}, failures, patients, baseline="softmax distance"):
        row.measure, row.auroc.value, row.augrc.low, row.auroc_change.p_value

AUROC says how well doubt orders wrong above right; it does not see how many are wrong. AUGRC and AURC say what is gained by setting
the doubtful aside, and do. All intervals draw patients, all measures share the draws. A measure is always shown on cases that did
not help to fit it.

Sources: Jaeger 2023, arXiv:2211.15259 (failure detection as the common task); Traub 2024, arXiv:2407.01032 (AUGRC); Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels, tie_blocks
from vesalius.metrics.intervals import Difference, Interval, PatientResamples, difference_of, interval_of

FIGURES = ("auroc", "augrc", "aurc")

Column = Float64[np.ndarray, "case"]
Draws = dict[str, Float64[np.ndarray, " draw"]]


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve, one at the end of each block of equal scores, from (0, 0) to (1, 1).

    Attributes:
        false_positive_rate: Share of right answers that are flagged.
        true_positive_rate: Share of wrong answers that are flagged.
        threshold: The smallest doubt that is flagged; inf for the first point.
    """

    false_positive_rate: Float64[np.ndarray, " point"]
    true_positive_rate: Float64[np.ndarray, " point"]
    threshold: Float64[np.ndarray, " point"]

    @classmethod
    def of(cls, failures: Shaped[np.ndarray, " case"], uncertainty: Real[np.ndarray, " case"]) -> RocCurve:
        """The curve of one measure; NaN rates where one kind of answer is all there is.

        Checked against: sklearn.metrics.roc_curve(drop_intermediate=False) (tests/reference).
        """
        blocks = tie_blocks(failures, uncertainty)

        def share(counts: Float64[np.ndarray, " block"]) -> Float64[np.ndarray, " point"]:
            total = counts.sum()
            return np.concatenate([[0.0], np.cumsum(counts)]) / (total if total else np.nan)

        return cls(share(blocks.negative), share(blocks.positive), np.concatenate([[np.inf], blocks.scores]))


@dataclass(frozen=True)
class FailureDetection:
    """One measure on one set of cases.

    Attributes:
        measure: Its name.
        cases: Name of the set.
        n: Cases with a known outcome and a value of the measure.
        n_failures: Wrong answers among them.
        n_patients: Whose they are.
        n_missing: Cases with a known outcome where the measure is NaN: left out of this row.
        auroc: Chance that a wrong answer is more doubtful than a right one.
        augrc: Area under the generalised risk, in [0, 1/2]; lower is better.
        aurc: Area under the risk-coverage curve; lower is better.
        roc: The ROC curve; None where there is none.
        reason: Why there are no figures; None where there are.
        changes: This measure minus the baseline, by the name of the figure, on the cases where both are known; empty without one.
        p_holm: The p-values of `changes`, each figure adjusted by Holm for the measures of all sets in the table.
    """

    measure: str
    cases: str
    n: int
    n_failures: int
    n_patients: int
    n_missing: int
    auroc: Interval
    augrc: Interval
    aurc: Interval
    roc: RocCurve | None
    reason: str | None
    changes: dict[str, Difference]
    p_holm: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, without the points of the curve; what is not defined is None."""
        changes = {
            name: {**change.to_json(), "p_value": _plain(change.p_value), "p_holm": _plain(self.p_holm.get(name, math.nan))}
            for name, change in self.changes.items()
        }
        counts = {
            name: getattr(self, name) for name in ("measure", "cases", "n", "n_failures", "n_patients", "n_missing", "reason")
        }
        return {**counts, **{name: getattr(self, name).to_json() for name in FIGURES}, "changes": changes}


@dataclass(frozen=True)
class FailureCases:
    """One set of cases: what each measure says of them, and which were answered wrongly.

    Attributes:
        measures: From the name of a measure to its value for each case, higher = less sure; NaN where it failed.
        failures: 1 wrong, 0 right, NaN (or -1) unknown.
        patients: Whose case it is; None takes each as a patient of its own.
        losses: What a case costs in [0, 1] in place of 0 or 1, for AUGRC and AURC only (1 - Dice, say); None takes the failures.
    """

    measures: Mapping[str, Real[np.ndarray, " case"]]
    failures: Shaped[np.ndarray, " case"]
    patients: Shaped[np.ndarray, " case"] | None = None
    losses: Real[np.ndarray, " case"] | None = None


def failure_detection_table(
    measures: Mapping[str, Real[np.ndarray, " case"]],
    failures: Shaped[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    baseline: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[FailureDetection, ...]:
    """Measures every doubt as a detector of wrong answers; one row a measure, in their order.

    Where no answer is wrong, or none is right, nothing can be detected: the rows have a reason and no figures.

    Args:
        measures: From the name of a measure to its value for each case, higher = less sure; NaN where it failed.
        failures: 1 wrong, 0 right, NaN (or -1) unknown.
        patients: Whose case it is; None takes each as a patient of its own.
        baseline: The measure that the others are compared with, on the same resamples; None compares nothing.
        resamples: Draws of patients.
        seed: Same seed, same draws.
        confidence: Of the intervals.

    Raises:
        EmptyInput: No measure, or no case with a known outcome.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A baseline that is no measure, or an outcome other than 1, 0, -1, NaN.

    Source: Jaeger 2023; Traub 2024; Holm 1979.
    Checked against: sklearn's weighted AUROC on the same resamples, `augrc` and `aurc` case by case (tests/reference).
    """
    one = {"all": FailureCases(measures, failures, patients)}
    return failure_detection_over_sets(one, baseline=baseline, resamples=resamples, seed=seed, confidence=confidence)


def failure_detection_over_sets(
    sets: Mapping[str, FailureCases],
    *,
    baseline: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[FailureDetection, ...]:
    """`failure_detection_table` on several sets (at home, elsewhere): rows set by set; Holm counts all comparisons of a figure.

    Sets are different patients and are not compared with each other: look at whether their intervals tell the same story.

    Raises:
        EmptyInput: No set, or as `failure_detection_table`.
        ShapeMismatch: The lengths of a set differ.
        ValueOutOfRange: As `failure_detection_table`.
    """
    if not sets:
        raise EmptyInput("no set of cases; give at least one, by name")
    rows: list[FailureDetection] = []
    for name, cases in sets.items():
        checked = _Checked.of(name, cases)
        plan = PatientResamples.of(cases.patients, len(checked.failures), resamples=resamples, seed=seed)
        if baseline is not None and baseline not in checked.measures:
            raise ValueOutOfRange(f"baseline {baseline!r} is no measure of {name!r}; it has: {', '.join(checked.measures)}")
        rows += [_row(checked, measure, baseline, plan, confidence) for measure in checked.measures]
    return _adjusted(rows)


@dataclass(frozen=True)
class _Checked:
    """One set as float64, checked."""

    name: str
    measures: dict[str, Column]
    failures: Column
    losses: Column

    @classmethod
    def of(cls, name: str, cases: FailureCases) -> _Checked:
        failures = known_labels(cases.failures)
        measures = {key: np.asarray(values, dtype=np.float64) for key, values in cases.measures.items()}
        losses = failures if cases.losses is None else np.asarray(cases.losses, dtype=np.float64)
        if not measures:
            raise EmptyInput(f"set {name!r} has no measure; give at least one, by name")
        shapes = {key: values.shape for key, values in {**measures, "losses": losses}.items() if values.shape != failures.shape}
        if shapes or failures.ndim != 1:
            raise ShapeMismatch(f"failures {failures.shape}, {shapes} of set {name!r}; expected equal (case,)")
        if np.isnan(failures).all():
            raise EmptyInput(f"set {name!r} has no case with a known outcome")
        known = ~np.isnan(failures)
        if not ((losses[known] >= 0) & (losses[known] <= 1)).all():
            raise ValueOutOfRange(f"a loss of set {name!r} lies outside [0, 1], or is NaN where the outcome is known")
        return cls(name, measures, failures, np.where(known, losses, np.nan))

    def seen(self, *measures: str) -> tuple[Column, Column]:
        """Failures and losses, NaN where one of these measures is."""
        gone = np.any([np.isnan(self.measures[name]) for name in measures], axis=0)
        return np.where(gone, np.nan, self.failures), np.where(gone, np.nan, self.losses)


def _row(cases: _Checked, measure: str, baseline: str | None, plan: PatientResamples, confidence: float) -> FailureDetection:
    failures, losses = cases.seen(measure)
    known = ~np.isnan(failures)
    n, n_failures = int(known.sum()), int(np.nansum(failures))
    n_patients = len(np.unique(plan.patient[known]))
    reason = None
    if n == 0:
        reason = "the measure is NaN in every case with a known outcome"
    elif n_failures in (0, n):
        reason = f"{n_failures} of {n} answers are wrong: there is nothing to tell apart"
    if reason is None:
        draws = _draws(failures, losses, cases.measures[measure], plan)
        figures = {name: interval_of(values, confidence, n_patients=n_patients) for name, values in draws.items()}
    else:
        figures = dict.fromkeys(FIGURES, Interval(math.nan, math.nan, math.nan, plan.resamples, reason=reason))
    changes = {} if baseline in (None, measure) else _changes(cases, measure, str(baseline), plan, confidence)
    roc = RocCurve.of(failures, cases.measures[measure]) if reason is None else None
    n_missing = int((~np.isnan(cases.failures)).sum()) - n
    return FailureDetection(
        measure, cases.name, n, n_failures, n_patients, n_missing, **figures, roc=roc, reason=reason, changes=changes, p_holm={}
    )


def _draws(failures: Column, losses: Column, uncertainty: Column, plan: PatientResamples) -> Draws:
    from vesalius.metrics import bootstrap_kernels as kernels

    doubt = np.where(np.isnan(failures), 0.0, uncertainty)  # the kernels leave these cases out by their outcome
    ranked = kernels.sort_finding(failures, doubt, plan.patient)
    ordered = kernels.sort_risk(doubt, losses, plan.patient)
    parts = [(kernels.ranking_draws(chunk, [ranked])[0], *kernels.risk_draws(chunk, [ordered])) for chunk in plan.chunks()]
    auroc, aurc, augrc = (np.concatenate([part[place][:, 0] for part in parts]) for place in range(3))
    return {"auroc": auroc, "augrc": augrc, "aurc": aurc}


def _changes(cases: _Checked, measure: str, baseline: str, plan: PatientResamples, confidence: float) -> dict[str, Difference]:
    failures, losses = cases.seen(measure, baseline)
    known = failures[~np.isnan(failures)]
    if not known.size or known.min() == known.max():
        why = f"{int(known.sum())} of {known.size} answers are wrong where both measures are known: nothing to tell apart"
        return dict.fromkeys(FIGURES, Difference(math.nan, math.nan, math.nan, plan.resamples, reason=why))
    n_patients = len(np.unique(plan.patient[~np.isnan(failures)]))
    before, after = (_draws(failures, losses, cases.measures[name], plan) for name in (baseline, measure))
    return {name: difference_of(before[name], after[name], confidence, n_patients=n_patients) for name in FIGURES}


def _adjusted(rows: list[FailureDetection]) -> tuple[FailureDetection, ...]:
    """Holm's adjustment of each figure over all rows that were compared and have a p-value."""
    from vesalius.metrics import holm

    adjusted: list[dict[str, float]] = [{} for _ in rows]
    for name in FIGURES:
        places = [at for at, row in enumerate(rows) if name in row.changes and not math.isnan(row.changes[name].p_value)]
        if places:
            values = holm(np.array([rows[at].changes[name].p_value for at in places]))
            for at, value in zip(places, values, strict=True):
                adjusted[at][name] = float(value)
    return tuple(replace(row, p_holm=p_holm) for row, p_holm in zip(rows, adjusted, strict=True))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
