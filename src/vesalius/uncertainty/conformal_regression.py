"""Intervals around a number that hold the truth with a chosen frequency: split conformal regression and conformalised quantiles.

The promise is that of `conformal`: at least `confidence` over new cases of the same kind as the calibration cases, whatever the
model; with `patients`, for all cases of a new patient at once. Units are those of the target.

Sources: Lei 2018, arXiv:1604.04173 (split conformal, normalised residuals); Romano 2019, arXiv:1905.03222 (CQR).
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.conformal import conformal_quantile
from vesalius.uncertainty.units import known_units, reduce_units


class _Interval:
    """Confidence, the margins after `fit`, and how they are saved."""

    def __init__(self, confidence: float = 0.9) -> None:
        if not 0 < confidence < 1:
            raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
        self.confidence = confidence
        self._margins: tuple[float, float] | None = None

    @property
    def margins(self) -> tuple[float, float]:
        """What is taken off below and added above; inf where the cases are too few for the confidence."""
        if self._margins is None:
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(...) on calibration cases first")
        return self._margins

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, inf as None; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        margins = [value if math.isfinite(value) else None for value in self.margins]
        return {"kind": type(self).__name__, **self._options(), "margins": margins}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted intervals that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        if state["kind"] != cls.__name__:
            raise ValueOutOfRange(f"state of a {state['kind']}; use {state['kind']}.from_json")
        intervals = cls(**{name: value for name, value in state.items() if name not in {"kind", "margins"}})
        low, high = (math.inf if value is None else float(value) for value in state["margins"])
        intervals._margins = (low, high)
        return intervals

    def _options(self) -> dict[str, Any]:
        return {"confidence": self.confidence}


class SplitConformalRegression(_Interval):
    """A number plus and minus a margin, the same for every case or (`normalised`) in proportion to a given scale.

    The scale is anything that is larger where errors are larger: the spread of an ensemble, a predicted standard deviation.

    Source: Lei 2018, algorithms 2 and (normalised) section 5.2.
    Checked against: MAPIE 1.6 `SplitConformalRegressor` (tests/reference); coverage in simulation (tests/statistical).
    """

    def __init__(self, confidence: float = 0.9, *, normalised: bool = False) -> None:
        """Says how often an interval must hold the truth, and whether errors are in units of a scale.

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1).
        """
        super().__init__(confidence)
        self.normalised = normalised

    def fit(
        self,
        predictions: Real[np.ndarray, " case"],
        targets: Real[np.ndarray, " case"],
        scale: Real[np.ndarray, " case"] | None = None,
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the margin on calibration cases; targets NaN are left out.

        Raises:
            EmptyInput: No case with a known target.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A scale without `normalised` or the other way round, a scale not above 0, a prediction not finite.
        """
        centre, width = self._checked(predictions, scale)
        truth, known, unit, n_units = _known(targets, patients, centre)
        scores = np.abs(truth - centre[known]) / width[known]
        margin = _quantile(scores, unit, n_units, self.confidence)
        self._margins = (margin, margin)
        return self

    def predict_interval(
        self, predictions: Real[np.ndarray, " case"], scale: Real[np.ndarray, " case"] | None = None
    ) -> Float64[np.ndarray, "case 2"]:
        """Lower and upper end of each interval.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: As in `fit`.
        """
        below, above = self.margins
        centre, width = self._checked(predictions, scale)
        return np.column_stack([centre - below * width, centre + above * width])

    def _checked(
        self, predictions: object, scale: object | None
    ) -> tuple[Float64[np.ndarray, " case"], Float64[np.ndarray, " case"]]:
        if self.normalised != (scale is not None):
            raise ValueOutOfRange("a scale is needed with normalised=True, and only then")
        centre = np.asarray(predictions, dtype=np.float64)
        width = np.ones(centre.shape) if scale is None else np.asarray(scale, dtype=np.float64)
        if centre.ndim != 1 or centre.shape != width.shape:
            raise ShapeMismatch(f"predictions {centre.shape}, scale {width.shape}; expected equal (case,)")
        if not (np.isfinite(centre).all() and (width > 0).all() and np.isfinite(width).all()):
            raise ValueOutOfRange("a prediction is not finite, or a scale is not above 0")
        return centre, width

    def _options(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "normalised": self.normalised}


class ConformalisedQuantileRegression(_Interval):
    """Predicted lower and upper quantiles, moved by what they missed on calibration cases.

    `symmetric` moves both ends by one margin, and the two sides together hold `confidence`. Otherwise each end has its own margin
    and is exceeded by at most half of 1 - confidence: a stronger promise, wider intervals. A margin may be negative (the quantiles
    were too wide); ends that cross then mean an empty interval, which is given back as the point halfway between them.

    Source: Romano 2019, eq. 6-8 (symmetric), theorem 2 (each side).
    Checked against: MAPIE 1.6 `ConformalizedQuantileRegressor`, both rules (tests/reference); coverage in simulation
    (tests/statistical).
    """

    def __init__(self, confidence: float = 0.9, *, symmetric: bool = True) -> None:
        """Says how often an interval must hold the truth, and whether both ends share a margin.

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1).
        """
        super().__init__(confidence)
        self.symmetric = symmetric

    def fit(
        self,
        lower: Real[np.ndarray, " case"],
        upper: Real[np.ndarray, " case"],
        targets: Real[np.ndarray, " case"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the margins on calibration cases; targets NaN are left out.

        Raises:
            EmptyInput: No case with a known target.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A quantile is not finite.
        """
        low, high = _ends(lower, upper)
        truth, known, unit, n_units = _known(targets, patients, low)
        under, over = low[known] - truth, truth - high[known]
        if self.symmetric:
            margin = _quantile(np.maximum(under, over), unit, n_units, self.confidence)
            self._margins = (margin, margin)
            return self
        each = (1 + self.confidence) / 2
        self._margins = (_quantile(under, unit, n_units, each), _quantile(over, unit, n_units, each))
        return self

    def predict_interval(self, lower: Real[np.ndarray, " case"], upper: Real[np.ndarray, " case"]) -> Float64[np.ndarray, "case 2"]:
        """Lower and upper end of each interval.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A quantile is not finite.
        """
        below, above = self.margins
        low, high = _ends(lower, upper)
        low, high = low - below, high + above
        crossed, middle = low > high, (low + high) / 2
        return np.column_stack([np.where(crossed, middle, low), np.where(crossed, middle, high)])

    def _options(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "symmetric": self.symmetric}


def _ends(lower: object, upper: object) -> tuple[Float64[np.ndarray, " case"], Float64[np.ndarray, " case"]]:
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if low.ndim != 1 or low.shape != high.shape:
        raise ShapeMismatch(f"lower {low.shape}, upper {high.shape}; expected two equal (case,)")
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueOutOfRange("a quantile is not finite")
    return low, high


def _known(
    targets: object, patients: Shaped[np.ndarray, " case"] | None, like: Float64[np.ndarray, " case"]
) -> tuple[Float64[np.ndarray, " known"], Shaped[np.ndarray, " case"], Int64[np.ndarray, " known"], int]:
    truth = np.asarray(targets, dtype=np.float64)
    if truth.shape != like.shape:
        raise ShapeMismatch(f"targets {truth.shape}; expected {like.shape}")
    known = ~np.isnan(truth)
    if not known.any():
        raise EmptyInput("no case with a known target; conformal intervals need calibration cases")
    unit, n_units = known_units(patients, known)
    return truth[known], known, unit, n_units


def _quantile(scores: Float64[np.ndarray, " known"], unit: Int64[np.ndarray, " known"], n_units: int, confidence: float) -> float:
    return conformal_quantile(reduce_units(scores, unit, n_units, "worst"), confidence)
