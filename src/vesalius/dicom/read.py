"""From a file to an Image: DICOM, PNG or JPEG, told apart by content and not by name."""

from __future__ import annotations

from pathlib import Path

from vesalius.dicom.header import Header
from vesalius.types import Image

__all__ = ["MAX_PIXELS", "Header", "read", "read_with_header"]

MAX_PIXELS = 100_000_000
"""More than any detector or film scanner gives; a header that claims more is refused before anything is decoded."""


def read(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Reads one film."""
    return read_with_header(path, max_pixels=max_pixels)[0]


def read_with_header(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[Image, Header | None]:
    """Reads one film and, from DICOM, its header; the header is None for PNG and JPEG."""
    raise NotImplementedError
