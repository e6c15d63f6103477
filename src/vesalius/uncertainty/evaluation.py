"""Every figure of one set of cases in one call: ranking, calibration, decisions and abstention, each with its interval.

    report = evaluate(probabilities, labels, patients)
    report.findings["Effusion"]["auroc"].low, report.macro["ece"].value, report.to_json()

All metrics of all findings, and their macro, come from the same resamples of patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy.special import expit, logit

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.calibration import ece_null_distribution
from vesalius.metrics.classification import known_table
from vesalius.metrics.draws import Draws, nll_draws, proper_draws, rate_draws
from vesalius.metrics.intervals import (
    Interval,
    PatientResamples,
    difference_of,
    interval_of,
    macro_draws,
    ranking_draws,
    summed_draws,
)
from vesalius.uncertainty.class_decisions import ClassPolicy
from vesalius.uncertainty.curves import decision_residuals
from vesalius.uncertainty.selective import DecisionPolicy

_SMALLEST = 1e-15  # the log likelihood of a probability of 0 or 1 that did not come from a calibrator here


@dataclass(frozen=True)
class EvaluationOptions:
    """How figures and intervals are made.

    Attributes:
        resamples: Draws of patients.
        seed: Same seed, same draws.
        bins: Of the expected calibration error (equal width).
        confidence: Of the intervals.
    """

    resamples: int = 1000
    seed: int = 0
    bins: int = 15
    confidence: float = 0.95


@dataclass(frozen=True)
class Evaluation:
    """Figures of each finding and of their macro.

    Attributes:
        findings: From the name of a finding to its figures. Numbers: `n n_positive n_patients prevalence`, with a policy also
            `threshold`, and `ece_null` (`median` and `p95`, the 95th percentile, of the ECE that a perfectly calibrated model would
            show by chance). An `Interval` each: `auroc auprc brier nll ece overprediction aurc augrc`; with raw logits also
            `brier_uncalibrated nll_uncalibrated ece_uncalibrated`, and `brier_change nll_change` (calibrated minus raw, a
            `Difference`); with a policy also `sensitivity specificity ppv npv f1` (at the threshold, every known case),
            `coverage` and `selective_error` (among answers).
        macro: `n n_patients n_findings ece_null`, and the mean over findings of every interval above on the same resamples.
    """

    findings: dict[str, dict[str, Any]]
    macro: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the shape of `vesalius uq --json`; what is not defined is None."""
        return {"findings": {name: _plain(row) for name, row in self.findings.items()}, "macro": _plain(self.macro)}


def evaluate(
    probabilities: Real[np.ndarray, "case finding"],
    labels: Real[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    logits: Real[np.ndarray, "case finding"] | None = None,
    *,
    findings: Sequence[str] | None = None,
    policy: DecisionPolicy | ClassPolicy | None = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> Evaluation:
    """Measures probabilities against labels, per finding and macro, with patient-clustered intervals.

    Args:
        probabilities: Calibrated.
        labels: 1, 0, NaN unknown (-1 counts as unknown).
        patients: Whose case it is; None takes each case as a patient of its own.
        logits: Before calibration, to show what calibration changed.
        findings: Names of the columns.
        policy: The locked decision rule; without it calls are made at 0.5 for AURC and AUGRC.
        options: Resamples, bins, confidence.

    Raises:
        ShapeMismatch: The arrays, names or policy do not go together.
        ValueOutOfRange: A probability outside [0, 1], or NaN where the label is known.

    Checked against: each metric's own function, and `bootstrap` on the same resamples (tests/unit).
    """
    truth, p = known_table(labels, probabilities)
    names = [f"finding {index}" for index in range(p.shape[1])] if findings is None else list(findings)
    if len(names) != p.shape[1] or len(set(names)) != len(names):
        raise ShapeMismatch(f"{len(names)} names for {p.shape[1]} findings; expected one each, all different")
    known = ~np.isnan(truth)
    if not ((p[known] >= 0) & (p[known] <= 1)).all():
        raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
    plan = PatientResamples.of(patients, len(p), resamples=options.resamples, seed=options.seed)
    raw = None if logits is None else known_table(labels, logits)[1]
    cases = _Cases(truth, p, raw, policy, plan, options)
    auroc, auprc = ranking_draws(truth, p, plan)
    tables = [{"auroc": auroc[:, k], "auprc": auprc[:, k], **cases.draws(k)} for k in range(len(names))]
    rows = {name: {**cases.counts(k), **cases.intervals(tables[k], k)} for k, name in enumerate(names)}
    macro = {"n": len(p), "n_patients": plan.n_patients, "n_findings": len(names), **cases.macro(tables)}
    return Evaluation(rows, macro)


@dataclass(frozen=True)
class _Cases:
    labels: Float64[np.ndarray, "case finding"]
    probabilities: Float64[np.ndarray, "case finding"]
    logits: Float64[np.ndarray, "case finding"] | None
    policy: DecisionPolicy | ClassPolicy | None
    plan: PatientResamples
    options: EvaluationOptions

    def counts(self, index: int) -> dict[str, Any]:
        known = ~np.isnan(self.labels[:, index])
        truth = self.labels[known, index]
        row: dict[str, Any] = {
            "n": len(truth),
            "n_positive": int(truth.sum()),
            "n_patients": len(np.unique(self.plan.patient[known])),
        }
        row["prevalence"] = float(truth.mean()) if truth.size else math.nan
        row["ece_null"] = _middle_and_end(self.null(index))
        if self.policy is not None:
            row["threshold"] = float(self.policy.thresholds[index])
        return row

    def null(self, index: int) -> Float64[np.ndarray, " resamples"]:
        """ECE of one finding under perfect calibration; findings draw their truths apart. NaN without a known label."""
        p, options = self.probabilities[~np.isnan(self.labels[:, index]), index], self.options
        resamples = max(options.resamples, 100)
        if not p.size:
            return np.full(resamples, np.nan)
        return ece_null_distribution(p, bins=options.bins, resamples=resamples, seed=options.seed + index)

    def draws(self, index: int) -> dict[str, Draws]:
        """Every metric of one finding but the ranking ones, on the sample and on every resample."""
        truth, p = self.labels[:, index], self.probabilities[:, index]
        draws = proper_draws(truth, p, self.plan, self.options.bins)
        draws["nll"] = nll_draws(truth, _logit(p), self.plan)
        draws |= self._risk(truth, p, index)
        if self.logits is not None:
            z = self.logits[:, index]
            before = proper_draws(truth, expit(z), self.plan, self.options.bins)
            draws |= {f"{name}_uncalibrated": before[name] for name in ("brier", "ece")}
            draws["nll_uncalibrated"] = nll_draws(truth, z, self.plan)
        if self.policy is not None:
            draws |= rate_draws(truth, p >= self.policy.thresholds[index], self.plan)
            draws |= self._answers(truth, index)
        return draws

    def _risk(self, truth: Float64[np.ndarray, " case"], p: Float64[np.ndarray, " case"], index: int) -> dict[str, Draws]:
        from vesalius.metrics import bootstrap_kernels as kernels

        threshold = 0.5 if self.policy is None else float(self.policy.thresholds[index])
        doubt = -np.abs(_logit(p) - _logit(np.float64(threshold)))
        ordered = kernels.sort_risk(doubt, decision_residuals(truth, p, threshold), self.plan.patient)
        parts = [kernels.risk_draws(chunk, [ordered]) for chunk in self.plan.chunks()]
        return {name: np.concatenate([part[place][:, 0] for part in parts]) for place, name in enumerate(("aurc", "augrc"))}

    def _answers(self, truth: Float64[np.ndarray, " case"], index: int) -> dict[str, Draws]:
        assert self.policy is not None
        decided = self.policy.decide(self.probabilities)[:, index]
        known = ~np.isnan(truth)
        answered = known & (decided >= 0)
        cells = np.column_stack([known, answered, answered & (decided != truth)])
        n, kept, wrong = summed_draws(cells.astype(np.float64), self.plan).T
        return {"coverage": kept / np.where(n > 0, n, np.nan), "selective_error": wrong / np.where(kept > 0, kept, np.nan)}

    def intervals(self, draws: dict[str, Draws], index: int) -> dict[str, Interval]:
        n_patients = len(np.unique(self.plan.patient[~np.isnan(self.labels[:, index])]))
        return self._intervals(draws, n_patients)

    def macro(self, tables: list[dict[str, Draws]]) -> dict[str, Any]:
        if not tables:
            return {}
        null = macro_draws(np.column_stack([self.null(index) for index in range(len(tables))]))
        draws = {name: macro_draws(np.column_stack([table[name] for table in tables])) for name in tables[0]}
        return {"ece_null": _middle_and_end(null), **self._intervals(draws, self.plan.n_patients)}

    def _intervals(self, draws: dict[str, Draws], n_patients: int) -> dict[str, Interval]:
        confidence = self.options.confidence
        found: dict[str, Interval] = {}
        for name, values in draws.items():
            found[name] = interval_of(values, confidence, n_patients=n_patients, centred=name.startswith("ece"))
        for name in ("brier", "nll"):
            if f"{name}_uncalibrated" in draws:
                before = draws[f"{name}_uncalibrated"]
                found[f"{name}_change"] = difference_of(before, draws[name], confidence, n_patients=n_patients)
        return found


def _logit(p: Any) -> Any:
    return logit(np.clip(p, _SMALLEST, 1 - _SMALLEST))


def _middle_and_end(null: Float64[np.ndarray, " resamples"]) -> dict[str, float]:
    return {"median": float(np.median(null)), "p95": float(np.quantile(null, 0.95))}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.to_json()
    if isinstance(value, dict):
        return {name: _plain(cell) for name, cell in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
