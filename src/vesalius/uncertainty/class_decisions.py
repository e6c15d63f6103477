"""Classes that exclude each other, from logits to a decision: which calibrator, and when the likeliest class may be said.

Labels are a table (case, class) like that of findings: 1 for the case's class and 0 for the others, or unknown throughout. So both
stand where `SelectedCalibrator` and `DecisionPolicy` stand for findings, and the code about them is the same.

Sources: Guo 2017, arXiv:1706.04599 (temperature); Alexandari 2020, arXiv:1901.06852 (with offsets); Chow 1970 (to reject).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Real, Shaped
from scipy.special import log_softmax, logsumexp

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_table
from vesalius.uncertainty.calibration import Calibrator, Logits, checked_logits
from vesalius.uncertainty.calibration_multiclass import BiasCorrectedTemperature, MulticlassTemperature
from vesalius.uncertainty.curves import risk_coverage
from vesalius.uncertainty.folds import patient_folds
from vesalius.uncertainty.logistic_fit import SLOPE_RANGE
from vesalius.uncertainty.selective import DecisionPolicy

UNKNOWN = -1

ClassNumbers = Int64[np.ndarray, "case"]


def class_numbers(labels: Real[np.ndarray, "case class"]) -> ClassNumbers:
    """Returns the class of each case, -1 where it is not known: where no class is 1.

    Raises:
        ValueOutOfRange: A case of two classes.
    """
    of = np.nan_to_num(np.asarray(labels, dtype=np.float64)) == 1
    if (of.sum(axis=1) > 1).any():
        raise ValueOutOfRange("a case is of two classes, and classes exclude each other; give it one, or ask them as findings")
    numbers: ClassNumbers = np.where(of.any(axis=1), of.argmax(axis=1), UNKNOWN).astype(np.int64)
    return numbers


class SelectedClassCalibrator(Calibrator):
    """Of identity, one temperature, and one temperature with offsets the simplest that does best on held-out patients.

    The probabilities of a case add up to 1. Best means the least mean negative log likelihood of the true class, in
    patient-grouped cross-validation inside the calibration split. A temperature at its lower bound is not taken (every held-in case
    is right, and a bound is no estimate); offsets are tried only where every class has `minimum_cases`.

    Attributes (after `fit`):
        slopes: 1 / temperature, the same for all classes.
        intercepts: Offset of each class.
        selection: One row a class, all of one choice: n, n_positive (of this class), chosen, cv_nll of each candidate, note.

    Source: Arlot & Celisse 2010 for choosing by cross-validation; the candidates are those above.
    Checked against: candidates fitted and scored by hand on the same folds (tests/unit/uncertainty/test_class_decisions.py).
    """

    kind = "selected-classes"
    order: ClassVar[tuple[str, ...]] = ("identity", "temperature", "temperature_and_offsets")

    def __init__(self, *, folds: int = 5, minimum_cases: int = 10, seed: int = 0) -> None:
        self.folds, self.minimum_cases, self.seed = folds, minimum_cases, seed
        self.slopes: Float64[np.ndarray, "class"] | None = None
        self.intercepts: Float64[np.ndarray, "class"] | None = None
        self.notes: list[str | None] = []
        self.selection: list[dict[str, Any]] = []

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Chooses and fits on the calibration split; each row of labels has one 1, or nothing known; no patients: each its own.

        Raises:
            EmptyInput: No case of a known class.
            ShapeMismatch: Not one row of labels and one patient a case.
            ValueOutOfRange: A case of two classes.
        """
        table, z = known_table(labels, logits)
        y = class_numbers(table)
        known = y != UNKNOWN
        if not known.any():
            raise EmptyInput("no case of a known class; a calibrator needs the labelled calibration split")
        owners = np.arange(len(y)) if patients is None else np.asarray(patients)
        if owners.shape != y.shape:
            raise ShapeMismatch(f"patients {owners.shape}; expected one a case: ({len(y)},)")
        z, y, owners = z[known], y[known], owners[known]
        counts = np.bincount(y, minlength=z.shape[1])
        few = bool(counts.min() < self.minimum_cases)
        fold = patient_folds(owners, np.eye(z.shape[1])[y], folds=self.folds, seed=self.seed)
        tried = {name: self._held_out(name, z, y, fold, few=few) for name in self.order}
        chosen = "identity"
        for name in self.order:
            loss = tried[name]
            if loss is not None and loss < _number(tried[chosen]) - 1e-9:  # rounding must not choose
                chosen = name
        slope, offsets = _fit(chosen, z, y)
        self.slopes, self.intercepts = np.full(z.shape[1], slope), offsets
        why = f"{counts.min()} of the rarest class: offsets were not tried" if few else None
        if slope <= SLOPE_RANGE[0]:
            mute = "the scores tell these classes apart no better than chance: only how often each class is seen speaks"
            why = mute if why is None else f"{mute}; {why}"
        lacking = "no case of this class: nothing shows that it is ever right"
        self.notes = [why if count else lacking for count in counts]
        row = {"n": len(y), "chosen": chosen, "cv_nll": tried}
        self.selection = [{**row, "n_positive": int(counts[k]), "note": self.notes[k]} for k in range(z.shape[1])]
        return self

    def _held_out(self, name: str, z: Logits, y: ClassNumbers, fold: ClassNumbers, *, few: bool) -> float | None:
        """Mean loss of the true class on patients that the fit did not see; None where the candidate is not tried."""
        if name == "temperature_and_offsets" and few:
            return None
        loss = np.empty(len(y))
        for index in np.unique(fold):
            held = fold == index
            try:
                slope, offsets = _fit(name, z[~held], y[~held])
            except (EmptyInput, NotEstimable):
                return None
            loss[held] = -log_softmax(z[held] * slope + offsets, axis=1)[np.arange(held.sum()), y[held]]
        at_bound = name == "temperature" and _fit(name, z, y)[0] == SLOPE_RANGE[1]
        return None if at_bound else float(loss.mean())

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Log odds of each class against all others: the logistic function of them is the softmax of the calibrated line.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of classes than in `fit`.
        """
        if self.slopes is None or self.intercepts is None:
            raise self._not_fitted()
        line = checked_logits(logits, len(self.slopes)) * self.slopes + self.intercepts
        others = [logsumexp(np.delete(line, k, axis=1), axis=1) for k in range(line.shape[1])]
        odds: Logits = line - np.stack(others, axis=1)
        return odds

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self.slopes is None or self.intercepts is None:
            raise self._not_fitted()
        held = {"slopes": self.slopes.tolist(), "intercepts": self.intercepts.tolist(), "notes": self.notes}
        return {"kind": self.kind, **held, "selection": self.selection}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        calibrator = cls()
        calibrator.slopes, calibrator.intercepts = (np.array(state[name], dtype=np.float64) for name in ("slopes", "intercepts"))
        calibrator.notes, calibrator.selection = state["notes"], state["selection"]
        return calibrator


class ClassPolicy:
    """The likeliest class is present and the others are absent, where its probability reaches a cut; else no class is answered.

    So never two classes are present, and never none. A class of which the calibration split has no case is never said: where it is
    the likeliest, there is no answer.

    Attributes (after `fit`):
        cut: Least probability of the likeliest class that is answered; above 1 where nothing is.
        thresholds, low, high: The cut, once a class.
        rules: "likeliest", once a class.
        notes: What to know of each class, or None.

    Source: Chow 1970 (reject where the greatest posterior is below a cut).
    Checked against: brute force over all cuts (tests/unit/uncertainty/test_class_decisions.py).
    """

    kind = "likeliest-class"

    def __init__(self, *, coverage: float = 0.9, target_risk: float | None = None) -> None:
        """Says how to choose the cut.

        Args:
            coverage: Share of the calibration cases that is answered.
            target_risk: If set, replaces `coverage`: the widest coverage whose wrong answers stay at or below this share. That is
                what the calibration cases showed, and no promise.

        Raises:
            ValueOutOfRange: A share outside its range.
        """
        if not (0 < coverage <= 1 and (target_risk is None or 0 <= target_risk < 1)):
            raise ValueOutOfRange("coverage lies in (0, 1], target_risk in [0, 1)")
        self.coverage, self.target_risk = coverage, target_risk
        self.cut = float("nan")
        self.seen: Bool[np.ndarray, "class"] | None = None
        self.note: str | None = None

    def fit(
        self,
        probabilities: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Chooses the cut on the calibration split; patients are not needed, since nothing is promised.

        Raises:
            EmptyInput: No case of a known class.
            ShapeMismatch: Arrays that do not go together.
            ValueOutOfRange: A probability outside [0, 1], or a case of two classes.
        """
        table, p = known_table(labels, probabilities)
        y = class_numbers(table)
        known = y != UNKNOWN
        if not known.any():
            raise EmptyInput("no case of a known class; a decision rule needs the labelled calibration split")
        p, y = p[known], y[known]
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
        self.seen = np.bincount(y, minlength=p.shape[1]) > 0
        self.note, greatest = None, p.max(axis=1)
        if self.seen.sum() < 2:
            self.cut, self.note = 2.0, "cases of one class only: nothing tells when it is wrong, never answered"
        elif self.target_risk is None:
            self.cut = _cut_that_keeps(greatest, self.coverage)
        else:
            wrong = (p.argmax(axis=1) != y).astype(np.float64)
            curve = risk_coverage(-greatest, wrong)
            allowed = np.flatnonzero(curve.risk <= self.target_risk)
            self.cut = _cut_that_keeps(greatest, float(curve.coverage[allowed[-1]])) if allowed.size else 2.0
            if not allowed.size:
                self.note = f"no coverage has a risk of {self.target_risk:g} or less: never answered"
        return self

    def decide(self, probabilities: Real[np.ndarray, "case finding"]) -> Int8[np.ndarray, "case finding"]:
        """1 for the class that is present and 0 for the others, or -1 for all: no answer; a NaN probability gets no answer.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of classes than in `fit`.
        """
        seen, p = self._fitted(), np.asarray(probabilities, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != len(seen):
            raise ShapeMismatch(f"probabilities {p.shape}; this rule was fitted on (case, {len(seen)})")
        whole = np.asarray(np.isfinite(p).all(axis=1))
        best = np.where(whole[:, None], p, -1.0).argmax(axis=1)
        answered = whole & (p[np.arange(len(p)), best] >= self.cut) & seen[best]
        one = np.arange(p.shape[1]) == best[:, None]
        return np.where(answered[:, None], one.astype(np.int8), np.int8(-1)).astype(np.int8)

    thresholds = property(lambda self: np.full(len(self._fitted()), self.cut), doc="The cut, once a class.")
    low = property(lambda self: self.thresholds, doc="The cut, once a class: there is no band about it.")
    high = property(lambda self: self.thresholds, doc="The cut, once a class: there is no band about it.")
    rules = property(lambda self: ["likeliest"] * len(self._fitted()), doc="How each class is decided.")
    notes = property(lambda self: [self.note] * len(self._fitted()), doc="What to know of each class, or None.")

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        held = {"coverage": self.coverage, "target_risk": self.target_risk, "cut": self.cut, "note": self.note}
        return {"kind": self.kind, **held, "seen": self._fitted().tolist()}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted rule that `to_json` described."""
        policy = cls(coverage=state["coverage"], target_risk=state["target_risk"])
        policy.cut, policy.note, policy.seen = state["cut"], state["note"], np.array(state["seen"], dtype=bool)
        return policy

    def _fitted(self) -> Bool[np.ndarray, "class"]:
        if self.seen is None:
            raise NotFitted("ClassPolicy is not fitted; call fit(probabilities, labels) on the calibration split first")
        return self.seen


def policy_from_json(state: dict[str, Any]) -> DecisionPolicy | ClassPolicy:
    """Returns the fitted rule that `to_json` described: of classes, or of findings."""
    return (ClassPolicy if state.get("kind") == ClassPolicy.kind else DecisionPolicy).from_json(state)


def _fit(name: str, z: Logits, y: ClassNumbers) -> tuple[float, Float64[np.ndarray, "class"]]:
    """Slope and offsets of a candidate."""
    if name == "identity":
        return 1.0, np.zeros(z.shape[1])
    line = (MulticlassTemperature() if name == "temperature" else BiasCorrectedTemperature()).fit(z, y)
    assert line.slopes is not None
    assert line.offsets is not None
    return float(line.slopes[0]), line.offsets


def _number(loss: float | None) -> float:
    return float("inf") if loss is None else loss


def _cut_that_keeps(greatest: Float64[np.ndarray, " case"], share: float) -> float:
    """A cut that keeps at least this share, halfway to the first case that is not kept; 0 keeps all."""
    falling = np.sort(greatest)[::-1]
    last = falling[int(np.ceil(share * len(falling) - 1e-9)) - 1]
    rest = falling[falling < last]
    return float((last + rest[0]) / 2) if rest.size else 0.0
