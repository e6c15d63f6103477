"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EvaluationOptions:
    """resamples, seed, bins, confidence."""

    resamples: int = 1000
    seed: int = 0
    bins: int = 15
    confidence: float = 0.95


@dataclass(frozen=True)
class Evaluation:
    """findings[name] and macro: dicts of counts and Interval (metrics.intervals); to_json() is the shape of `uq --json`.

    Keys: n, n_positive, n_patients, prevalence, auroc, auprc, brier, nll, ece, ece_null, aurc, augrc; with logits= also brier_uncalibrated,
    nll_uncalibrated, ece_uncalibrated, brier_change, nll_change (calibrated minus uncalibrated, paired interval); with policy= also threshold,
    sensitivity, specificity, ppv, npv, f1 (at the threshold, every known case) and coverage, selective_error (after abstention).
    """

    findings: dict[str, dict[str, Any]]
    macro: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain dict; undefined numbers are null."""
        raise NotImplementedError


def evaluate(
    probabilities: Any,
    labels: Any,
    patients: Any = None,
    logits: Any = None,
    *,
    findings: Any = None,
    policy: Any = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> Evaluation:  # noqa: B008,E501
    """Every figure of one set of cases, per finding and macro, with patient-clustered intervals."""
    raise NotImplementedError
