"""The model card: what a bundle is, for a person, made from nothing but `bundle.json` and the audit."""

from __future__ import annotations

from typing import Any


def write_card(description: dict[str, Any], bundle_id: str, audit: str | None = None) -> str:
    """Returns `card.md`.

    Args:
        description: What `bundle.json` says.
        bundle_id: SHA-256 of MANIFEST.json, in hex.
        audit: The audit's section in Markdown, from `## ` on; without it the card says that nobody has audited the bundle.
    """
    raise NotImplementedError
