"""Sections, sentences and mentions by the simplest rules, until the real parser is there."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple


class Sections(NamedTuple):
    """Parts of a report."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""
    other: str = ""


def sections(report: str) -> Sections:
    """Cuts at headings in capitals with a colon."""
    pieces = re.split(r"\b(FINDINGS|IMPRESSION|TECHNIQUE|INDICATION|COMPARISON):", report)
    parts = {name.lower(): text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}
    return Sections(
        parts.get("findings", ""), parts.get("impression", ""), parts.get("indication", ""), parts.get("comparison", ""), pieces[0]
    )


def sentences(text: str) -> list[str]:
    """Cuts at full stops."""
    return [piece.strip() for piece in re.split(r"(?<=[.!?])\s+", text) if piece.strip()]


def label_sentence(text: str, findings: Sequence[str]) -> dict[str, float]:
    """Looks for the finding's last word, and for words of denial and doubt."""
    low = text.lower()
    denied = re.search(r"\b(no|without|neither|not)\b", low)
    doubted = re.search(r"\b(possible|may|cannot|questionable|borderline)\b", low)
    said = -1.0 if doubted else 0.0 if denied else 1.0
    return {name: said if name.lower().split()[-1] in low else math.nan for name in findings}


def label_report(text: str, findings: Sequence[str]) -> dict[str, float]:
    """Present wins over doubt, doubt over denial."""
    rows = [label_sentence(one, findings) for one in sentences(text)]
    said = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in findings}
    return {name: max(values, key=lambda v: (v == 1, v == -1)) if values else math.nan for name, values in said.items()}
