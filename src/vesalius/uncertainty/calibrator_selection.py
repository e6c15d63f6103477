"""For each finding the calibrator that does best on held-out patients, chosen inside the calibration split.

Source: Arlot & Celisse 2010 (choosing by cross-validation).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped

from vesalius.errors import ShapeMismatch
from vesalius.metrics.proper_scores import case_nll
from vesalius.uncertainty.calibration import Identity, LineCalibrator, Logits, PerFinding, Platt, Temperature, checked_pair
from vesalius.uncertainty.folds import patient_folds
from vesalius.uncertainty.logistic_fit import SLOPE_RANGE


class SelectedCalibrator(LineCalibrator):
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
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Chooses and fits on the calibration split; labels 1, 0, NaN unknown; without patients each case is one.

        Raises:
            EmptyInput: No known label at all.
            ShapeMismatch: Not one patient a case.
        """
        z, y = checked_pair(logits, labels)
        z, y, owners = _labelled(z, y, patients)
        fold = patient_folds(owners, y, folds=self.folds, seed=self.seed)
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

    def _choose(self, labels: Float64[np.ndarray, " case"], losses: dict[str, float]) -> dict[str, Any]:
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


def _labelled(
    logits: Logits, labels: Logits, patients: Shaped[np.ndarray, " case"] | None
) -> tuple[Logits, Logits, Shaped[np.ndarray, " known"]]:
    """Cases with some known label, so that those without any cannot change how patients are dealt into folds."""
    owners = np.arange(len(labels)) if patients is None else np.asarray(patients)
    if owners.shape != (len(labels),):
        raise ShapeMismatch(f"patients {owners.shape}; expected one a case: ({len(labels)},)")
    known = ~np.isnan(labels).all(axis=1)
    return logits[known], labels[known], owners[known]


def _candidate(name: str) -> LineCalibrator:
    candidates: dict[str, LineCalibrator] = {
        "identity": Identity(),
        "shared_temperature": Temperature(),
        "temperature": Temperature(per_label=True),
        "platt": Platt(),
    }
    return candidates[name]


def _held_out_loss(candidate: LineCalibrator, logits: Logits, labels: Logits, fold: Int64[np.ndarray, " case"]) -> PerFinding:
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
