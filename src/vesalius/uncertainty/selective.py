"""When to answer and when to hand the case to a person: the threshold of each finding, and a band around it without an answer.

Both are chosen on calibrated probabilities of the calibration split and then locked. Distance to the threshold is measured in
logits, where a step from 0.01 to 0.02 is as long as it should be.

Sources: Youden 1950; Lipton 2014 (thresholds for F1, and why a useless score then calls everything present); Chow 1970 (to reject).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Float64, Int8, Real
from scipy.special import expit, logit

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import Blocks, known_table, tie_blocks
from vesalius.uncertainty.curves import augrc, aurc, e_aurc, risk_coverage

__all__ = ["ABSENT", "ABSTAIN", "PRESENT", "DecisionPolicy", "augrc", "aurc", "choose_threshold", "e_aurc", "risk_coverage"]

Rule = Literal["f1", "youden", "sensitivity"]

PRESENT, ABSENT, ABSTAIN = 1, 0, -1

_EDGE = 1e-15  # a probability of 0 or 1 has no logit; a calibrator never gives one


@dataclass(frozen=True)
class _Line:
    """Threshold and band of one finding, and how they came about."""

    threshold: float
    low: float
    high: float
    rule: str
    note: str | None


class DecisionPolicy:
    """Present at or above `high`, absent at or below `low`, no answer between them.

    Attributes (after `fit`, one entry a finding):
        thresholds: Chosen by the rule.
        low: Lower edge of the band.
        high: Upper edge; both equal the threshold at a coverage of 1.
        rules: Rule that was used.
        notes: What a reader should know, or None.

    Source: Chow 1970 for the band; thresholds by Youden 1950 or greatest F1.
    Checked against: brute force over all thresholds (tests/unit).
    """

    def __init__(
        self,
        rule: Rule = "f1",
        *,
        coverage: float = 0.9,
        target_sensitivity: float = 0.9,
        target_risk: float | None = None,
        minimum_positive: int = 20,
    ) -> None:
        """Says how to choose.

        Args:
            rule: Greatest F1, greatest sensitivity + specificity ("youden"), or the highest threshold that reaches
                `target_sensitivity`.
            coverage: Share of the calibration cases of a finding that is answered.
            target_sensitivity: For the rule "sensitivity".
            target_risk: If set, replaces `coverage`: the widest coverage whose errors stay at or below this share.
            minimum_positive: With fewer present cases "f1" is too unsteady, and "youden" is used.

        Raises:
            ValueOutOfRange: An unknown rule, or a share outside its range.
        """
        if rule not in get_args(Rule):
            raise ValueOutOfRange(f"rule {rule!r}; expected one of {', '.join(get_args(Rule))}")
        if not (0 < coverage <= 1 and 0 < target_sensitivity <= 1 and (target_risk is None or 0 <= target_risk < 1)):
            raise ValueOutOfRange("coverage and target_sensitivity lie in (0, 1], target_risk in [0, 1)")
        self.rule, self.coverage, self.target_sensitivity = rule, coverage, target_sensitivity
        self.target_risk, self.minimum_positive = target_risk, minimum_positive
        self._lines: list[_Line] | None = None

    def fit(self, probabilities: Real[np.ndarray, "case finding"], labels: Real[np.ndarray, "case finding"]) -> Self:
        """Chooses thresholds and bands on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No case.
            ValueOutOfRange: A probability outside [0, 1].
        """
        truth, p = known_table(labels, probabilities)
        if not len(p):
            raise EmptyInput("no case; a decision rule needs the calibration split")
        known = ~np.isnan(truth)
        if not ((p[known] >= 0) & (p[known] <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
        self._lines = [self._line(truth[rows, k], p[rows, k]) for k, rows in enumerate(known.T)]
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

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        options = {
            name: getattr(self, name) for name in ("rule", "coverage", "target_sensitivity", "target_risk", "minimum_positive")
        }
        return {**options, "findings": [vars(line) for line in self._fitted()]}

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

    def _column(self, name: str) -> Float64[np.ndarray, "finding"]:
        return np.array([getattr(line, name) for line in self._fitted()], dtype=np.float64)

    def _line(self, labels: Float64[np.ndarray, "known"], p: Float64[np.ndarray, "known"]) -> _Line:
        positive = int(labels.sum())
        if not 0 < positive < len(labels):
            why = f"{positive} present of {len(labels)} known: no threshold can be chosen, never answered"
            return _Line(0.5, 0.0, 1.0, "none", why)
        rule: Rule = self.rule
        note: str | None = None
        if rule == "f1" and positive < self.minimum_positive:
            rule, note = "youden", f"{positive} present: greatest F1 is unsteady, Youden's index is used"
        threshold = choose_threshold(labels, p, rule, target_sensitivity=self.target_sensitivity)
        if rule == "f1" and threshold <= p.min():
            rule, note = "youden", "greatest F1 would call every case present; Youden's index is used"
            threshold = choose_threshold(labels, p, rule, target_sensitivity=self.target_sensitivity)
        distance = np.abs(_logit(p) - _logit(threshold))
        if self.target_risk is None:
            cut = _cut_for_coverage(distance, self.coverage)
        else:
            found = _cut_for_risk(distance, (p >= threshold) != (labels == 1), self.target_risk)
            if found is None:
                return _Line(threshold, 0.0, 1.0, rule, f"no coverage has a risk of {self.target_risk:g} or less: never answered")
            cut = found
        if cut == 0:
            return _Line(threshold, threshold, threshold, rule, note)
        centre = _logit(threshold)
        return _Line(threshold, float(expit(centre - cut)), float(expit(centre + cut)), rule, note)


def choose_threshold(
    labels: Float64[np.ndarray, "known"],
    probabilities: Float64[np.ndarray, "known"],
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


def _cut_for_coverage(distance: Float64[np.ndarray, "known"], coverage: float) -> float:
    """Distance that keeps at least this share, halfway to the first case that is not kept; 0 keeps all."""
    falling = np.sort(distance)[::-1]
    kept = int(np.ceil(coverage * len(falling) - 1e-9))
    last = falling[kept - 1]
    rest = falling[falling < last]
    return float((last + rest[0]) / 2) if rest.size else 0.0


def _cut_for_risk(distance: Float64[np.ndarray, "known"], wrong: Any, risk: float) -> float | None:
    """Least distance whose kept cases have at most this share of errors; None where none have. A plug-in, not a guarantee."""
    curve = risk_coverage(-distance, wrong.astype(np.float64))
    allowed = np.flatnonzero(curve.risk <= risk)
    return _cut_for_coverage(distance, float(curve.coverage[allowed[-1]])) if allowed.size else None


def _logit(p: Any) -> Any:
    return logit(np.clip(p, _EDGE, 1 - _EDGE))
