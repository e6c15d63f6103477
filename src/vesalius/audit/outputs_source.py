"""A file of outputs that was opened: its columns by name, not yet understood."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.errors import OutputsError, name_places

NAMES_SHOWN = 12


@dataclass(frozen=True)
class Source:
    """Columns of equal length, and what only arrays can hold.

    Attributes:
        file: Its name, without folders.
        place: What a case is called when it is looked up: "line" of a CSV (the header is line 1), "row" of an array (from 0).
        column: What a column is called: "column" or "array".
        places: The number of each case.
        columns: Numbers as float64; words as objects, None where blank; arrays of a .npz as they were saved.
        features: As saved, or None.
        member_logits: As saved, or None.
        member_findings: Names for the last axis of `member_logits`, if the file gives them.
    """

    file: str
    place: str
    column: str
    places: Int64[np.ndarray, " case"]
    columns: dict[str, Shaped[np.ndarray, " case"]] = field(repr=False)
    features: Shaped[np.ndarray, "*axes"] | None = field(default=None, repr=False)
    member_logits: Shaped[np.ndarray, "*axes"] | None = field(default=None, repr=False)
    member_findings: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.columns)

    def numbers(self, name: str) -> Float64[np.ndarray, " case"]:
        """One column as numbers, NaN where blank.

        Raises:
            OutputsError: It holds something else.
        """
        array = self.columns[name]
        if array.dtype.kind not in "fiub":
            raise OutputsError(f"{self.file}: {self.column} {name!r} is of {array.dtype}; expected numbers")
        return array.astype(np.float64)

    def words(self, name: str) -> Shaped[np.ndarray, " case"]:
        """One column as words, None where blank."""
        array = self.columns[name]
        if array.dtype == object:
            return array
        values = np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array
        blank = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
        words = [None if empty else str(value).strip() or None for value, empty in zip(values, blank, strict=True)]
        return np.array(words, dtype=object)

    def complain(self, wrong: Bool[np.ndarray, " case"], column: str, what: str, next_step: str) -> None:
        """Raises OutputsError with the places of the wrong cases, if there are any."""
        if np.any(wrong):
            where = name_places(self.places[wrong].tolist(), self.place)
            raise OutputsError(f"{self.file}, {where}: {what} in {self.column} {column!r}; {next_step}")


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Returns the names with commas, not more than a dozen."""
    rest = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "nothing") + rest
