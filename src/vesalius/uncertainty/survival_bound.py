"""A lower bound on the time of an event that holds with a promised frequency, although some patients left before it.

Sources: Candes, Lei & Ren 2023, JRSS B 85:24, arXiv:2103.09763 (conformalised survival analysis); Tibshirani 2019,
arXiv:1904.06019 (weighted conformal prediction).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.conformal import conformal_quantile
from vesalius.uncertainty.units import known_units, reduce_units

Times = Real[np.ndarray, "case"]


class SurvivalLowerBound:
    """Takes a margin off a predicted lower quantile so that the event comes before it in at most 1 - `confidence` of new cases.

    Two promises:

    - Without a `horizon`: the observed time (event or censoring, whichever is first) is bounded, and the event is never before it.
      True whatever the censoring, also if those who leave are the sickest; but the earlier people leave, the lower the bound: 0 if
      a share 1 - confidence leaves at once.
    - With a `horizon`: only cases that *would* have been followed to the horizon are used, and their time, cut at the horizon (as
      is the prediction), is fully known. That needs the censoring time of every case, also of those who had their event (the date
      of the analysis minus the date of entry: type I censoring). The bound is then at most the horizon. It holds if being followed
      that long is independent of the prediction and the event; if it depends on known things only, give its chance, `followed`,
      and cases are weighted. A chance that is estimated makes the promise approximate.

    As for all conformal methods the promise is a frequency over calibration and new cases of the same kind. With `patients` a
    patient's worst case counts, and the bound holds for all of a new patient's cases at once. Choose the horizon on other cases.

    Attributes (after `fit`):
        n: Calibration cases (or patients) that were used.

    Source: Candes, Lei & Ren 2023 (the score min(q, c0) - min(T, c0) on cases with C >= c0); without a horizon the naive bound they
    start from.
    Checked against: the margin written out by hand (tests/unit); its promise in simulation, with censoring that depends on the case
    too (tests/statistical).
    """

    def __init__(self, confidence: float = 0.9, *, horizon: float | None = None) -> None:
        """Says what to promise.

        Args:
            confidence: In (0, 1).
            horizon: In the unit of the times, above 0; None uses the observed times.

        Raises:
            ValueOutOfRange: A confidence outside (0, 1), or a horizon not above 0.
        """
        if not 0 < confidence < 1:
            raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
        if horizon is not None and not 0 < horizon < math.inf:
            raise ValueOutOfRange(f"horizon is {horizon}; expected a time above 0, or None")
        self.confidence, self.horizon = float(confidence), None if horizon is None else float(horizon)
        self.n = 0
        self._scores: Float64[np.ndarray, " used"] | None = None
        self._weights: Float64[np.ndarray, " used"] | None = None

    def fit(
        self,
        quantile: Times,
        times: Times,
        censoring_times: Times | None = None,
        *,
        followed: Real[np.ndarray, " case"] | None = None,
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the margin on calibration cases.

        Args:
            quantile: Predicted lower quantile of the event time, of level about 1 - confidence (any prediction is valid, a good one
                gives a high bound).
            times: Of the event or of censoring, whichever came first; NaN unknown (left out).
            censoring_times: When each case was or would have been censored; with a horizon only.
            followed: Chance of being followed to the horizon given what is known of the case, in (0, 1]; None if it is the same for
                all.
            patients: Whose case it is; None takes each case as a patient of its own.

        Raises:
            EmptyInput: No known case, or none followed to the horizon.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: Censoring times without a horizon or the other way round; a time after its censoring time; a chance
                outside (0, 1]; `followed` together with `patients`; a quantile that is not finite; a negative time.
        """
        if (self.horizon is None) != (censoring_times is None):
            raise ValueOutOfRange(
                "a horizon needs the censoring time of every case, also of those with an event, and nothing else does;"
                " without them use SurvivalLowerBound(horizon=None)"
            )
        if followed is not None and (self.horizon is None or patients is not None):
            raise ValueOutOfRange("followed is for a horizon, and weights cases, not patients; leave one of them out")
        predicted, x = _finite(quantile, "quantile"), np.asarray(times, dtype=np.float64)
        if x.shape != predicted.shape:
            raise ShapeMismatch(f"quantile {predicted.shape}, times {x.shape}; expected equal (case,)")
        known = ~np.isnan(x)
        if not (x[known] >= 0).all():
            raise ValueOutOfRange("a time is negative")
        if censoring_times is not None:
            known &= self._long_enough(x, censoring_times)
        if not known.any():
            raise EmptyInput("no calibration case that is known and followed to the horizon; choose an earlier one")
        scores = self._cut(predicted[known]) - self._cut(x[known])
        if followed is None:
            unit, self.n = known_units(patients, known)
            self._scores, self._weights = np.sort(reduce_units(scores, unit, self.n, "worst")), None
            return self
        order = np.argsort(scores)
        self._scores, self.n = scores[order], len(scores)
        self._weights = 1 / _chances(followed, predicted.shape)[known][order]
        return self

    def predict_bound(self, quantile: Times, *, followed: Real[np.ndarray, " case"] | None = None) -> Float64[np.ndarray, " case"]:
        """Lower bound of each event time, 0 or later; 0 promises nothing, and is what too few cases give.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: The lengths differ.
            ValueOutOfRange: `followed` given to one of `fit` and `predict_bound` only; a chance outside (0, 1].
        """
        predicted, scores = self._cut(_finite(quantile, "quantile")), self._fitted
        if (followed is None) != (self._weights is None):
            raise ValueOutOfRange("followed was given to fit or to predict_bound only; give it to both, or to neither")
        if self._weights is None or followed is None:
            margin = np.full(predicted.shape, conformal_quantile(scores, self.confidence))
        else:
            total = np.cumsum(self._weights)
            own = 1 / _chances(followed, predicted.shape)
            # The smallest score at which the weight reaches its share of all, the new case's own at infinity counted in.
            place = np.searchsorted(total, self.confidence * (total[-1] + own) * (1 - 1e-12))
            margin = np.append(scores, math.inf)[place]
        bound: Float64[np.ndarray, " case"] = np.maximum(self._cut(predicted - margin), 0.0)
        return bound

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        weights = None if self._weights is None else self._weights.tolist()
        options = {"kind": type(self).__name__, "confidence": self.confidence, "horizon": self.horizon}
        return {**options, "scores": self._fitted.tolist(), "weights": weights}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Returns the fitted bound that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        if state.get("kind") != cls.__name__:
            raise ValueOutOfRange(f"state of a {state.get('kind')}; expected what {cls.__name__}.to_json gave")
        bound = cls(state["confidence"], horizon=state["horizon"])
        bound._scores = np.array(state["scores"], dtype=np.float64)
        bound._weights = None if state["weights"] is None else np.array(state["weights"], dtype=np.float64)
        bound.n = len(bound._scores)
        return bound

    @property
    def _fitted(self) -> Float64[np.ndarray, " used"]:
        if self._scores is None:
            raise NotFitted("SurvivalLowerBound is not fitted; call fit(quantile, times) on calibration cases first")
        return self._scores

    def _cut(self, values: Float64[np.ndarray, " case"]) -> Float64[np.ndarray, " case"]:
        return values if self.horizon is None else np.minimum(values, self.horizon)

    def _long_enough(self, x: Float64[np.ndarray, " case"], censoring_times: Times) -> Bool[np.ndarray, " case"]:
        until = np.asarray(censoring_times, dtype=np.float64)
        if until.shape != x.shape:
            raise ShapeMismatch(f"times {x.shape}, censoring times {until.shape}; expected equal (case,)")
        if np.isnan(until[~np.isnan(x)]).any():
            raise ValueOutOfRange("a censoring time is NaN where the time is known; use SurvivalLowerBound(horizon=None)")
        if (x > until).any():
            raise ValueOutOfRange("a time lies after its censoring time; times are those of event or censoring, whichever is first")
        assert self.horizon is not None
        reached: Bool[np.ndarray, " case"] = until >= self.horizon
        return reached


def _finite(values: Times, what: str) -> Float64[np.ndarray, " case"]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ValueOutOfRange(f"{what} {numbers.shape}; expected one finite number a case")
    return numbers


def _chances(followed: Real[np.ndarray, " case"], shape: tuple[int, ...]) -> Float64[np.ndarray, " case"]:
    chance = np.asarray(followed, dtype=np.float64)
    if chance.shape != shape:
        raise ShapeMismatch(f"followed {chance.shape}; expected one chance a case: {shape}")
    if not ((chance > 0) & (chance <= 1)).all():
        raise ValueOutOfRange("a chance of being followed lies outside (0, 1]")
    return chance
