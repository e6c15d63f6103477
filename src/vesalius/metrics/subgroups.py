"""Who is served worse? Each metric in each group of patients, and its gap to everyone else, on the same resamples of patients.

A group with fewer than ten present or ten absent cases of a finding says "insufficient" instead of a number that would be
taken for one. Gaps are tested many times over, so each p-value is also given after Holm's correction over the whole table; read
them as a search for trouble, not as proof of fairness. AUPRC and its gap move with the group's prevalence.

Source: Seyyed-Kalantari 2021 (under-diagnosis by subgroup, also where groups cross); the equal-rates criteria of Hardt 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.metrics.draws import proper_draws, rate_draws
from vesalius.metrics.intervals import Difference, Interval, PatientResamples, difference_of, interval_of, ranking_draws
from vesalius.metrics.paired_tests import holm


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
        p_holm: P-value of each gap among all gaps of the same metric in the table. Where an attribute has two groups, their gaps
            are one test, and count as one.
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
    p_holm: dict[str, float] = field(default_factory=dict)
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words."""
        plain = {name: getattr(self, name) for name in ("attribute", "group", "finding", "n", "n_positive", "n_patients", "reason")}
        tables = {name: {key: cell.to_json() for key, cell in getattr(self, name).items()} for name in ("metrics", "gaps")}
        return {**plain, **tables, "p_holm": {key: None if math.isnan(p) else p for key, p in self.p_holm.items()}}


def subgroup_table(
    labels: Real[np.ndarray, "case finding"],
    probabilities: Real[np.ndarray, "case finding"],
    groups: Mapping[str, Sequence[Any]],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    findings: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
    intersections: Sequence[Sequence[str]] = (),
    options: SubgroupOptions = SubgroupOptions(),
) -> list[SubgroupRow]:
    """One row for each attribute, group and finding, in the order given; groups sorted by name, intersections last.

    Args:
        labels: 1, 0, NaN unknown.
        probabilities: Calibrated.
        groups: From an attribute to one value a case; None and NaN belong to no group.
        patients: Whose case it is; None takes each as a patient of its own.
        findings: Names of the columns.
        thresholds: One a finding: p >= threshold is called present.
        intersections: Attributes to cross, `[("sex", "age_band")]`: the attribute is then "sex x age_band" and a group "F x 60-80".
        options: Resamples, least counts, bins.

    Raises:
        ShapeMismatch: An attribute does not have one value a case.
        ValueOutOfRange: An intersection names an attribute that is not in `groups`.

    Checked against: the plain metrics on the group's own rows, and `bootstrap` (tests/unit).
    """
    truth, p = known_table(labels, probabilities)
    names = list(findings) if findings is not None else [f"finding {index}" for index in range(p.shape[1])]
    plan = PatientResamples.of(patients, len(p), resamples=options.resamples, seed=options.seed)
    cuts = None if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    rows: list[SubgroupRow] = []
    mirrored: list[bool] = []
    for attribute, words in _attributes(groups, intersections, len(p)).items():
        table = _GroupTable(truth, p, cuts, plan, options)
        present = sorted({word for word in words if word is not None})
        for place, group in enumerate(present):
            inside = words == group
            outside = ~inside & (words != None)  # noqa: E711 - element by element
            rows += [table.row(attribute, group, name, index, (inside, outside)) for index, name in enumerate(names)]
            mirrored += [len(present) == 2 and place == 1] * len(names)
    return _corrected(rows, mirrored, len(names))


def _attributes(
    groups: Mapping[str, Sequence[Any]], intersections: Sequence[Sequence[str]], n_cases: int
) -> dict[str, Shaped[np.ndarray, " case"]]:
    """Words of each attribute, then of each intersection; None where a case belongs to no group."""
    words: dict[str, Shaped[np.ndarray, " case"]] = {}
    for attribute, values in groups.items():
        words[attribute] = np.array([_word(value) for value in values], dtype=object)
        if words[attribute].shape != (n_cases,):
            raise ShapeMismatch(f"attribute {attribute!r} has {words[attribute].size} values; expected one a case: {n_cases}")
    for crossed in intersections:
        missing = [name for name in crossed if name not in groups]
        if missing:
            raise ValueOutOfRange(f"no attribute {missing[0]!r} to cross; there are {', '.join(groups)}")
        every = zip(*(words[name] for name in crossed), strict=True)
        joined = [None if None in parts else " x ".join(parts) for parts in every]
        words[" x ".join(crossed)] = np.array(joined, dtype=object)
    return words


def _corrected(rows: list[SubgroupRow], mirrored: list[bool], n_findings: int) -> list[SubgroupRow]:
    """Adds Holm's p-values, one family a metric; the second of two groups repeats the first's test, one block of rows above."""
    tables: list[dict[str, float]] = [{} for _ in rows]
    for metric in {name: None for row in rows for name in row.gaps}:
        own = [at for at, row in enumerate(rows) if metric in row.gaps and not mirrored[at]]
        for at, p in zip(own, holm(np.array([rows[at].gaps[metric].p_value for at in own])), strict=True):
            tables[at][metric] = float(p)
        for at, row in enumerate(rows):
            if metric in row.gaps and mirrored[at]:
                tables[at][metric] = tables[at - n_findings][metric]
    return [replace(row, p_holm=table) for row, table in zip(rows, tables, strict=True)]


def _word(value: Any) -> str | None:
    word = str(value)
    return None if value is None or word in {"", "nan", "NaN", "NaT", "<NA>"} else word


@dataclass(frozen=True)
class _GroupTable:
    labels: Float64[np.ndarray, "case finding"]
    probabilities: Float64[np.ndarray, "case finding"]
    thresholds: Float64[np.ndarray, " finding"] | None
    plan: PatientResamples
    options: SubgroupOptions
    made: dict[tuple[int, bytes], dict[str, Float64[np.ndarray, " draw"]]] = field(default_factory=dict)

    def row(
        self, attribute: str, group: str, name: str, index: int, sides: tuple[Bool[np.ndarray, " case"], Bool[np.ndarray, " case"]]
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
        return SubgroupRow(attribute, group, name, n, n_positive, n_patients, metrics, gaps, reason=reason)

    def _enough(self, labels: Float64[np.ndarray, " case"]) -> bool:
        positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
        return min(positive, negative) >= self.options.minimum_cases

    def _draws(self, labels: Float64[np.ndarray, " case"], index: int) -> dict[str, Float64[np.ndarray, " draw"]]:
        key = (index, labels.tobytes())  # of two groups, each is the other's outside
        if key not in self.made:
            self.made[key] = self._new_draws(labels, index)
        return self.made[key]

    def _new_draws(self, labels: Float64[np.ndarray, " case"], index: int) -> dict[str, Float64[np.ndarray, " draw"]]:
        p = self.probabilities[:, index]
        auroc, auprc = ranking_draws(labels[:, None], p[:, None], self.plan)
        draws = {"auroc": auroc[:, 0], "auprc": auprc[:, 0], **proper_draws(labels, p, self.plan, self.options.bins)}
        if self.thresholds is not None:
            rates = rate_draws(labels, p >= self.thresholds[index], self.plan)
            draws |= {key: rates[key] for key in ("sensitivity", "specificity")}
        return draws
