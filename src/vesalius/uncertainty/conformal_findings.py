"""Conformal rules for several findings at once: a set for each finding, and a list of findings that misses few.

`FindingSets` speaks of each finding for itself: {present}, {absent}, {both} (cannot tell) or {none} (unlike either).
`MultiLabelRiskControl` speaks of the list of findings of one film: the share of its present findings that the list leaves out.

Sources: Vovk 2005 (Mondrian); Angelopoulos 2024, arXiv:2208.02814 (conformal risk control); Bates 2021, arXiv:2101.02703.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Real, Shaped

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.uncertainty.conformal import conformal_quantile
from vesalius.uncertainty.risk_bounds import check_share, risk_p_value
from vesalius.uncertainty.units import known_units, reduce_units

Normals = Literal["leave-out", "count"]


class FindingSets:
    """Which of absent and present cannot be ruled out, for each finding: {}, {absent}, {present} or both.

    Of the present cases of each finding at least `confidence` have "present" in their set, and of the absent cases at least
    `confidence` have "absent" (each state has a threshold of its own: class-conditional). With `by_state=False` one threshold
    serves both, and only their mix is held: a rare finding is then missed freely. The promise is for each finding, not for all of
    a film at once.

    Attributes (after `fit`):
        thresholds: Least probability of the state that is let in, one row a finding: (absent, present).
        notes: What to know of each finding, or None.

    Source: LAC (Sadinle 2019) on two classes, Mondrian by state (Vovk 2005).
    Checked against: `ClassConditional` and `LAC` on the columns (1 - p, p) (tests/unit); coverage by state in simulation
    (tests/statistical).
    """

    def __init__(self, confidence: float = 0.9, *, by_state: bool = True) -> None:
        """Says how often the truth must be in the set, for each state or for their mix.

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1).
        """
        check_share("confidence", confidence)
        self.confidence, self.by_state = confidence, by_state
        self._thresholds: list[list[float]] | None = None
        self._notes: list[str | None] = []

    def fit(
        self,
        probabilities: Real[np.ndarray, "case finding"],
        labels: Shaped[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the thresholds on calibration cases; labels 1, 0, NaN unknown. A patient counts once, by the least likely truth.

        Raises:
            EmptyInput: No case.
            ShapeMismatch: Arrays that do not go together.
            ValueOutOfRange: A probability outside [0, 1], or NaN where the label is known.
        """
        truth, p = known_table(labels, probabilities)
        if not len(p):
            raise EmptyInput("no case; conformal sets need calibration cases")
        known = ~np.isnan(truth)
        if not ((p[known] >= 0) & (p[known] <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
        self._thresholds, self._notes = [], []
        for k in range(p.shape[1]):
            cuts, few = [], []
            for state, name in enumerate(("absent", "present")):
                rows = known[:, k] & (truth[:, k] == state) if self.by_state else known[:, k]
                strange = np.where(truth[rows, k] == 1, 1 - p[rows, k], p[rows, k])
                unit, n_units = known_units(patients, rows)
                cuts.append(conformal_quantile(reduce_units(strange, unit, n_units, "worst"), self.confidence))
                if math.isinf(cuts[-1]):
                    few.append(f"{n_units} {name if self.by_state else 'known'} units")
            self._thresholds.append(cuts)
            self._notes.append(f"{' and '.join(few)} are too few for {self.confidence:g}: never ruled out" if few else None)
        return self

    def predict_set(self, probabilities: Real[np.ndarray, "case finding"]) -> Bool[np.ndarray, "case finding state"]:
        """True where a state cannot be ruled out; the last axis is (absent, present). A NaN probability rules out nothing.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        limits = self._fitted()
        if p.ndim != 2 or p.shape[1] != len(limits):
            raise ShapeMismatch(f"probabilities {p.shape}; these sets were fitted on (case, {len(limits)})")
        strange = np.stack([p, 1 - p], axis=-1)
        inside: Bool[np.ndarray, "case finding state"] = (strange <= limits) | np.isnan(strange)
        return inside

    def decide(self, probabilities: Real[np.ndarray, "case finding"]) -> Int8[np.ndarray, "case finding"]:
        """1 for {present}, 0 for {absent}, -1 (no answer) for both and for neither.

        Raises:
            NotFitted, ShapeMismatch: As `predict_set`.
        """
        inside = self.predict_set(probabilities)
        alone = inside.sum(axis=-1) == 1
        return np.where(alone, inside[..., 1], -1).astype(np.int8)

    @property
    def thresholds(self) -> Float64[np.ndarray, "finding 2"]:
        """Least probability of (absent, present) at which that state stays in the set; -inf lets it in always."""
        return 1 - self._fitted()

    @property
    def notes(self) -> list[str | None]:
        """What to know of each finding, or None."""
        return list(self._notes)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, inf as None; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        limits = [[value if math.isfinite(value) else None for value in row] for row in self._fitted().tolist()]
        return {"confidence": self.confidence, "by_state": self.by_state, "limits": limits, "notes": self.notes}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted sets that `to_json` described."""
        sets = cls(state["confidence"], by_state=state["by_state"])
        sets._thresholds = [[math.inf if value is None else value for value in row] for row in state["limits"]]
        sets._notes = list(state["notes"])
        return sets

    def _fitted(self) -> Float64[np.ndarray, "finding 2"]:
        if self._thresholds is None:
            raise NotFitted("FindingSets is not fitted; call fit(probabilities, labels) on calibration cases first")
        return np.array(self._thresholds, dtype=np.float64).reshape(-1, 2)


class MultiLabelRiskControl:
    """One threshold for all findings, so that the list of findings at or above it misses few of those that are present.

    The loss of a film is the share of its present findings that the list leaves out (false-negative rate). Without `confidence`
    its mean over new films is at most `target_risk` (conformal risk control: on average over calibration sets too). With it, the
    mean stays there with that confidence over the calibration set (Hoeffding-Bentkus bound; the loss only rises with the threshold,
    so nothing is paid for trying every threshold).

    A film without a present finding cannot miss one. By default such films are left out and the promise is about films with a
    finding; `normals="count"` counts them as loss 0, as MAPIE does, which makes the promise easy where most films are normal.
    With `patients` a patient's loss is the mean over their films, and each patient counts once.

    Attributes (after `fit`):
        threshold: Least probability on the list.
        risk: Loss seen in the calibration units at this threshold.
        n_units: How many they are.

    Source: Angelopoulos 2024, eq. 4; Bates 2021, theorem 1 and section 3.1.3 (with `confidence`).
    Checked against: every threshold tried; MAPIE 1.6 `MultiLabelClassificationController(risk="recall", method="crc")` on its grid
    (tests/reference); the mean in simulation (tests/statistical).
    """

    def __init__(self, target_risk: float = 0.1, *, confidence: float | None = None, normals: Normals = "leave-out") -> None:
        """Says how many present findings may be missed.

        Raises:
            ValueOutOfRange: A share outside (0, 1), or another word for `normals`.
        """
        check_share("target_risk", target_risk)
        if confidence is not None:
            check_share("confidence", confidence)
        if normals not in get_args(Normals):
            raise ValueOutOfRange(f"normals {normals!r}; expected one of {', '.join(get_args(Normals))}")
        self.target_risk, self.confidence, self.normals = target_risk, confidence, normals
        self._found: dict[str, Any] | None = None

    def fit(
        self,
        probabilities: Real[np.ndarray, "case finding"],
        labels: Shaped[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the threshold on calibration films; labels 1, 0, NaN unknown (neither missed nor found).

        Raises:
            EmptyInput: No film that counts.
            NotEstimable: Too few units for the target; the message says how many are needed.
            ShapeMismatch: Arrays that do not go together.
            ValueOutOfRange: A probability outside [0, 1], or NaN where the label is known.
        """
        truth, p = known_table(labels, probabilities)
        present = truth == 1
        counted = present.any(axis=1) if self.normals == "leave-out" else ~np.isnan(truth).all(axis=1)
        if not counted.any():
            raise EmptyInput("no film with a present finding (or a known label); a list of findings needs some to be calibrated on")
        if not ((p[present] >= 0) & (p[present] <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
        unit, n_units = known_units(patients, counted)
        cuts, share = _missed_above(p[counted], present[counted], unit, n_units)
        allowed = np.flatnonzero(self._kept(share, n_units))
        if not allowed.size:
            raise NotEstimable(f"{n_units} units cannot show a missed share of {self.target_risk:g}; {self._needed()} can")
        best = int(allowed[-1])
        self._found = {"threshold": float(cuts[best]), "risk": float(share[best]), "n_units": n_units}
        return self

    def predict_set(self, probabilities: Real[np.ndarray, "case finding"]) -> Bool[np.ndarray, "case finding"]:
        """True for each finding on the list; a NaN probability is on it, for it cannot be ruled out.

        Raises:
            NotFitted: `fit` was not called.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        listed: Bool[np.ndarray, "case finding"] = ~(p < self.threshold)
        return listed

    threshold = property(lambda self: float(self._fitted()["threshold"]), doc="Least probability on the list.")
    risk = property(lambda self: float(self._fitted()["risk"]), doc="Missed share seen in the calibration units.")
    n_units = property(lambda self: int(self._fitted()["n_units"]), doc="Calibration units.")

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        options = {"target_risk": self.target_risk, "confidence": self.confidence, "normals": self.normals}
        return {**options, "found": dict(self._fitted())}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted rule that `to_json` described."""
        control = cls(state["target_risk"], confidence=state["confidence"], normals=state["normals"])
        control._found = dict(state["found"])
        return control

    def _fitted(self) -> dict[str, Any]:
        if self._found is None:
            raise NotFitted("MultiLabelRiskControl is not fitted; call fit(probabilities, labels) on calibration films first")
        return self._found

    def _kept(self, share: Float64[np.ndarray, " cut"], n: int) -> Bool[np.ndarray, " cut"]:
        if self.confidence is None:
            kept: Bool[np.ndarray, " cut"] = (n * share + 1) / (n + 1) <= self.target_risk + 1e-12
            return kept
        return np.asarray(risk_p_value(n * share, n, self.target_risk, "hoeffding-bentkus") <= 1 - self.confidence)

    def _needed(self) -> int:
        if self.confidence is None:
            return math.ceil(1 / self.target_risk - 1 - 1e-9)
        return math.ceil(math.log(1 - self.confidence) / math.log(1 - self.target_risk))


def _missed_above(
    p: Float64[np.ndarray, "case finding"],
    present: Bool[np.ndarray, "case finding"],
    unit: Int64[np.ndarray, " case"],
    n_units: int,
) -> tuple[Float64[np.ndarray, " cut"], Float64[np.ndarray, " cut"]]:
    """Rising thresholds, and the mean over units of the share of present findings below each; below the first nothing is missed."""
    per_case = present.sum(axis=1)
    films = np.bincount(unit, minlength=n_units)
    weight = 1 / (np.maximum(per_case, 1) * films[unit] * n_units)
    rows, columns = np.nonzero(present)
    cuts, place = np.unique(p[rows, columns], return_inverse=True)
    lost = np.bincount(place, weight[rows], len(cuts))
    # At a threshold equal to a probability that finding is still listed: only those strictly below are missed.
    return (cuts, np.append(0.0, np.cumsum(lost)[:-1])) if len(cuts) else (np.array([1.0]), np.zeros(1))
