"""The audit of a bundle that reads slides: its answers to labelled slides it was not calibrated on, in figures.

It measures what `vesalius predict` said (the same code answers), with intervals over patients, writes the page of films, and puts
figures and a section of the card into the bundle. No foreign slides are made of the slides at hand.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.audit.answers import Answers, as_answers
from vesalius.audit.classes import are_classes, settle_classes
from vesalius.audit.drawing import interval_text
from vesalius.audit.evaluate import AuditResult, describe_bundle, describe_subgroups, made_by, notices
from vesalius.audit.key_figures import balanced_accuracy, calibration, figure_row
from vesalius.audit.options import SLIDE_SUBGROUPS, SUBGROUPS, AuditOptions
from vesalius.errors import EmptyInput

if TYPE_CHECKING:
    import pandas as pd

    from vesalius.audit.gallery import GalleryFilm
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.datasets.slide_labels import SlideLabels
    from vesalius.types import Prediction

FORMAT_VERSION = 1
WHAT = {"internal": "slides it was not calibrated on", "external": "slides of other sites"}
CALIBRATED_ON = "calibrated_on"


def audit_slides(
    predictor: SlidePredictor,
    labels: SlideLabels,
    predictions: Sequence[Prediction],
    options: AuditOptions,
    reading: ReadOptions | None = None,
) -> AuditResult:
    """Measures answers to labelled slides.

    A slide that could not be read, and one that the bundle was calibrated on (told by its content), is left out and counted.

    Args:
        predictor: Who answered.
        labels: The slides; findings in the bundle's order.
        predictions: One a slide, in the same order.
        options: Columns of the CSV to split by, resamples, seed, gates, notices, pictures; the rest is for films.
        reading: Where the features lie that the predictions were made from, for pictures; without it there is none.

    Raises:
        EmptyInput: No slide is left, or none has a known label.
    """
    from vesalius.audit.gates import check_gates
    from vesalius.audit.slide_gallery import make_slide_gallery
    from vesalius.audit.slide_rows import slide_rows

    started, classes = time.monotonic(), are_classes(predictor.policy)
    answers, left_out = _what_to_audit(predictor, labels, predictions)
    home = np.array([_at_home(labels.slides[row].site, predictor.training_sites) for row in answers.rows])
    cohorts = {name: answers.take(rows) for name, rows in (("internal", home), ("external", ~home)) if rows.any()}
    document = _describe(predictor, labels, cohorts, options)
    document["slides"]["left_out"] = dict(sorted(left_out.items()))
    document["gates"] = check_gates(options.gates, document)
    gallery: tuple[GalleryFilm, ...] = ()
    if options.images and reading is not None and reading.features is not None:
        named = [(slide, one.case) for slide, one in zip(labels.slides, predictions, strict=True)]
        gallery = make_slide_gallery(predictor, named, cohorts, reading)
    answered_s = sum(one.seconds for one in predictions)
    document["made"]["seconds"] = round(answered_s + time.monotonic() - started, 1)
    return AuditResult(document, gallery, slide_rows(cohorts, labels.slides, predictor.findings, classes=classes))


def _what_to_audit(
    predictor: SlidePredictor, labels: SlideLabels, predictions: Sequence[Prediction]
) -> tuple[Answers, Counter[str]]:
    """The answers to slides that were read and not calibrated on, and how many were left out, by reason."""
    import pandas as pd

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
    return as_answers([predictions[row] for row in kept], predictor.findings, kept, table[kept], manifest), left_out


def keep_audit(bundle: str | Path, predictor: SlidePredictor, result: AuditResult, out: str | Path) -> None:
    """Writes `out/index.html`, `out/audit.json` and `out/audit.md`, and puts figures and card into the bundle, whose id stays."""
    from vesalius.audit.page import json_text, write_whole
    from vesalius.audit.report import render
    from vesalius.bundle.card import write_card
    from vesalius.bundle.save import attach_audit

    section, figures = audit_section(result.document), json_text(result.document)
    write_whole(Path(out), {"audit.json": figures, "audit.md": section, "index.html": render(result)})
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
    options: AuditOptions,
) -> dict[str, Any]:
    from vesalius.audit.distribution import describe_gate
    from vesalius.audit.performance import describe_cohort

    classes, findings = are_classes(predictor.policy), list(predictor.findings)
    described: dict[str, Any] = dict.fromkeys(WHAT)
    for name, answers in cohorts.items():
        sites = sorted({str(labels.slides[row].site or "unknown") for row in answers.rows})
        described[name] = describe_cohort(WHAT[name], answers, sites, findings, predictor.policy, options)
        if classes:
            settle_classes(described[name], answers, findings, float(predictor.policy.thresholds[0]), options)
    manifest, by = _what_to_split_by(labels, options)
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
        "out_of_distribution": describe_gate(cohorts, {}, float(predictor.gate.threshold), options, "slides"),
        "subgroups": describe_subgroups(predictor, manifest, cohorts, replace(options, by=by)),
    }
    if not labels.patients_known:
        document["notices"].append("No column patient_id: each slide counts as a patient, and intervals may be too narrow.")
    document["key_figures"] = [row for name in cohorts for row in _key_figures(name, document)]
    return document


def _what_to_split_by(labels: SlideLabels, options: AuditOptions) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """What the CSV says of each slide, and the columns to split by: as asked for, or of the usual ones those it has."""
    import pandas as pd

    columns = {name for slide in labels.slides for name in slide.facts}
    manifest = pd.DataFrame({name: [slide.facts.get(name) for slide in labels.slides] for name in sorted(columns)})
    if options.by != SUBGROUPS:
        return manifest, options.by
    return manifest, tuple(name for name in SLIDE_SUBGROUPS if name.replace("age_band", "age_years") in columns)


def _key_figures(name: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    cohort = document["cohorts"][name]
    macro, classes = cohort["macro"], cohort.get("classes")
    rows: list[dict[str, Any]] = []
    if classes is not None:
        rows.append(balanced_accuracy(name, classes))
    rows.append(
        figure_row(
            f"auroc_{name}",
            f"Macro-AUROC, {name}",
            name,
            macro["auroc"],
            "3",
            f"Mean over {'classes' if classes else 'findings'}; 0.5 is a coin.",
        )
    )
    rows.append(calibration(name, cohort, "slides", f"ece_{name}"))
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
