"""Gates: rules on the figures of an audit that a bundle must meet before anyone uses it.

A gate names one number of audit.json by its path and the least or most it may be. A number that is missing or could not
be estimated refuses: what was not shown is not assumed.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import GatesError

KEYS = {"name", "measure", "at_least", "at_most"}


@dataclass(frozen=True)
class Gate:
    """One rule.

    Attributes:
        name: In words, for the report.
        measure: Where the number stands in audit.json, from the top.
        at_least: Refuses below this, if given.
        at_most: Refuses above this, if given.
    """

    name: str
    measure: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def rule(self) -> str:
        """The rule in signs, such as `≥ 0.8`."""
        low = "" if self.at_least is None else f"≥ {self.at_least:g}"
        high = "" if self.at_most is None else f"≤ {self.at_most:g}"
        return " and ".join(part for part in (low, high) if part)


def read_gates(path: str | Path) -> tuple[Gate, ...]:
    """Reads the `[[gate]]` tables of a TOML file.

    Raises:
        GatesError: The file is missing, is not TOML, or a gate lacks a measure or a limit; the message names which one.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GatesError(f"no gates file at {path}; docs/gates.md has one to start from") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GatesError(f"{path.name} is not TOML: {error}") from error
    tables = document.get("gate")
    if set(document) != {"gate"} or not isinstance(tables, list) or not tables:
        raise GatesError(f"{path.name} must hold [[gate]] tables and nothing else; got: {', '.join(document) or 'nothing'}")
    return tuple(_gate(table, index, path.name) for index, table in enumerate(tables, start=1))


def _gate(table: Any, index: int, file: str) -> Gate:
    where = f"gate {index} of {file}"
    if not isinstance(table, dict) or not {"measure"} <= set(table) <= KEYS:
        raise GatesError(f"{where} needs `measure` and takes {', '.join(sorted(KEYS))}; got: {', '.join(table) or 'nothing'}")
    measure = table["measure"]
    parts = tuple(measure.split(".")) if isinstance(measure, str) else tuple(map(str, measure))
    limits = {side: _limit(table[side], side, where) for side in ("at_least", "at_most") if side in table}
    if not limits:
        raise GatesError(f"{where} ({'.'.join(parts)}) has no limit; add at_least = NUMBER or at_most = NUMBER")
    return Gate(name=str(table.get("name", ".".join(parts))), measure=parts, **limits)


def _limit(value: Any, side: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GatesError(f"{where}: {side} must be a number; got {value!r}")
    return float(value)


def check_gates(gates: tuple[Gate, ...], document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row a gate: name, measure, rule, value, passed and, where it refused, why.

    A measure that names no place in audit.json refuses too, with a word on what there is: the audit's work is not lost
    over a misspelt rule, and no bundle passes because of one.
    """
    return [_check(gate, document) for gate in gates]


def _check(gate: Gate, document: Mapping[str, Any]) -> dict[str, Any]:
    value, why = _look_up(gate.measure, document)
    if value is not None and gate.at_least is not None and not value >= gate.at_least:
        why = f"{value:.4g} is below {gate.at_least:g}"
    elif value is not None and gate.at_most is not None and not value <= gate.at_most:
        why = f"{value:.4g} is above {gate.at_most:g}"
    row = {"name": gate.name, "measure": ".".join(gate.measure), "rule": gate.rule}
    return row | {"value": value, "passed": why is None, "why": why}


def _look_up(measure: tuple[str, ...], document: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The number at that place, or None and why there is none."""
    place: Any = document
    for depth, word in enumerate(measure):
        so_far = ".".join(measure[:depth]) or "audit.json"
        if place is None:  # a cohort that this store does not have
            return None, f"this audit has no {so_far}"
        if not isinstance(place, Mapping):
            return None, f"{so_far} has nothing below it"
        if word not in place:
            return None, f"no {word!r} in {so_far}; there is: {', '.join(place)}"
        place = place[word]
    if isinstance(place, Mapping | list | str | bool):
        return None, f"{'.'.join(measure)} is not a number; name one of its parts"
    if place is None or not math.isfinite(place):
        return None, "the figure could not be estimated on this store"
    return float(place), None
