"""Is it as good for everyone? The audit's table of subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from vesalius.audit.answers import Answers

if TYPE_CHECKING:
    import pandas as pd

    from vesalius.audit.options import AuditOptions
    from vesalius.metrics.subgroups import SubgroupRow

AGE_BANDS = ((40, "under 40"), (60, "40 to 59"), (76, "60 to 75"), (200, "over 75"))
"""Upper ends (years, not included) of the bands; completed years, as DICOM gives them."""

MINIMUM_CASES, MINIMUM_PATIENTS = 10, 10
MEASURES = ("auroc", "sensitivity", "specificity", "ece")
GAPS = ("auroc", "sensitivity", "specificity")
"""ECE has none: it is biased upwards, the more so in the smaller group."""
YES_NO = {True: "yes", False: "no"}


def age_band(years: float | None) -> str | None:
    """Returns the band an age falls in; None where the age is unknown."""
    if years is None or not np.isfinite(years) or years < 0:
        return None
    return next((word for end, word in AGE_BANDS if years < end), None)


def group_values(manifest: pd.DataFrame, by: str) -> list[str | None] | None:
    """Returns the group of every case as a word, None where it is unknown; None altogether if there is no such column."""
    import pandas as pd

    column = "age_years" if by == "age_band" else by
    if column not in manifest:
        return None
    values: list[Any] = manifest[column].astype(object).where(manifest[column].notna(), None).tolist()
    if by == "age_band":
        return [age_band(None if value is None else float(value)) for value in values]
    if pd.api.types.is_bool_dtype(manifest[column]):
        return [None if value is None else YES_NO[bool(value)] for value in values]
    return [None if value is None or str(value) == "" else str(value) for value in values]


def describe_groups(
    answers: Answers,
    manifest: pd.DataFrame,
    findings: Sequence[str],
    thresholds: Float64[np.ndarray, " finding"],
    options: AuditOptions,
    *,
    classes: bool = False,
) -> list[dict[str, Any]]:
    """Returns, for one cohort, a block for each column of `options.by`; `manifest` holds the rows of `answers`, in order.

    Of `classes`, which exclude each other, nobody is called at a threshold of his own: instead of sensitivity and specificity
    stands `accuracy`, the share of cases whose likeliest class is the right one.
    """
    greatest = answers.probabilities.max(axis=1, keepdims=True)
    called = np.asarray(answers.probabilities >= (greatest if classes else thresholds))
    blocks: list[dict[str, Any]] = []
    for by in options.by:
        values = group_values(manifest, by)
        if values is None:
            blocks.append({"by": by, "absent": "there is no such column", "groups": []})
        elif all(value is None for value in values):
            blocks.append({"by": by, "absent": "not recorded for any of them", "groups": []})
        else:
            words = np.array(values, dtype=object)
            groups = _describe_column(answers, called, words, findings, thresholds, options)
            blocks.append({"by": by, "absent": None, "groups": groups})
    return [_of_classes(block) for block in blocks] if classes else blocks


def _of_classes(block: dict[str, Any]) -> dict[str, Any]:
    """Returns the block of classes called by the likeliest: a true class found is a case called right."""
    groups = []
    for group in block["groups"]:
        pooled = _without(group["pooled"], "sensitivity", "specificity")
        pooled |= {name: group["pooled"][name.replace("accuracy", "sensitivity")] for name in ("accuracy", "accuracy_gap")}
        findings = {name: _without(one, "sensitivity", "specificity") for name, one in group["findings"].items()}
        groups.append(group | {"pooled": pooled, "findings": findings})
    return block | {"groups": groups}


def _without(figures: Mapping[str, Any], *measures: str) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key.removesuffix("_gap") not in measures}


def _describe_column(
    answers: Answers,
    called: Bool[np.ndarray, "case finding"],
    words: Shaped[np.ndarray, " case"],
    findings: Sequence[str],
    thresholds: Float64[np.ndarray, " finding"],
    options: AuditOptions,
) -> list[dict[str, Any]]:
    rows = _rows(answers, words, findings, thresholds, options)
    pooled = _pooled_rows(answers, words, called, options)
    order = [word for _, word in AGE_BANDS]
    names = sorted(
        {word for word in words if word is not None}, key=lambda word: (order.index(word) if word in order else -1, word)
    )
    groups = []
    for name in names:
        inside = words == name
        outside = ~inside & np.array([word is not None for word in words])
        n_patients = [len(set(answers.patients[side])) for side in (inside, outside)]
        by_finding = {row.finding: _withhold(_plain(row), *n_patients) for row in rows if row.group == name}
        macro = _macro_auroc(answers, inside, outside, options)
        groups.append(
            {
                "value": name,
                "n": int(inside.sum()),
                "n_patients": n_patients[0],
                "n_sufficient": sum(one["sufficient"] for one in by_finding.values()),
                "macro": None if macro is None or n_patients[0] < MINIMUM_PATIENTS else _withhold(macro, *n_patients),
                "pooled": _withhold(pooled[name], *n_patients),
                "findings": by_finding,
            }
        )
    return groups


def _withhold(figures: dict[str, Any], n_patients: int, n_others: int) -> dict[str, Any]:
    """Drops what so few patients cannot carry: drawing three patients again and again shows nothing of a fourth."""
    kept = dict(figures)
    if n_others < MINIMUM_PATIENTS:
        kept |= {key: None for key in figures if key.endswith("_gap")}
    if n_patients < MINIMUM_PATIENTS:
        kept |= {key: None for key, value in figures.items() if isinstance(value, dict)}
        kept |= {
            "sufficient": False,
            "reason": f"insufficient: {n_patients} patient{'s' if n_patients != 1 else ''}, {MINIMUM_PATIENTS} are needed",
        }
    return kept


def _rows(
    answers: Answers,
    words: Shaped[np.ndarray, " case"],
    findings: Sequence[str],
    thresholds: Float64[np.ndarray, " finding"],
    options: AuditOptions,
) -> list[SubgroupRow]:
    from vesalius.metrics.subgroups import SubgroupOptions, subgroup_table

    settings = SubgroupOptions(resamples=options.resamples, seed=options.seed, minimum_cases=MINIMUM_CASES)
    return subgroup_table(
        answers.labels,
        answers.probabilities,
        {"group": list(words)},
        answers.patients.astype(str),
        findings=findings,
        thresholds=list(thresholds),
        options=settings,
    )


def _pooled_rows(
    answers: Answers, words: Shaped[np.ndarray, " case"], called: Bool[np.ndarray, "case finding"], options: AuditOptions
) -> dict[str, dict[str, Any]]:
    """All findings as one list of answers: few patients have ten of each finding, and this still sees a group served worse."""
    from vesalius.metrics.subgroups import SubgroupOptions, subgroup_table

    n_findings = answers.labels.shape[1]
    settings = SubgroupOptions(resamples=options.resamples, seed=options.seed, minimum_cases=MINIMUM_CASES)
    groups, patients = {"group": list(np.repeat(words, n_findings))}, np.repeat(answers.patients.astype(str), n_findings)
    labels = answers.labels.reshape(-1, 1)
    decided = called.astype(np.float64).reshape(-1, 1)
    by_decision = subgroup_table(labels, decided, groups, patients, thresholds=[0.5], options=settings)
    by_probability = subgroup_table(labels, answers.probabilities.reshape(-1, 1), groups, patients, options=settings)
    pooled = {}
    for by_call, probable in zip(by_decision, by_probability, strict=True):
        rates, ece = _plain(by_call), _plain(probable)
        pooled[by_call.group] = {key: value for key, value in rates.items() if not key.startswith("auroc")} | {"ece": ece["ece"]}
    return pooled


def _macro_auroc(
    answers: Answers, inside: Bool[np.ndarray, " case"], outside: Bool[np.ndarray, " case"], options: AuditOptions
) -> dict[str, Any] | None:
    """Mean AUROC over the findings with enough films on this side, and its gap over those with enough on both."""
    from vesalius.metrics.intervals import PatientResamples, difference_of, interval_of, macro_draws, ranking_draws

    plan = PatientResamples.of(answers.patients.astype(str), len(answers), resamples=options.resamples, seed=options.seed)
    within, without = (np.where(side[:, None], answers.labels, np.nan) for side in (inside, outside))
    here, there = enough(within), enough(without)
    if not here.any():
        return None
    draws, _ = ranking_draws(within, answers.probabilities, plan)
    result = {"auroc": interval_of(macro_draws(draws[:, here]), n_patients=plan.n_patients).to_json(), "auroc_gap": None}
    both = here & there
    if both.any():
        others, _ = ranking_draws(without, answers.probabilities, plan)
        gap = difference_of(macro_draws(others[:, both]), macro_draws(draws[:, both]), n_patients=plan.n_patients)
        result["auroc_gap"] = gap.to_json()
    return result


def enough(labels: Float64[np.ndarray, "case finding"]) -> Bool[np.ndarray, " finding"]:
    """Whether each finding has at least ten films with it and ten without."""
    counted: Bool[np.ndarray, " finding"] = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0)) >= MINIMUM_CASES
    return counted


def _plain(row: SubgroupRow) -> dict[str, Any]:
    plain: dict[str, Any] = {"n": row.n, "n_positive": row.n_positive, "sufficient": row.reason is None, "reason": row.reason}
    for measure in MEASURES:
        plain[measure] = row.metrics[measure].to_json() if measure in row.metrics else None
    for measure in GAPS:
        plain[f"{measure}_gap"] = row.gaps[measure].to_json() if measure in row.gaps else None
    return plain


def excluding_zero(blocks: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Returns how many gaps of the pooled and macro rows exclude zero, and how many there are."""
    gaps = [gap for block in blocks for group in block["groups"] for gap in _gaps(group) if gap and gap["low"] is not None]
    return sum(gap["low"] > 0 or gap["high"] < 0 for gap in gaps), len(gaps)


def _gaps(group: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    macro = group["macro"] or {}
    return [macro.get("auroc_gap"), *(group["pooled"].get(f"{name}_gap") for name in ("accuracy", "sensitivity", "specificity"))]
