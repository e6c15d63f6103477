"""What a file of scores was asked, beside it: `scores.jsonl.asked.json`.

A line has no room for it, and lines of two questions must not mix in one file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vesalius.bundle.answers_file import unwritable
from vesalius.errors import BundleError


def asked_path(out: Path) -> Path:
    """Returns where the question of a file of scores lies."""
    return out.parent / f"{out.name}.asked.json"


def keep_question(out: Path, question: str, about: dict[str, Any]) -> None:
    """Writes what is asked before the first score, or checks that scores which are there answered the same.

    Args:
        out: The file of scores.
        question: `NAME@sha256:` and a hash of all that decides a score.
        about: Every sentence and option, for whoever reads the scores later.

    Raises:
        BundleError: Scores are there that answer something else, or nobody knows what; or it cannot be written there.
    """
    path = asked_path(out)
    if out.exists() and out.stat().st_size:
        known = _question_of(path)
        if known != question:
            what = f"answers to other prompts ({known})" if known else f"answers, and {path.name} beside it does not say to what"
            raise BundleError(f"{out} holds {what}; these are {question}: choose another --out, or remove that file")
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps({"question": question, **about}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise unwritable(out, error) from error


def _question_of(path: Path) -> str | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    question = value.get("question") if isinstance(value, dict) else None
    return question if isinstance(question, str) else None
