"""A CSV of outputs: one line a case, a header above."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from vesalius.audit.outputs_source import Source
from vesalius.errors import OutputsError, name_places

NUMBER = re.compile(r"(label|logit|probability):")
AT_ONCE = 20_000  # lines; columns of numbers are kept as numbers, so memory stays near that of the arrays
BLANK = {"", "nan", "na", "n/a", "null", "none", "<na>"}


def open_csv(path: Path) -> Source:
    """Reads a CSV (UTF-8, commas, a header line).

    Raises:
        OutputsError: Not UTF-8, not CSV, no header, a column that stands twice, more fields than the header, or text where a
            number is expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _lines(csv.reader(file, strict=True))
            _, header = next(lines, (0, []))
            names = _header([name.strip() for name in header], path.name)
            return _read(names, lines, path.name)
    except UnicodeDecodeError as error:
        raise OutputsError(f"{path.name} is not UTF-8 text; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise OutputsError(
            f"{path.name} cannot be read as CSV ({error}); save it again as CSV UTF-8, commas between fields"
        ) from error


def _lines(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the first line, fields), without blank lines."""
    start = 1
    for fields in reader:
        if any(fields) and any(map(str.strip, fields)):
            yield start, fields
        start = reader.line_num + 1  # type: ignore[attr-defined]


def _header(names: list[str], file: str) -> list[str]:
    if not any(names):
        raise OutputsError(f"{file} has no header; expected columns label:NAME with logit:NAME or probability:NAME (docs/uq.md)")
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise OutputsError(f"{file} seems to have semicolons or tabs between fields; save it with commas")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise OutputsError(f"{file}: columns stand twice in the header: {', '.join(twice)}; keep one of each")
    return names


def _read(names: list[str], lines: Iterator[tuple[int, list[str]]], file: str) -> Source:
    places: list[int] = []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names if name}
    while chunk := list(islice(lines, AT_ONCE)):
        numbers = [number for number, _ in chunk]
        _refuse_ragged(chunk, len(names), file)
        places += numbers
        columns = dict(zip(names, zip(*(fields for _, fields in chunk), strict=True), strict=True))
        for name, found in parts.items():
            found.append(_numbers(name, columns[name], numbers, file) if NUMBER.match(name) else _words(columns[name]))
    whole = {name: np.concatenate(found) if found else np.zeros(0) for name, found in parts.items()}
    return Source(file, "line", "column", np.array(places, dtype=np.int64), whole)


def _refuse_ragged(chunk: list[tuple[int, list[str]]], width: int, file: str) -> None:
    wrong = [number for number, fields in chunk if len(fields) != width]
    if wrong:
        raise OutputsError(
            f"{file}, {name_places(wrong)}: more or fewer fields than the {width} of the header; "
            "write an empty field where nothing is known, and quote fields that hold commas"
        )


def _numbers(name: str, texts: tuple[str, ...], numbers: list[int], file: str) -> Float64[np.ndarray, " case"]:
    try:
        return np.array(list(map(float, texts)))
    except ValueError:
        values, wrong = np.full(len(texts), np.nan), []
    for index, text in enumerate(texts):
        if text.strip().lower() in BLANK:
            continue
        try:
            values[index] = float(text)
        except ValueError:
            wrong.append(numbers[index])
    if wrong:
        raise OutputsError(
            f"{file}, {name_places(wrong)}: text in column {name!r} where a number is expected; "
            "write numbers with a point (0.25), and nothing where nothing is known"
        )
    return values


def _words(texts: tuple[str, ...]) -> Shaped[np.ndarray, " case"]:
    stripped = (sys.intern(text.strip()) for text in texts)
    return np.array([None if text.lower() in BLANK else text for text in stripped], dtype=object)
