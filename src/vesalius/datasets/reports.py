"""Radiology reports as text: their sections and their sentences. Standard library only; no text ever leaves through an error.

Sources: the headings are those of common use; that the last impression counts is what CheXzero's parser does (Tiu et al. 2022).
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEADINGS: dict[str, tuple[str, ...]] = {
    "findings": ("findings", "finding", "report", "description"),
    "impression": ("impression", "impressions", "conclusion", "conclusions", "opinion", "summary", "interpretation"),
    "indication": (
        "indication", "indications", "history", "clinical history", "clinical information", "clinical indication", "clinical data",
        "reason for exam", "reason for examination", "reason for study", "reason for the exam",
    ),
    "comparison": ("comparison", "comparisons", "prior study", "prior studies"),
    "technique": ("technique", "exam", "examination", "procedure", "study", "views"),
    "recommendation": ("recommendation", "recommendations", "recommendation(s)"),
    "notification": ("notification", "notifications", "notification(s)", "addendum", "communication"),
}  # fmt: skip
"""Names of each section, in lower case; a heading ends in a colon."""

_SECTION_OF = {name: section for section, names in HEADINGS.items() for name in names}
_NAMES = "|".join(re.escape(name) for name in sorted(_SECTION_OF, key=len, reverse=True))
_HEADING = re.compile(rf"(?:(?<=^)|(?<=[\s.;)]))(?:final\s+)?({_NAMES})\s*:", re.IGNORECASE | re.MULTILINE)

_ABBREVIATIONS = frozenset(
    (
        "dr", "drs", "mr", "mrs", "ms", "prof", "vs", "approx", "ca", "cf", "e.g", "i.e", "incl", "fig", "st", "resp",
        "a.p", "p.a", "a.m", "p.m",
    )
)  # fmt: skip
_MARKER = re.compile(r"^\s*(?:\(?\d{1,2}[.)]|[-*•])\s+(?=\S)")
_END = re.compile(r"[.!?]+(?=\s|$)|\n+")


class Sections(NamedTuple):
    """Parts of a report, each without its heading; empty where there is none."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""
    other: str = ""


def sections(report: str) -> Sections:
    """Cuts a report at its headings, in any case, on lines of their own or not.

    Of several impressions the last counts; findings that come in several parts are joined. Text before the first heading and under
    headings of no interest (technique, recommendation, notification) is `other`. A report without any heading is all `other`.
    """
    parts: dict[str, list[str]] = {}
    headings = list(_HEADING.finditer(report))
    parts.setdefault("other", []).append(report[: headings[0].start()] if headings else report)
    ends = [heading.start() for heading in headings] + [len(report)]
    for heading, end in zip(headings, ends[1:], strict=True):
        name = _SECTION_OF[" ".join(heading.group(1).lower().split())]
        text = report[heading.end() : end].strip()
        if name == "impression":
            parts[name] = [text]
        else:
            parts.setdefault(name if name in Sections._fields else "other", []).append(text)
    return Sections(
        **{name: " ".join(" ".join(part.split()) for part in parts.get(name, ()) if part.strip()) for name in Sections._fields}
    )


def impression_or_findings(report: str) -> str:
    """The impression; the findings where there is none; the whole text where there are no headings. Empty for an empty report."""
    found = sections(report)
    return found.impression or found.findings or found.other


def sentences(text: str) -> list[str]:
    """Cuts text into sentences, without the numbers and dashes of lists; none for text without words.

    A full stop ends a sentence unless it belongs to an abbreviation ("Dr. Roe"), an initial, a list number or a decimal number.
    """
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.end()]
        if end.group()[0] == "." and _unfinished(piece):
            continue
        found.append(piece)
        start = end.end()
    found.append(text[start:])
    clean = (" ".join(_MARKER.sub("", piece).split()) for piece in found)
    return [piece for piece in clean if re.search(r"\w", piece)]


def _unfinished(piece: str) -> bool:
    """Does the full stop at the end of this piece belong to its last word?"""
    words = piece.rstrip(".").split()
    if not words:
        return True
    last = words[-1].lower().lstrip("(")
    initial = len(last) == 1 and last.isalpha() and len(words) > 1 and words[-1].isupper()
    list_number = len(words) == 1 and last.isdigit() and len(last) < 3
    return last in _ABBREVIATIONS or initial or list_number
