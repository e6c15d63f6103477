"""The figures of one cohort: every metric of every finding with its interval, the curves, and what was left unanswered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from vesalius.audit.answered import Given, describe_answered, open_ends
from vesalius.audit.answers import Answers
from vesalius.audit.curves import histogram, logit_distance, reliability_bins, risk_coverage_points, roc_points
from vesalius.types import Reason

if TYPE_CHECKING:
    from vesalius.audit.options import AuditOptions
    from vesalius.uncertainty.class_decisions import ClassPolicy
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
    what: str,
    answers: Answers,
    sites: Sequence[str],
    findings: Sequence[str],
    policy: DecisionPolicy | ClassPolicy,
    options: AuditOptions,
) -> dict[str, Any]:
    """Returns `cohorts.internal` or `cohorts.external` of audit.json."""
    assessed = answers.take(answers.assessed)
    evaluated = _evaluate(assessed, findings, policy, options)
    called = assessed.probabilities >= np.asarray(policy.thresholds)
    given = Given(assessed.labels, assessed.decisions, called, assessed.patients)
    answered = describe_answered(given, findings, given.plan(options.resamples, options.seed))
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
            **open_ends(evaluated[name] | answered[name], given, index),
            "curves": describe_curves(assessed, index, float(policy.thresholds[index])),
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
    answers: Answers, findings: Sequence[str], policy: DecisionPolicy | ClassPolicy, options: AuditOptions
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


def describe_curves(answers: Answers, index: int, threshold: float) -> dict[str, Any]:
    """Returns what the figures of one finding draw: reliability, ROC, risk-coverage and the spread of probabilities."""
    known = np.isfinite(answers.labels[:, index])
    truth, p = answers.labels[known, index], answers.probabilities[known, index]
    return {
        "reliability": reliability_bins(truth, p),
        "roc": roc_points(truth, p),
        "risk_coverage": _risk_coverage(answers.take(known), index, threshold),
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
