"""Predicted numbers with their doubt, measured: every score with an interval that draws patients.

    table = evaluate_gaussian(targets, means, deviations, patients)
    table["coverage"].low, table["crps"].value

The scores themselves are in `metrics.regression`; `StdRecalibration` mends the deviations first.

Sources: Gneiting & Raftery 2007 (scores); Kuleshov 2018, arXiv:1807.00263 (calibration of quantiles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped
from scipy.special import ndtri

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.intervals import Interval, PatientResamples, interval_of, summed_draws
from vesalius.metrics.regression import gaussian_crps, gaussian_nlls, gaussian_pit, interval_scores, known_targets, step_area

Column = Float64[np.ndarray, "known"]

_ROWS = 64  # resamples whose step functions are integrated at a time


def evaluate_intervals(
    targets: Shaped[np.ndarray, " case"],
    lower: Real[np.ndarray, " case"],
    upper: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    confidence: float,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """`coverage`, `width` and `interval_score` of given intervals, each with its 95 % patient-clustered interval.

    Args:
        targets: NaN unknown.
        lower: Lower ends.
        upper: Upper ends.
        patients: Whose case it is; None takes each case as a patient of its own.
        confidence: What the intervals promise, in (0, 1): the interval score needs it.
        resamples: Draws of patients.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No case.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: An end not finite where the target is known, a lower end above its upper one, a confidence outside (0, 1).

    Checked against: each figure's own function, and `bootstrap` on the same resamples (tests/unit).
    """
    known, (y, low, high) = _checked(targets, lower, upper)
    if (low > high).any():
        raise ValueOutOfRange("a lower end lies above its upper end; sort the two, or predict them together")
    plan = PatientResamples.of(patients, len(known), resamples=resamples, seed=seed)
    return _means(_interval_terms(y, low, high, confidence), known, plan)


def evaluate_gaussian(
    targets: Shaped[np.ndarray, " case"],
    means: Real[np.ndarray, " case"],
    standard_deviations: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    confidence: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every figure of Gaussian forecasts, each with its 95 % patient-clustered interval, all on the same resamples.

    Figures: `rmse mae crps nll sharpness miscalibration_area`, and `coverage width interval_score` of the central interval of
    `confidence`. The interval of the area is moved onto the area: resampling adds noise that makes every area larger.

    Args:
        targets: NaN unknown.
        means: Predicted means.
        standard_deviations: Predicted, above 0.
        patients: Whose case it is; None takes each case as a patient of its own.
        confidence: Of the central interval.
        resamples: Draws of patients.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No case.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A deviation not above 0 or a prediction not finite where the target is known, a confidence outside (0, 1).

    Checked against: each figure's own function, and `bootstrap` on the same resamples (tests/unit).
    """
    known, (y, mean, deviation) = _checked(targets, means, standard_deviations)
    if not (deviation > 0).all():
        raise ValueOutOfRange("a standard deviation is 0 or below where the target is known; expected above 0")
    if not 0 < confidence < 1:
        raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
    plan = PatientResamples.of(patients, len(known), resamples=resamples, seed=seed)
    half = float(ndtri(0.5 + confidence / 2)) * deviation
    terms = {
        "rmse": (y - mean) ** 2,
        "mae": np.abs(y - mean),
        "crps": gaussian_crps(y, mean, deviation),
        "nll": gaussian_nlls(y, mean, deviation),
        "sharpness": deviation**2,
        **_interval_terms(y, mean - half, mean + half, confidence),
    }
    found = _means(terms, known, plan, roots=("rmse", "sharpness"))
    used = np.abs(2 * gaussian_pit(y, mean, deviation) - 1)
    draws = _area_draws(used, plan.patient[known], plan)
    n_patients = len(np.unique(plan.patient[known]))
    area = interval_of(draws, n_patients=n_patients, centred=True)
    return found | {"miscalibration_area": area}


@dataclass(frozen=True)
class QuantileRow:
    """One predicted quantile against the targets.

    Attributes:
        level: What was promised: the share of targets at or below it.
        observed: The share that is.
        pinball: Mean pinball loss, in the unit of the target.
        n: Cases with a known target.
        n_patients: Whose they are.
    """

    level: float
    observed: Interval
    pinball: Interval
    n: int
    n_patients: int


def quantile_calibration_table(
    targets: Shaped[np.ndarray, " case"],
    quantiles: Real[np.ndarray, "case level"],
    levels: Real[np.ndarray, " level"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[QuantileRow, ...]:
    """Promised and observed share below each predicted quantile, with 95 % patient-clustered intervals: calibration as a table.

    Raises:
        EmptyInput: No case.
        ShapeMismatch: The shapes do not go together.
        ValueOutOfRange: A level outside (0, 1), or a quantile that is not finite where the target is known.

    Checked against: `quantile_shares`, `pinball_loss`, and `bootstrap` on the same resamples (tests/unit).
    """
    table, grid = np.asarray(quantiles, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if table.ndim != 2 or grid.shape != table.shape[1:]:
        raise ShapeMismatch(f"quantiles {table.shape}, levels {grid.shape}; expected (case, level) and (level,)")
    if not ((grid > 0) & (grid < 1)).all():
        raise ValueOutOfRange("a level lies outside (0, 1)")
    known, (y, *columns) = _checked(targets, *table.T)
    plan = PatientResamples.of(patients, len(known), resamples=resamples, seed=seed)
    n_patients = len(np.unique(plan.patient[known]))
    rows = []
    for level, column in zip(grid.tolist(), columns, strict=True):
        excess = y - column
        terms = {"observed": (excess <= 0).astype(np.float64), "pinball": np.maximum(level * excess, (level - 1) * excess)}
        found = _means(terms, known, plan)
        rows.append(QuantileRow(level, found["observed"], found["pinball"], int(known.sum()), n_patients))
    return tuple(rows)


def _interval_terms(y: Column, low: Column, high: Column, confidence: float) -> dict[str, Column]:
    inside = ((low <= y) & (y <= high)).astype(np.float64)
    return {"coverage": inside, "width": high - low, "interval_score": interval_scores(y, low, high, confidence)}


def _checked(targets: object, *columns: Any) -> tuple[Bool[np.ndarray, " case"], tuple[Float64[np.ndarray, " known"], ...]]:
    """Where the target is known, and there the targets and the columns."""
    y = np.asarray(targets, dtype=np.float64)
    known = known_targets(y)
    given = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(array.shape != y.shape for array in given):
        raise ShapeMismatch(f"targets {y.shape}, predictions {[array.shape for array in given]}; expected equal (case,)")
    if any(not np.isfinite(array[known]).all() for array in given):
        raise ValueOutOfRange("a prediction is not finite where the target is known; set that target to NaN to leave the case out")
    return known, tuple(array[known] for array in (y, *given))


def _means(
    terms: dict[str, Column],
    known: Bool[np.ndarray, " case"],
    plan: PatientResamples,
    *,
    roots: tuple[str, ...] = (),
) -> dict[str, Interval]:
    """Mean of each term over the known cases (its root for `roots`), on the sample and on every resample."""
    table = np.zeros((len(known), len(terms) + 1))
    table[known] = np.column_stack([np.ones(int(known.sum())), *terms.values()])
    sums = summed_draws(table, plan)
    means = sums[:, 1:] / np.where(sums[:, :1] > 0, sums[:, :1], np.nan)
    n_patients = len(np.unique(plan.patient[known]))
    return {
        name: interval_of(np.sqrt(column) if name in roots else column, n_patients=n_patients)
        for name, column in zip(terms, means.T, strict=True)
    }


def _area_draws(places: Column, owners: Any, plan: PatientResamples) -> Float64[np.ndarray, " draw"]:
    order = np.argsort(places, kind="stable")
    ordered, patient = places[order], owners[order]
    parts = [
        step_area(ordered, chunk[start : start + _ROWS][:, patient].astype(np.float64))
        for chunk in plan.chunks()
        for start in range(0, len(chunk), _ROWS)
    ]
    return np.concatenate(parts)
