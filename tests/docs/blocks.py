"""Finds the blocks of README and docs that a reader may copy, so that they can be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"(?P<skip><!-- not run: [^>]+-->\s*\n)?^```(?P<language>python|bash|sh)\n(?P<code>.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """All blocks of that language but those under a `<!-- not run: why -->` comment."""
    found = []
    for page in pages():
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match["language"] == language and not match["skip"]:
                line = text[: match.start()].count("\n") + 1
                found.append(Block(str(page.relative_to(ROOT)), line, language, match["code"]))
    return found
