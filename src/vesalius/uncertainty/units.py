"""Whose cases are whose: numbering, one loss a patient, and a split that does not depend on the order of the rows.

A guarantee counts independent units. Two films of one patient are not independent, so the patient is the unit.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.errors import ShapeMismatch

Reduce = Literal["worst", "mean"]


def number_units(
    names: Shaped[np.ndarray, " case"] | None, n_cases: int, what: str = "patients"
) -> tuple[Int64[np.ndarray, " case"], int]:
    """Number of each case's unit, in the order of `np.unique(names)`, and how many units there are; None makes each case its own.

    Raises:
        ShapeMismatch: Not one name a case.
    """
    if names is None:
        return np.arange(n_cases), n_cases
    given = np.asarray(names)
    if given.shape != (n_cases,):
        raise ShapeMismatch(f"{what} {given.shape}; expected one a case: ({n_cases},)")
    distinct, number = np.unique(given, return_inverse=True)
    return number.astype(np.int64), len(distinct)


def known_units(
    names: Shaped[np.ndarray, " case"] | None, known: Bool[np.ndarray, " case"], what: str = "patients"
) -> tuple[Int64[np.ndarray, " known"], int]:
    """As `number_units`, for the known cases only: units without one are not counted.

    Raises:
        ShapeMismatch: Not one name a case.
    """
    unit, _ = number_units(names, len(known), what)
    return number_units(None if names is None else unit[known], int(known.sum()))


def reduce_units(
    values: Float64[np.ndarray, " case"], unit: Int64[np.ndarray, " case"], n_units: int, how: Reduce
) -> Float64[np.ndarray, " unit"]:
    """Greatest ("worst") or mean value of each unit's cases; NaN for a unit without a case."""
    if how == "worst":
        worst = np.full(n_units, -np.inf)
        np.maximum.at(worst, unit, values)
        return np.where(worst == -np.inf, np.nan, worst)
    count = np.bincount(unit, minlength=n_units)
    total = np.bincount(unit, values, n_units)
    mean: Float64[np.ndarray, "unit"] = np.divide(total, count, out=np.full(n_units, np.nan), where=count > 0)
    return mean


def part_of_units(
    unit: Int64[np.ndarray, " case"],
    n_units: int,
    rows: Float64[np.ndarray, "case column"],
    *,
    share: float,
    seed: int,
) -> Bool[np.ndarray, " case"]:
    """True for the cases of a random share of the units; whole units stay together.

    Cases that are their own unit are first put in the order of their content, so the same cases in another order are split alike.
    """
    drawn = np.zeros(n_units, dtype=bool)
    drawn[np.random.default_rng(seed).permutation(n_units)[: round(share * n_units)]] = True
    if n_units < len(unit):  # named patients are numbered in the order of their names
        of_patient: Bool[np.ndarray, " case"] = drawn[unit]
        return of_patient
    place = np.empty(n_units, dtype=np.int64)
    place[np.lexsort(rows.T)] = np.arange(n_units)
    mine: Bool[np.ndarray, " case"] = drawn[place]
    return mine
