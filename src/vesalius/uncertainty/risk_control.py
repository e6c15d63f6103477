"""Thresholds with a promise: the risk of what is answered stays at or below a target, with a stated confidence.

A threshold that was chosen so that the errors *seen* reach a target reaches it on new cases about half of the time. Here the
errors are bounded above (Clopper-Pearson for right or wrong, Hoeffding-Bentkus for losses in [0, 1]), and thresholds are tested in
an order that the tested cases had no say in, until one fails (learn then test, fixed sequence). Then

    P(risk of the answered > target) <= 1 - confidence        over the draw of the calibration cases,

whatever the model, if calibration cases and new cases are independent draws of the same kind. Two films of one patient are not
independent: give `patients`, and each patient counts once. Nothing here holds at another hospital, or after the mix of patients
has changed.

Sources: Angelopoulos 2021, arXiv:2110.01052 (learn then test); Clopper & Pearson 1934; Bates 2021, arXiv:2101.02703
(Hoeffding-Bentkus); Geifman & El-Yaniv 2017, arXiv:1705.08500 (SGR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_cases, known_labels
from vesalius.uncertainty.risk_bounds import (
    Bound,
    best_start,
    binomial_tail,
    check_share,
    clopper_pearson_upper,
    even_cuts,
    losses_of_units,
    passes_in_order,
)
from vesalius.uncertainty.units import Reduce, known_units, part_of_units, reduce_units

ORDER_SHARE = 1 / 4
"""Share of the units that proposes thresholds and their order; the others test them."""


class RiskControl:
    """Answers up to the greatest uncertainty at which the risk of the answered is shown to be at or below a target.

    A quarter of the units propose thresholds and where to begin; the others test them, from there to ever more coverage, until
    one fails. With `candidates` (thresholds fixed beforehand, in the order to be tested) all units test.

    What is promised: with `confidence`, of the units that get an answer at most `target_risk` are answered wrongly. A unit is a
    case, or a patient where `patients` are given: then "worst" counts a patient as lost when any answered film of theirs is wrong,
    and "mean" takes the share of their answered films that are.

    Attributes (after `fit`):
        threshold: Greatest uncertainty that is answered; -inf where nothing can be promised, and then nothing is.
        coverage: Share of the testing cases that it answers.
        risk: Risk seen in the testing units.
        upper: Upper bound of the risk at the confidence.
        n_units: Testing units with an answer.

    Source: Angelopoulos 2021; the order learnt on other units is MAPIE's "split_fixed_sequence".
    Checked against: `mapie.risk_control` (tests/reference); the promise in simulation (tests/statistical).
    """

    def __init__(
        self,
        target_risk: float,
        confidence: float = 0.9,
        *,
        bound: Bound = "clopper-pearson",
        unit: Reduce = "worst",
        candidates: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        """Says what to promise.

        Args:
            target_risk: In (0, 1).
            confidence: Of the promise, in (0, 1).
            bound: "clopper-pearson" for losses of 0 or 1, "hoeffding-bentkus" for any in [0, 1].
            unit: What a patient loses: the "worst" or the "mean" of their answered cases.
            candidates: Thresholds of the uncertainty, fixed before these cases were seen, in the order to be tested.
            seed: Of the share that proposes thresholds.

        Raises:
            ValueOutOfRange: A share outside (0, 1), an unknown bound or unit.
        """
        check_share("target_risk", target_risk)
        check_share("confidence", confidence)
        if bound not in get_args(Bound) or unit not in get_args(Reduce):
            raise ValueOutOfRange(f"bound {bound!r}, unit {unit!r}; expected {' or '.join(get_args(Bound))}, and worst or mean")
        self.target_risk, self.confidence, self.bound, self.unit = target_risk, confidence, bound, unit
        self.candidates = None if candidates is None else [float(cut) for cut in candidates]
        self.seed = seed
        self._found: dict[str, Any] | None = None

    def fit(
        self,
        uncertainty: Real[np.ndarray, " case"],
        residuals: Shaped[np.ndarray, " case"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the threshold on calibration cases; residuals in [0, 1], NaN where the truth is unknown.

        Raises:
            EmptyInput: No case with a known residual.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: A residual outside [0, 1], fractions with "clopper-pearson", a NaN uncertainty.
        """
        doubt, loss, unit, n_units = _known_units(uncertainty, residuals, patients)
        fractions = not np.isin(loss, (0, 1)).all() or (patients is not None and self.unit == "mean")
        if self.bound == "clopper-pearson" and fractions:
            raise ValueOutOfRange('losses are not 0 or 1 (a "mean" of a patient is not); use bound="hoeffding-bentkus"')
        if self.candidates is None:
            first = part_of_units(unit, n_units, np.column_stack([loss, doubt]), share=ORDER_SHARE, seed=self.seed)
            cuts = even_cuts(doubt[first & np.isfinite(doubt)])
            trial = losses_of_units(doubt[first] <= cuts[:, None], loss[first], unit[first], n_units, self.unit)
            cuts = cuts[best_start(*trial, self.target_risk, self.bound) :]
            doubt, loss, unit = doubt[~first], loss[~first], unit[~first]
        else:
            cuts = np.array(self.candidates, dtype=np.float64)
        tested = losses_of_units(doubt <= cuts[:, None], loss, unit, n_units, self.unit)
        found = passes_in_order(*tested, self.target_risk, self.confidence, self.bound)
        threshold = float(cuts[found.place]) if found.place >= 0 else -math.inf
        self._found = {
            "threshold": threshold,
            "coverage": float(np.mean(doubt <= threshold)) if doubt.size else 0.0,
            "risk": found.lost / found.n_units if found.n_units else math.nan,
            "upper": found.upper,
            "n_units": found.n_units,
        }
        return self

    def decide(self, uncertainty: Real[np.ndarray, "*axes"]) -> Bool[np.ndarray, "*axes"]:
        """True where a case may be answered; a NaN uncertainty may not.

        Raises:
            NotFitted: `fit` was not called.
        """
        answered: Bool[np.ndarray, "*axes"] = np.asarray(uncertainty, dtype=np.float64) <= self.threshold
        return answered

    threshold = property(lambda self: float(self._fitted()["threshold"]), doc="Greatest uncertainty that is answered; -inf none.")
    coverage = property(lambda self: float(self._fitted()["coverage"]), doc="Share of the testing cases that is answered.")
    risk = property(lambda self: float(self._fitted()["risk"]), doc="Risk seen in the testing units; NaN if nothing is answered.")
    upper = property(lambda self: float(self._fitted()["upper"]), doc="Upper bound of the risk.")
    n_units = property(lambda self: int(self._fitted()["n_units"]), doc="Testing units with an answer.")

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, -inf and NaN as None; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        options = {name: getattr(self, name) for name in ("target_risk", "confidence", "bound", "unit", "candidates", "seed")}
        found = {name: value if math.isfinite(value) else None for name, value in self._fitted().items()}
        return {**options, "found": found}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted rule that `to_json` described."""
        control = cls(**{name: value for name, value in state.items() if name != "found"})
        missing = {"threshold": -math.inf, "risk": math.nan}
        control._found = {name: missing[name] if value is None else value for name, value in state["found"].items()}
        return control

    def _fitted(self) -> dict[str, Any]:
        if self._found is None:
            raise NotFitted("RiskControl is not fitted; call fit(uncertainty, residuals) on calibration cases first")
        return self._found


def risk_controlled_threshold(
    uncertainty: Real[np.ndarray, " case"],
    residuals: Shaped[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    target_risk: float,
    confidence: float = 0.9,
    bound: Bound = "clopper-pearson",
) -> float:
    """Greatest uncertainty to answer so that the risk is at most the target with this confidence; -inf if none: `RiskControl`."""
    return float(RiskControl(target_risk, confidence, bound=bound).fit(uncertainty, residuals, patients).threshold)


def sgr_threshold(
    uncertainty: Real[np.ndarray, " case"], residuals: Shaped[np.ndarray, " case"], *, target_risk: float, confidence: float = 0.9
) -> float:
    """Selection with guaranteed risk: bisection over the cases' own uncertainties, the level shared among the steps; -inf if none.

    Every case serves the test, but each of the ceil(log2 n) steps gets only its share of 1 - confidence, and 0/1 errors of
    independent cases are needed: patients with several cases are not provided for. `RiskControl` answers more where many cases
    are to be had, this where few are. Of the steps that pass the one with the greatest coverage is taken (the paper returns the
    last step, passed or not); a whole tie block is kept or not.

    Raises:
        EmptyInput, ShapeMismatch, ValueOutOfRange: As `RiskControl.fit`.

    Source: Geifman & El-Yaniv 2017, algorithm 2.
    Checked against: the algorithm written out with scipy.stats.binom (tests/reference).
    """
    check_share("target_risk", target_risk)
    check_share("confidence", confidence)
    doubt, loss, _, _ = _known_units(uncertainty, residuals, None)
    if not np.isin(loss, (0, 1)).all():
        raise ValueOutOfRange("losses are not 0 or 1; use RiskControl with bound='hoeffding-bentkus'")
    order = np.argsort(doubt)
    doubt, wrong = doubt[order], np.cumsum(loss[order])
    steps = max(1, math.ceil(math.log2(len(doubt))))
    level = 1 - (1 - confidence) / steps
    least, most, best = 0, len(doubt), -math.inf
    for _ in range(steps):
        middle = (least + most + 1) // 2
        if middle < 1:
            break
        cut = float(doubt[middle - 1])
        kept = int(np.searchsorted(doubt, cut, side="right"))
        if clopper_pearson_upper(int(wrong[kept - 1]), kept, level) <= target_risk:
            least, best = middle, max(best, cut)
        else:
            most = middle
    return best


def rate_controlled_threshold(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    confidence: float = 0.9,
) -> float:
    """Threshold t of the call score >= t that has at least this sensitivity, or this specificity, with this confidence.

    The highest t for a sensitivity, the lowest for a specificity. No share of the cases is set aside: the k-th lowest score of the
    present bounds the missed share by itself. With `patients` a patient counts as missed when any present film of theirs is (and
    as a false alarm when any absent film is).

    Raises:
        ValueOutOfRange: Not exactly one of the two rates, or a share outside (0, 1).
        NotEstimable: Too few present (absent) cases; the message says how many are needed.

    Source: Wilks 1941 (tolerance limits by order statistics); it is learn-then-test for a risk that only rises.
    Checked against: scipy.stats.binom over every threshold; `mapie.risk_control.BinaryClassificationController` with recall and
    with the false positive rate, fixed sequence (tests/reference).
    """
    if (sensitivity is None) == (specificity is None):
        raise ValueOutOfRange("give exactly one of sensitivity and specificity")
    rate = sensitivity if sensitivity is not None else specificity
    assert rate is not None
    check_share("confidence", confidence)
    check_share("sensitivity" if sensitivity is not None else "specificity", rate)
    truth, numbers, _ = known_cases(labels, scores)
    unit, n_units = known_units(patients, ~np.isnan(known_labels(labels)))
    chosen = truth == (1 if sensitivity is not None else 0)
    sign = -1.0 if sensitivity is not None else 1.0
    worst = reduce_units(sign * numbers[chosen], unit[chosen], n_units, "worst")
    ordered = np.sort(worst[~np.isnan(worst)])[::-1]  # the hardest first: lowest present, or highest absent
    missed = np.arange(len(ordered), dtype=np.float64)
    allowed = np.flatnonzero(binomial_tail(missed, np.full(len(ordered), float(len(ordered))), 1 - rate) <= 1 - confidence)
    if not allowed.size:
        needed = math.ceil(math.log(1 - confidence) / math.log(rate))
        what = "present" if sensitivity is not None else "absent"
        raise NotEstimable(
            f"{len(ordered)} {what} units cannot show a rate of {rate:g} with {confidence:g} confidence; {needed} can"
        )
    value = float(sign * ordered[allowed[-1]])
    return value if sensitivity is not None else float(np.nextafter(value, np.inf))


def _known_units(
    uncertainty: object, residuals: object, patients: Shaped[np.ndarray, " case"] | None
) -> tuple[Float64[np.ndarray, " known"], Float64[np.ndarray, " known"], Int64[np.ndarray, " known"], int]:
    doubt, loss = np.asarray(uncertainty, dtype=np.float64), np.asarray(residuals, dtype=np.float64)
    if doubt.ndim != 1 or doubt.shape != loss.shape:
        raise ShapeMismatch(f"uncertainty {doubt.shape}, residuals {loss.shape}; expected two equal (case,)")
    known = ~np.isnan(loss)
    if not known.any():
        raise EmptyInput("no case with a known residual; a threshold needs at least one")
    if np.isnan(doubt[known]).any() or not ((loss[known] >= 0) & (loss[known] <= 1)).all():
        raise ValueOutOfRange("an uncertainty is NaN, or a residual lies outside [0, 1], where the residual is known")
    unit, n_units = known_units(patients, known)
    return doubt[known], loss[known], unit, n_units
