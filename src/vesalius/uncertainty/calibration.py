"""From logits to probabilities that mean what they say: temperature, Platt, and the choice between them.

Every calibrator keeps the order of a finding's cases (slopes are positive), is fitted in float64 on the calibration split only,
leaves unknown labels (NaN) out, and answers strictly inside (0, 1). Order in a bundle: average of logits, calibrate, threshold,
abstain, gate; nothing may be fitted on probabilities that a later step will change.

Sources: Guo 2017, arXiv:1706.04599 (temperature); Platt 1999 and Lin, Lin & Weng 2007 (targets, Newton's method).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self, cast

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped
from scipy.special import expit

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.metrics.proper_scores import case_nll
from vesalius.uncertainty.folds import patient_folds
from vesalius.uncertainty.logistic_fit import SLOPE_RANGE, fit_line, fit_slope

_LARGEST_LOGIT = 27.0  # p within 2e-12 of 0 and 1: strictly inside (0, 1) in float64, and no infinite log likelihood

Logits = Float64[np.ndarray, "case finding"]
PerFinding = Float64[np.ndarray, "finding"]


class Calibrator(ABC):
    """A rising line a z + b for each finding, then the logistic function: what every calibrator here comes to."""

    kind: ClassVar[str]
    slopes: PerFinding | None = None
    intercepts: PerFinding | None = None
    notes: list[str | None]

    @abstractmethod
    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, "case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown."""

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits after calibration, unclipped; the logistic function of them is the probability.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        slopes, intercepts = self._fitted()
        numbers = np.asarray(logits, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != len(slopes):
            raise ShapeMismatch(f"logits {numbers.shape}; this calibrator was fitted on (case, {len(slopes)})")
        line: Logits = numbers * slopes + intercepts
        return line

    def calibrate(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Probabilities, strictly inside (0, 1), in the order of the logits; NaN logits stay NaN.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        clipped = np.clip(self.calibrated_logits(logits), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        return cast(Logits, expit(clipped))

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
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(logits, labels) on the calibration split first")
        return self.slopes, self.intercepts


class Identity(Calibrator):
    """The logistic function of the logits as they are."""

    kind = "identity"

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, "case"] | None = None,
    ) -> Self:
        """Notes the number of findings; there is nothing to learn."""
        z, _ = _checked(logits, labels)
        self._set(np.ones(z.shape[1]), np.zeros(z.shape[1]), [None] * z.shape[1])
        return self


class Temperature(Calibrator):
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
        patients: Shaped[np.ndarray, "case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        z, y = _checked(logits, labels)
        shared, note = _shared_slope(z, y)
        slopes, notes = np.full(z.shape[1], shared), [note] * z.shape[1]
        for index, column in enumerate(y.T if self.per_label else ()):
            known = ~np.isnan(column)
            notes[index] = _one_class(column)
            if notes[index] is None:
                slopes[index] = fit_slope(z[known, index], column[known])
                notes[index] = _PARTED if slopes[index] == SLOPE_RANGE[1] else None
        self._set(slopes, np.zeros(z.shape[1]), notes)
        return self


class Platt(Calibrator):
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
        patients: Shaped[np.ndarray, "case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        z, y = _checked(logits, labels)
        slopes, intercepts, notes = np.ones(z.shape[1]), np.zeros(z.shape[1]), [_one_class(column) for column in y.T]
        shared, _ = _shared_slope(z, y)
        for index, column in enumerate(y.T):
            known = ~np.isnan(column)
            if notes[index] is not None:
                slopes[index] = shared
                continue
            slopes[index], intercepts[index] = fit_line(z[known, index], column[known])
            if slopes[index] == SLOPE_RANGE[0]:
                notes[index] = "logits do not rise with the finding: the slope stands at its bound"
        self._set(slopes, intercepts, notes)
        return self


class SelectedCalibrator(Calibrator):
    """For each finding the simplest of identity, shared temperature, own temperature and Platt that does best on held-out patients.

    Held-out means patient-grouped cross-validation inside the calibration split; best means the least mean negative log likelihood.
    A candidate that stands at the upper bound of its slope is not tried. A finding with few present or absent cases chooses
    between identity and the shared temperature only. The table of held-out figures stays in `selection` for the report.

    Attributes (after `fit`):
        choices: Kind chosen for each finding.
        selection: One row a finding: n, n_positive, chosen, cv_nll of each candidate (nats; None if not tried), note.

    Source: Arlot & Celisse 2010 for choosing by cross-validation; the candidates are those above.
    Checked against: candidates fitted and scored by hand on the same folds (tests/unit).
    """

    kind = "selected"
    order: ClassVar[tuple[str, ...]] = ("identity", "shared_temperature", "temperature", "platt")

    def __init__(self, *, folds: int = 5, minimum_cases: int = 10, seed: int = 0) -> None:
        self.folds, self.minimum_cases, self.seed = folds, minimum_cases, seed
        self.choices: list[str] = []
        self.selection: list[dict[str, Any]] = []

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, "case"] | None = None,
    ) -> Self:
        """Chooses and fits on the calibration split; labels 1, 0, NaN unknown; without patients each case is one.

        Raises:
            EmptyInput: No known label at all.
            ShapeMismatch: Not one patient a case.
        """
        z, y = _checked(logits, labels)
        fold = patient_folds(patients, y, folds=self.folds, seed=self.seed)
        losses = {name: _held_out_loss(_candidate(name), z, y, fold) for name in self.order}
        fitted = {name: _candidate(name).fit(z, y) for name in self.order}
        for name, calibrator in fitted.items():
            # A bound is no estimate: a handful of well parted cases must not make every later answer certain.
            losses[name][calibrator.temperatures == 1 / SLOPE_RANGE[1]] = np.nan
        slopes, intercepts = np.ones(z.shape[1]), np.zeros(z.shape[1])
        self.selection = [self._choose(y[:, k], {name: float(losses[name][k]) for name in self.order}) for k in range(z.shape[1])]
        self.choices = [row["chosen"] for row in self.selection]
        for index, choice in enumerate(self.choices):
            line = fitted[choice]._fitted()
            slopes[index], intercepts[index] = line[0][index], line[1][index]
        self._set(slopes, intercepts, [row["note"] for row in self.selection])
        return self

    def _choose(self, labels: Float64[np.ndarray, "case"], losses: dict[str, float]) -> dict[str, Any]:
        positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
        few = min(positive, negative) < self.minimum_cases
        tried = [name for name in self.order[: 2 if few else None] if np.isfinite(losses[name])]
        chosen = "identity"
        for name in tried:
            # Rounding must not choose: a less simple candidate has to win by something.
            if losses[name] < losses[chosen] - 1e-9:
                chosen = name
        note = f"{positive} present and {negative} absent: only the shared temperature was tried" if few else None
        return {
            "n": positive + negative,
            "n_positive": positive,
            "chosen": chosen,
            "cv_nll": {name: losses[name] if name in tried else None for name in self.order},
            "note": note,
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, with the table of held-out losses."""
        return {**super().to_json(), "selection": self.selection}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        calibrator = super().from_json(state)
        calibrator.selection = state["selection"]
        calibrator.choices = [row["chosen"] for row in calibrator.selection]
        return calibrator


def calibrator_from_json(state: dict[str, Any]) -> Calibrator:
    """Returns the fitted calibrator of that kind.

    Raises:
        ValueOutOfRange: An unknown kind; the bundle was made by a newer version.
    """
    kinds: dict[str, type[Calibrator]] = {kind.kind: kind for kind in (Identity, Temperature, Platt, SelectedCalibrator)}
    if state.get("kind") not in kinds:
        raise ValueOutOfRange(f"calibrator of kind {state.get('kind')!r}; known here: {', '.join(kinds)}")
    return kinds[state["kind"]].from_json(state)


def _candidate(name: str) -> Calibrator:
    candidates: dict[str, Calibrator] = {
        "identity": Identity(),
        "shared_temperature": Temperature(),
        "temperature": Temperature(per_label=True),
        "platt": Platt(),
    }
    return candidates[name]


def _held_out_loss(candidate: Calibrator, logits: Logits, labels: Logits, fold: Int64[np.ndarray, "case"]) -> PerFinding:
    """Mean log likelihood loss of each finding on cases whose patients the fit did not see; NaN where it cannot be had."""
    loss = np.full(labels.shape, np.nan)
    for index in np.unique(fold):
        held = fold == index
        if np.isnan(labels[~held]).all():
            continue
        loss[held] = case_nll(labels[held], candidate.fit(logits[~held], labels[~held]).calibrated_logits(logits[held]))
    n = (~np.isnan(loss)).sum(axis=0)
    complete = n == (~np.isnan(labels)).sum(axis=0)
    total: PerFinding = np.nansum(loss, axis=0) / np.where((n > 0) & complete, n, np.nan)
    return total


def _checked(logits: Real[np.ndarray, "case finding"], labels: Real[np.ndarray, "case finding"]) -> tuple[Logits, Logits]:
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


def _one_class(labels: Float64[np.ndarray, "case"]) -> str | None:
    known = labels[~np.isnan(labels)]
    if known.size and known.min() != known.max():
        return None
    return "one class only: the shared temperature is used"
