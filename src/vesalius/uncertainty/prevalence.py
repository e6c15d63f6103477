"""The same disease, more or less often: probabilities that were calibrated at one prevalence, moved to another.

Holds where films with a finding look as they did, and films without it too, and only their shares have changed (label shift). It
does not mend another scanner, another kind of patient, or another definition of the finding.

Source: Elkan 2001 (Bayes' rule for a changed prevalence); Saerens, Latinne & Decaestecker 2002 (estimating it).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy.special import expit, logit

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.calibration import Calibrator, Logits, calibrator_from_json, checked_pair

Shares = Float64[np.ndarray, "finding"]


def shift_prevalence(
    probabilities: Real[np.ndarray, "case finding"],
    calibration_prevalence: Real[np.ndarray, " finding"],
    target_prevalence: Real[np.ndarray, " finding"],
) -> Float64[np.ndarray, "case finding"]:
    """Probabilities as they would be at the target prevalence: the odds times (odds of target / odds of calibration).

    Args:
        probabilities: Calibrated, in [0, 1].
        calibration_prevalence: Share present where they were calibrated, inside (0, 1).
        target_prevalence: Share present where they are used, inside (0, 1).

    Raises:
        ShapeMismatch: Not one prevalence a finding.
        ValueOutOfRange: A prevalence outside (0, 1), or a probability outside [0, 1].

    Source: Elkan 2001, theorem 2.
    Checked against: Bayes' rule by counting cases (tests/unit).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2:
        raise ShapeMismatch(f"probabilities {p.shape}; expected (case, finding)")
    if not ((p >= 0) & (p <= 1) | np.isnan(p)).all():
        raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
    moved: Float64[np.ndarray, "case finding"] = expit(
        logit(p) + log_odds_change(calibration_prevalence, target_prevalence, p.shape[1])
    )
    return moved


def log_odds_change(before: Real[np.ndarray, " finding"], after: Real[np.ndarray, " finding"], findings: int) -> Shares:
    """logit(after) - logit(before), checked.

    Raises:
        ShapeMismatch: Not one prevalence a finding.
        ValueOutOfRange: One outside (0, 1).
    """
    shares = [np.asarray(share, dtype=np.float64) for share in (before, after)]
    if any(share.shape != (findings,) for share in shares):
        raise ShapeMismatch(f"prevalences {shares[0].shape} and {shares[1].shape}; expected one a finding: ({findings},)")
    if not all(((share > 0) & (share < 1)).all() for share in shares):
        raise ValueOutOfRange("a prevalence of 0 or 1 (or beyond) leaves nothing to calibrate; expected shares inside (0, 1)")
    change: Shares = logit(shares[1]) - logit(shares[0])
    return change


def estimate_prevalence(
    probabilities: Real[np.ndarray, "case finding"], calibration_prevalence: Real[np.ndarray, " finding"], *, steps: int = 2000
) -> Shares:
    """Share present in unlabelled cases, from probabilities that were calibrated elsewhere; each finding by itself.

    The share that makes the cases most likely under label shift. Where the model ranks poorly, or the films changed in other ways,
    it is far off: compare it with what is known of the place.

    Args:
        probabilities: Calibrated at `calibration_prevalence`, strictly inside (0, 1).
        calibration_prevalence: Share present where they were calibrated.
        steps: Of the iteration, at most.

    Raises:
        EmptyInput: No case.
        NotEstimable: The iteration does not settle.
        ShapeMismatch: Not (case, finding), or not one prevalence a finding.
        ValueOutOfRange: A probability or prevalence outside (0, 1).

    Source: Saerens 2002, section 2.2 (expectation maximisation).
    Checked against: a known change of prevalence in simulation (tests/statistical); the likelihood on a grid (tests/unit).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2:
        raise ShapeMismatch(f"probabilities {p.shape}; expected (case, finding)")
    if not len(p):
        raise EmptyInput("no case; a prevalence cannot be estimated from nothing")
    before = np.asarray(calibration_prevalence, dtype=np.float64)
    share = before.copy()
    for _ in range(steps):
        after = shift_prevalence(p, before, share).mean(axis=0)
        if np.abs(after - share).max() <= 1e-12:
            return np.asarray(after)
        share = np.clip(after, 1e-12, 1 - 1e-12)
    if np.abs(shift_prevalence(p, before, share).mean(axis=0) - share).max() > 1e-6:
        raise NotEstimable(f"the prevalence did not settle in {steps} steps; do these probabilities rank the cases at all?")
    return share


class PrevalenceShift(Calibrator):
    """A calibrator whose answers are moved to a known target prevalence.

    Attributes (after `fit`):
        calibration_prevalence: Share present among the known labels of the calibration split, a finding.

    Source: see `shift_prevalence`.
    Checked against: `shift_prevalence` after the inner calibrator (tests/unit).
    """

    kind = "prevalence-shift"

    def __init__(self, inner: Calibrator, target_prevalence: Real[np.ndarray, " finding"]) -> None:
        """Says what calibrates, and for which prevalence.

        Args:
            inner: Any calibrator of this room; it is fitted by `fit`.
            target_prevalence: Share present where the answers are used, a finding.
        """
        self.inner = inner
        self.target_prevalence = np.asarray(target_prevalence, dtype=np.float64)
        self.calibration_prevalence: Shares | None = None

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits the inner calibrator and counts the prevalence; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
            NotEstimable: A finding with one class only: there is no prevalence to move from.
        """
        _, y = checked_pair(logits, labels)
        positive, known = (y == 1).sum(axis=0), (~np.isnan(y)).sum(axis=0)
        if not ((positive > 0) & (positive < known)).all():
            raise NotEstimable("a finding has one class only in the calibration split: there is no prevalence to move from")
        prevalence = positive / known
        log_odds_change(prevalence, self.target_prevalence, y.shape[1])
        self.inner.fit(logits, labels, patients)
        self.calibration_prevalence = prevalence
        self.notes = list(self.inner.notes)
        return self

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits after calibration and the move.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        before = self._fitted()
        moved: Logits = self.inner.calibrated_logits(logits) + log_odds_change(before, self.target_prevalence, len(before))
        return moved

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words.

        Raises:
            NotFitted: `fit` was not called.
        """
        shares = {"calibration_prevalence": self._fitted().tolist(), "target_prevalence": self.target_prevalence.tolist()}
        return {"kind": self.kind, "inner": self.inner.to_json(), **shares, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        one = cls(calibrator_from_json(state["inner"]), np.array(state["target_prevalence"], dtype=np.float64))
        one.calibration_prevalence = np.array(state["calibration_prevalence"], dtype=np.float64)
        one.notes = list(state["notes"])
        return one

    def _fitted(self) -> Shares:
        if self.calibration_prevalence is None:
            raise NotFitted("PrevalenceShift is not fitted; call fit(logits, labels) on the calibration split first")
        return self.calibration_prevalence
