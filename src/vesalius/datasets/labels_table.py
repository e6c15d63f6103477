"""The labels CSV: one line a film, joined by file name, SOP instance or study.

A line and column are named in every complaint; a value never is, because it may be a patient's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from vesalius.datasets.splits import SPLITS
from vesalius.errors import LabelsError, name_places

Key = Literal["file", "sop_instance_uid", "study_instance_uid"]
KEYS: tuple[Key, ...] = get_args(Key)
FACTS = ("patient_id", "study_id", "site", "view_position", "sex", "age_years", "report", "split")
VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "LATERAL", "LL": "LATERAL", "RL": "LATERAL", "LAT": "LATERAL"}
SEXES = ("M", "F", "O")
OLDEST_YEARS = 130.0

_LABELS = {"": None, "1": 1, "0": 0, "-1": -1}
_NOT_READ_HERE = {
    "path",
    "image_id",
    "series_id",
    "modality",
    "laterality",
    "manufacturer",
    "device",
    "portable",
    "rows",
    "columns",
}
_ALIKE = {"patientid": "patient_id", "studyid": "study_id", "filename": "file", "age": "age_years", "view": "view_position"}


@dataclass(frozen=True)
class LabelRow:
    """One line: what it is joined by, what it says of the film, and a label for each finding."""

    line: int
    key: str = field(repr=False)
    facts: dict[str, str | float] = field(repr=False)
    labels: tuple[int | None, ...]


@dataclass(frozen=True)
class LabelsTable:
    """A labels CSV, read and checked; `columns` is its whole header."""

    key: Key
    findings: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    columns: tuple[str, ...] = ()


def read_labels(path: Path, *, asked: Callable[[str], bool] | None = None) -> LabelsTable:
    """Reads and checks a labels CSV.

    Args:
        path: The CSV.
        asked: Is a column of this name a finding? What is none stands as it is in each row's `facts`. None: every column is that
            is not among `FACTS`.

    Raises:
        LabelsError: The file is missing or not UTF-8 CSV; it has no key column or several; a column stands twice; a key is
            blank or stands twice; a value is none of those its column may hold. The message names lines and the next step.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _lines(csv.reader(file, strict=True))
            _, header = next(lines, (0, []))
            return _table([name.strip() for name in header], list(lines), asked)
    except FileNotFoundError as error:
        raise LabelsError(f"no labels file {path}; check the spelling") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path.name} is not UTF-8 text; save it as CSV UTF-8") from error
    except (OSError, csv.Error) as error:
        raise LabelsError(
            f"{path.name} cannot be read as CSV: {error}; save it again as CSV UTF-8, commas between fields"
        ) from error


def _lines(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the first line, fields), without blank lines."""
    start = 1
    for fields in reader:
        if any(value.strip() for value in fields):
            yield start, fields
        start = reader.line_num + 1  # type: ignore[attr-defined]


def _table(header: list[str], lines: list[tuple[int, list[str]]], asked: Callable[[str], bool] | None) -> LabelsTable:
    key = _check_header(header)
    known = {*FACTS, *(name for name in header if asked is not None and name != key and not asked(name))}
    if not lines:
        raise LabelsError("the labels CSV has a header and no line below it; add one line a film")
    _complain([number for number, fields in lines if len(fields) > len(header)], "more fields than the header", "quote commas")
    columns = {
        name: [fields[index].strip() if index < len(fields) else "" for _, fields in lines] for index, name in enumerate(header)
    }
    numbers = [number for number, _ in lines]
    findings = tuple(name for name in header if name != key and name not in known)
    keys = _keys(key, columns[key], numbers)
    facts = {name: _fact(name, columns[name], numbers) for name in header if name in known}
    labels = [_labels(name, columns[name], numbers) for name in findings]
    rows = (
        LabelRow(
            number,
            keys[index],
            {name: value for name, values in facts.items() if (value := values[index]) is not None},
            tuple(column[index] for column in labels),
        )
        for index, number in enumerate(numbers)
    )
    return LabelsTable(key, findings, tuple(rows), tuple(header))


def _check_header(header: Sequence[str]) -> Key:
    """Returns the key column."""
    one_of = f"one of: {', '.join(KEYS)}"
    if not header:
        raise LabelsError(f"the labels CSV is empty; give it a header line with {one_of}, and a column a finding")
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        raise LabelsError("the labels CSV seems to have semicolons or tabs between fields; save it with commas")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise LabelsError(f"columns stand twice in the labels CSV: {', '.join(map(repr, twice))}; keep one of each, with a name")
    if "" in header:
        raise LabelsError(f"column {header.index('') + 1} of the labels CSV has no name; name the finding or remove the column")
    keys = [name for name in KEYS if name in header]
    if len(keys) != 1:
        got = f"several key columns ({', '.join(keys)})" if keys else "no key column"
        raise LabelsError(f"the labels CSV has {got}; expected {one_of}. The header is line 1")
    for name in header:
        meant = _ALIKE.get(re.sub(r"[^a-z]", "", name.lower()))
        if name in _NOT_READ_HERE or (meant and name != meant and meant not in header):
            what = f"rename it to {meant!r}" if meant else "remove it: this comes from the film itself"
            raise LabelsError(f"the labels CSV has a column {name!r}, which is no finding; {what}")
    return keys[0]


def _keys(key: Key, values: Sequence[str], numbers: Sequence[int]) -> list[str]:
    _complain([number for number, value in zip(numbers, values, strict=True) if not value], f"no {key}", "fill it in")
    keys = [plain_path(value) for value in values] if key == "file" else list(values)
    first: dict[str, int] = {}
    again = [number for number, value in zip(numbers, keys, strict=True) if first.setdefault(value, number) != number]
    _complain(again, f"a {key} that stood above", "keep one line a film")
    return keys


def _fact(name: str, values: Sequence[str], numbers: Sequence[int]) -> list[str | float | None]:
    read: list[str | float | None] = []
    wrong = []
    for number, value in zip(numbers, values, strict=True):
        try:
            read.append(_one_fact(name, value) if value else None)
        except (KeyError, ValueError):
            wrong.append(number)
    expected = {
        "view_position": f"expected one of {', '.join(VIEWS)} or blank",
        "sex": f"expected {', '.join(SEXES)} or blank",
        "age_years": f"expected years, 0 to {OLDEST_YEARS:g}, or blank",
        "split": f"expected {', '.join(SPLITS)} or blank",
    }.get(name, "")
    _complain(wrong, f"an unknown value in column {name!r}", expected)
    return read


def _one_fact(name: str, value: str) -> str | float:
    if name == "view_position":
        return VIEWS[value.upper()]
    if name in {"sex", "split"}:
        word = value.upper() if name == "sex" else value.lower()
        if word not in (SEXES if name == "sex" else SPLITS):
            raise ValueError
        return word
    if name == "age_years":
        years = float(value)
        if not 0 <= years <= OLDEST_YEARS:
            raise ValueError
        return years
    return value


def _labels(name: str, values: Sequence[str], numbers: Sequence[int]) -> list[int | None]:
    plain = [re.sub(r"\.0*$", "", value).removeprefix("+") for value in values]
    wrong = [number for number, value in zip(numbers, plain, strict=True) if value not in _LABELS]
    _complain(
        wrong,
        f"an unknown label in column {name!r}",
        f"expected 1, 0, -1 or blank; if it is no finding, rename it ({', '.join(FACTS)}) or remove it",
    )
    return [_LABELS[value] for value in plain]


def _complain(numbers: Sequence[int], what: str, next_step: str) -> None:
    if numbers:
        raise LabelsError(f"labels CSV, {name_places(numbers)}: {what}; {next_step}")


def plain_path(value: str) -> str:
    """Returns a path with forward slashes and without `./` before it."""
    return str(PurePosixPath(value.replace("\\", "/")))


def match_files(table: LabelsTable, paths: Sequence[str]) -> dict[str, LabelRow]:
    """Returns the row of each film, joined by path below the source or by name alone.

    Raises:
        LabelsError: A name fits several films, or two rows fit one film; the message names the lines.
    """
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    known = set(paths)
    rows: dict[str, LabelRow] = {}
    unclear, again = [], []
    for row in table.rows:
        fits = [row.key] if row.key in known else by_name.get(row.key, [])
        if len(fits) > 1:
            unclear.append(row.line)
        elif fits and rows.setdefault(fits[0], row) is not row:
            again.append(row.line)
    _complain(unclear, "a file name that several films have", "write the path below the source folder")
    _complain(again, "a file that another line names too, once by path and once by name", "keep one line a film")
    return rows
