"""The audit's part of a model card: Markdown made from audit.json alone, so that it cannot disagree with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.audit.drawing import interval_text
from vesalius.audit.figures import present_cohorts
from vesalius.audit.key_figures import KIND_WORDS


def audit_section(document: Mapping[str, Any]) -> str:
    """Returns Markdown from `## Audit` on, for `bundle.card.write_card`."""
    made, store = document["made"], document["store"]
    head = (
        f"## Audit\n\n{made['utc']}, vesalius {made['vesalius']}, on the store {store['name']} ({store['n_audited']} films). "
        f"In brackets: 95 % intervals from {made['resamples']:,} resamples of whole patients (seed {made['seed']})."
    )
    parts = [head, *(_performance(name, document["cohorts"][name]) for name in present_cohorts(document["cohorts"]))]
    parts += [_foreign(document), _groups(document), _gates(document), _limits(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _performance(name: str, cohort: Mapping[str, Any]) -> str:
    classes = "classes" in cohort  # they have no threshold of their own
    called = () if classes else ("sensitivity", "specificity")
    columns = "".join(f" {name} |" for name in called)
    head = (
        f"### Performance: {name} ({cohort['what']})\n\n"
        f"{cohort['n_films']} films of {cohort['n_patients']} patients, sites {', '.join(cohort['sites'])}.\n\n"
        + (_of_classes(cohort["classes"]) if classes else "")
        + f"| finding | films | with it | AUROC | AUPRC | Brier | ECE |{columns} answered |\n"
        f"|---|--:|--:|--:|--:|--:|--:|{'--:|' * len(called)}--:|"
    )
    measures = ("auroc", "auprc", "brier", "ece", *called, "coverage")
    tables = [(finding.replace("_", " "), one, f"{one['n']} | {one['n_positive']}") for finding, one in cohort["findings"].items()]
    tables.append(("macro average", cohort["macro"], " | "))
    rows = [
        f"| {title} | {size} | " + " | ".join(interval_text(one[key]) for key in measures) + " |" for title, one, size in tables
    ]
    return "\n".join([head, *rows])


def _of_classes(classes: Mapping[str, Any]) -> str:
    balanced, coverage, error = (interval_text(classes[name]) for name in ("balanced_accuracy", "coverage", "error_answered"))
    return (
        f"Of {classes['n']} films of a known class, balanced accuracy of the likeliest: {balanced}; "
        f"share answered: {coverage}, of these wrong: {error}.\n\n"
    )


def _foreign(document: Mapping[str, Any]) -> str:
    section = document["out_of_distribution"]
    rows = [
        f"| {KIND_WORDS[kind]} | {one['n']} | {interval_text(one['flagged'])} | {interval_text(one['auroc'])} |"
        for kind, one in section["kinds"].items()
        if kind in KIND_WORDS
    ]
    alarms = [
        f"{one['title']}: {interval_text(one['flagged'])}" for kind, one in section["kinds"].items() if kind not in KIND_WORDS
    ]
    return (
        "### Foreign images\n\nShare stopped by the gate among ordinary films (false alarms): " + "; ".join(alarms) + ".\n\n"
        "| kind | images | share stopped | AUROC against test films |\n|---|--:|--:|--:|\n" + "\n".join(rows)
    )


def _groups(document: Mapping[str, Any]) -> str:
    lines = []
    for name in present_cohorts(document["cohorts"]):
        found = document["subgroups"]["cohorts"][name]
        lines.append(f"{name}: {found['n_excluding_zero']} of {found['n_gaps']} gaps between a group and the others exclude zero.")
    return "### Subgroups\n\n" + "\n".join(lines) + "\nSee `audit/audit.json` for every group."


def _gates(document: Mapping[str, Any]) -> str:
    if not document["gates"]:
        return ""
    rows = []
    for gate in document["gates"]:
        found = "not estimable" if gate["value"] is None else f"{gate['value']:.4g}"
        rows.append(f"| {gate['name']} | {gate['rule']} | {found} | {'met' if gate['passed'] else 'REFUSED'} |")
    return "### Gates\n\n| gate | rule | found | verdict |\n|---|---|--:|---|\n" + "\n".join(rows)


def _limits(document: Mapping[str, Any]) -> str:
    lines = [
        "Few films give wide intervals; read the interval, not the figure.",
        "AUPRC cannot be compared between sites of different prevalence.",
    ]
    if not document["cohorts"].get("external"):
        lines.append("No film from another site was audited: nothing is known of how it does elsewhere.")
    return "### Limits\n\n" + "\n".join(f"- {line}" for line in lines)
