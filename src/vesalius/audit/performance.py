"""The figures of one cohort: every metric of every finding with its interval, the curves, and what was left unanswered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64

from vesalius.audit.answers import Answers
from vesalius.audit.curves import histogram, logit_distance, reliability_bins, risk_coverage_points, roc_points
from vesalius.types import Reason

if TYPE_CHECKING:
    from vesalius.audit.options import AuditOptions
    from vesalius.uncertainty.selective import DecisionPolicy

MEASURES = (
    "auroc",
    "auprc",
    "brier",
    "brier_change",
    "nll",
    "nll_change",
    "ece",
    "aurc",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
)


def describe_cohort(
    what: str, answers: Answers, sites: Sequence[str], findings: Sequence[str], policy: DecisionPolicy, options: AuditOptions
) -> dict[str, Any]:
    """Returns `cohorts.internal` or `cohorts.external` of audit.json."""
    assessed = answers.take(answers.assessed)
    evaluated = _evaluate(assessed, findings, policy, options)
    answered = _answered(assessed, findings, options)
    by_finding = {}
    for index, name in enumerate(findings):
        truth = assessed.labels[:, index]
        by_finding[name] = {
            "n": int(np.isfinite(truth).sum()),
            "n_positive": int((truth == 1).sum()),
            "prevalence": float(np.nanmean(truth)) if np.isfinite(truth).any() else None,
            "threshold": float(policy.thresholds[index]),
            "abstain_low": float(policy.low[index]),
            "abstain_high": float(policy.high[index]),
            **open_ends(evaluated[name] | answered[name], assessed, index, float(policy.thresholds[index])),
            "curves": describe_curves(assessed, index, policy),
        }
    return {
        "what": what,
        "sites": list(sites),
        "n_films": len(answers),
        "n_patients": len(set(answers.patients)),
        "n_assessed": len(assessed),
        "n_normal": int(answers.normal.sum()),
        "findings": by_finding,
        "macro": evaluated["macro"] | answered["macro"],
        "abstention": describe_abstention(answers),
    }


def _evaluate(
    answers: Answers, findings: Sequence[str], policy: DecisionPolicy, options: AuditOptions
) -> dict[str, dict[str, Any]]:
    from vesalius.uncertainty import EvaluationOptions, evaluate

    found = evaluate(
        answers.probabilities,
        answers.labels,
        answers.patients.astype(str),
        answers.logits,
        findings=list(findings),
        policy=policy,
        options=EvaluationOptions(resamples=options.resamples, seed=options.seed),
    ).to_json()
    tables = dict(found["findings"]) | {"macro": found["macro"]}
    return {name: {key: table[key] for key in (*MEASURES, "ece_null")} for name, table in tables.items()}


def _answered(answers: Answers, findings: Sequence[str], options: AuditOptions) -> dict[str, dict[str, Any]]:
    """Sensitivity, specificity and error among the answers given, and how many those are, from the predictor's own decisions."""
    from vesalius.metrics.draws import rate_draws
    from vesalius.metrics.intervals import PatientResamples, interval_of, macro_draws, summed_draws

    plan = PatientResamples.of(answers.patients.astype(str), len(answers), resamples=options.resamples, seed=options.seed)
    draws: dict[str, list[Float64[np.ndarray, "draw"]]] = {}
    for index in range(len(findings)):
        truth, decided = answers.labels[:, index], answers.decisions[:, index]
        given, wrong = decided >= 0, np.isfinite(truth) & (decided >= 0) & (decided != truth)
        rates = rate_draws(np.where(given, truth, np.nan), decided == 1, plan)
        known, kept, missed = summed_draws(
            np.column_stack([np.isfinite(truth), np.isfinite(truth) & given, wrong]).astype(float), plan
        ).T
        for name, values in (
            ("sensitivity_answered", rates["sensitivity"]),
            ("specificity_answered", rates["specificity"]),
            ("ppv_answered", rates["ppv"]),
            ("npv_answered", rates["npv"]),
            ("coverage", kept / np.where(known > 0, known, np.nan)),
            ("error_answered", missed / np.where(kept > 0, kept, np.nan)),
        ):
            draws.setdefault(name, []).append(values)
    names = {key: [*columns, macro_draws(np.column_stack(columns))] for key, columns in draws.items()}
    return {
        name: {key: interval_of(columns[index], n_patients=plan.n_patients).to_json() for key, columns in names.items()}
        for index, name in enumerate([*findings, "macro"])
    }


def open_ends(figures: dict[str, Any], answers: Answers, index: int, threshold: float) -> dict[str, Any]:
    """Returns the figures, where a share of none or all has Wilson's interval, one count a patient.

    Every resample of 17 right answers of 17 says 100 %; an interval of no width would claim what nobody has shown.
    """
    from vesalius.metrics import wilson_interval

    truth, decided = answers.labels[:, index], answers.decisions[:, index]
    known, given, called = np.isfinite(truth), decided >= 0, answers.probabilities[:, index] >= threshold
    of = {"sensitivity": truth == 1, "specificity": truth == 0, "ppv": known & called, "npv": known & ~called}
    of |= {f"{name}_answered": mask & given for name, mask in of.items() if name in {"sensitivity", "specificity"}}
    of |= {"ppv_answered": known & (decided == 1), "npv_answered": known & (decided == 0)}
    of |= {"coverage": known, "error_answered": known & given}
    mended = dict(figures)
    for name, mask in of.items():
        one = figures[name]
        if one["value"] in (0.0, 1.0) and one["low"] == one["high"] == one["value"]:
            n_patients = len(np.unique(answers.patients[mask].astype(str)))
            low, high = wilson_interval(n_patients if one["value"] else 0, n_patients)
            mended[name] = one | {"low": low, "high": high}
    return mended


def describe_curves(answers: Answers, index: int, policy: DecisionPolicy) -> dict[str, Any]:
    """Returns what the figures of one finding draw: reliability, ROC, risk-coverage and the spread of probabilities."""
    known = np.isfinite(answers.labels[:, index])
    truth, p = answers.labels[known, index], answers.probabilities[known, index]
    return {
        "reliability": reliability_bins(truth, p),
        "roc": roc_points(truth, p),
        "risk_coverage": _risk_coverage(answers.take(known), index, float(policy.thresholds[index])),
        "histogram": histogram(truth, p),
    }


def _risk_coverage(answers: Answers, index: int, threshold: float) -> dict[str, Any]:
    truth, p, decided = (getattr(answers, name)[:, index] for name in ("labels", "probabilities", "decisions"))
    wrong = ((p >= threshold) != truth).astype(np.float64)
    given = decided >= 0
    risk = float((decided != truth)[given].mean()) if given.any() else None
    locked = {"coverage": float(given.mean()) if len(given) else None, "risk": risk}
    return {**risk_coverage_points(-logit_distance(p, threshold), wrong), "locked": locked}


def describe_abstention(answers: Answers) -> dict[str, Any]:
    """Returns how many answers were given, how many withheld for each reason, and the same for whole films."""
    n_answers = int(answers.decisions.size)
    withheld = {str(reason): int((answers.reasons == str(reason)).sum()) for reason in Reason}
    given: Bool[np.ndarray, "case finding"] = answers.decisions >= 0
    return {
        "n_answers": n_answers,
        "answered_share": float(given.mean()) if n_answers else 0.0,
        "by_reason": {"answered": int(given.sum())} | withheld,
        "films": {
            "every_finding_answered": int(given.all(axis=1).sum()),
            "some_withheld": int((given.any(axis=1) & ~given.all(axis=1)).sum()),
            "every_finding_withheld": int((~given).all(axis=1).sum()),
        },
    }
