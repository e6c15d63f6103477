"""audit.json as one self-contained page: no server, no build step, nothing fetched from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.audit import figures

if TYPE_CHECKING:
    from jinja2 import Environment

    from vesalius.audit.evaluate import AuditResult
    from vesalius.audit.gallery import GalleryFilm

TEMPLATES = Path(__file__).parent / "templates"

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
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("audit.json", audit_json(result.document)), ("index.html", render(result))):
        part = out / f".{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(out / name)


def audit_json(document: Mapping[str, Any]) -> str:
    """Returns the document as JSON text; NaN never gets here."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render(result: AuditResult) -> str:
    """Returns the page."""
    from plotly.offline import get_plotlyjs

    document = result.document
    cohorts = [(name, document["cohorts"][name]) for name in figures.present_cohorts(document["cohorts"])]
    films = group_films(result.gallery)
    drawn = all_figures(document)
    page = environment().get_template("report.html.jinja")
    return page.render(
        doc=document,
        cohorts=cohorts,
        summary=summary(document),
        sections=[section for section in SECTIONS if section[0] != "films" or films],
        reasons=list(REASONS.items()),
        risk_notes=risk_notes(document),
        films=films,
        figures=embed_json(drawn),
        heights={name: spec["layout"]["height"] for name, spec in drawn.items()},
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
    )


def environment() -> Environment:
    """Returns the templates with the filters they use; everything a bundle or store named is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters |= {"words": words, "percentage": percentage, "signed": signed, "fixed": fixed}
    return made


def words(name: str) -> str:
    """Returns a column's or finding's name as words: `view_position` is `view position`."""
    return name.replace("_", " ")


def percentage(share: float | None) -> str:
    """Returns `91.2 %`."""
    return "–" if share is None else f"{100 * share:.1f} %"


def signed(value: float, digits: int = 3) -> str:
    """Returns the number with its sign, minus as minus; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def fixed(value: float, digits: int = 3) -> str:
    """Returns the number with that many decimals."""
    return f"{value:.{digits}f}"


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


def embed_json(value: Any) -> str:
    """Returns JSON that cannot end the script element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def group_films(gallery: Sequence[GalleryFilm]) -> list[dict[str, Any]]:
    """Returns the films under their headings; a heading without a film is left out."""
    groups = [{"title": title, "films": [film for film in gallery if film.kind == kind]} for kind, title in GALLERY_TITLES.items()]
    return [group for group in groups if group["films"]]
