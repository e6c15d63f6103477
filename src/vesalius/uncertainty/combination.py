"""Several measures of uncertainty of the same cases, made into one number a case; higher = less sure.

The measures have different units: a distance to 0.5, a spread, an out-of-distribution score. Each is brought to one scale with
what it looks like on a *reference set* (cases of the kind the model was made for; no labels are needed), never on the cases being
scored: a single case, or a batch from a broken scanner, would have nothing to be compared with.

What fails is said: a measure that is constant on the reference set is dropped with its reason; one that is NaN for a case leaves
that case to the others, and `n_used` counts them.

Sources: averaging standardised measures is the common "mean of z-scores"; van der Vaart 1998, chapter 19 (empirical distribution);
Hosmer & Lemeshow 2013 (logistic regression).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped
from scipy.special import expit

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels
from vesalius.uncertainty.logistic_ridge import fit_ridge

Method = Literal["standardise", "rank", "logistic"]
Direction = Literal["uncertainty", "confidence"]
Measures = Mapping[str, Real[np.ndarray, " case"]]

_SAME = 1e-12  # spread, relative to the values, at or below which a measure is constant


class Combination:
    """One uncertainty from several.

    Methods:
        "standardise": mean over the measures of (u - mean) / sd, both of the reference set (sd with ddof 0). In units of the
            reference's spread; one huge outlier of one measure can decide.
        "rank": mean over the measures of the share of the reference below u, ties counting half; in [0, 1]. Only the order within a
            measure matters, so no outlier decides and any monotone change of a measure is of no account; what lies beyond the
            reference is not told apart.
        "logistic": probability of failure from a logistic regression on the standardised measures, fitted on known failures with
            a ridge (`penalty` times half the squared weights, intercept free). It finds out which measure is worth what, and needs
            failures to do so: with fewer than about ten a measure, average instead.

    Directions: each measure is taken as "uncertainty" (higher = less sure) unless declared "confidence" (its sign is turned).
    A logistic weight below 0 is a measure that contradicts its declared direction on the reference set: `notes` says so.

    A case whose measure is +infinity (an out-of-distribution score of features that are not finite) gets the greatest doubt from
    "standardise" (infinity) and "logistic" (1), whatever the others say; "rank" counts it as above all the reference. NaN: the mean
    over the rest; "logistic" puts the reference's mean in its place. A case of which no measure is known scores NaN.

    Attributes (after `fit`):
        used: Names of the measures that are combined.
        dropped: From the name of a measure that is not, to the reason.
        notes: From the name of a measure to what a reader should know of it: values left out, a sign that contradicts.
        weights: Of each used measure; equal ones unless "logistic".
        n_reference: Cases in the reference set.

    Source: see the module; "logistic" as scikit-learn's `LogisticRegression(C=1 / penalty)`.
    Checked against: the mean of scipy.stats.zscore; scipy.stats.percentileofscore(kind="mean"); scikit-learn's LogisticRegression
    (tests/reference).
    """

    def __init__(
        self, method: Method = "standardise", *, directions: Mapping[str, Direction] | None = None, penalty: float = 1.0
    ) -> None:
        """Says how to combine.

        Args:
            method: See the class.
            directions: Of the measures that are not "uncertainty".
            penalty: Ridge of the logistic method, above 0.

        Raises:
            ValueOutOfRange: An unknown method or direction, or a penalty not above 0.
        """
        if method not in get_args(Method):
            raise ValueOutOfRange(f"method {method!r}; expected one of {', '.join(get_args(Method))}")
        strange = {name: way for name, way in (directions or {}).items() if way not in get_args(Direction)}
        if strange:
            raise ValueOutOfRange(f"directions {strange}; expected uncertainty (higher = less sure) or confidence")
        if not penalty > 0:
            raise ValueOutOfRange(f"penalty is {penalty}; expected a number above 0")
        self.method, self.penalty = method, float(penalty)
        self.directions: dict[str, Direction] = dict(directions or {})
        self.dropped: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.n_reference = 0
        self._scales: dict[str, dict[str, Any]] | None = None
        self._weights: dict[str, float] = {}
        self._intercept = 0.0

    def fit(self, measures: Measures, failures: Shaped[np.ndarray, " case"] | None = None) -> Self:
        """Learns the scale of each measure on a reference set, and with "logistic" what each is worth.

        Args:
            measures: From the name of a measure to its value for each reference case; NaN where it failed.
            failures: 1 wrong, 0 right, NaN unknown; for "logistic" only. Their unknown cases still tell the scale.

        Raises:
            EmptyInput: No measure, or no case.
            NotEstimable: Every measure was dropped; or "logistic" with no failure, or nothing but failures.
            ShapeMismatch: Not one value a case; a direction for a measure that is not there.
            ValueOutOfRange: "logistic" without failures, or failures for another method.
        """
        if (self.method == "logistic") != (failures is not None):
            raise ValueOutOfRange("failures are needed by method='logistic', and by no other: the others learn no labels")
        table = _columns(measures)
        missing = sorted(set(self.directions) - set(table))
        if missing:
            raise ShapeMismatch(f"directions are declared for {', '.join(missing)}; the measures are {', '.join(table)}")
        self.n_reference = len(next(iter(table.values())))
        self.dropped, self.notes, self._scales = {}, {}, {}
        for name, values in table.items():
            self._learn(name, self._turned(name, values))
        if not self._scales:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.dropped.items())
            self._scales = None
            raise NotEstimable(f"no measure is left to combine ({reasons}); give a reference set on which at least one varies")
        self._weights = dict.fromkeys(self._scales, 1.0)
        if failures is not None:
            self._fit_logistic(table, failures)
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the measures that are combined, in the order of `fit`."""
        return tuple(self._fitted)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each used measure: shares that add up to 1, or the coefficients of "logistic"."""
        names = self._fitted
        if self.method == "logistic":
            return dict(self._weights)
        return {name: 1 / len(names) for name in names}

    def score(self, measures: Measures) -> Float64[np.ndarray, " case"]:
        """Combined uncertainty of each case; NaN where no measure is known.

        Args:
            measures: At least those in `used`. A measure that could not be computed at all is an array of NaN. Dropped ones are not
                looked at; one that `fit` never saw is refused.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: A measure is missing, or new, or not one value a case.
        """
        scaled = np.column_stack(list(self.scaled(measures).values()))
        known = ~np.isnan(scaled)
        any_known = known.any(axis=1)
        beyond = np.asarray(np.isposinf(scaled).any(axis=1))
        if self.method == "logistic":
            line = np.where(known & ~beyond[:, None], scaled, 0.0) @ np.array(list(self._weights.values())) + self._intercept
            return np.where(any_known, np.where(beyond, 1.0, expit(line)), np.nan)
        total = np.where(known & ~np.isposinf(scaled), scaled, 0.0).sum(axis=1)
        mean = np.divide(total, known.sum(axis=1), out=np.full(len(total), np.nan), where=any_known)
        return np.where(beyond, np.inf, mean)

    def n_used(self, measures: Measures) -> Int64[np.ndarray, " case"]:
        """How many measures each case's score rests on.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: As `score`.
        """
        known = [~np.isnan(column) for column in self.scaled(measures).values()]
        return np.asarray(np.sum(known, axis=0), dtype=np.int64)

    def scaled(self, measures: Measures) -> dict[str, Float64[np.ndarray, " case"]]:
        """Each used measure on the common scale, higher = less sure: to see which of them made a case stand out.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: As `score`.
        """
        scales = self._fitted
        table = _columns(measures)
        absent = [name for name in scales if name not in table]
        strange = [name for name in table if name not in scales and name not in self.dropped]
        if absent or strange:
            raise ShapeMismatch(
                f"measures {', '.join(table)}; fitted on {', '.join((*scales, *self.dropped))}."
                " Give an array of NaN for one that could not be computed, and fit again to add one"
            )
        return {name: _on_scale(scale, self._turned(name, table[name])) for name, scale in scales.items()}

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        return {
            "kind": "combination",
            "method": self.method,
            "penalty": self.penalty,
            "directions": dict(self.directions),
            "n_reference": self.n_reference,
            "scales": {name: dict(scale) for name, scale in self._fitted.items()},
            "weights": dict(self._weights),
            "intercept": self._intercept,
            "dropped": dict(self.dropped),
            "notes": dict(self.notes),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Returns the fitted combination that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of something else.
        """
        if state.get("kind") != "combination":
            raise ValueOutOfRange(f"state of kind {state.get('kind')!r}; expected what Combination.to_json gave")
        one = cls(state["method"], directions=state["directions"], penalty=state["penalty"])
        one.n_reference, one._intercept = int(state["n_reference"]), float(state["intercept"])
        one._scales = {name: dict(scale) for name, scale in state["scales"].items()}
        one._weights = {name: float(weight) for name, weight in state["weights"].items()}
        one.dropped, one.notes = dict(state["dropped"]), dict(state["notes"])
        return one

    @property
    def _fitted(self) -> dict[str, dict[str, Any]]:
        if self._scales is None:
            raise NotFitted("Combination is not fitted; call fit(measures) on a reference set first")
        return self._scales

    def _turned(self, name: str, values: Float64[np.ndarray, " case"]) -> Float64[np.ndarray, " case"]:
        return -values if self.directions.get(name) == "confidence" else values

    def _learn(self, name: str, values: Float64[np.ndarray, " case"]) -> None:
        """Keeps what scales this measure, or why it is dropped."""
        finite = values[np.isfinite(values)]
        left_out = len(values) - len(finite)
        if not finite.size:
            self.dropped[name] = f"no finite value in {len(values)} reference cases"
            return
        # A constant that was computed in two ways differs in its last digits; divided by that, noise would decide.
        if finite.max() - finite.min() <= _SAME * np.abs(finite).max():
            self.dropped[name] = f"the same value, {float(finite[0]):g}, in all {len(finite)} reference cases where it is known"
            return
        if left_out:
            self.notes[name] = f"not finite in {left_out} of {len(values)} reference cases; scaled on the others"
        assert self._scales is not None
        self._scales[name] = _rank_scale(finite) if self.method == "rank" else _standard_scale(finite)

    def _fit_logistic(self, table: dict[str, Float64[np.ndarray, " case"]], failures: Shaped[np.ndarray, " case"]) -> None:
        wrong = known_labels(failures)
        if wrong.shape != (self.n_reference,):
            raise ShapeMismatch(f"failures {wrong.shape}; expected one a case: ({self.n_reference},)")
        scaled = np.column_stack([_on_scale(scale, self._turned(name, table[name])) for name, scale in self._fitted.items()])
        # A case without any finite measure says nothing of what a measure is worth.
        keep = ~np.isnan(wrong) & np.isfinite(scaled).any(axis=1)
        n_wrong = int(wrong[keep].sum())
        if n_wrong in (0, int(keep.sum())):
            self._scales = None
            raise NotEstimable(
                f"{n_wrong} failures in {int(keep.sum())} known reference cases; the logistic method needs both kinds."
                " Use standardise or rank, which need none"
            )
        design = np.where(np.isfinite(scaled[keep]), scaled[keep], 0.0)
        scales, self._scales = self._scales, None  # a fit that is refused leaves nothing half fitted
        slopes, self._intercept = fit_ridge(design, wrong[keep], self.penalty)
        self._scales = scales
        for name, slope in zip(self._fitted, slopes.tolist(), strict=True):
            self._weights[name] = slope
            if slope < 0:
                self._note(name, "its weight is below 0: beside the others, higher meant fewer failures on the reference set")

    def _note(self, name: str, words: str) -> None:
        self.notes[name] = f"{self.notes[name]}; {words}" if name in self.notes else words


def _columns(measures: Measures) -> dict[str, Float64[np.ndarray, " case"]]:
    table = {name: np.asarray(values, dtype=np.float64) for name, values in measures.items()}
    if not table:
        raise EmptyInput("no measure; give at least one, by name: {'softmax distance': values}")
    shapes = {name: values.shape for name, values in table.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ShapeMismatch(
            f"measures {shapes}; expected one value a case each: (case,). Combine the columns of findings one by one"
        )
    return table


def _standard_scale(finite: Float64[np.ndarray, " reference"]) -> dict[str, Any]:
    mean = math.fsum(finite.tolist()) / len(finite)  # exact, so that the order of the cases is of no account
    deviation = math.sqrt(math.fsum(((finite - mean) ** 2).tolist()) / len(finite))
    return {"mean": mean, "sd": deviation}


def _rank_scale(finite: Float64[np.ndarray, " reference"]) -> dict[str, Any]:
    values, counts = np.unique(finite, return_counts=True)
    return {"values": values.tolist(), "counts": counts.tolist()}


def _on_scale(scale: Mapping[str, Any], values: Float64[np.ndarray, " case"]) -> Float64[np.ndarray, " case"]:
    if "sd" in scale:
        standard: Float64[np.ndarray, " case"] = (values - scale["mean"]) / scale["sd"]
        return standard
    reference, counts = np.array(scale["values"], dtype=np.float64), np.array(scale["counts"], dtype=np.float64)
    up_to = np.concatenate([[0.0], np.cumsum(counts)])
    below, at_most = np.searchsorted(reference, values, "left"), np.searchsorted(reference, values, "right")
    share = (up_to[below] + up_to[at_most]) / (2 * up_to[-1])
    return np.where(np.isnan(values), np.nan, share)
