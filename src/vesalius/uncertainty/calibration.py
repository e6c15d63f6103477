"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float


class Calibrator:
    """logits -> probabilities in (0, 1). JSON part: `to_json()`, `calibrator_from_json(...)`."""

    def fit(self, logits: Float[np.ndarray, "case finding"], labels: Float[np.ndarray, "case finding"], patients: Any = None) -> Self:
        """Labels 1, 0, NaN unknown."""
        raise NotImplementedError

    def calibrated_logits(self, logits: Float[np.ndarray, "case finding"]) -> Float[np.ndarray, "case finding"]:
        """Logits after calibration."""
        raise NotImplementedError

    def calibrate(self, logits: Float[np.ndarray, "case finding"]) -> Float[np.ndarray, "case finding"]:
        """Probabilities strictly in (0, 1)."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Plain dict, exact floats; has "kind"."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """The fitted calibrator."""
        raise NotImplementedError


class Temperature(Calibrator):
    """Temperature(per_label=False); .temperatures Float[finding] after fit; .flags list[str|None]."""


class Platt(Calibrator):
    """Platt(); .slopes, .intercepts Float[finding]."""


class SelectedCalibrator(Calibrator):
    """SelectedCalibrator(folds=5, seed=0); .choices list[str] per finding; .selection list[dict] (n, n_positive, chosen, cv_nll{...}, note)."""


def calibrator_from_json(state: dict[str, Any]) -> Calibrator:
    """Any calibrator, by state["kind"]."""
    raise NotImplementedError
