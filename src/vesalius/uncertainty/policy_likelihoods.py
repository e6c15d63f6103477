"""What a policy search maximises: the mean log likelihood of averaged views, after the best recalibration by one number.

Two kinds of pool. `ChoicePool`: every cell (a case; a case and finding; a voxel) has one true choice among a few, views are
averaged as probabilities, and one exponent on them (1 / temperature, shared by all cells) is the best there is. `NumberPool`: a
case has a number, views give its mean, their spread its variance, and one factor on all standard deviations is the best there is.

Every candidate's exponent is found at once by Newton's method inside a shrinking bracket: the likelihood is concave in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vesalius.uncertainty.logistic_fit import SLOPE_RANGE

_CHUNK = 300_000  # numbers worked on at once: temporary arrays of 2.4 MB stay in the cache
_SMALLEST = np.finfo(np.float64).tiny

ViewValues = Float64[np.ndarray, "view"]


@dataclass(frozen=True)
class Standing:
    """A policy's candidates in one step: the objective of each and the one number that reaches it."""

    objectives: ViewValues
    scales: ViewValues


@dataclass
class ChoicePool:
    """Views' probabilities of each choice in each cell.

    A cell that no view of a policy saw has nothing in any choice: it counts as equal chances, so no view wins by looking away.

    Attributes:
        shares: Probabilities; 0 for every choice where a view did not see the cell.
        truth: The true choice of each cell; -1 unknown.
        case: Which case a cell is of.
        weight: Of each cell in the objective, 0 where unknown; sums to 1.
    """

    shares: Float64[np.ndarray, "choice view cell"]
    truth: Int64[np.ndarray, " cell"]
    case: Int64[np.ndarray, " cell"]
    weight: Float64[np.ndarray, " cell"]

    def known(self) -> ChoicePool:
        """Returns the pool without cells of unknown truth."""
        kept = self.truth >= 0
        if kept.all():
            return self
        return ChoicePool(self.shares[:, :, kept], self.truth[kept], self.case[kept], self.weight[kept])

    def nothing(self) -> Float64[np.ndarray, "choice cell"]:
        """The sum over an empty policy."""
        return np.zeros((len(self.shares), len(self.truth)))

    def of_view(self, view: int) -> Float64[np.ndarray, "choice cell"]:
        """What one view adds to the sum."""
        return self.shares[:, view]

    def total(self, policy: tuple[int, ...]) -> Float64[np.ndarray, "choice cell"]:
        """Sum over a policy, each view as often as it stands in it."""
        return sum_of_views(self.shares, policy)

    def candidates(self, so_far: Float64[np.ndarray, "choice cell"], start: float) -> Standing:
        """Objective and exponent of the policy so far with each view added."""
        n_views = self.shares.shape[1]
        size = max(1, _CHUNK // max(1, self.shares.shape[0] * self.shares.shape[2]))
        parts = [
            best_exponents(so_far[:, None] + self.shares[:, at : at + size], self.truth, self.weight, start)
            for at in range(0, n_views, size)
        ]
        return Standing(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def fitted(self, total: Float64[np.ndarray, "choice cell"]) -> tuple[float, float]:
        """Objective and exponent of one policy, given its sum."""
        objective, exponent = best_exponents(total[:, None], self.truth, self.weight, 1.0)
        return float(objective[0]), float(exponent[0])

    def log_probabilities(self, total: Float64[np.ndarray, "choice cell"], exponent: float) -> Float64[np.ndarray, "choice cell"]:
        """Log probability of each choice after recalibration."""
        logs = exponent * np.log(np.maximum(total, _SMALLEST))
        logs -= logs.max(axis=0)
        return np.asarray(logs - np.log(np.exp(logs).sum(axis=0)))

    def likelihoods(self, total: Float64[np.ndarray, "choice cell"], exponent: float) -> Float64[np.ndarray, " cell"]:
        """Log likelihood of each cell's truth; 0 where unknown."""
        logs = self.log_probabilities(total, exponent)
        picked = np.take_along_axis(logs, np.maximum(self.truth, 0)[None], axis=0)[0]
        return np.where(self.truth >= 0, picked, 0.0)


def best_exponents(
    totals: Float64[np.ndarray, "choice view cell"],
    truth: Int64[np.ndarray, " cell"],
    weight: Float64[np.ndarray, " cell"],
    start: float,
) -> tuple[ViewValues, ViewValues]:
    """Greatest weighted mean of log(total_truth^b / sum total^b), for each view, and the exponents b in SLOPE_RANGE that reach it.

    Sums need no division by the number of views: a common factor leaves it as it is.
    """
    logs = np.log(np.maximum(totals, _SMALLEST))
    logs -= logs.max(axis=0)  # the greatest is 0 and stays so for every exponent: exp cannot overflow
    picked = np.take_along_axis(logs, truth[None, None], axis=0)[0] @ weight
    n = logs.shape[1]
    active, exponent = np.arange(n), np.full(n, float(np.clip(start, *SLOPE_RANGE)))
    low, high = np.full(n, SLOPE_RANGE[0]), np.full(n, SLOPE_RANGE[1])
    value = np.empty(n)
    for _ in range(200):
        b = exponent[active]
        value[active], slope, curvature = _rise(logs, weight, picked[active], b)
        low[active], high[active] = np.where(slope > 0, b, low[active]), np.where(slope > 0, high[active], b)
        jump = np.divide(-slope, curvature, out=np.where(slope == 0, 0.0, np.copysign(np.inf, slope)), where=curvature < 0)
        inside = (b + jump > low[active]) & (b + jump < high[active])
        after = np.where(inside, b + jump, np.sqrt(low[active] * high[active]))
        # Newton's step can still gain about half of slope x jump; below rounding no candidate changes its place.
        going = (np.abs(after - b) > 1e-13 * b) & (slope * jump > 1e-15 * (1 + np.abs(value[active])))
        exponent[active] = np.where(going | inside, after, b)
        active = active[going]
        if not active.size:
            break
        if not going.all():
            logs = logs[:, going]
    return value, exponent


def _rise(
    logs: Float64[np.ndarray, "choice view cell"], weight: Float64[np.ndarray, " cell"], picked: ViewValues, exponent: ViewValues
) -> tuple[ViewValues, ViewValues, ViewValues]:
    """Value, slope and curvature of the objective at each view's exponent."""
    powers = np.exp(exponent[:, None] * logs)
    total = powers.sum(axis=0)
    powers *= logs
    first = powers.sum(axis=0)
    powers *= logs
    first /= total
    second = powers.sum(axis=0) / total - first**2
    return exponent * picked - np.log(total) @ weight, picked - first @ weight, -(second @ weight)


@dataclass
class NumberPool:
    """Views' errors in each case, and the variance they claim.

    Attributes:
        error: Truth minus the view's number; NaN where the truth is unknown.
        variance: That the model gives by itself; 0 if it gives none.
        floor: Added to the variance among views, so that views which agree by chance are not taken as certain.
    """

    error: Float64[np.ndarray, "view case"]
    variance: Float64[np.ndarray, "view case"]
    floor: float

    @property
    def case(self) -> Int64[np.ndarray, "case"]:
        """Each cell is a case."""
        return np.arange(self.error.shape[1])

    @property
    def weight(self) -> Float64[np.ndarray, "case"]:
        """Equal weights of the cases with a known truth."""
        known = ~np.isnan(self.error[0])
        return np.asarray(known / max(1, known.sum()))

    def known(self) -> NumberPool:
        """Returns the pool without cases of unknown truth."""
        kept = ~np.isnan(self.error[0])
        return NumberPool(self.error[:, kept], self.variance[:, kept], self.floor)

    def nothing(self) -> Float64[np.ndarray, "term case"]:
        """The sum over an empty policy: views, error, squared error, variance."""
        return np.zeros((4, self.error.shape[1]))

    def of_view(self, view: int) -> Float64[np.ndarray, "term case"]:
        """What one view adds to the sum."""
        return self._terms(slice(view, view + 1))[:, 0]

    def total(self, policy: tuple[int, ...]) -> Float64[np.ndarray, "term case"]:
        """Sum over a policy, each view as often as it stands in it."""
        return sum_of_views(self._terms(slice(None)), policy)

    def candidates(self, so_far: Float64[np.ndarray, "term case"], start: float) -> Standing:
        """Objective and factor of the policy so far with each view added; `start` is not needed, the best factor is known."""
        return self._standing(so_far[:, None] + self._terms(slice(None)))

    def fitted(self, total: Float64[np.ndarray, "term case"]) -> tuple[float, float]:
        """Objective and factor of one policy, given its sum."""
        standing = self._standing(total[:, None])
        return float(standing.objectives[0]), float(standing.scales[0])

    def _standing(self, totals: Float64[np.ndarray, "term view case"]) -> Standing:
        error, variance = self.mean_and_variance(totals)
        squared = np.maximum((error**2 / variance).mean(axis=-1), _SMALLEST)
        objective = -0.5 * (np.log(2 * np.pi * squared) + np.log(variance).mean(axis=-1) + 1)
        return Standing(objective, np.sqrt(squared))

    def likelihoods(self, total: Float64[np.ndarray, "term case"], factor: float) -> Float64[np.ndarray, "case"]:
        """Log density of each case's truth; 0 where unknown."""
        error, variance = self.mean_and_variance(total)
        density = -0.5 * (np.log(2 * np.pi * factor**2 * variance) + error**2 / (factor**2 * variance))
        return np.where(np.isnan(error), 0.0, density)

    def mean_and_variance(
        self, total: Float64[np.ndarray, " term *axes"]
    ) -> tuple[Float64[np.ndarray, "*axes"], Float64[np.ndarray, "*axes"]]:
        """Mean error and variance of a policy's sum, before the factor: among views, of the views, and the floor."""
        views, error, square, variance = total
        mean = error / views
        return mean, np.maximum(square / views - mean**2, 0.0) + variance / views + self.floor

    def _terms(self, views: slice) -> Float64[np.ndarray, "term view case"]:
        error = self.error[views]
        return np.stack([np.ones_like(error), error, error**2, self.variance[views]])


def sum_of_views(terms: Float64[np.ndarray, "term view cell"], policy: tuple[int, ...]) -> Float64[np.ndarray, "term cell"]:
    """Sum of the views of a policy, with repeats."""
    total = np.zeros((terms.shape[0], terms.shape[2]))
    for view, times in _counted(policy):
        total += times * terms[:, view]
    return total


def _counted(policy: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    views, times = np.unique(np.array(policy, dtype=np.int64), return_counts=True)
    return zip(views.tolist(), times.tolist(), strict=True)


def per_case(
    values: Float64[np.ndarray, " cell"],
    weight: Float64[np.ndarray, " cell"],
    case: Int64[np.ndarray, " cell"],
    n_cases: int,
) -> Float64[np.ndarray, "case two"]:
    """Weighted sum and weight of each case: their ratio over any resample of cases is the objective there."""
    return np.column_stack([np.bincount(case, values * weight, n_cases), np.bincount(case, weight, n_cases)])


def lowest_of_the_best(objectives: ViewValues) -> int:
    """Number of the best candidate; of those that differ by rounding only, the lowest."""
    best = objectives.max()
    tied: Bool[np.ndarray, " view"] = objectives >= best - 1e-12 * (1 + abs(best))
    return int(np.flatnonzero(tied)[0])
