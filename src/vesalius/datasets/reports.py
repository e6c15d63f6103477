"""Radiology reports as text: their sections and their sentences. Standard library only; no text ever leaves through an error.

Sources: the headings are those of common use; that the last impression counts is what CheXzero's parser does (Tiu et al. 2022).
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEADINGS: dict[str, tuple[str, ...]] = {
    "findings": ("findings", "finding", "report", "description"),
    "impression": (
        "impression", "impressions", "conclusion", "conclusions", "opinion", "summary", "interpretation", "findings and impression",
        "findings/impression", "impression and recommendation", "impression and recommendations",
    ),
    "indication": (
        "indication", "indications", "history", "clinical history", "clinical information", "clinical indication", "clinical data",
        "history and indication", "indication and history", "reason for exam", "reason for examination", "reason for study",
        "reason for the exam", "reason for this examination",
    ),
    "comparison": ("comparison", "comparisons", "prior study", "prior studies", "comparison study", "comparison studies"),
    "technique": ("technique", "exam", "examination", "procedure", "study", "views", "protocol"),
    "recommendation": ("recommendation", "recommendations", "recommendation(s)"),
    "notification": ("notification", "notifications", "notification(s)", "communication"),
}  # fmt: skip
"""Names of each section, in lower case; a heading ends in a colon, or begins with a capital and stands alone on its line."""

_SECTION_OF = {name: section for section, names in HEADINGS.items() for name in names}
_NAMES = "|".join(re.escape(name) for name in sorted(_SECTION_OF, key=len, reverse=True))
_HEADING = re.compile(
    rf"(?:^|(?<=[\s.;:)?!]))(?:(?P<state>final|preliminary|addended)[ \t]+)?(?P<name>{_NAMES})[ \t]*(?P<colon>:|$)",
    re.IGNORECASE | re.MULTILINE,
)

_ABBREVIATIONS = frozenset(
    (
        "dr", "drs", "mr", "mrs", "ms", "prof", "vs", "approx", "ca", "cf", "e.g", "i.e", "incl", "fig", "st", "resp",
        "a.p", "p.a", "a.m", "p.m",
    )
)  # fmt: skip
_MARKER = re.compile(r"^\s*(?:\(?\d{1,2}[.)]|[-*•])\s+(?=\S)")
_END = re.compile(r"[.!?]+(?=\s|$)|\n+")


class Sections(NamedTuple):
    """Parts of a report, each without its heading and in one line; empty where there is none."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""
    other: str = ""
    technique: str = ""
    recommendation: str = ""
    notification: str = ""


def sections(report: str) -> Sections:
    """Cuts a report at its headings, in any case, on lines of their own or not.

    Of several impressions the last with words counts; any other section that comes in several parts is joined. `other` is what
    stands before the first heading, all of a report without headings, what follows a banner ("FINAL REPORT" on a line), and what
    follows an empty line in any section but findings and impression (a body that was given no heading). An unknown heading
    ("ADDENDUM:", "HEART:") is text of the section that it stands in.
    """
    report = re.sub(r"\r\n?", "\n", re.sub(r"(?m)^[ \t]+$", "", report))
    headings = [(found, _section(report, found)) for found in _HEADING.finditer(report)]
    headings = [(found, name) for found, name in headings if name]
    parts: dict[str, list[str]] = {"other": [report[: headings[0][0].start()] if headings else report]}
    ends = [found.start() for found, _ in headings] + [len(report)]
    for (found, name), end in zip(headings, ends[1:], strict=True):
        text = report[found.end() : end].strip()
        if name not in ("findings", "impression", "other"):
            text, _, more = text.partition("\n\n")
            parts["other"].append(more)
        if name == "impression" and text:
            parts[name] = [text]
        else:
            parts.setdefault(name, []).append(text)
    return Sections(**{name: " ".join(" ".join(parts.get(name, ())).split()) for name in Sections._fields})


def _section(report: str, found: re.Match[str]) -> str:
    """Which section a heading begins; none for a word that only looks like one ("on this examination: clear lungs")."""
    name, before = found["name"], report[: found.start()].rstrip(" \t")
    if found["state"] and name.lower() == "report" and not report[found.end() :].split("\n", 1)[0].strip():
        return "other"  # a banner over the whole, and no heading of what was found
    begins_line = not before or before.endswith("\n")
    if found["colon"] != ":":
        heading = begins_line and name[0].isupper()
    else:
        heading = begins_line or before[-1] in ".;:)?!" or name[0].isupper()
    return _SECTION_OF[name.lower()] if heading else ""


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
    return [piece for piece in clean if re.search(r"[^\W_]", piece)]


def _unfinished(piece: str) -> bool:
    """Does the full stop at the end of this piece belong to its last word?"""
    words = piece.rstrip(".").split()
    if not words:
        return True
    last = words[-1].lower().lstrip("(")
    initial = len(last) == 1 and last.isalpha() and len(words) > 1 and words[-1].isupper()
    list_number = len(words) == 1 and last.isdigit() and len(last) < 3
    return last in _ABBREVIATIONS or initial or list_number
