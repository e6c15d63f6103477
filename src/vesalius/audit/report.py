"""audit.json as one self-contained page: no server, no build step, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.audit import figures
from vesalius.audit.page import json_text, percentage, render_page, words, write_whole

if TYPE_CHECKING:
    from vesalius.audit.evaluate import AuditResult
    from vesalius.audit.gallery import GalleryFilm

REASONS = {
    "answered": "present or absent",
    "uncertain": "no answer: too close to call",
    "out_of_distribution": "no answer: unlike the films it was calibrated on",
    "poor_quality": "no answer: image too poor",
    "not_assessable": "no answer: not a view it can read",
}
SECTIONS = (
    ("verdict", "In short"),
    ("discrimination", "Discrimination"),
    ("calibration", "Calibration"),
    ("decisions", "Decisions"),
    ("foreign", "Foreign images"),
    ("subgroups", "Subgroups"),
    ("films", "Films"),
    ("methods", "Method"),
)
GALLERY_TITLES = {
    "error": "Most confident errors",
    "uncertain": "Left unanswered: too close to call",
    "foreign": "Left unanswered: stopped by the gate",
    "correct": "Most confident right answers",
}


def write_report(result: AuditResult, out: Path) -> None:
    """Writes `out/index.html` and `out/audit.json`; each is replaced as a whole."""
    write_whole(out, {"audit.json": json_text(result.document), "index.html": render(result)})


def render(result: AuditResult) -> str:
    """Returns the page."""
    document = result.document
    films = group_films(result.gallery)
    return render_page(
        "report.html.jinja",
        all_figures(document),
        doc=document,
        cohorts=[(name, document["cohorts"][name]) for name in figures.present_cohorts(document["cohorts"])],
        summary=summary(document),
        sections=[section for section in SECTIONS if section[0] != "films" or films],
        reasons=list(REASONS.items()),
        risk_notes=risk_notes(document),
        films=films,
    )


def summary(document: Mapping[str, Any]) -> str:
    """Returns what was audited, in one paragraph."""
    cohorts = document["cohorts"]
    parts = []
    for name in figures.present_cohorts(cohorts):
        one = cohorts[name]
        where = f"site{'s' if len(one['sites']) > 1 else ''} {', '.join(one['sites'])}"
        whose = "held out from training" if name == "internal" else "which it had never seen"
        parts.append(f"{one['n_films']:,} films of {one['n_patients']:,} patients from {where}, {whose}")
    names = [words(name) for name in document["bundle"]["findings"]]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{document['bundle']['reference']} answers for {listed}. It was asked about {'; and '.join(parts)}."


def risk_notes(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns under each risk-coverage curve where the bundle stands."""
    notes = {}
    for finding in document["bundle"]["findings"]:
        parts = []
        for name in figures.present_cohorts(document["cohorts"]):
            locked = document["cohorts"][name]["findings"][finding]["curves"]["risk_coverage"]["locked"]
            wrong = "none" if locked["risk"] is None else percentage(locked["risk"])
            parts.append(f"{name}: answers {percentage(locked['coverage'])}, {wrong} wrong")
        notes[finding] = "; ".join(parts)
    return notes


def all_figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every figure by the name the templates give it."""
    cohorts = document["cohorts"]
    made = {"auroc": figures.intervals_figure(cohorts, "auroc", "AUROC", 0.5)}
    for finding in document["bundle"]["findings"]:
        made[f"roc:{finding}"] = figures.roc_figure(cohorts, finding)
        made[f"reliability:{finding}"] = figures.reliability_figure(cohorts, finding)
        made[f"risk:{finding}"] = figures.risk_coverage_figure(cohorts, finding)
        for name in figures.present_cohorts(cohorts):
            made[f"histogram:{name}:{finding}"] = figures.histogram_figure(cohorts[name], finding)
    return made | {"ood": figures.ood_figure(document["out_of_distribution"])}


def group_films(gallery: Sequence[GalleryFilm]) -> list[dict[str, Any]]:
    """Returns the films under their headings; a heading without a film is left out."""
    groups = [{"title": title, "films": [film for film in gallery if film.kind == kind]} for kind, title in GALLERY_TITLES.items()]
    return [group for group in groups if group["films"]]
