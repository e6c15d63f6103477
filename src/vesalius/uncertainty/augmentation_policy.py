"""Which views are worth averaging? Greedy policy search over the predictions of a pool of views.

The model runs once over the pool; the search works on its answers alone. It is fitted on one labelled set and judged on another:
a policy is chosen by its luck on the search set, so its objective there flatters it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
from jaxtyping import Float64, Shaped

from vesalius.errors import NotFitted, RuleError, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.intervals import Difference, Interval, PatientResamples, difference_of, interval_of, summed_draws
from vesalius.uncertainty.policy_likelihoods import ChoicePool, NumberPool, lowest_of_the_best, per_case
from vesalius.uncertainty.policy_pools import (
    Labels,
    PolicyTask,
    Predictions,
    choice_pool,
    fingerprint,
    has_class_axis,
    number_pool,
)
from vesalius.uncertainty.transforms import Transform
from vesalius.uncertainty.views import transform_from_json

Averages = Float64[np.ndarray, "case ..."] | list[Float64[np.ndarray, "*answer"]]


@dataclass(frozen=True)
class PolicyScore:
    """Mean log likelihood in nats (higher is better) on cases outside the search; each rule recalibrated on the search set.

    Attributes:
        policy: Of the policy, patient-clustered.
        first_view: Of the pool's first view alone (put the image as it is there).
        whole_pool: Of all views of the pool, once each.
        gain_over_first_view: Policy minus first view, paired.
        gain_over_whole_pool: Policy minus whole pool, paired: is choosing better than taking everything?
    """

    policy: Interval
    first_view: Interval
    whole_pool: Interval
    gain_over_first_view: Difference
    gain_over_whole_pool: Difference


class GreedyPolicySearch:
    """Adds, one after another, the view that makes the average of views most likely after recalibration; a view may come again.

    What is maximised in each step, over the candidates j, with S the views chosen so far and j:

    - "multiclass", predictions (view, case, class) logits: max over b of the mean of log softmax(b log mean_S softmax(z))[y].
    - "multilabel", (view, case, finding) logits: the same with the logistic function; one b for all findings, unknown labels left
      out.
    - "segmentation", for each image (view, *space) or (view, class, *space) logits on the image's grid, NaN where a view did not
      see: the same a voxel, mean over an image's known voxels, then over images; what no view saw counts as equal chances.
    - "regression", (view, case), or (view, case, 2) with the model's own variance: max over s of the mean of
      log N(y; mean_S, s^2 (variance among S + mean variance + floor)).

    Attributes:
        policy: Numbers of the chosen views, in order; after `fit`.
        objectives: The objective after each step, in nats; after `fit`.
        scale: b = 1 / temperature, or s for regression, of the whole policy; after `fit`.
        transforms: The chosen transforms, where `fit` was given the pool's.

    Source: Molchanov 2020, arXiv:2002.09103, algorithm 1; github.com/bayesgroup/gps-augment at 24368e4. There the temperature is
        found by a simplex search that may stop 1e-4 from it, and the likelihood has a floor of 1e-12; here b is found by Newton's
        method to rounding, kept in [0.001, 1000], and nothing is cut. Ties go to the lowest number and there is no early stop, as
        there. Multi-label, regression and segmentation are ours.
    Checked against: the authors' loop on the same pool, policy and objective (tests/reference), scipy's minimisers for every task.
    """

    def __init__(
        self,
        task: PolicyTask = "multiclass",
        *,
        length: int = 10,
        minimum_gain: float | None = None,
        floor: float | None = None,
    ) -> None:
        """Says what is searched.

        Args:
            task: See above.
            length: Views in the policy, repeats counted.
            minimum_gain: Stops before a step that gains less, in nats; None always goes on to `length`.
            floor: Regression only: variance added to that among views; None takes the pool's mean variance among views.

        Raises:
            ValueOutOfRange: An unknown task, a length below 1, or a floor of 0 or less.
        """
        if task not in get_args(PolicyTask):
            raise ValueOutOfRange(f"task {task!r}; expected one of {', '.join(get_args(PolicyTask))}")
        if length < 1 or (floor is not None and not 0 < floor < math.inf):
            raise ValueOutOfRange(f"length {length}, floor {floor}; expected a length of 1 or more, a floor above 0 or None")
        self.task, self.length, self.minimum_gain, self.floor = task, length, minimum_gain, floor
        self.policy: tuple[int, ...] | None = None
        self.objectives: tuple[float, ...] = ()
        self.scale = math.nan
        self.transforms: tuple[Transform, ...] | None = None
        self._others: dict[str, float] = {}
        self._floor = floor
        self._class_axis = False
        self._n_views = 0
        self._searched_on = ""
        self._search_patients: frozenset[Any] = frozenset()

    @property
    def temperature(self) -> float:
        """1 / scale; above 1 the average of views is too sure. For regression the factor on the standard deviation, as it is."""
        return self.scale if self.task == "regression" else 1 / self.scale

    def fit(
        self,
        predictions: Predictions,
        labels: Labels,
        patients: Shaped[np.ndarray, " case"] | None = None,
        *,
        transforms: Sequence[Transform] | None = None,
    ) -> Self:
        """Searches on one labelled set; see the class for shapes.

        Args:
            predictions: Of the whole pool.
            labels: Classes (-1 unknown), 1 / 0 / NaN, numbers (NaN unknown) or one label map an image (-1 unknown).
            patients: Remembered until the search is saved, so that `evaluate` can refuse cases of the same patients.
            transforms: The pool's views, to keep those of the policy with it.

        Raises:
            EmptyInput: No view or no known label.
            ShapeMismatch: Predictions, labels, patients or transforms do not go together.
            ValueOutOfRange: A prediction or label that cannot be.
        """
        self._class_axis = self.task == "segmentation" and has_class_axis(predictions, labels)
        pool = self._pool(predictions, labels, self.floor)
        n_views = _n_views(pool)
        if transforms is not None and len(transforms) != n_views:
            raise ShapeMismatch(f"{len(transforms)} transforms for a pool of {n_views} views; expected one each, in order")
        if isinstance(pool, NumberPool):
            self._floor = pool.floor
        self._n_views = n_views
        known = pool.known()
        self._search(known)
        self._others = {
            "first_view": known.fitted(known.of_view(0))[1],
            "whole_pool": known.fitted(known.total(tuple(range(n_views))))[1],
        }
        assert self.policy is not None
        self.transforms = None if transforms is None else tuple(transforms[view] for view in self.policy)
        self._searched_on = fingerprint(predictions, labels)
        self._search_patients = frozenset() if patients is None else frozenset(np.asarray(patients).tolist())
        return self

    def _search(self, pool: ChoicePool | NumberPool) -> None:
        policy: list[int] = []
        objectives: list[float] = []
        so_far, scale = pool.nothing(), 1.0
        for _ in range(self.length):
            standing = pool.candidates(so_far, scale)
            best = lowest_of_the_best(standing.objectives)
            gain = float(standing.objectives[best]) - (objectives[-1] if objectives else -math.inf)
            if self.minimum_gain is not None and gain < self.minimum_gain:
                break
            policy.append(best)
            objectives.append(float(standing.objectives[best]))
            scale = float(standing.scales[best])
            so_far = so_far + pool.of_view(best)
        self.policy, self.objectives, self.scale = tuple(policy), tuple(objectives), scale

    def apply(self, predictions: Predictions) -> Averages:
        """Averages the views of the policy and recalibrates; predictions of the same pool, any cases.

        Returns:
            Log probabilities (case, class), logits (case, finding), mean and variance (case, 2), or for segmentation one map an
            image: log probabilities (class, *space) or logits (*space). A calibrator may follow; it finds them nearly calibrated.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of views than in `fit`.
        """
        policy = self._fitted()
        pool = self._same_pool(predictions, None)
        total = pool.total(policy)
        if isinstance(pool, NumberPool):
            error, variance = pool.mean_and_variance(total)
            return np.column_stack([-error, self.scale**2 * variance])  # with no truth given, the error is minus the mean
        logs = pool.log_probabilities(total, self.scale)
        if self.task == "multiclass":
            return np.ascontiguousarray(logs.T)
        if self.task == "multilabel":
            return np.asarray((logs[1] - logs[0]).reshape(np.shape(predictions)[1:]))
        answer = logs if self._class_axis else logs[1:] - logs[:1]
        ends = np.flatnonzero(np.diff(pool.case)) + 1
        pieces = zip(np.split(answer, ends, axis=1), predictions, strict=True)
        return [np.ascontiguousarray(piece).reshape(np.shape(image)[1:]) for piece, image in pieces]

    def evaluate(
        self,
        predictions: Predictions,
        labels: Labels,
        patients: Shaped[np.ndarray, " case"] | None = None,
        *,
        resamples: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> PolicyScore:
        """Judges the policy on other cases than it was searched on, beside the first view and the whole pool.

        Args:
            predictions: Of the same pool on other cases.
            labels: As in `fit`.
            patients: Whose case it is; None takes each case as a patient of its own.
            resamples: Draws of patients.
            seed: Same seed, same draws.
            confidence: Of the intervals.

        Raises:
            NotFitted: `fit` was not called.
            RuleError: These are the cases, or cases of the patients, of the search.
            ShapeMismatch: Predictions and labels do not go together, or another number of views than in `fit`.
        """
        policy = self._fitted()
        shared = self._search_patients & (set() if patients is None else set(np.asarray(patients).tolist()))
        if shared or fingerprint(predictions, labels) == self._searched_on:
            raise RuleError(
                "the policy was searched on these cases or on these patients; judge it on others, or it flatters itself"
            )
        pool = self._same_pool(predictions, labels)
        n_cases = len(predictions) if self.task == "segmentation" else int(np.shape(predictions)[1])
        plan = PatientResamples.of(patients, n_cases, resamples=resamples, seed=seed)
        rules = {"policy": (policy, self.scale), "first_view": ((0,), self._others["first_view"])}
        rules["whole_pool"] = (tuple(range(self._n_views)), self._others["whole_pool"])
        draws = {}
        for name, (views, scale) in rules.items():
            cells = per_case(pool.likelihoods(pool.total(views), scale), pool.weight, pool.case, n_cases)
            total, weight = summed_draws(cells, plan).T
            draws[name] = total / np.where(weight > 0, weight, np.nan)
        intervals = {name: interval_of(column, confidence, n_patients=plan.n_patients) for name, column in draws.items()}
        gains = {
            f"gain_over_{name}": difference_of(draws[name], draws["policy"], confidence, n_patients=plan.n_patients)
            for name in ("first_view", "whole_pool")
        }
        return PolicyScore(**intervals, **gains)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same. No case and no patient is in it.

        Raises:
            NotFitted: `fit` was not called.
        """
        policy = self._fitted()
        return {
            "kind": "greedy_policy",
            "task": self.task,
            "length": self.length,
            "minimum_gain": self.minimum_gain,
            "floor": self._floor,
            "policy": list(policy),
            "objectives": list(self.objectives),
            "scale": self.scale,
            "baselines": dict(self._others),
            "n_views": self._n_views,
            "class_axis": self._class_axis,
            "searched_on": self._searched_on,
            "transforms": None if self.transforms is None else [transform.to_json() for transform in self.transforms],
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted search that `to_json` described.

        Raises:
            RuleError: It describes something else.
        """
        if state.get("kind") != "greedy_policy":
            raise RuleError(f"a policy of kind {state.get('kind')!r}; expected 'greedy_policy'")
        search = cls(state["task"], length=state["length"], minimum_gain=state["minimum_gain"], floor=state["floor"])
        search.policy, search.objectives = tuple(state["policy"]), tuple(state["objectives"])
        search.scale, search._others = state["scale"], dict(state["baselines"])
        search._n_views, search._class_axis = state["n_views"], state["class_axis"]
        search._searched_on = state["searched_on"]
        if state["transforms"] is not None:
            search.transforms = tuple(transform_from_json(transform) for transform in state["transforms"])
        return search

    def _pool(self, predictions: Predictions, labels: Labels | None, floor: float | None) -> ChoicePool | NumberPool:
        if self.task == "regression":
            return number_pool(predictions, labels, floor)
        return choice_pool(self.task, predictions, labels, class_axis=self._class_axis)

    def _same_pool(self, predictions: Predictions, labels: Labels | None) -> ChoicePool | NumberPool:
        pool = self._pool(predictions, labels, self._floor)
        if _n_views(pool) != self._n_views:
            raise ShapeMismatch(
                f"a pool of {_n_views(pool)} views; the policy was searched in one of {self._n_views}, in that order"
            )
        return pool

    def _fitted(self) -> tuple[int, ...]:
        if self.policy is None:
            raise NotFitted("GreedyPolicySearch is not fitted; call fit(predictions, labels) on a search set first")
        return self.policy


def _n_views(pool: ChoicePool | NumberPool) -> int:
    return int(pool.shares.shape[1] if isinstance(pool, ChoicePool) else len(pool.error))
