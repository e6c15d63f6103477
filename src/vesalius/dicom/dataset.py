"""Opening a DICOM file and asking it for values, trusting neither.

A header may hold anything, a patient's name in a number's place included: what cannot be understood counts as absent, no value
is ever quoted, and pydicom, which quotes values in its warnings, is kept quiet meanwhile.
"""

from __future__ import annotations

import logging
import math
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from vesalius.errors import NotAnImage, TooLarge, TruncatedFile, UnreadableImage

PARSE_ERRORS = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom raises, by its source and by fuzzing, when bytes are not the DICOM they claim to be."""

BYTES_PER_PIXEL_AT_MOST = 8
"""Three colours of 16 bits, and room for a header: a larger file is no single film."""

_INFLATE_CHUNK = 1 << 20
_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "pylibjpeg",
    "pylibjpeg.utils",
    "openjpeg",
    "highdicom.base",
    "highdicom.sr.sop",
)


def looks_like_dicom(start: bytes) -> bool:
    """Does a file that starts so claim to be DICOM? True for the standard preamble, and for a bare data set of group 2 or 8."""
    return start[128:132] == b"DICM" or start.startswith((b"\x02\x00", b"\x08\x00", b"\x00\x08"))


def open_dataset(path: Path, max_pixels: int) -> pydicom.Dataset:
    """Parses a DICOM file; the pixels are not decoded. Call it inside `quiet()`.

    Raises:
        TooLarge: The file, or what it inflates to, is larger than any film of `max_pixels`.
        TruncatedFile: A deflated file that ends too early; copy it again.
        NotAnImage: Not DICOM after all.
        UnreadableImage: The system refuses to read the file.
    """
    most = BYTES_PER_PIXEL_AT_MOST * max_pixels + (64 << 20)
    try:
        size = path.stat().st_size
        if size > most:
            raise TooLarge(f"the file has {size:,} bytes, more than any film of {max_pixels:,} pixels: pass one radiograph a file")
        with path.open("rb") as file:
            start = file.read(4096)
            if DeflatedExplicitVRLittleEndian.encode() in start:
                file.seek(0)
                _check_inflated(file.read(), most)
        return pydicom.dcmread(path, force=True)
    except zlib.error as error:
        raise TruncatedFile("the deflated data set cannot be inflated to its end: copy the file from its source again") from error
    except OSError as error:
        raise UnreadableImage("the system could not read the file: check its permissions and the disk") from error
    except PARSE_ERRORS:
        # "from None": pydicom's own message, which a traceback would print, quotes the value
        raise NotAnImage("the file starts like DICOM but cannot be parsed as DICOM: export it from its source again") from None


def _check_inflated(content: bytes, most: int) -> None:
    """Refuses a deflated data set that would inflate to more than `most` bytes; holds only one chunk at a time."""
    for match in re.finditer(rb"\x02\x00\x00\x00UL\x04\x00(....)", content[:256], re.DOTALL):
        (meta_length,) = struct.unpack("<I", match[1])
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated, rest = 0, content[match.end() + meta_length :]
        while rest and not inflater.eof:
            inflated += len(inflater.decompress(rest, _INFLATE_CHUNK))
            rest = inflater.unconsumed_tail
            if inflated > most:
                raise TooLarge(f"the deflated data set inflates to more than {most:,} bytes: it holds no film")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the warnings and log lines of pydicom and the decoders, which quote header values, from getting out."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    silence = _Silence()  # one of its own for each call: threads must not take away each other's
    for logger in loggers:
        logger.addFilter(silence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(silence)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


def text(dataset: pydicom.Dataset, keyword: str) -> str | None:
    """Returns an element's first value as stripped text, or None where it is absent, empty or unreadable."""
    values = words(dataset, keyword)
    return values[0] if values and values[0] else None


def words(dataset: pydicom.Dataset, keyword: str) -> tuple[str, ...]:
    """Returns all values of an element as stripped text."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, bytes | pydicom.Sequence | pydicom.Dataset):
            return ()
        values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
        return tuple(str(one).replace("\0", "").strip() for one in values)
    except PARSE_ERRORS:
        return ()


def numbers(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...]:
    """Returns all values of an element as finite floats; empty if any is not a number."""
    try:
        values = tuple(float(one) for one in words(dataset, keyword))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()


def number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """Returns an element's first value as a finite float, or None."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def integer(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """Returns an element's first value as an int, or None where it is no whole number."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) and abs(value) < sys.maxsize else None


def items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """Returns the items of a sequence; empty where it is absent or unreadable."""
    try:
        value = dataset.get(keyword)
    except PARSE_ERRORS:
        return []
    return list(value) if isinstance(value, pydicom.Sequence) else []
