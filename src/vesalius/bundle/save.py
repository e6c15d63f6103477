"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def attach_audit(bundle: str | Path, files: Mapping[str, bytes]) -> None:
    """Puts an audit and its card into a bundle, in place of what was there; what answers, and so the id, stays as it is.

    Args:
        bundle: Its folder; verified first.
        files: `card.md` and any number of `audit/NAME`; the manifest of the two is made here.
    """
    raise NotImplementedError
