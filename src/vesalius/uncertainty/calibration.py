"""From logits to probabilities that mean what they say: what a calibrator is, and those that are a line in the logits.

Every calibrator keeps the order of a finding's cases, is fitted in float64 on the calibration split only, leaves unknown labels
(NaN) out, and answers strictly inside (0, 1). Order in a bundle: average of logits, calibrate, threshold, abstain, gate; nothing
may be fitted on probabilities that a later step will change. Curves that are no line: `calibration_curves`. The choice between
lines: `calibrator_selection`. Classes that exclude each other: `calibration_multiclass`.

Sources: Guo 2017, arXiv:1706.04599 (temperature); Platt 1999 and Lin, Lin & Weng 2007 (targets, Newton's method).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self, cast

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy.special import expit

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.uncertainty.logistic_fit import SLOPE_RANGE, fit_line, fit_slope, parted

LARGEST_LOGIT = 27.0  # p within 2e-12 of 0 and 1: strictly inside (0, 1) in float64, and no infinite log likelihood

Logits = Float64[np.ndarray, "case finding"]
PerFinding = Float64[np.ndarray, "finding"]


class Calibrator(ABC):
    """From logits to probabilities, finding by finding; a higher logit never gets a lower probability.

    Attributes (after `fit`):
        notes: What to know of each finding (one class only, a bound was reached), or None.
    """

    kind: ClassVar[str]
    notes: list[str | None]

    @abstractmethod
    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown."""

    @abstractmethod
    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits after calibration; the logistic function of them is the probability.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """

    def calibrate(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Probabilities, strictly inside (0, 1), in the order of the logits; NaN logits stay NaN.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        clipped = np.clip(self.calibrated_logits(logits), -LARGEST_LOGIT, LARGEST_LOGIT)
        return cast(Logits, expit(clipped))

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """

    @classmethod
    @abstractmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""

    def _not_fitted(self) -> NotFitted:
        return NotFitted(f"{type(self).__name__} is not fitted; call fit(logits, labels) on the calibration split first")


class LineCalibrator(Calibrator):
    """A rising line a z + b for each finding, then the logistic function."""

    slopes: PerFinding | None = None
    intercepts: PerFinding | None = None

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits after calibration, unclipped; the logistic function of them is the probability.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        slopes, intercepts = self._fitted()
        line: Logits = checked_logits(logits, len(slopes)) * slopes + intercepts
        return line

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        slopes, intercepts = self._fitted()
        return {"kind": self.kind, "slopes": slopes.tolist(), "intercepts": intercepts.tolist(), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        calibrator = cls()
        calibrator._set(np.asarray(state["slopes"], np.float64), np.asarray(state["intercepts"], np.float64), state["notes"])
        return calibrator

    @property
    def temperatures(self) -> PerFinding:
        """1 / slope of each finding; above 1 the network was too sure of itself."""
        temperatures: PerFinding = np.reciprocal(self._fitted()[0])
        return temperatures

    def _set(self, slopes: PerFinding, intercepts: PerFinding, notes: list[str | None]) -> None:
        self.slopes, self.intercepts, self.notes = slopes, intercepts, list(notes)

    def _fitted(self) -> tuple[PerFinding, PerFinding]:
        if self.slopes is None or self.intercepts is None:
            raise self._not_fitted()
        return self.slopes, self.intercepts


class Identity(LineCalibrator):
    """The logistic function of the logits as they are."""

    kind = "identity"

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Notes the number of findings; there is nothing to learn."""
        z, _ = checked_pair(logits, labels)
        self._set(np.ones(z.shape[1]), np.zeros(z.shape[1]), [None] * z.shape[1])
        return self


class Temperature(LineCalibrator):
    """Logits divided by one number, shared by all findings or one for each.

    The mean log likelihood is convex in 1 / T, so Newton's method inside a bracket finds the one optimum. A finding with one
    class only takes the shared temperature and says so in `notes`; one that its logits part perfectly takes the bound.

    Source: Guo 2017, section 4.2, for softmax; here one event a finding. The authors minimise over T with LBFGS in float32,
        which stops near the optimum and may leave T < 0; netcal's `temperature` is our slope.
    Checked against: sklearn.calibration._TemperatureScaling (tests/reference); a known T is recovered (tests/statistical).
    """

    kind = "temperature"

    def __init__(self, *, per_label: bool = False) -> None:
        self.per_label = per_label

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        z, y = checked_pair(logits, labels)
        shared, note = _shared_slope(z, y)
        slopes, notes = np.full(z.shape[1], shared), [note] * z.shape[1]
        for index, column in enumerate(y.T if self.per_label else ()):
            known = ~np.isnan(column)
            notes[index] = one_class(column)
            if notes[index] is None:
                slopes[index] = fit_slope(z[known, index], column[known])
                notes[index] = _PARTED if slopes[index] == SLOPE_RANGE[1] else None
        self._set(slopes, np.zeros(z.shape[1]), notes)
        return self


class Platt(LineCalibrator):
    """A slope and an intercept for each finding: also mends a prevalence that differs from training.

    Platt's targets, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), keep the slope finite for a perfectly parted finding. The slope is held
    above 0, so that ranks are kept; where the data would turn them round, it stands at its bound and `notes` says so.

    Source: Platt 1999, with Newton's method of Lin, Lin & Weng 2007.
    Checked against: sklearn.calibration._SigmoidCalibration (tests/reference).
    """

    kind = "platt"

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        self._set(*_lines(logits, labels, smooth=True))
        return self


class Vector(LineCalibrator):
    """A slope and an intercept for each finding by plain maximum likelihood: `Platt` without its smoothed targets.

    With many cases both agree. With few, or a perfectly parted finding, plain likelihood is too sure of itself (here the slope then
    stands at its bound, and `notes` says so): prefer `Platt`. It is here because papers report it.

    Source: Guo 2017, section 4.2 (vector scaling, diagonal W); for findings it comes to a logistic regression each.
    Checked against: sklearn.linear_model.LogisticRegression without a penalty (tests/reference).
    """

    kind = "vector"

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        self._set(*_lines(logits, labels, smooth=False))
        return self


def calibrator_from_json(state: dict[str, Any]) -> Calibrator:
    """Returns the fitted calibrator of that kind.

    Raises:
        ValueOutOfRange: An unknown kind; the bundle was made by a newer version.
    """
    from vesalius.uncertainty.calibration_curves import Beta, Isotonic, VennAbers
    from vesalius.uncertainty.calibrator_selection import SelectedCalibrator
    from vesalius.uncertainty.class_decisions import SelectedClassCalibrator
    from vesalius.uncertainty.prevalence import PrevalenceShift

    lines = (Identity, Temperature, Platt, Vector, SelectedCalibrator, SelectedClassCalibrator)
    every = (*lines, Beta, Isotonic, VennAbers, PrevalenceShift)
    kinds: dict[str, type[Calibrator]] = {kind.kind: kind for kind in every}
    if state.get("kind") not in kinds:
        raise ValueOutOfRange(f"calibrator of kind {state.get('kind')!r}; known here: {', '.join(kinds)}")
    return kinds[state["kind"]].from_json(state)


def _lines(
    logits: Real[np.ndarray, "case finding"], labels: Real[np.ndarray, "case finding"], *, smooth: bool
) -> tuple[PerFinding, PerFinding, list[str | None]]:
    """A line for each finding, by likelihood with Platt's targets or with the plain ones; one class takes the shared slope."""
    z, y = checked_pair(logits, labels)
    slopes, intercepts, notes = np.ones(z.shape[1]), np.zeros(z.shape[1]), [one_class(column) for column in y.T]
    shared, _ = _shared_slope(z, y)
    for index, column in enumerate(y.T):
        known = ~np.isnan(column)
        if notes[index] is not None:
            slopes[index] = shared
            continue
        slopes[index], intercepts[index] = fit_line(z[known, index], column[known], smooth=smooth)
        if slopes[index] == SLOPE_RANGE[0]:
            notes[index] = "logits do not rise with the finding: the slope stands at its bound"
        elif smooth and parted(z[known, index], column[known]):
            notes[index] = "parted perfectly: Platt's targets alone keep the slope finite"
        elif slopes[index] == SLOPE_RANGE[1]:
            notes[index] = _PARTED.replace("temperature", "slope")
    return slopes, intercepts, notes


def checked_logits(logits: Real[np.ndarray, "case finding"], findings: int) -> Logits:
    """The logits as float64, if they have as many findings as were fitted.

    Raises:
        ShapeMismatch: They have not.
    """
    numbers = np.asarray(logits, dtype=np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != findings:
        raise ShapeMismatch(f"logits {numbers.shape}; this calibrator was fitted on (case, {findings})")
    return numbers


def checked_pair(logits: Real[np.ndarray, "case finding"], labels: Real[np.ndarray, "case finding"]) -> tuple[Logits, Logits]:
    """Logits and labels as float64, fit to be fitted.

    Raises:
        EmptyInput: No known label at all.
        ShapeMismatch: Not two equal (case, finding).
        ValueOutOfRange: A logit that is not finite where the label is known.
    """
    y, z = known_table(labels, logits)
    if np.isnan(y).all():
        raise EmptyInput("no known label; a calibrator needs the labelled calibration split")
    if not np.isfinite(z[~np.isnan(y)]).all():
        raise ValueOutOfRange("a logit is infinite where the label is known; take logits, not log probabilities of 0")
    return z, y


_PARTED = "parted perfectly: the temperature stands at its bound"


def _shared_slope(logits: Logits, labels: Logits) -> tuple[float, str | None]:
    """One slope for all known labels together, and what is wrong with it, if anything."""
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) == 1:
        return 1.0, "every known label is of one class: not calibrated"
    slope = fit_slope(logits[known], labels[known])
    return slope, _PARTED if slope == SLOPE_RANGE[1] else None


def one_class(labels: Float64[np.ndarray, " case"]) -> str | None:
    """Why a finding cannot be fitted alone; None where it can."""
    known = labels[~np.isnan(labels)]
    if known.size and known.min() != known.max():
        return None
    return "one class only: the shared temperature is used"
