"""What another seed would have given: a figure of each member, and whether the ensemble is better than one of them.

One training run is one draw. The spread over seeds is the noise that a change must exceed before it is called better; the gain of
the ensemble is measured on the same resamples of patients, because its members see the same patients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy.special import expit, softmax

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.intervals import (
    Difference,
    Interval,
    PatientResamples,
    difference_of,
    interval_of,
    macro_draws,
    ranking_draws,
    weighted_draws,
)
from vesalius.uncertainty.ensembles import Averaging, Task, mean_of

Ranking = Literal["auroc", "auprc"]
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
Draws = Float64[np.ndarray, "draw"]


@dataclass(frozen=True)
class SeedSpread:
    """One metric over the members of an ensemble, and of the ensemble itself.

    Attributes:
        members: The metric of each member, in order.
        mean: Over members.
        sd: Over members, divided by one less than their number (they are a sample of seeds); NaN for one member.
        low: Smallest of the members.
        high: Greatest.
        ensemble: The metric of the mean of the members, patient-clustered.
        gain: Ensemble minus the mean of its members: what is to be expected over a model taken at random. Paired.
        gains: Ensemble minus each member. Paired, on the same resamples.
    """

    members: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float
    ensemble: Interval
    gain: Difference
    gains: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers; NaN becomes None."""
        numbers = {name: getattr(self, name) for name in ("mean", "sd", "low", "high")}
        return {
            "members": [_plain(value) for value in self.members],
            **{name: _plain(value) for name, value in numbers.items()},
            "ensemble": self.ensemble.to_json(),
            "gain": self.gain.to_json(),
            "gains": [gain.to_json() for gain in self.gains],
        }


def seed_spread(
    metric: Ranking | Metric,
    labels: Shaped[np.ndarray, " case *axes"],
    member_logits: Real[np.ndarray, "member case *answer"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    of: Averaging = "logits",
    task: Task = "multilabel",
    plan: PatientResamples | None = None,
    confidence: float = 0.95,
) -> SeedSpread:
    """A metric of every member and of their ensemble, with the paired, patient-clustered interval of what the ensemble gains.

    Args:
        metric: "auroc" or "auprc" (macro over findings, fast), or `metric(labels, probabilities, weights)` with whole-number
            weights of the cases, NaN where it is not defined.
        labels: (case, finding) or (case,); 1, 0, NaN unknown for the two named metrics.
        member_logits: (member, case, finding), (member, case) or (member, case, class).
        patients: Whose case it is; None takes each case as a patient of its own.
        of: How members are averaged; see `mean_of`.
        task: See `mean_of`.
        plan: Resamples to share with other comparisons; 1000 of `patients` with seed 0 by default.
        confidence: Of the intervals.

    Raises:
        ShapeMismatch: Labels, members and patients do not go together.
        ValueOutOfRange: An unknown metric, or a value that is not finite.

    Checked against: `bootstrap_difference` on the same resamples, and sklearn's metrics (tests/reference).
    """
    z = np.asarray(member_logits, dtype=np.float64)
    if z.ndim < 2 or z.shape[1] != len(labels):
        raise ShapeMismatch(f"members {z.shape}, labels {np.shape(labels)}; expected (member, case, ...) and (case, ...)")
    together = mean_of(z, of, task=task)
    resamples = PatientResamples.of(patients, z.shape[1]) if plan is None else plan
    if len(resamples.patient) != z.shape[1]:
        raise ShapeMismatch(f"the plan is for {len(resamples.patient)} cases, the members for {z.shape[1]}")
    draws = [_draws(metric, labels, logits, task, resamples) for logits in (*z, together)]
    return _spread(np.column_stack(draws[:-1]), draws[-1], resamples.n_patients, confidence)


def _spread(members: Float64[np.ndarray, "draw member"], ensemble: Draws, n_patients: int, confidence: float) -> SeedSpread:
    values = members[0]
    return SeedSpread(
        members=tuple(values.tolist()),
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        low=float(values.min()),
        high=float(values.max()),
        ensemble=interval_of(ensemble, confidence, n_patients=n_patients),
        gain=difference_of(members.mean(axis=1), ensemble, confidence, n_patients=n_patients),
        gains=tuple(difference_of(member, ensemble, confidence, n_patients=n_patients) for member in members.T),
    )


def _draws(
    metric: Ranking | Metric,
    labels: Shaped[np.ndarray, " case *axes"],
    logits: Real[np.ndarray, " case *answer"],
    task: Task,
    plan: PatientResamples,
) -> Draws:
    if callable(metric):
        p = softmax(logits, axis=-1) if task == "multiclass" else expit(logits)
        truth = np.asarray(labels)
        return weighted_draws(lambda weights: np.array([metric(truth, p, weights)]), plan)[:, 0]
    if metric not in get_args(Ranking) or task != "multilabel":
        raise ValueOutOfRange(
            f"metric {metric!r} for {task}; pass {' or '.join(get_args(Ranking))} for findings, or a function "
            "metric(labels, probabilities, weights)"
        )
    truth = np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)
    # Ranks of logits are ranks of probabilities, without ties where the logistic function rounds to 1.
    auroc, auprc = ranking_draws(truth, logits.reshape(len(labels), -1), plan)
    return macro_draws(auroc if metric == "auroc" else auprc)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
