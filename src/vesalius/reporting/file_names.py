"""A finding's name as a part of a file's name."""

from __future__ import annotations

import hashlib
import re

MOST_BYTES = 80
"""Of a name; with the case's name before it a file's name must stay below what file systems take, 255."""


def file_name(name: str) -> str:
    """Returns a name as it can stand in a file's: letters and digits of any script, `-` and `_`.

    Two names never become one, but for spaces and underscores, which names of findings do not tell apart: where more was lost, six
    hex digits of the name's SHA-256 stand behind it.
    """
    plain = re.sub(r"[^\w-]+", "_", name)
    kept = plain.encode()[:MOST_BYTES].decode(errors="ignore")
    if kept == name.replace(" ", "_"):
        return kept
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
