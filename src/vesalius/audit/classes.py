"""Classes that exclude each other: how often the likeliest is right, what is taken for what, and whether its probability holds.

One question stands behind all of it, "is the likeliest class the right one?", so the figures are those of one finding, asked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from vesalius.audit.answers import Answers
from vesalius.audit.distribution import share

if TYPE_CHECKING:
    from vesalius.audit.options import AuditOptions
    from vesalius.uncertainty.class_decisions import ClassPolicy
    from vesalius.uncertainty.selective import DecisionPolicy

NOT_OF_CLASSES = ("sensitivity", "specificity", "ppv", "npv", "brier_change", "nll_change", "aurc")
"""Figures of calls at a finding's own threshold, and of its own logit before calibration; classes have neither."""
NONE_KNOWN = {"value": None, "low": None, "high": None, "reason": "none of a known class"}
NONE_ANSWERED = {"value": None, "low": None, "high": None, "reason": "none of a known class was answered"}


def are_classes(policy: DecisionPolicy | ClassPolicy) -> bool:
    """Do the findings exclude each other, so that the likeliest is said or none?"""
    from vesalius.uncertainty.class_decisions import ClassPolicy

    return isinstance(policy, ClassPolicy)


def of_one_class(answers: Answers) -> Answers:
    """Returns the answers with one 1 a row of labels, or nothing known; several classes at once, or none, are no known one."""
    of = answers.labels == 1
    one = of.sum(axis=1, keepdims=True) == 1
    return replace(answers, labels=np.where(one, of.astype(np.float64), np.nan))


def describe_classes(answers: Answers, classes: Sequence[str], cut: float, options: AuditOptions) -> dict[str, Any]:
    """Returns `cohorts.NAME.classes` of audit.json: over all cases of a known class, and over those that were answered.

    Args:
        answers: Of one cohort; labels have one 1 a row, or nothing known.
        classes: Their names, in the order of the columns.
        cut: Least probability of the likeliest class that is answered.
        options: Resamples and seed.

    Checked against: scikit-learn's confusion matrix and balanced accuracy (tests/unit/audit/test_classes.py).
    """
    part = answers.take((answers.labels == 1).any(axis=1))
    truth, best = part.labels.argmax(axis=1), likeliest_class(part)
    patients, claims = part.patients.astype(str), likeliest(part)
    right, answered = best == truth, claims.decisions[:, 0] >= 0
    recall = {name: share(right[truth == at], patients[truth == at], options) for at, name in enumerate(classes)}
    return {
        "n": len(part),
        "cut": cut,
        "balanced_accuracy": _balanced_accuracy(part, truth, options),
        "accuracy": _known(share(right, patients, options)),
        "coverage": _known(share(answered, patients, options)),
        "error_answered": NONE_ANSWERED
        if len(part) and not answered.any()
        else _known(share(~right[answered], patients[answered], options)),
        "recall": recall,
        "confusion": _confusion(truth, best, answered, classes),
        "top": _describe_top(claims, options),
        "curves": _curves(claims),
    }


def likeliest_class(answers: Answers) -> Int64[np.ndarray, " case"]:
    """Returns the number of the likeliest class; of equal ones the first."""
    best: Int64[np.ndarray, " case"] = np.nan_to_num(answers.probabilities, nan=-1.0).argmax(axis=1)
    return best


def likeliest(answers: Answers) -> Answers:
    """Returns answers to one question: is the likeliest class the right one? The claim is always yes, or no answer."""
    rows, best = np.arange(len(answers)), likeliest_class(answers)
    known = (answers.labels == 1).any(axis=1)
    right = np.where(known, answers.labels[rows, best], np.nan)
    return replace(
        answers,
        logits=answers.logits[rows, best][:, None],
        probabilities=answers.probabilities[rows, best][:, None],
        decisions=np.where((answers.decisions >= 0).all(axis=1), 1, -1)[:, None],
        reasons=answers.reasons[rows, best][:, None],
        labels=right[:, None],
    )


def settle_classes(cohort: dict[str, Any], answers: Answers, classes: Sequence[str], cut: float, options: AuditOptions) -> None:
    """Turns what `describe_cohort` says of findings into what holds for classes: answers are counted by case."""
    from vesalius.audit.performance import describe_abstention

    for table in (*cohort["findings"].values(), cohort["macro"]):
        for measure in NOT_OF_CLASSES:
            table.pop(measure, None)
    for one in cohort["findings"].values():
        del one["curves"]["risk_coverage"]
    cohort["abstention"] = describe_abstention(likeliest(answers))
    cohort["classes"] = describe_classes(answers.take(answers.assessed), classes, cut, options)


def _known(one: dict[str, Any]) -> dict[str, Any]:
    return one if one["value"] is not None else NONE_KNOWN


def _balanced_accuracy(answers: Answers, truth: Int64[np.ndarray, " case"], options: AuditOptions) -> dict[str, Any]:
    from vesalius.zeroshot.slide_protocol import judge_prompt_sets

    if not len(answers):
        return NONE_KNOWN
    table, patients = {"likeliest": answers.probabilities[:, None, :]}, answers.patients.astype(str)
    (judged,) = judge_prompt_sets(table, truth, patients, resamples=options.resamples, seed=options.seed)
    return judged.median.to_json()


def _confusion(truth: Any, best: Any, answered: Any, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """From the true class to how many cases were taken for which: of all, of the answered, and how many got no answer."""

    def count(kept: Any) -> dict[str, dict[str, int]]:
        return {
            name: {other: int((kept & (truth == at) & (best == number)).sum()) for number, other in enumerate(classes)}
            for at, name in enumerate(classes)
        }

    none = {name: int(((truth == at) & ~answered).sum()) for at, name in enumerate(classes)}
    return {"likeliest": count(np.ones(len(truth), dtype=bool)), "answered": count(answered), "no_answer": none}


def _describe_top(claims: Answers, options: AuditOptions) -> dict[str, Any]:
    """ECE and Brier score of the likeliest class's probability, and how surely it tells right from wrong (AUROC)."""
    from vesalius.uncertainty import EvaluationOptions, evaluate

    measures = ("ece", "brier", "auroc")
    if not len(claims):
        return dict.fromkeys(measures, NONE_KNOWN) | {"ece_null": None}
    settings = EvaluationOptions(resamples=options.resamples, seed=options.seed)
    owners = claims.patients.astype(str)
    found = evaluate(claims.probabilities, claims.labels, owners, findings=["likeliest"], options=settings).to_json()
    return {name: found["findings"]["likeliest"][name] for name in (*measures, "ece_null")}


def _curves(claims: Answers) -> dict[str, Any]:
    """Of reliability, of the spread of probabilities, and of risk and coverage: with a threshold of 0 every claim is made."""
    from vesalius.audit.performance import describe_curves

    curves = describe_curves(claims, 0, 0.0)
    return {name: curves[name] for name in ("reliability", "histogram", "risk_coverage")}
