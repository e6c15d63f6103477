"""Who is served worse? Each metric in each group of patients, and its gap to everyone else, on the same resamples of patients.

A group with fewer than ten present or ten absent cases of a finding says "insufficient" instead of a number that would be
taken for one. Gaps are tested many times over: read them as a search for trouble, not as proof of fairness.

Source: Seyyed-Kalantari 2021 (under-diagnosis by subgroup); the equal-rates criteria of Hardt 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import ShapeMismatch
from vesalius.metrics.classification import known_table
from vesalius.metrics.draws import proper_draws, rate_draws
from vesalius.metrics.intervals import Difference, Interval, PatientResamples, difference_of, interval_of, ranking_draws


@dataclass(frozen=True)
class SubgroupOptions:
    """How a subgroup table is made.

    Attributes:
        resamples: Draws of patients.
        seed: Same seed, same draws.
        minimum_cases: Least number of present, and of absent, cases of a finding in a group.
        bins: Of the calibration error.
        confidence: Of the intervals.
    """

    resamples: int = 1000
    seed: int = 0
    minimum_cases: int = 10
    bins: int = 15
    confidence: float = 0.95


@dataclass(frozen=True)
class SubgroupRow:
    """One finding in one group.

    Attributes:
        attribute: What the cases were grouped by (`sex`).
        group: Its value (`F`).
        finding: Name of the finding.
        n: Known cases of the finding in the group.
        n_positive: Present ones.
        n_patients: Patients with a known case.
        metrics: `auroc auprc brier ece overprediction`, and with thresholds `sensitivity specificity`; empty if insufficient.
        gaps: Group minus all other cases whose group is known; empty where either side is insufficient. Not for `ece`, which is
            the larger the fewer the cases, so that its gap would compare sizes; `overprediction` (signed) shows the difference.
        reason: `insufficient: ...`, or None.
    """

    attribute: str
    group: str
    finding: str
    n: int
    n_positive: int
    n_patients: int
    metrics: dict[str, Interval] = field(default_factory=dict)
    gaps: dict[str, Difference] = field(default_factory=dict)
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words."""
        plain = {name: getattr(self, name) for name in ("attribute", "group", "finding", "n", "n_positive", "n_patients", "reason")}
        tables = {name: {key: cell.to_json() for key, cell in getattr(self, name).items()} for name in ("metrics", "gaps")}
        return {**plain, **tables}


def subgroup_table(
    probabilities: Real[np.ndarray, "case finding"],
    labels: Real[np.ndarray, "case finding"],
    groups: Mapping[str, Sequence[Any]],
    patients: Shaped[np.ndarray, "case"] | None = None,
    *,
    findings: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
    options: SubgroupOptions = SubgroupOptions(),
) -> list[SubgroupRow]:
    """One row for each attribute, group and finding, in the order given; groups sorted by name.

    Args:
        probabilities: Calibrated.
        labels: 1, 0, NaN unknown.
        groups: From an attribute to one value a case; None and NaN belong to no group.
        patients: Whose case it is; None takes each as a patient of its own.
        findings: Names of the columns.
        thresholds: One a finding: p >= threshold is called present.
        options: Resamples, least counts, bins.

    Raises:
        ShapeMismatch: An attribute does not have one value a case.

    Checked against: the plain metrics on the group's own rows, and `bootstrap` (tests/reference).
    """
    truth, p = known_table(labels, probabilities)
    names = list(findings) if findings is not None else [f"finding {index}" for index in range(p.shape[1])]
    plan = PatientResamples.of(patients, len(p), resamples=options.resamples, seed=options.seed)
    cuts = None if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    rows: list[SubgroupRow] = []
    for attribute, values in groups.items():
        words = np.array([_word(value) for value in values], dtype=object)
        if words.shape != (len(p),):
            raise ShapeMismatch(f"attribute {attribute!r} has {words.size} values; expected one a case: {len(p)}")
        for group in sorted({word for word in words if word is not None}):
            inside = words == group
            outside = ~inside & (words != None)  # noqa: E711 - element by element
            table = _GroupTable(truth, p, cuts, plan, options)
            rows += [table.row(attribute, group, name, index, (inside, outside)) for index, name in enumerate(names)]
    return rows


def _word(value: Any) -> str | None:
    word = str(value)
    return None if value is None or word in {"", "nan", "NaN", "NaT", "<NA>"} else word


@dataclass(frozen=True)
class _GroupTable:
    labels: Float64[np.ndarray, "case finding"]
    probabilities: Float64[np.ndarray, "case finding"]
    thresholds: Float64[np.ndarray, "finding"] | None
    plan: PatientResamples
    options: SubgroupOptions

    def row(
        self, attribute: str, group: str, name: str, index: int, sides: tuple[Bool[np.ndarray, "case"], Bool[np.ndarray, "case"]]
    ) -> SubgroupRow:
        inside, outside = (np.where(side, self.labels[:, index], np.nan) for side in sides)
        known = ~np.isnan(inside)
        n, n_positive, n_patients = int(known.sum()), int(np.nansum(inside)), len(np.unique(self.plan.patient[known]))
        metrics: dict[str, Interval] = {}
        gaps: dict[str, Difference] = {}
        reason = None
        if not self._enough(inside):
            least = self.options.minimum_cases
            reason = f"insufficient: {n_positive} present and {n - n_positive} absent, {least} of each are needed"
        else:
            draws, confidence = self._draws(inside, index), self.options.confidence
            for key, values in draws.items():
                metrics[key] = interval_of(values, confidence, n_patients=n_patients, centred=key == "ece")
            if self._enough(outside):
                others = self._draws(outside, index)
                compared = [key for key in draws if key != "ece"]
                gaps = {key: difference_of(others[key], draws[key], confidence, n_patients=n_patients) for key in compared}
        return SubgroupRow(attribute, group, name, n, n_positive, n_patients, metrics, gaps, reason)

    def _enough(self, labels: Float64[np.ndarray, "case"]) -> bool:
        positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
        return min(positive, negative) >= self.options.minimum_cases

    def _draws(self, labels: Float64[np.ndarray, "case"], index: int) -> dict[str, Float64[np.ndarray, "draw"]]:
        p = self.probabilities[:, index]
        auroc, auprc = ranking_draws(labels[:, None], p[:, None], self.plan)
        draws = {"auroc": auroc[:, 0], "auprc": auprc[:, 0], **proper_draws(labels, p, self.plan, self.options.bins)}
        if self.thresholds is not None:
            rates = rate_draws(labels, p >= self.thresholds[index], self.plan)
            draws |= {key: rates[key] for key in ("sensitivity", "specificity")}
        return draws
