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
    "out_of_distribution": "no answer: stopped by the gate, unlike what it was calibrated on",
    "poor_quality": "no answer: image too poor",
    "not_assessable": "no answer: not a view it can read",
}
NOT_OF_SLIDES = ("poor_quality", "not_assessable")
"""A slide that cannot be read is left out and counted; it is no answer."""
SECTIONS = (
    ("verdict", "In short"),
    ("classes", "Classes"),
    ("discrimination", "Discrimination"),
    ("calibration", "Calibration"),
    ("decisions", "Decisions"),
    ("foreign", "Foreign images"),
    ("subgroups", "Subgroups"),
    ("films", "Films"),
    ("slides", "Slides"),
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
    """Returns the page: of films, or of slides, whose classes may exclude each other."""
    document, films = result.document, group_films(result.gallery)
    here = {name: document["cohorts"][name] for name in figures.present_cohorts(document["cohorts"])}
    lacking = {"classes": not of_classes(document), "films": not films, "slides": not result.slides}
    lacking["subgroups"] = not any(part["blocks"] for part in document["subgroups"]["cohorts"].values())
    return render_page(
        "report.html.jinja",
        all_figures(document),
        doc=document,
        cohorts=list(here.items()),
        summary=summary(document),
        sections=[(anchor, _title(anchor, title, document)) for anchor, title in SECTIONS if not lacking.get(anchor)],
        shown={anchor for anchor, _ in SECTIONS if not lacking.get(anchor)},
        reasons=[(code, said) for code, said in REASONS.items() if not (of_slides(document) and code in NOT_OF_SLIDES)],
        risk_notes=risk_notes(document),
        films=films,
        slides=result.slides,
        unit="slide" if of_slides(document) else "film",
        units=units(document),
        of_slides=of_slides(document),
        classes=of_classes(document),
    )


def of_slides(document: Mapping[str, Any]) -> bool:
    """Is it an audit of whole slides?"""
    return "slides" in document


def units(document: Mapping[str, Any]) -> str:
    """Returns what was audited: `films` or `slides`."""
    return "slides" if of_slides(document) else "films"


def of_classes(document: Mapping[str, Any]) -> bool:
    """Do the findings exclude each other, so that the likeliest is said?"""
    return any("classes" in one for one in document["cohorts"].values() if one)


def _title(anchor: str, title: str, document: Mapping[str, Any]) -> str:
    return {"foreign": "The gate", "films": "Pictures"}.get(anchor, title) if of_slides(document) else title


def summary(document: Mapping[str, Any]) -> str:
    """Returns what was audited, in one paragraph."""
    cohorts, parts = document["cohorts"], []
    held_out = "which it was not calibrated on" if of_slides(document) else "held out from training"
    for name in figures.present_cohorts(cohorts):
        one = cohorts[name]
        known = [site for site in one["sites"] if not (of_slides(document) and site == "unknown")]
        where = f" from site{'s' if len(known) > 1 else ''} {', '.join(known)}" if known else ""
        whose = held_out if name == "internal" else "which it had never seen"
        parts.append(f"{one['n_films']:,} {units(document)} of {one['n_patients']:,} patients{where}, {whose}")
    names = [words(name) for name in document["bundle"]["findings"]]
    last = "or" if of_classes(document) else "and"
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
    asked = f"says which class a {units(document)[:-1]} is:" if of_classes(document) else "answers for"
    return f"{document['bundle']['reference']} {asked} {listed}. It was asked about {'; and '.join(parts)}."


def risk_notes(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns under each risk-coverage curve where the bundle stands; the likeliest class has one curve, under no name."""
    notes = {}
    for finding, curves in _risk_curves(document).items():
        parts = []
        for name, curve in curves.items():
            locked = curve["locked"]
            wrong = "none" if locked["risk"] is None else percentage(locked["risk"])
            parts.append(f"{name}: answers {percentage(locked['coverage'])}, {wrong} wrong")
        notes[finding] = "; ".join(parts)
    return notes


def _risk_curves(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    here = {name: document["cohorts"][name] for name in figures.present_cohorts(document["cohorts"])}
    if of_classes(document):
        return {"": {name: one["classes"]["curves"]["risk_coverage"] for name, one in here.items()}}
    return {
        finding: {name: one["findings"][finding]["curves"]["risk_coverage"] for name, one in here.items()}
        for finding in document["bundle"]["findings"]
    }


def all_figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every figure by the name the templates give it."""
    cohorts, cases = document["cohorts"], units(document)
    made = {"auroc": figures.intervals_figure(cohorts, "auroc", "AUROC", 0.5)}
    for finding in document["bundle"]["findings"]:
        made[f"roc:{finding}"] = figures.roc_figure(cohorts, finding)
        made[f"reliability:{finding}"] = figures.reliability_figure(cohorts, finding, cases)
        for name in figures.present_cohorts(cohorts):
            made[f"histogram:{name}:{finding}"] = figures.histogram_figure(cohorts[name], finding, cases)
    if of_classes(document):
        made |= figures.class_figures(cohorts, cases)
    else:
        made |= {f"risk:{name}": figures.risk_coverage_figure(curves, cases) for name, curves in _risk_curves(document).items()}
    return made | {"ood": figures.ood_figure(document["out_of_distribution"])}


def group_films(gallery: Sequence[GalleryFilm]) -> list[dict[str, Any]]:
    """Returns the films under their headings; a heading without a film is left out."""
    groups = [{"title": title, "films": [film for film in gallery if film.kind == kind]} for kind, title in GALLERY_TITLES.items()]
    return [group for group in groups if group["films"]]
