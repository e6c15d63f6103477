"""How right the answers are that a rule gave, and how many it gave: from decisions alone, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Integer, Shaped

from vesalius.metrics.draws import Draws, rate_draws
from vesalius.metrics.intervals import PatientResamples, interval_of, macro_draws, summed_draws


@dataclass(frozen=True)
class Given:
    """What was answered, beside the truth.

    Attributes:
        labels: 1, 0, NaN unknown.
        decisions: 1 present, 0 absent, -1 no answer.
        called: At or above the threshold, whether or not an answer was given.
        patients: Whose case it is.
    """

    labels: Float64[np.ndarray, "case finding"]
    decisions: Integer[np.ndarray, "case finding"]
    called: Bool[np.ndarray, "case finding"]
    patients: Shaped[np.ndarray, " case"]

    def plan(self, resamples: int, seed: int) -> PatientResamples:
        """The draws of patients behind every interval: those of `evaluate` on the same patients."""
        owners = self.patients.astype(str) if self.patients.dtype == object else self.patients
        return PatientResamples.of(owners, len(self.labels), resamples=resamples, seed=seed)


def describe_answered(given: Given, findings: Sequence[str], plan: PatientResamples) -> dict[str, dict[str, Any]]:
    """Sensitivity, specificity and error among the answers given, and how many those are, for each finding and macro."""
    tables = []
    for truth, decided in zip(given.labels.T, given.decisions.T, strict=True):
        answered, wrong = decided >= 0, np.isfinite(truth) & (decided >= 0) & (decided != truth)
        rates = rate_draws(np.where(answered, truth, np.nan), decided == 1, plan)
        counts = np.column_stack([np.isfinite(truth), np.isfinite(truth) & answered, wrong]).astype(float)
        known, kept, missed = summed_draws(counts, plan).T
        table = {f"{name}_answered": rates[name] for name in ("sensitivity", "specificity", "ppv", "npv")}
        table["coverage"] = kept / np.where(known > 0, known, np.nan)
        table["error_answered"] = missed / np.where(kept > 0, kept, np.nan)
        tables.append(table)
    return _intervals(tables, findings, plan)


def describe_called(given: Given, findings: Sequence[str], plan: PatientResamples) -> dict[str, dict[str, Any]]:
    """Sensitivity, specificity, predictive values and F1 as if every case were answered, for each finding and macro."""
    tables = [rate_draws(truth, called, plan) for truth, called in zip(given.labels.T, given.called.T, strict=True)]
    return _intervals(tables, findings, plan)


def _intervals(tables: Sequence[dict[str, Draws]], findings: Sequence[str], plan: PatientResamples) -> dict[str, dict[str, Any]]:
    macro = {key: macro_draws(np.column_stack([table[key] for table in tables])) for key in tables[0]}
    return {
        name: {key: interval_of(draws, n_patients=plan.n_patients).to_json() for key, draws in table.items()}
        for name, table in zip([*findings, "macro"], [*tables, macro], strict=True)
    }


def open_ends(figures: dict[str, Any], given: Given, index: int) -> dict[str, Any]:
    """Returns the figures, where a share of none or all has Wilson's interval, one count a patient.

    Every resample of 17 right answers of 17 says 100 %; an interval of no width would claim what nobody has shown.
    """
    from vesalius.metrics import wilson_interval

    truth, decided, called = given.labels[:, index], given.decisions[:, index], given.called[:, index]
    known, answered = np.isfinite(truth), decided >= 0
    of = {"sensitivity": truth == 1, "specificity": truth == 0, "ppv": known & called, "npv": known & ~called}
    of |= {f"{name}_answered": mask & answered for name, mask in of.items() if name in {"sensitivity", "specificity"}}
    of |= {"ppv_answered": known & (decided == 1), "npv_answered": known & (decided == 0)}
    of |= {"coverage": known, "error_answered": known & answered}
    mended = dict(figures)
    for name, mask in of.items():
        one = figures[name]
        if one["value"] in (0.0, 1.0) and one["low"] == one["high"] == one["value"]:
            n_patients = len(np.unique(given.patients[mask].astype(str)))
            low, high = wilson_interval(n_patients if one["value"] else 0, n_patients)
            mended[name] = one | {"low": low, "high": high}
    return mended
