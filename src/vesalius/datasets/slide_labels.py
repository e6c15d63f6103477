"""The labels of slides: the labels CSV of films, with `file` as key, and for classes one column `class`.

    file,patient_id,split,class                 file,patient_id,split,Necrosis,Invasion
    slides/a.svs,p1,calibration,CCRCC           slides/a.svs,p1,calibration,1,0

`file` is a path, absolute or from the CSV's own folder. What a column may hold is as in `labels_table`, and like there a complaint
names lines and never values. Any other column says something of the slide, and is no finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from vesalius.datasets.labels_table import FACTS, LabelRow, LabelsTable, read_labels
from vesalius.errors import EmptyInput, LabelsError, name_places

CLASS = "class"
SPLIT = "calibration"
PRIVATE = ("patient_id", "study_id", "report")


@dataclass(frozen=True)
class LabelledSlide:
    """One line: which slide, whose, and what is known of it.

    Attributes:
        case: The path as the CSV has it: the slide's name.
        path: Where it lies.
        patient: Whose it is; a slide of an unknown patient is a patient of its own.
        site: Where it comes from; None where the CSV does not say.
        labels: 1, 0, NaN unknown or uncertain.
        facts: What else the line says of the slide, by column; not whose it is.
    """

    case: str
    path: Path
    patient: str = field(repr=False)
    site: str | None
    labels: tuple[float, ...]
    facts: Mapping[str, str | float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SlideLabels:
    """Slides to calibrate on, or to measure by.

    Attributes:
        findings: In the order of the labels.
        slides: Those of the split that was asked for.
        patients_known: The CSV has a column `patient_id`.
        split_known: The CSV has a column `split`.
    """

    findings: tuple[str, ...]
    slides: tuple[LabelledSlide, ...]
    patients_known: bool
    split_known: bool

    def table(self) -> Float64[np.ndarray, "case finding"]:
        """Returns the labels of all slides."""
        return np.array([slide.labels for slide in self.slides], dtype=np.float64)

    def patients(self) -> Shaped[np.ndarray, " case"]:
        """Returns whose each slide is."""
        return np.array([slide.patient for slide in self.slides])


def read_slide_labels(
    path: Path,
    findings: Sequence[str],
    *,
    classes: bool,
    split: str | None = SPLIT,
    sites: Sequence[str] = (),
    every: bool = False,
) -> SlideLabels:
    """Reads the labels of slides.

    Args:
        path: The CSV.
        findings: What is asked, whatever the case and underscores. Of findings those that have a column are kept, under the names
            that were asked; classes must all have one, or there is one column `class`.
        classes: They exclude each other.
        split: Only slides of this split, where the CSV has a column `split`; None: of any.
        sites: Only slides of these sites; all without any.
        every: Keep findings that have no column as well, their labels not known.

    Raises:
        LabelsError: As `labels_table.read_labels`; or a key other than `file`, no column of what is asked, a class that is not
            asked, a slide of two classes. The message names lines and the next step.
        EmptyInput: No slide of that split and these sites.
    """
    wanted = set(map(_plain, findings))
    table = read_labels(path, asked=lambda column: _plain(column) in wanted)
    if table.key != "file":
        raise LabelsError(f"the labels of slides need a column `file` with their paths; {path.name} has {table.key!r}")
    kept, labels = _classes(table, findings) if classes else _findings(table, findings, path, every=every)
    chosen = [(row, of) for row, of in zip(table.rows, labels, strict=True) if _wanted(table, row, split, sites)]
    if not chosen:
        where = f" and of site {', '.join(sites)}" if sites else ""
        if split is None:
            raise EmptyInput(f"no slide{where.replace(' and', '', 1)} among {len(table.rows)} lines of {path.name}; name others")
        raise EmptyInput(
            f"no slide of split `{split}`{where} among {len(table.rows)} lines of {path.name}; "
            f"write `{split}` in the column `split`, or leave that column out to use every line"
        )
    slides = tuple(_slide(row, of, path.parent) for row, of in chosen)
    return SlideLabels(kept, slides, "patient_id" in table.columns, "split" in table.columns)


def _wanted(table: LabelsTable, row: LabelRow, split: str | None, sites: Sequence[str]) -> bool:
    of_split = split is None or "split" not in table.columns or row.facts.get("split") == split
    return of_split and (not sites or row.facts.get("site") in sites)


def _slide(row: LabelRow, labels: tuple[float, ...], folder: Path) -> LabelledSlide:
    patient, site = row.facts.get("patient_id"), row.facts.get("site")
    whose = f"line {row.line}" if patient is None else f"patient {patient}"
    about = {name: value for name, value in row.facts.items() if name not in PRIVATE}
    return LabelledSlide(row.key, folder / row.key, whose, None if site is None else str(site), labels, about)


def _findings(
    table: LabelsTable, findings: Sequence[str], path: Path, *, every: bool
) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    columns = _columns(table)
    there_are = [name for name in findings if _plain(name) in columns]
    kept = tuple(findings if every else there_are)
    if not there_are:
        there = ", ".join(name for name in table.columns if name not in (table.key, *FACTS)) or "none"
        raise LabelsError(f"{path.name} has no column of {', '.join(findings)}; it has: {there}; name columns as what is asked")
    places = [columns.get(_plain(name)) for name in kept]
    return kept, [tuple(_known(None if at is None else row.labels[at]) for at in places) for row in table.rows]


def _classes(table: LabelsTable, classes: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    allowed = f"the classes are: {', '.join(classes)}"
    if CLASS in table.columns:
        return tuple(classes), _named(table, classes, allowed)
    columns = _columns(table)
    lacking = [name for name in classes if _plain(name) not in columns]
    if lacking:
        raise LabelsError(f"the labels CSV has no column `class`, nor one of {', '.join(lacking)}; add a column `class`; {allowed}")
    labels = [tuple(_known(row.labels[columns[_plain(name)]]) for name in classes) for row in table.rows]
    twice = [row.line for row, of in zip(table.rows, labels, strict=True) if of.count(1.0) > 1]
    if twice:
        raise LabelsError(f"labels CSV, {name_places(twice)}: a slide of two classes, and classes exclude each other; give it one")
    return tuple(classes), [_one_of(of.index(1.0) if 1.0 in of else None, len(classes)) for of in labels]


def _columns(table: LabelsTable) -> dict[str, int]:
    """Returns where each finding stands; of two columns of one name there is no telling which is meant."""
    columns: dict[str, int] = {}
    for at, name in enumerate(table.findings):
        first = columns.setdefault(_plain(name), at)
        if first != at:
            both = f"{table.findings[first]!r} and {name!r}"
            raise LabelsError(f"columns {both} of the labels CSV name the same finding; keep one of them")
    return columns


def _named(table: LabelsTable, classes: Sequence[str], allowed: str) -> list[tuple[float, ...]]:
    number: dict[str, int] = {_plain(name): at for at, name in enumerate(classes)}
    of = [_plain(str(row.facts[CLASS])) if CLASS in row.facts else None for row in table.rows]
    wrong = [row.line for row, name in zip(table.rows, of, strict=True) if name is not None and name not in number]
    if wrong:
        raise LabelsError(f"labels CSV, {name_places(wrong)}: an unknown class; {allowed}, or blank where it is not known")
    return [_one_of(None if name is None else number[name], len(classes)) for name in of]


def _one_of(number: int | None, classes: int) -> tuple[float, ...]:
    """1 for the class and 0 for the others; nothing known without one."""
    if number is None:
        return (np.nan,) * classes
    return tuple(float(at == number) for at in range(classes))


def _known(label: int | None) -> float:
    return np.nan if label is None or label == -1 else float(label)


def _plain(name: str) -> str:
    """As `zeroshot.prompts.plain_name`, which stands on a floor above."""
    return " ".join(name.replace("_", " ").lower().split())
