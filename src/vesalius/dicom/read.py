"""From a file to an Image: DICOM, PNG or JPEG, told apart by content and not by name.

The way of a DICOM film: parse -> check every claim -> decode -> modality LUT -> VOI LUT or window -> polarity -> orientation.
Each step leaves a line in `Image.provenance`; docs/reading.md tells the same in prose.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vesalius.dicom.dataset import looks_like_dicom, open_dataset, quiet
from vesalius.dicom.header import Header, take_header
from vesalius.dicom.lookup import to_grey
from vesalius.dicom.notes import Notes
from vesalius.dicom.orientation import laterality, orient, spacing_mm, view_position
from vesalius.dicom.pixels import check_layout, decode
from vesalius.dicom.raster import looks_like_raster, read_raster
from vesalius.errors import FileMissing, NotAnImage, TruncatedFile, UnreadableImage
from vesalius.types import Image

__all__ = ["MAX_PIXELS", "Header", "image_id", "read", "read_with_header"]

MAX_PIXELS = 100_000_000
"""More than any detector or film scanner gives; a header that claims more is refused before anything is decoded."""

_START_BYTES = 132


def read(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Reads one film as float32 in [0, 1], denser brighter, in the standard display orientation.

    Raises:
        UnreadableImage: One of its subclasses; `code` is the reason and the message the next step.
            Nothing else is raised for a bad file, and no message quotes it.

    Checked against: pydicom's own look-up tables, and lossless round trips through each transfer syntax (tests/reference).
    """
    return read_with_header(path, max_pixels=max_pixels)[0]


def read_with_header(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[Image, Header | None]:
    """Reads one film and, from DICOM, its header, parsed once; the header is None for PNG and JPEG.

    Raises:
        UnreadableImage: As for `read`.
    """
    path = Path(path)
    start = _start(path)
    notes = Notes()
    if looks_like_raster(start):
        return _read_raster(path, max_pixels, notes), None
    if looks_like_dicom(start):
        with quiet():
            return _read_dicom(path, max_pixels, notes)
    raise NotAnImage("the file is neither DICOM, PNG nor JPEG: pass radiographs")


def image_id(stored: Integer[np.ndarray, "rows columns *samples"]) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the stored values: the same film has the same id in every encoding."""
    head = f"{stored.shape[0]}x{stored.shape[1]}:{stored.dtype.name};"
    return hashlib.sha256(head.encode() + np.ascontiguousarray(stored).tobytes()).hexdigest()[:16]


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except FileNotFoundError:
        raise FileMissing("there is no file at that path: check the spelling") from None
    except IsADirectoryError:
        raise NotAnImage("that is a folder: pass its files, or give the folder to `vesalius ingest` or `predict`") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UnreadableImage("the system could not read the file: check its permissions and the disk") from error
    if not start:
        raise TruncatedFile("the file is empty: copy it from its source again")
    return start


def _read_raster(path: Path, max_pixels: int, notes: Notes) -> Image:
    pixels, stored, bits = read_raster(path, max_pixels, notes)
    return Image(
        pixels=pixels,
        image_id=image_id(stored),
        bits_stored=bits,
        provenance=tuple(notes.steps),
        warnings=tuple(notes.warnings),
        path=path,
    )


def _read_dicom(path: Path, max_pixels: int, notes: Notes) -> tuple[Image, Header]:
    dataset = open_dataset(path, max_pixels)
    layout = check_layout(dataset, max_pixels, notes)
    notes.step(f"decoded {layout.name}, {layout.rows} x {layout.columns}, {layout.bits_stored} bits, {layout.photometric}")
    stored = decode(dataset, layout)
    grey, bits = to_grey(stored, dataset, layout, notes)
    pixels, transposed = orient(grey, dataset, notes)
    spacing = spacing_mm(dataset, notes)
    if spacing is not None and transposed:
        spacing = spacing[::-1]
    image = Image(
        pixels=pixels,
        image_id=image_id(stored),
        bits_stored=bits,
        spacing_mm=spacing,
        view_position=view_position(dataset, notes),
        laterality=laterality(dataset),
        provenance=tuple(notes.steps),
        warnings=tuple(notes.warnings),
        path=path,
    )
    return image, take_header(dataset, layout)
