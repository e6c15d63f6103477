"""PNG and JPEG: pictures of films, without a header to lean on."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Integer

from vesalius.dicom.lookup import colour_to_grey, full_range
from vesalius.dicom.notes import Notes
from vesalius.errors import CorruptStream, MultiFrame, TooLarge, TruncatedFile, UnreadableImage, UnsupportedEncoding
from vesalius.types import Pixels

PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on a broken picture: it has no error class of its own beyond OSError."""

_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I"})


def looks_like_raster(start: bytes) -> bool:
    """Is a file that starts so a PNG or a JPEG?"""
    return start.startswith((PNG_START, JPEG_START))


def read_raster(path: Path, max_pixels: int, notes: Notes) -> tuple[Pixels, Integer[np.ndarray, "rows columns *samples"], int]:
    """Returns the grey film in [0, 1], the stored values it came from (for the image's id), and its depth in bits.

    Raises:
        TooLarge: Its header claims more than `max_pixels`; nothing was decoded.
        MultiFrame: An animation.
        TruncatedFile, CorruptStream, UnsupportedEncoding, ZeroSpread: Each says what to do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: our own limit stands before it
            picture = _open(path, max_pixels)
            reduced = _is_deep_colour(path, picture)
            picture.load()
            upright = PIL.ImageOps.exif_transpose(picture)
    except PIL.Image.DecompressionBombError as error:
        raise TooLarge("the picture claims more pixels than any radiograph has: pass one radiograph a file") from error
    except PILLOW_ERRORS as error:
        raise _broken(error) from error
    notes.step(f"decoded {picture.format}, {picture.height} x {picture.width}, mode {picture.mode}")
    if reduced:
        notes.warn("16-bit colour was read at 8 bits")
    if upright.size != picture.size or upright.getexif() != picture.getexif():
        notes.step("turned as its EXIF orientation says")
    stored, bits = _stored(upright, notes)
    grey = full_range(stored, bits, notes) if stored.ndim == 2 else colour_to_grey(stored, bits, notes)
    return grey, stored, bits


def _open(path: Path, max_pixels: int) -> PIL.Image.Image:
    picture = PIL.Image.open(path, formats=("PNG", "JPEG"))
    if picture.width * picture.height > max_pixels:
        claimed = f"{picture.height} x {picture.width}"
        raise TooLarge(
            f"the picture claims {claimed} pixels, more than the {max_pixels:,} that are read: no radiograph is so large"
        )
    if picture.format == "PNG" and getattr(picture, "is_animated", False):
        raise MultiFrame("the PNG is an animation where one film is expected: export the film as a single image")
    return picture


def _broken(error: BaseException) -> UnreadableImage:
    if isinstance(error, PIL.UnidentifiedImageError):
        return UnsupportedEncoding(
            "the picture starts like PNG or JPEG but is of a kind that cannot be decoded: export as 8 or 16-bit PNG"
        )
    if "truncated" in str(error).lower():
        return TruncatedFile("the picture ends before its pixels do: copy the file from its source again")
    if isinstance(error, PermissionError):
        return UnreadableImage("the system could not read the file: check its permissions")
    return CorruptStream("the picture cannot be decoded: export it again")


def _is_deep_colour(path: Path, picture: PIL.Image.Image) -> bool:
    """Pillow reads 16-bit colour, and 16-bit grey with alpha, at 8 bits; the depth stands in byte 24 of a PNG."""
    if picture.format != "PNG" or picture.mode in _DEEP:
        return False
    with path.open("rb") as file:
        return file.read(25)[24:25] == b"\x10"


def _stored(picture: PIL.Image.Image, notes: Notes) -> tuple[Integer[np.ndarray, "rows columns *samples"], int]:
    """Returns grey or RGB values and their depth; what is transparent becomes black."""
    if picture.mode in _DEEP:
        return np.asarray(picture).astype(np.uint16), 16
    transparent = picture.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in picture.info
    if transparent:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            black = PIL.Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = PIL.Image.alpha_composite(black, picture)
            notes.step("transparent pixels laid over black")
            notes.warn("the picture has transparent pixels; they were read as black")
    if picture.mode in {"1", "L"}:
        return np.asarray(picture.convert("L")), 8
    colour = np.asarray(picture.convert("RGB"))
    if np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2]):
        notes.step("colour with three equal channels: one of them taken")
        return np.ascontiguousarray(colour[..., 0]), 8
    notes.warn("a colour picture, read as grey")
    return colour, 8
