"""When to answer and when to hand the case to a person: the threshold of each finding, and a band around it without an answer.

Both are chosen on calibrated probabilities of the calibration split and then locked. Distance to the threshold is measured in
logits, where a step from 0.01 to 0.02 is as long as it should be. With `guarantee` a target is not only what was seen: it is
tested on patients that had no say in the rule, and promised with that confidence.

Sources: Youden 1950; Lipton 2014 (thresholds for F1, and why a useless score then calls everything present); Chow 1970 (to reject).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Real, Shaped
from scipy.special import expit, logit

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import Blocks, known_table, tie_blocks
from vesalius.uncertainty.curves import risk_coverage
from vesalius.uncertainty.risk_bounds import best_start, even_cuts, losses_of_units, passes_in_order
from vesalius.uncertainty.risk_control import rate_controlled_threshold
from vesalius.uncertainty.units import number_units, part_of_units

Rule = Literal["f1", "youden", "sensitivity"]

PRESENT, ABSENT, ABSTAIN = 1, 0, -1

CHOOSING_SHARE = 1 / 3
"""With a guarantee: share of the patients that choose threshold and bands; the others test the bands."""

_EDGE = 1e-15  # a probability of 0 or 1 has no logit; a calibrator never gives one


@dataclass(frozen=True)
class _Line:
    """Threshold and band of one finding, and how they came about."""

    threshold: float
    low: float
    high: float
    rule: str
    note: str | None
    promise: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "promise" or value is not None}


@dataclass(frozen=True)
class _Column:
    """The known cases of one finding, and whose they are."""

    labels: Float64[np.ndarray, " known"]
    p: Float64[np.ndarray, " known"]
    unit: Int64[np.ndarray, " known"]
    n_units: int

    def of(self, rows: Bool[np.ndarray, " known"]) -> _Column:
        return _Column(self.labels[rows], self.p[rows], self.unit[rows], self.n_units)


class DecisionPolicy:
    """Present at or above `high`, absent at or below `low`, no answer between them.

    Attributes (after `fit`, one entry a finding):
        thresholds: Chosen by the rule.
        low: Lower edge of the band.
        high: Upper edge; both equal the threshold at a coverage of 1.
        rules: Rule that was used.
        notes: What a reader should know, or None.
        promises: With `guarantee`, what is promised of each finding, or None where nothing can be.

    With `guarantee` a third of the patients choose the threshold and propose bands, in an order; the others test them, from the
    band they are likeliest to allow to ever narrower ones, until one fails. Then with that confidence at most `target_risk` of the
    patients who get an answer for this finding get a wrong one (a patient with several films counts once, and as wrong when any
    answer is). The promise is for each finding by itself, and for new patients of the same kind. It stands if the calibrator was
    fitted on the same cases, as long as that is a line in the logits (temperature, Platt): a line moves no film past another.

    Source: Chow 1970 for the band; thresholds by Youden 1950 or greatest F1.
    The promise: Angelopoulos 2021 (learn then test, fixed sequence), Clopper & Pearson 1934; see `risk_control`.
    Checked against: brute force over all thresholds (tests/unit); the promise in simulation (tests/statistical).
    """

    def __init__(
        self,
        rule: Rule = "f1",
        *,
        coverage: float = 0.9,
        target_sensitivity: float = 0.9,
        target_risk: float | None = None,
        minimum_positive: int = 20,
        guarantee: float | None = None,
    ) -> None:
        """Says how to choose.

        Args:
            rule: Greatest F1, greatest sensitivity + specificity ("youden"), or the highest threshold that reaches
                `target_sensitivity`.
            coverage: Share of the calibration cases of a finding that is answered.
            target_sensitivity: For the rule "sensitivity".
            target_risk: If set, replaces `coverage`: the widest coverage whose errors stay at or below this share.
            minimum_positive: With fewer present cases "f1" is too unsteady, and "youden" is used.
            guarantee: Confidence of a promise, such as 0.9, that `target_risk` is kept, and with the rule "sensitivity" that
                `target_sensitivity` is reached. None: both are what the calibration cases showed, and no more.

        Raises:
            ValueOutOfRange: An unknown rule, a share outside its range, or a guarantee of nothing.
        """
        if rule not in get_args(Rule):
            raise ValueOutOfRange(f"rule {rule!r}; expected one of {', '.join(get_args(Rule))}")
        if not (0 < coverage <= 1 and 0 < target_sensitivity <= 1 and (target_risk is None or 0 <= target_risk < 1)):
            raise ValueOutOfRange("coverage and target_sensitivity lie in (0, 1], target_risk in [0, 1)")
        if guarantee is not None:
            if not 0 < guarantee < 1 or (target_risk is None and rule != "sensitivity"):
                raise ValueOutOfRange("guarantee is a confidence in (0, 1), of a target_risk or of the rule 'sensitivity'; set one")
            if target_risk == 0 or (rule == "sensitivity" and target_sensitivity == 1):
                raise ValueOutOfRange("no number of cases shows a risk of 0 or a sensitivity of 1; aim at 0.01 or 0.99")
        self.rule, self.coverage, self.target_sensitivity = rule, coverage, target_sensitivity
        self.target_risk, self.minimum_positive, self.guarantee = target_risk, minimum_positive, guarantee
        self._lines: list[_Line] | None = None

    def fit(
        self,
        probabilities: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Chooses thresholds and bands on the calibration split; labels 1, 0, NaN unknown.

        Args:
            probabilities: Calibrated.
            labels: 1, 0, NaN unknown.
            patients: Whose case it is; a guarantee counts patients. None makes each case its own patient.

        Raises:
            EmptyInput: No case.
            ShapeMismatch: Arrays that do not go together.
            ValueOutOfRange: A probability outside [0, 1].
        """
        truth, p = known_table(labels, probabilities)
        if not len(p):
            raise EmptyInput("no case; a decision rule needs the calibration split")
        known = ~np.isnan(truth)
        if not ((p[known] >= 0) & (p[known] <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
        unit, n_units = number_units(patients, len(p))
        columns = [_Column(truth[rows, k], p[rows, k], unit[rows], n_units) for k, rows in enumerate(known.T)]
        if self.guarantee is None or self.target_risk is None:
            self._lines = [self._line(column) for column in columns]
            return self
        content = np.column_stack([truth, np.where(known, p, -1.0)])
        first = part_of_units(unit, n_units, np.nan_to_num(content, nan=-1.0), share=CHOOSING_SHARE, seed=0)
        parts = [(column.of(first[rows]), column.of(~first[rows])) for column, rows in zip(columns, known.T, strict=True)]
        self._lines = [self._promised_line(*part) for part in parts]
        return self

    def decide(self, probabilities: Real[np.ndarray, "case finding"]) -> Int8[np.ndarray, "case finding"]:
        """1 present, 0 absent, -1 no answer; a NaN probability gets no answer.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != len(self.thresholds):
            raise ShapeMismatch(f"probabilities {p.shape}; this rule was fitted on (case, {len(self.thresholds)})")
        decided = np.where(p >= self.high, PRESENT, np.where(p <= self.low, ABSENT, ABSTAIN))
        return decided.astype(np.int8)

    thresholds = property(lambda self: self._column("threshold"), doc="Threshold of each finding, a probability.")
    low = property(lambda self: self._column("low"), doc="Lower edge of each band, a probability.")
    high = property(lambda self: self._column("high"), doc="Upper edge of each band, a probability.")
    rules = property(lambda self: [line.rule for line in self._fitted()], doc="Rule used for each finding.")
    notes = property(lambda self: [line.note for line in self._fitted()], doc="What to know of each finding, or None.")
    promises = property(lambda self: [line.promise for line in self._fitted()], doc="What is promised of each finding, or None.")

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        options = {
            name: getattr(self, name) for name in ("rule", "coverage", "target_sensitivity", "target_risk", "minimum_positive")
        }
        if self.guarantee is not None:  # a rule without one is written as it always was
            options["guarantee"] = self.guarantee
        return {**options, "findings": [line.to_json() for line in self._fitted()]}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted rule that `to_json` described."""
        options = {name: value for name, value in state.items() if name != "findings"}
        policy = cls(**options)
        policy._lines = [_Line(**line) for line in state["findings"]]
        return policy

    def _fitted(self) -> list[_Line]:
        if self._lines is None:
            raise NotFitted("DecisionPolicy is not fitted; call fit(probabilities, labels) on the calibration split first")
        return self._lines

    def _column(self, name: str) -> Float64[np.ndarray, " finding"]:
        return np.array([getattr(line, name) for line in self._fitted()], dtype=np.float64)

    def _line(self, column: _Column) -> _Line:
        chosen = self._threshold(column)
        if chosen.rule == "none":
            return chosen
        distance = np.abs(_logit(column.p) - _logit(chosen.threshold))
        if self.target_risk is None:
            return _band(chosen, _cut_for_coverage(distance, self.coverage))
        wrong = (column.p >= chosen.threshold) != (column.labels == 1)
        cut = _cut_for_risk(distance, wrong, self.target_risk)
        if cut is None:
            return replace(
                chosen, low=0.0, high=1.0, note=f"no coverage has a risk of {self.target_risk:g} or less: never answered"
            )
        return _band(chosen, cut)

    def _promised_line(self, first: _Column, second: _Column) -> _Line:
        """Threshold and proposed bands by the first part of the patients; the second tests the bands."""
        assert self.target_risk is not None
        assert self.guarantee is not None
        chosen = self._threshold(first)
        if chosen.rule == "none":
            return chosen
        doubt = -np.abs(_logit(first.p) - _logit(chosen.threshold))
        bands = [_band(chosen, _cut_for_coverage(-doubt, float(np.mean(doubt <= cut)))) for cut in even_cuts(doubt)]
        start = best_start(*_tried(bands, first), self.target_risk, "clopper-pearson")
        bands = bands[start:]
        found = passes_in_order(*_tried(bands, second), self.target_risk, self.guarantee, "clopper-pearson")
        promise = {"target_risk": self.target_risk, "confidence": self.guarantee, "tested": len(np.unique(second.unit))}
        if found.place < 0:
            why = f"{promise['tested']} units cannot promise a risk of {self.target_risk:g} with confidence {self.guarantee:g}"
            return replace(chosen, low=0.0, high=1.0, note=f"{why}: never answered", promise=None)
        promise |= {"answered": found.n_units, "wrong": round(found.lost), "upper": found.upper}
        said = f"risk at most {self.target_risk:g} with confidence {self.guarantee:g} ({promise['wrong']} of {found.n_units} wrong)"
        notes = [note for note in (chosen.note, said) if note]
        return replace(bands[found.place], note="; ".join(notes), promise={**(chosen.promise or {}), **promise})

    def _threshold(self, column: _Column) -> _Line:
        """The threshold without a band; rule "none" where there is nothing to choose it by."""
        labels, p, positive = column.labels, column.p, int(column.labels.sum())
        if not 0 < positive < len(labels):
            why = f"{positive} present of {len(labels)} known: no threshold can be chosen, never answered"
            return _Line(0.5, 0.0, 1.0, "none", why)
        if self.rule == "sensitivity" and self.guarantee is not None:
            return self._promised_threshold(column)
        rule: Rule = self.rule
        note: str | None = None
        if rule == "f1" and positive < self.minimum_positive:
            rule, note = "youden", f"{positive} present: greatest F1 is unsteady, Youden's index is used"
        threshold = choose_threshold(labels, p, rule, target_sensitivity=self.target_sensitivity)
        if rule == "f1" and threshold <= p.min():
            rule, note = "youden", "greatest F1 would call every case present; Youden's index is used"
            threshold = choose_threshold(labels, p, rule, target_sensitivity=self.target_sensitivity)
        return _Line(threshold, threshold, threshold, rule, note)

    def _promised_threshold(self, column: _Column) -> _Line:
        assert self.guarantee is not None
        goal = self.target_sensitivity
        try:
            threshold = rate_controlled_threshold(column.labels, column.p, column.unit, sensitivity=goal, confidence=self.guarantee)
        except NotEstimable as few:
            return _Line(0.5, 0.0, 1.0, "none", f"{few}: never answered")
        promise = {"sensitivity": goal, "sensitivity_confidence": self.guarantee}
        note = f"sensitivity at least {goal:g} with confidence {self.guarantee:g}, counting what is not answered as found"
        return _Line(threshold, threshold, threshold, "sensitivity", note, promise)


def _band(chosen: _Line, cut: float) -> _Line:
    """The same threshold with a band of this distance, in logits, on either side."""
    if cut == 0:
        return replace(chosen, low=chosen.threshold, high=chosen.threshold)
    centre = _logit(chosen.threshold)
    return replace(chosen, low=float(expit(centre - cut)), high=float(expit(centre + cut)))


def _tried(bands: list[_Line], column: _Column) -> tuple[Float64[np.ndarray, " cut"], Float64[np.ndarray, " cut"]]:
    """Units with a wrong answer and units with any, under each band."""
    wrong = ((column.p >= bands[0].threshold) != (column.labels == 1)).astype(np.float64)
    answered = np.array([(column.p >= band.high) | (column.p <= band.low) for band in bands])
    return losses_of_units(answered, wrong, column.unit, column.n_units, "worst")


def choose_threshold(
    labels: Float64[np.ndarray, " known"],
    probabilities: Float64[np.ndarray, " known"],
    rule: Rule,
    *,
    target_sensitivity: float = 0.9,
) -> float:
    """Threshold t of the call p >= t that the rule likes best, halfway (in logits) between two neighbouring probabilities.

    Of equally good thresholds the highest is taken, which calls the fewest cases present. Both classes must be there.
    """
    blocks = tie_blocks(labels, probabilities)
    tp, fp = np.cumsum(blocks.positive), np.cumsum(blocks.negative)
    if rule == "f1":
        quality = 2 * tp / (tp + fp + tp[-1])
    elif rule == "youden":
        quality = tp / tp[-1] - fp / fp[-1]
    else:
        quality = np.where(tp >= target_sensitivity * tp[-1] - 1e-9, -fp, -np.inf)
    # Sums of the same shares in another order differ in the last bit; that must not decide.
    best = int(np.flatnonzero(quality >= quality.max() - 1e-12)[0])
    return _below(blocks, best)


def _below(blocks: Blocks, index: int) -> float:
    """A threshold just under block `index`: halfway to the next block, or the block itself if it is the last."""
    if index + 1 == len(blocks.scores):
        return float(blocks.scores[index])
    upper, lower = float(blocks.scores[index]), float(blocks.scores[index + 1])
    middle = float(expit((_logit(upper) + _logit(lower)) / 2))
    return middle if lower < middle <= upper else upper


def _cut_for_coverage(distance: Float64[np.ndarray, " known"], coverage: float) -> float:
    """Distance that keeps at least this share, halfway to the first case that is not kept; 0 keeps all."""
    falling = np.sort(distance)[::-1]
    kept = int(np.ceil(coverage * len(falling) - 1e-9))
    last = falling[kept - 1]
    rest = falling[falling < last]
    return float((last + rest[0]) / 2) if rest.size else 0.0


def _cut_for_risk(distance: Float64[np.ndarray, " known"], wrong: Any, risk: float) -> float | None:
    """Least distance whose kept cases have at most this share of errors; None where none have. A plug-in, not a guarantee."""
    curve = risk_coverage(-distance, wrong.astype(np.float64))
    allowed = np.flatnonzero(curve.risk <= risk)
    return _cut_for_coverage(distance, float(curve.coverage[allowed[-1]])) if allowed.size else None


def _logit(p: Any) -> Any:
    return logit(np.clip(p, _EDGE, 1 - _EDGE))
