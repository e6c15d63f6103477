"""Calibration of classes that exclude each other, before the softmax: one temperature, also with offsets, or a line a class.

Sources: Guo 2017, arXiv:1706.04599, sections 4.1-4.2. Alexandari 2020, arXiv:1901.06852 (one temperature with offsets).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped
from scipy.special import log_softmax, softmax

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.proper_scores import known_classes
from vesalius.uncertainty.logistic_fit import SLOPE_RANGE, bracketed_newton

ClassLogits = Float64[np.ndarray, "case class"]


class _SoftmaxLine:
    """softmax(a z + b), what both calibrators below come to."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.slopes: Float64[np.ndarray, "class"] | None = None
        self.offsets: Float64[np.ndarray, "class"] | None = None
        self.note: str | None = None

    def calibrate(self, logits: Real[np.ndarray, "case class"]) -> ClassLogits:
        """Probabilities of the classes; rows add up to 1.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of classes than in `fit`.
        """
        probabilities: ClassLogits = softmax(self.calibrated_logits(logits), axis=1)
        return probabilities

    def calibrated_logits(self, logits: Real[np.ndarray, "case class"]) -> ClassLogits:
        """Logits after calibration; their softmax is the probabilities.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of classes than in `fit`.
        """
        if self.slopes is None or self.offsets is None:
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(logits, labels) on the calibration split first")
        z = np.asarray(logits, dtype=np.float64)
        if z.ndim != 2 or z.shape[1] != len(self.slopes):
            raise ShapeMismatch(f"logits {z.shape}; this calibrator was fitted on (case, {len(self.slopes)})")
        line: ClassLogits = z * self.slopes + self.offsets
        return line

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self.slopes is None or self.offsets is None:
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(logits, labels) on the calibration split first")
        return {"kind": self.kind, "slopes": self.slopes.tolist(), "offsets": self.offsets.tolist(), "note": self.note}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        if state.get("kind") != cls.kind:
            raise ValueOutOfRange(f"state of kind {state.get('kind')!r}; expected {cls.kind!r}")
        one = cls()
        one.slopes, one.offsets = (np.array(state[name], dtype=np.float64) for name in ("slopes", "offsets"))
        one.note = state["note"]
        return one


class MulticlassTemperature(_SoftmaxLine):
    """All logits divided by one temperature: the order of the classes of a case never changes.

    The mean log likelihood is concave in 1 / T, so Newton's method inside a bracket finds the one optimum; 1 / T stays in
    [0.001, 1000], and `note` says where it stands at a bound (every case right, so that no temperature is cold enough).

    Source: Guo 2017, eq. 9. The authors minimise over T with LBFGS in float32, which stops near the optimum.
    Checked against: sklearn.calibration._TemperatureScaling (tests/reference).
    """

    kind = "multiclass-temperature"

    @property
    def temperature(self) -> float:
        """Above 1 the network was too sure of itself.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self.slopes is None:
            raise NotFitted("MulticlassTemperature is not fitted; call fit(logits, labels) on the calibration split first")
        return float(1 / self.slopes[0])

    def fit(self, logits: Real[np.ndarray, "case class"], labels: Shaped[np.ndarray, " case"]) -> Self:
        """Fits on the calibration split; labels are class numbers, -1 unknown.

        Raises:
            EmptyInput: No known label.
            ShapeMismatch: Not (case, class) and (case,).
            ValueOutOfRange: A class without a column, or a logit that is not finite.
        """
        y, z = _known(logits, labels)
        slope = _softmax_slope(z, y)
        self.slopes, self.offsets = np.full(z.shape[1], slope), np.zeros(z.shape[1])
        at_bound = slope in SLOPE_RANGE
        self.note = "the temperature stands at its bound: the cases do not tell where it should be" if at_bound else None
        return self


class MulticlassVector(_SoftmaxLine):
    """A slope and an offset for each class by maximum likelihood; needs some cases of every class.

    It may change which class is likeliest. Slopes are held above 0; offsets add up to 0, because a common one cancels.

    Source: Guo 2017, section 4.2 (vector scaling).
    Checked against: scipy.optimize's trust-region minimiser on the same likelihood, and two classes against a logistic regression
    (tests/reference).
    """

    kind = "multiclass-vector"

    def fit(self, logits: Real[np.ndarray, "case class"], labels: Shaped[np.ndarray, " case"]) -> Self:
        """Fits on the calibration split; labels are class numbers, -1 unknown.

        Raises:
            EmptyInput: No known label.
            NotEstimable: A class has no case: its offset would run away; take MulticlassTemperature.
            ShapeMismatch: Not (case, class) and (case,).
            ValueOutOfRange: A class without a column, or a logit that is not finite.
        """
        from scipy.optimize import minimize

        y, z = _known(logits, labels)
        classes = z.shape[1]
        _refuse_missing(np.bincount(y, minlength=classes))
        one_hot = np.eye(classes)[y]

        def loss(at: Float64[np.ndarray, " two_class"]) -> tuple[float, Float64[np.ndarray, " two_class"]]:
            line = z * at[:classes] + at[classes:]
            residual = (softmax(line, axis=1) - one_hot) / len(z)
            gradient = np.concatenate([(residual * z).sum(axis=0), residual.sum(axis=0)])
            return float(-log_softmax(line, axis=1)[np.arange(len(y)), y].mean()), gradient

        start = np.concatenate([np.full(classes, _softmax_slope(z, y)), np.zeros(classes)])
        bounds = [SLOPE_RANGE] * classes + [(None, None)] * classes
        found = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
        )
        self.slopes, offsets = found.x[:classes], found.x[classes:]
        self.offsets = offsets - offsets.mean()
        self.note = "a slope stands at its bound" if np.isin(self.slopes, SLOPE_RANGE).any() else None
        return self


class BiasCorrectedTemperature(_SoftmaxLine):
    """One temperature for all classes and an offset for each; needs some cases of every class.

    Words that lie nearer to everything than other words do, as an offset mends, are the commonest fault of classes that were asked
    in words. Targets are Platt's, for any number C of classes: of a class with n cases (n + 1) / (n + C) for itself and
    1 / (n + C) for each other one. So a handful of well parted cases does not make every later answer certain; the slope stays in
    [0.001, 1000], offsets add up to 0.

    Source: Alexandari 2020, arXiv:1901.06852, section 3 (bias-corrected temperature scaling); Platt 1999 for the targets, which
        here are carried over from two classes.
    Checked against: `Platt` on the difference of two classes' logits (tests/unit/uncertainty/test_class_decisions.py).
    """

    kind = "multiclass-bias-corrected"

    @property
    def temperature(self) -> float:
        """Above 1 the network was too sure of itself.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self.slopes is None:
            raise NotFitted("BiasCorrectedTemperature is not fitted; call fit(logits, labels) on the calibration split first")
        return float(1 / self.slopes[0])

    def fit(self, logits: Real[np.ndarray, "case class"], labels: Shaped[np.ndarray, " case"]) -> Self:
        """Fits on the calibration split; labels are class numbers, -1 unknown.

        Raises:
            EmptyInput: No known label.
            NotEstimable: A class has no case: its offset would stand on nothing; take MulticlassTemperature.
            ShapeMismatch: Not (case, class) and (case,).
            ValueOutOfRange: A class without a column, or a logit that is not finite.
        """
        from scipy.optimize import minimize

        y, z = _known(logits, labels)
        counts = np.bincount(y, minlength=z.shape[1])
        _refuse_missing(counts)
        targets = ((np.eye(z.shape[1]) * counts[:, None] + 1) / (counts + z.shape[1])[:, None])[y]
        unit = float((z - z.mean(axis=1, keepdims=True)).std()) or 1.0  # cosines are small: both steps of the search alike long
        scaled = z / unit

        def loss(at: Float64[np.ndarray, " parameter"]) -> tuple[float, Float64[np.ndarray, " parameter"]]:
            line = scaled * at[0] + at[1:]
            residual = (softmax(line, axis=1) - targets) / len(z)
            gradient = np.concatenate([[(residual * scaled).sum()], residual.sum(axis=0)])
            return float(-(targets * log_softmax(line, axis=1)).sum(axis=1).mean()), gradient

        bounds = [(SLOPE_RANGE[0] * unit, SLOPE_RANGE[1] * unit)] + [(None, None)] * z.shape[1]
        start = np.concatenate([[np.clip(1.0, *bounds[0])], np.zeros(z.shape[1])])
        found = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
        )
        slope, offsets = float(found.x[0] / unit), found.x[1:]
        self.slopes, self.offsets = np.full(z.shape[1], slope), offsets - offsets.mean()
        self.note = "the slope stands at its bound" if np.isclose(slope, SLOPE_RANGE).any() else None
        return self


def _refuse_missing(counts: Int64[np.ndarray, "class"]) -> None:
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        raise NotEstimable(f"no case of class {missing[0]} in the calibration split; take MulticlassTemperature")


def _known(
    logits: Real[np.ndarray, "case class"], labels: Shaped[np.ndarray, " case"]
) -> tuple[Int64[np.ndarray, " known"], Float64[np.ndarray, "known class"]]:
    y, z, _ = known_classes(labels, logits)
    if not len(y):
        raise EmptyInput("no known label; a calibrator needs the labelled calibration split")
    if not np.isfinite(z).all():
        raise ValueOutOfRange("a logit is infinite where the label is known; take logits, not log probabilities of 0")
    return y, z


def _softmax_slope(z: Float64[np.ndarray, "known class"], y: Int64[np.ndarray, " known"]) -> float:
    """1 / T in SLOPE_RANGE that minimises the mean of -log softmax(z / T)[y]."""
    own = z[np.arange(len(y)), y]

    def rise(slope: float) -> tuple[float, float]:
        p = softmax(slope * z, axis=1)
        mean = (p * z).sum(axis=1)
        return float((mean - own).mean()), float(((p * z**2).sum(axis=1) - mean**2).mean())

    return bracketed_newton(rise)
