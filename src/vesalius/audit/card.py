"""The model card: plain text made from bundle.json and audit.json alone, so that it cannot disagree with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.audit.figures import interval_text, present_cohorts
from vesalius.audit.key_figures import KIND_WORDS


def write_card(description: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Returns the card as Markdown; `description` is bundle.json, `document` is audit.json."""
    parts = [_head(description, document), _use(document), _made(description, document)]
    parts += [_performance(name, document["cohorts"][name]) for name in present_cohorts(document["cohorts"])]
    parts += [_foreign(document), _groups(document), _gates(document), _limits(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(description: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    notices = "\n".join(f"> {notice}\n>" for notice in document["notices"]).removesuffix("\n>")
    bundle = document["bundle"]
    return f"# {bundle['name']}\n\n`{bundle['id']}`\n\n{notices}\n\nFormat {description.get('format_version', 1)}; audited {document['made']['utc']}."


def _use(document: Mapping[str, Any]) -> str:
    names = ", ".join(name.replace("_", " ") for name in document["bundle"]["findings"])
    return (
        "## What it is for\n\n"
        f"Research on frontal chest films. For each of {names} it says present, absent, or gives no answer and the reason.\n"
        "Not for medical use; not for lateral films, children or any other body part unless the figures below include them."
    )


def _made(description: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    bundle = document["bundle"]
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {bundle['operating_points'][name]['threshold']:.3f} | "
        f"{bundle['operating_points'][name]['abstain_low']:.3f} to {bundle['operating_points'][name]['abstain_high']:.3f} |"
        for name in bundle["findings"]
    )
    encoder = description.get("encoder")
    encoder = encoder.get("name", encoder) if isinstance(encoder, Mapping) else encoder
    return (
        "## How it was made\n\n"
        f"Sites: {', '.join(bundle['training_sites']) or 'not recorded'}. Encoder: {encoder or 'not recorded'}.\n"
        "Calibrators, thresholds and the out-of-distribution gate were fitted on the calibration split only.\n\n"
        f"| finding | threshold | no answer between |\n|---|--:|--:|\n{rows}"
    )


def _performance(name: str, cohort: Mapping[str, Any]) -> str:
    head = (
        f"## Performance: {name} ({cohort['what']})\n\n"
        f"{cohort['n_films']} films of {cohort['n_patients']} patients, sites {', '.join(cohort['sites'])}. "
        "In brackets: 95 % intervals, patients drawn again.\n\n"
        "| finding | films | with it | AUROC | AUPRC | Brier | ECE | sensitivity | specificity | answered |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    measures = ("auroc", "auprc", "brier", "ece", "sensitivity", "specificity", "coverage")
    tables = [(finding.replace("_", " "), one, f"{one['n']} | {one['n_positive']}") for finding, one in cohort["findings"].items()]
    tables.append(("macro average", cohort["macro"], " | "))
    rows = [f"| {title} | {size} | " + " | ".join(interval_text(one[key]) for key in measures) + " |" for title, one, size in tables]
    return "\n".join([head, *rows])


def _foreign(document: Mapping[str, Any]) -> str:
    section = document["out_of_distribution"]
    if section is None:
        return "## Foreign images\n\nNo gate: it answers whatever it is shown."
    rows = [f"| {KIND_WORDS[kind]} | {one['n']} | {interval_text(one['flagged'])} | {interval_text(one['auroc'])} |"
            for kind, one in section["kinds"].items() if kind in KIND_WORDS]
    alarms = [f"{one['title']}: {interval_text(one['flagged'])}" for kind, one in section["kinds"].items() if kind not in KIND_WORDS]
    return (
        "## Foreign images\n\nShare stopped by the gate among ordinary films (false alarms): " + "; ".join(alarms) + ".\n\n"
        "| kind | images | share stopped | AUROC against test films |\n|---|--:|--:|--:|\n" + "\n".join(rows)
    )


def _groups(document: Mapping[str, Any]) -> str:
    lines = []
    for name in present_cohorts(document["cohorts"]):
        found = document["subgroups"]["cohorts"][name]
        lines.append(f"{name}: {found['n_excluding_zero']} of {found['n_gaps']} gaps between a group and the others exclude zero.")
    return "## Subgroups\n\n" + "\n".join(lines) + "\nSee `audit/audit.json` for every group."


def _gates(document: Mapping[str, Any]) -> str:
    if not document["gates"]:
        return ""
    rows = [f"| {gate['name']} | {gate['rule']} | {gate['value']} | {'met' if gate['passed'] else 'REFUSED'} |" for gate in document["gates"]]
    return "## Gates\n\n| gate | rule | found | verdict |\n|---|---|--:|---|\n" + "\n".join(rows)


def _limits(document: Mapping[str, Any]) -> str:
    lines = ["Few films give wide intervals; read the interval, not the figure.", "AUPRC cannot be compared between sites of different prevalence."]
    if not document["cohorts"].get("external"):
        lines.append("No film from another site was audited: nothing is known of how it does elsewhere.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)
