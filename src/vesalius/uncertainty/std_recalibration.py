"""A predicted number and its standard deviation, made honest on calibration cases.

A recalibrated deviation is honest on the average of cases like the calibration cases, not for each case. For an interval that holds
with a promised frequency whatever the errors look like, use `SplitConformalRegression` or `ConformalisedQuantileRegression`.

Sources: Laves 2020, arXiv:2006.15004 (one scale for all deviations); Kuleshov 2018, arXiv:1807.00263 (quantiles).
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.regression import known_targets

Column = Float64[np.ndarray, "case"]


class StdRecalibration:
    """Multiplies predicted standard deviations by the one factor that makes the calibration targets most likely.

    For Gaussian forecasts that factor is the root mean square of the standardised errors. Their order stays: a case that was less
    sure than another still is.

    Attributes (after `fit`):
        scale: The factor; above 1 where the model was too sure.
        n: Calibration cases.

    Source: Laves 2020 (sigma scaling, closed form).
    Checked against: scipy.optimize on `gaussian_nll`; uncertainty_toolbox `optimize_recalibration_ratio(criterion="nll")`
    (tests/reference).
    """

    def __init__(self) -> None:
        """Makes an unfitted recalibration."""
        self._scale: float | None = None
        self.n = 0

    def fit(
        self, means: Real[np.ndarray, " case"], standard_deviations: Real[np.ndarray, " case"], targets: Shaped[np.ndarray, " case"]
    ) -> Self:
        """Finds the factor on calibration cases; targets NaN are left out.

        Raises:
            EmptyInput: No case with a known target.
            NotEstimable: Every error is 0: no factor above 0 is best. Look whether these cases trained the model.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A deviation not above 0, or a prediction not finite, where the target is known.
        """
        error = standardised_errors(means, standard_deviations, targets)
        # Kept apart from the root, so that a tiny deviation does not overflow on its way to a finite factor.
        largest = float(np.abs(error).max())
        if largest == 0:
            raise NotEstimable("every error is 0, so no factor above 0 is best; did these cases train the model?")
        self._scale = largest * math.sqrt(float(((error / largest) ** 2).mean()))
        self.n = len(error)
        return self

    @property
    def scale(self) -> float:
        """The factor.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._scale is None:
            raise NotFitted(
                "StdRecalibration is not fitted; call fit(means, standard_deviations, targets) on calibration cases first"
            )
        return self._scale

    def calibrate(self, standard_deviations: Real[np.ndarray, " case"]) -> Float64[np.ndarray, " case"]:
        """Recalibrated standard deviations.

        Raises:
            NotFitted: `fit` was not called.
            ValueOutOfRange: A deviation below 0.
        """
        deviation = np.asarray(standard_deviations, dtype=np.float64)
        if (deviation < 0).any():
            raise ValueOutOfRange("a standard deviation is below 0")
        scaled: Column = deviation * self.scale
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        return {"kind": type(self).__name__, "scale": self.scale, "n": self.n}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted recalibration that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        _check_kind(cls.__name__, state)
        one = cls()
        one._scale, one.n = float(state["scale"]), int(state["n"])
        return one


class QuantileRecalibration:
    """Quantiles of the target from a mean and a deviation, with the shape that the calibration errors had in place of a Gaussian's.

    The quantile of level q is mean + deviation times the q-quantile of the standardised calibration errors, at rank q (n + 1): over
    calibration and new cases together exactly a share q lies below, whatever the errors look like. This is the isotonic map of
    Kuleshov, which is the empirical distribution, turned round and written without the detour over probabilities.

    Attributes (after `fit`):
        errors: Sorted standardised errors of the calibration cases.

    Source: Kuleshov 2018; Vovk 2005 for the rank. Kuleshov's n in place of n + 1 promises too much for few cases.
    Checked against: scipy.stats.mstats.mquantiles(alphap=0, betap=0) (tests/reference); its share in simulation (tests/unit).
    """

    def __init__(self) -> None:
        """Makes an unfitted recalibration."""
        self._errors: Float64[np.ndarray, " calibration"] | None = None

    def fit(
        self, means: Real[np.ndarray, " case"], standard_deviations: Real[np.ndarray, " case"], targets: Shaped[np.ndarray, " case"]
    ) -> Self:
        """Keeps the standardised errors of the calibration cases; targets NaN are left out.

        Raises:
            EmptyInput: No case with a known target.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A deviation not above 0, or a prediction not finite, where the target is known.
        """
        self._errors = np.sort(standardised_errors(means, standard_deviations, targets))
        return self

    @property
    def errors(self) -> Float64[np.ndarray, " calibration"]:
        """Sorted standardised errors.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._errors is None:
            raise NotFitted("QuantileRecalibration is not fitted; call fit(means, standard_deviations, targets) first")
        return self._errors

    def calibrate(
        self, means: Real[np.ndarray, " case"], standard_deviations: Real[np.ndarray, " case"], levels: Real[np.ndarray, " level"]
    ) -> Float64[np.ndarray, "case level"]:
        """Quantiles of each case at these levels.

        Raises:
            NotEstimable: A level nearer to 0 or 1 than 1 / (n + 1): no calibration case lies there; fit on more cases.
            NotFitted: `fit` was not called.
            ShapeMismatch: The lengths differ.
        """
        errors, grid = self.errors, np.asarray(levels, dtype=np.float64)
        end = 1 / (len(errors) + 1)
        if not ((grid >= end - 1e-12) & (grid <= 1 - end + 1e-12)).all():
            raise NotEstimable(
                f"levels {grid.min():g} to {grid.max():g}; {len(errors)} calibration cases reach {end:.3g} to {1 - end:.3g}"
            )
        mean, deviation = np.asarray(means, dtype=np.float64), np.asarray(standard_deviations, dtype=np.float64)
        if mean.ndim != 1 or mean.shape != deviation.shape:
            raise ShapeMismatch(f"means {mean.shape}, standard deviations {deviation.shape}; expected equal (case,)")
        table: Float64[np.ndarray, "case level"] = mean[:, None] + deviation[:, None] * np.quantile(errors, grid, method="weibull")
        return table

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        return {"kind": type(self).__name__, "errors": self.errors.tolist()}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted recalibration that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        _check_kind(cls.__name__, state)
        one = cls()
        one._errors = np.array(state["errors"], dtype=np.float64)
        return one


def standardised_errors(
    means: Real[np.ndarray, " case"], standard_deviations: Real[np.ndarray, " case"], targets: Shaped[np.ndarray, " case"]
) -> Float64[np.ndarray, " known"]:
    """(target - mean) / deviation of the cases with a known target.

    Raises:
        EmptyInput: No case with a known target.
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A deviation not above 0, or a prediction not finite, where the target is known.
    """
    y, known = np.asarray(targets, dtype=np.float64), known_targets(targets)
    mean, deviation = np.asarray(means, dtype=np.float64), np.asarray(standard_deviations, dtype=np.float64)
    if not y.shape == mean.shape == deviation.shape:
        raise ShapeMismatch(f"targets {y.shape}, means {mean.shape}, deviations {deviation.shape}; expected equal (case,)")
    if not known.any():
        raise EmptyInput("no case with a known target; recalibration needs calibration cases")
    y, mean, deviation = y[known], mean[known], deviation[known]
    if not (np.isfinite(mean) & np.isfinite(deviation) & (deviation > 0)).all():
        raise ValueOutOfRange("where the target is known, a mean is not finite or a standard deviation not above 0")
    errors: Float64[np.ndarray, "known"] = (y - mean) / deviation
    return errors


def _check_kind(name: str, state: dict[str, Any]) -> None:
    if state.get("kind") != name:
        raise ValueOutOfRange(f"state of a {state.get('kind')}; expected what {name}.to_json gave")
