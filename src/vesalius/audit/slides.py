"""The audit of a bundle that reads slides: its answers to labelled slides it was not calibrated on, in figures.

It measures what `vesalius predict` said (the same code answers), with intervals over patients, and puts figures and a section of
the card into the bundle. There is no page, and no foreign slides are made of the slides at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from vesalius.audit.answers import Answers, as_answers
from vesalius.audit.distribution import share
from vesalius.audit.drawing import interval_text
from vesalius.audit.evaluate import AuditResult, describe_bundle, made_by, notices
from vesalius.audit.key_figures import figure_row
from vesalius.audit.options import AuditOptions
from vesalius.errors import EmptyInput

if TYPE_CHECKING:
    from vesalius.bundle.slide_predictor import SlidePredictor
    from vesalius.datasets.slide_labels import SlideLabels
    from vesalius.types import Prediction

FORMAT_VERSION = 1
WHAT = {"internal": "slides it was not calibrated on", "external": "slides of other sites"}
NOT_OF_CLASSES = ("sensitivity", "specificity", "ppv", "npv", "brier_change", "nll_change")
"""Figures of calls at a finding's own threshold, and of its own logit before calibration; classes have neither."""
CALIBRATED_ON = "calibrated_on"


def audit_slides(
    predictor: SlidePredictor, labels: SlideLabels, predictions: Sequence[Prediction], options: AuditOptions
) -> AuditResult:
    """Measures answers to labelled slides.

    A slide that could not be read, and one that the bundle was calibrated on (told by its content), is left out and counted.

    Args:
        predictor: Who answered.
        labels: The slides; findings in the bundle's order.
        predictions: One a slide, in the same order.
        options: Resamples, seed, gates and notices; the rest is for films.

    Raises:
        EmptyInput: No slide is left, or none has a known label.
    """
    import pandas as pd

    from vesalius.audit.gates import check_gates

    known = set(predictor.description["provenance"]["calibration"].get("slide_ids", ()))
    left_out = Counter(why for one in predictions if (why := _why_left_out(one, known)))
    kept = np.array([row for row, one in enumerate(predictions) if not _why_left_out(one, known)], dtype=np.int64)
    table, manifest = labels.table(), pd.DataFrame({"patient_id": labels.patients()})
    if not len(kept) or np.isnan(table[kept]).all():
        raise EmptyInput(
            f"none of {len(predictions)} slides is readable, labelled, and not one it was calibrated on "
            f"({_counts(left_out) or 'no label is known'}); "
            "list slides of other patients, under split `test` if there is that column"
        )
    answers = as_answers([predictions[row] for row in kept], predictor.findings, kept, table[kept], manifest)
    home = np.array([_at_home(labels.slides[row].site, predictor.training_sites) for row in kept])
    cohorts = {name: answers.take(rows) for name, rows in (("internal", home), ("external", ~home)) if rows.any()}
    sites = {name: sorted({str(labels.slides[row].site or "unknown") for row in part.rows}) for name, part in cohorts.items()}
    document = _describe(predictor, labels, cohorts, sites, options)
    document["slides"]["left_out"] = dict(sorted(left_out.items()))
    document["gates"] = check_gates(options.gates, document)
    return AuditResult(document)


def keep_audit(bundle: str | Path, predictor: SlidePredictor, result: AuditResult, out: str | Path) -> None:
    """Writes `out/audit.json` and `out/audit.md`, and puts figures and card into the bundle, whose id stays."""
    from vesalius.audit.page import json_text, write_whole
    from vesalius.bundle.card import write_card
    from vesalius.bundle.save import attach_audit

    section, figures = audit_section(result.document), json_text(result.document)
    write_whole(Path(out), {"audit.json": figures, "audit.md": section})
    card = write_card(predictor.description, predictor.id, section)
    attach_audit(bundle, {"card.md": card.encode(), "audit/audit.json": figures.encode()})


def _why_left_out(prediction: Prediction, known: set[str]) -> str | None:
    if prediction.error is not None:
        return prediction.error.code
    return CALIBRATED_ON if prediction.image_id in known else None


def _at_home(site: str | None, training_sites: Sequence[str]) -> bool:
    return site is None or not training_sites or site in training_sites


def _describe(
    predictor: SlidePredictor,
    labels: SlideLabels,
    cohorts: Mapping[str, Answers],
    sites: Mapping[str, Sequence[str]],
    options: AuditOptions,
) -> dict[str, Any]:
    from vesalius.audit.performance import describe_cohort
    from vesalius.bundle.card import exclusive

    classes, findings = exclusive(predictor.description), list(predictor.findings)
    described: dict[str, Any] = dict.fromkeys(WHAT)
    gate: dict[str, Any] = {}
    for name, answers in cohorts.items():
        cohort = describe_cohort(WHAT[name], answers, sites[name], findings, predictor.policy, options)
        if classes:
            for table in (*cohort["findings"].values(), cohort["macro"]):
                for measure in NOT_OF_CLASSES:
                    table.pop(measure, None)
            cohort["classes"] = _describe_classes(answers, options)
        described[name] = cohort
        gate[name] = {"n": len(answers), "flagged": share(answers.flagged, answers.patients, options)}
    document: dict[str, Any] = {
        "format": "vesalius.slide-audit",
        "format_version": FORMAT_VERSION,
        "made": made_by(options),
        "bundle": describe_bundle(predictor),
        "slides": {"n": sum(map(len, cohorts.values())), "patients_known": labels.patients_known, "left_out": {}},
        "notices": notices(predictor, options),
        "key_figures": [],
        "gates": [],
        "cohorts": described,
        "out_of_distribution": {"threshold": float(predictor.gate.threshold), "kinds": gate},
    }
    if not labels.patients_known:
        document["notices"].append("No column patient_id: each slide counts as a patient, and intervals may be too narrow.")
    document["key_figures"] = [row for name in cohorts for row in _key_figures(name, document)]
    return document


def _describe_classes(answers: Answers, options: AuditOptions) -> dict[str, Any]:
    """How often the likeliest class is right: over all slides of a known class, and over those that were answered."""
    from vesalius.zeroshot.slide_protocol import judge_prompt_sets

    known: Bool[np.ndarray, "case"] = (answers.labels == 1).any(axis=1)
    part = answers.take(known)
    truth: Int64[np.ndarray, "case"] = part.labels.argmax(axis=1)
    answered = np.asarray((part.decisions >= 0).all(axis=1))
    none = {"value": None, "low": None, "high": None, "reason": "no slide of a known class"}
    if not known.any():
        return {"n": 0, "balanced_accuracy": none, "coverage": none, "error_answered": none}
    patients = part.patients.astype(str)
    (judged,) = judge_prompt_sets(
        {"likeliest": part.probabilities[:, None, :]}, truth, patients, resamples=options.resamples, seed=options.seed
    )
    wrong = np.asarray(part.decisions[answered].argmax(axis=1) != truth[answered])
    return {
        "n": int(known.sum()),
        "balanced_accuracy": judged.median.to_json(),
        "coverage": share(answered, patients, options),
        "error_answered": share(wrong, patients[answered], options),
    }


def _key_figures(name: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    cohort = document["cohorts"][name]
    macro, classes = cohort["macro"], cohort.get("classes")
    rows: list[dict[str, Any]] = []
    if classes is not None:
        note = "The likeliest class, as if every slide had to be answered; mean of the classes' recalls."
        label = f"Balanced accuracy, {name}"
        rows.append(figure_row(f"balanced_accuracy_{name}", label, name, classes["balanced_accuracy"], "3", note))
    rows.append(
        figure_row(f"auroc_{name}", f"Macro-AUROC, {name}", name, macro["auroc"], "3", "Mean over findings; 0.5 is a coin.")
    )
    rows.append(figure_row(f"ece_{name}", f"Calibration error (ECE), {name}", name, macro["ece"], "3", "Promised against true."))
    given = classes or macro
    rows.append(figure_row(f"coverage_{name}", f"Answers given, {name}", name, given["coverage"], "%", ""))
    rows.append(figure_row(f"error_{name}", f"Wrong among the answers, {name}", name, given["error_answered"], "%", ""))
    stopped = document["out_of_distribution"]["kinds"][name]["flagged"]
    rows.append(
        figure_row(f"stopped_{name}", f"Stopped by the gate, {name}", name, stopped, "%", "Of ordinary slides: false alarms.")
    )
    return rows


def audit_section(document: Mapping[str, Any]) -> str:
    """Returns Markdown from `## Audit` on, for `bundle.card.write_card`."""
    made, left_out = document["made"], document["slides"]["left_out"]
    head = (
        f"## Audit\n\n{made['utc']}, vesalius {made['vesalius']}, on {document['slides']['n']} slides. "
        f"In brackets: 95 % intervals from {made['resamples']:,} resamples of whole patients (seed {made['seed']})."
    )
    parts = [head, *(_performance(name, document) for name in WHAT if document["cohorts"][name])]
    if left_out:
        parts.append(f"Left out: {_counts(left_out)}.")
    if document["gates"]:
        rows = [f"- {gate['name']} {gate['rule']}: {'met' if gate['passed'] else 'REFUSED'}" for gate in document["gates"]]
        parts.append("\n".join(["### Gates", "", *rows]))
    limits = ["Few slides give wide intervals; read the interval, not the figure.", "No foreign slide was shown to the gate."]
    limits += [notice for notice in document["notices"] if "patient_id" in notice]
    parts.append("\n".join(["### Limits", "", *(f"- {line}" for line in limits)]))
    return "\n\n".join(parts) + "\n"


def _performance(name: str, document: Mapping[str, Any]) -> str:
    cohort = document["cohorts"][name]
    lines = [
        f"### {name.capitalize()}: {cohort['what']}",
        "",
        f"{cohort['n_films']} slides of {cohort['n_patients']} patients.",
        "",
        *(f"- {row['label']}: {row['text']} {row['range']}".rstrip() for row in document["key_figures"] if row["cohort"] == name),
        "",
        "| finding | slides | with it | AUROC | Brier | ECE | answered | sensitivity of the answers | specificity |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    measures = ("auroc", "brier", "ece", "coverage", "sensitivity_answered", "specificity_answered")
    for finding, one in cohort["findings"].items():
        cells = " | ".join(interval_text(one[key], 2) for key in measures)
        lines.append(f"| {finding.replace('_', ' ')} | {one['n']} | {one['n_positive']} | {cells} |")
    return "\n".join(lines)


def _counts(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(left_out.items()))
