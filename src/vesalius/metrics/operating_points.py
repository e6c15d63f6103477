"""Where a score becomes a call: thresholds by a target, what they do on the same cases or on others, and readers beside them.

A call is present at or above the threshold. Cases with equal scores are called alike, so a target is met by whole tie blocks.
A threshold that was given is taken as fixed; one that is chosen on the very cases it is measured on is chosen anew in every
resample, so that its interval holds the choice as well.

Sources: Youden 1950; Zhou, Obuchowski & McClish 2011, chapter 4; McClish 1989 (partial area).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np
from jaxtyping import Float64, Int64, Real, Shaped

from vesalius.errors import NotEstimable, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import Blocks, known_cases, known_labels, tie_blocks
from vesalius.metrics.draws import rate_draws, rates_of
from vesalius.metrics.intervals import Difference, Interval, PatientResamples, difference_of, interval_of, share_interval_of

Rule = Literal["youden", "f1", "mcc"]


class Target(TypedDict, total=False):
    """One of these: a threshold as it stands, a share that the threshold must reach, or a figure that it makes greatest."""

    threshold: float
    sensitivity: float
    specificity: float
    ppv: float
    rule: Rule


RATES = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc")


@dataclass(frozen=True)
class OperatingPoint:
    """What the calls at one threshold are worth.

    Attributes:
        threshold: A score at or above it is called present; infinite if the target is met by calling nobody only.
        target: What was asked for.
        n_positive: Present cases.
        n_negative: Absent cases.
        sensitivity: Share of present cases called present.
        specificity: Share of absent cases called absent.
        ppv: Share of present among those called present; moves with the prevalence.
        npv: Share of absent among those called absent; moves with the prevalence.
        f1: Harmonic mean of sensitivity and PPV.
        mcc: Matthews' correlation of calls with truth, in [-1, 1].
        threshold_interval: Of the chosen threshold; None where it was given.
    """

    threshold: float
    target: dict[str, Any]
    n_positive: int
    n_negative: int
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    f1: Interval
    mcc: Interval
    threshold_interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; an infinite threshold becomes None."""
        plain = {name: getattr(self, name) for name in ("target", "n_positive", "n_negative")}
        rates = {name: getattr(self, name).to_json() for name in RATES}
        held = None if self.threshold_interval is None else self.threshold_interval.to_json()
        threshold = self.threshold if math.isfinite(self.threshold) else None
        return {"threshold": threshold, "threshold_interval": held, **plain, **rates}


def blocks_called(
    positive: Float64[np.ndarray, " block"], negative: Float64[np.ndarray, " block"], **target: Unpack[Target]
) -> int | None:
    """How many blocks, from the top, to call present: 0 calls nobody, None where the target cannot be reached.

    `sensitivity` takes the fewest blocks that reach it, `specificity` and `ppv` the most that still do; a rule takes the greatest
    figure, of equals the fewest blocks. (PPV need not fall along the blocks; the last place that reaches it finds most.)
    """
    tp, fp = (np.append(0.0, np.cumsum(side)) for side in (positive, negative))
    m, n = tp[-1], fp[-1]
    if not m or not n:
        return None
    if "rule" in target:
        quality = _quality(target["rule"], tp, fp)
        # Sums of the same shares in another order differ in the last bit; that must not decide.
        return int(np.flatnonzero(quality >= quality.max() - 1e-12)[0])
    if "sensitivity" in target:
        return int(np.flatnonzero(tp >= target["sensitivity"] * m - 1e-9)[0])
    if "specificity" in target:
        return int(np.flatnonzero(n - fp >= target["specificity"] * n - 1e-9)[-1])
    reached = np.flatnonzero(tp[1:] >= target["ppv"] * (tp + fp)[1:] - 1e-9)
    return int(reached[-1]) + 1 if reached.size else None


def _quality(rule: Rule, tp: Float64[np.ndarray, " cut"], fp: Float64[np.ndarray, " cut"]) -> Float64[np.ndarray, " cut"]:
    m, n = tp[-1], fp[-1]
    quality: Float64[np.ndarray, " cut"]
    if rule == "f1":
        quality = 2 * tp / (tp + fp + m)
    elif rule == "youden":
        quality = tp / m - fp / n
    else:
        spread = np.sqrt((tp + fp) * (m + n - tp - fp) * m * n)
        quality = np.where(spread > 0, (tp * (n - fp) - fp * (m - tp)) / np.where(spread > 0, spread, 1.0), -1.0)
    return quality


def threshold_at(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    weights: Real[np.ndarray, " case"] | None = None,
    **target: Unpack[Target],
) -> float:
    """The threshold that meets a target on these cases: choose it on one set, and give it to `operating_point` on another.

    Args:
        labels: 1, 0, -1 or NaN unknown (left out).
        scores: Higher means more likely present.
        weights: Multiplicities.
        target: One of `sensitivity=0.9` (the highest threshold that reaches it), `specificity=0.9` (the lowest), `ppv=0.5` (the
            lowest), `rule="youden"` (or "f1", "mcc": the greatest; of equals the highest threshold).

    Returns:
        One of the scores, or infinity if only calling nobody meets the target.

    Raises:
        ValueOutOfRange: Not one target, or one out of range.
        NotEstimable: One class only, or a PPV that no threshold reaches; ask for less.

    Checked against: every threshold tried (tests/unit/metrics/test_operating_points.py).
    """
    _check(target)
    if "threshold" in target:
        return float(target["threshold"])
    blocks = tie_blocks(labels, scores, weights)
    called = blocks_called(blocks.positive, blocks.negative, **target)
    if called is None:
        counts = f"{blocks.positive.sum():g} present and {blocks.negative.sum():g} absent cases"
        raise NotEstimable(f"no threshold meets {_words(target)} on {counts}; ask for less, or give more cases")
    return float(blocks.scores[called - 1]) if called else math.inf


def operating_point(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    **target: Unpack[Target],
) -> OperatingPoint:
    """Sensitivity, specificity, PPV, NPV, F1 and MCC at one threshold, each with its patient-clustered interval.

    With `threshold=` the calls are fixed and only the patients vary. With a target (see `threshold_at`) the threshold is chosen on
    these very cases, in every resample anew: the intervals hold that choice too, but the figures stay a little flattering, as any
    that are chosen and measured on the same cases. A share of none or all has Wilson's interval, one count a patient.

    Raises:
        ValueOutOfRange: Not one target, or one out of range.
        NotEstimable: No threshold meets the target here.

    Source: Zhou, Obuchowski & McClish 2011, 4.1 (fixed threshold), 4.3 (sensitivity at a fixed specificity).
    Checked against: scikit-learn's metrics on the same resamples (tests/reference/test_operating_points_against_sklearn.py).
    """
    threshold = threshold_at(labels, scores, **target)
    truth = known_labels(labels)
    numbers = np.asarray(scores, dtype=np.float64)
    plan = PatientResamples.of(patients, len(truth), resamples=resamples, seed=seed)
    called = numbers >= threshold
    held: Interval | None = None
    if "threshold" in target:
        draws = rate_draws(truth, called, plan)
    else:
        draws, cuts = _chosen_anew(truth, numbers, plan, target)
        held = interval_of(cuts, confidence, n_patients=plan.n_patients) if math.isfinite(threshold) else None
    sides = {"sensitivity": truth == 1, "specificity": truth == 0}
    sides |= {"ppv": ~np.isnan(truth) & called, "npv": ~np.isnan(truth) & ~called}
    rates: dict[str, Any] = {}
    for name in RATES:
        if name in sides:
            rates[name] = share_interval_of(draws[name], len(np.unique(plan.patient[sides[name]])), confidence)
        else:
            rates[name] = interval_of(draws[name], confidence, n_patients=plan.n_patients)
    n_positive, n_negative = int((truth == 1).sum()), int((truth == 0).sum())
    return OperatingPoint(threshold, dict(target), n_positive, n_negative, **rates, threshold_interval=held)


def _chosen_anew(
    labels: Float64[np.ndarray, " case"], scores: Float64[np.ndarray, " case"], plan: PatientResamples, target: Target
) -> tuple[dict[str, Float64[np.ndarray, " draw"]], Float64[np.ndarray, " draw"]]:
    """Rates and thresholds where each resample chooses its own; a threshold that calls nobody is just above the highest score."""
    ordered = _Ordered.of(labels, scores, plan)
    cells, cuts = [], []
    for positive, negative in ordered.resampled(plan):
        called = blocks_called(positive, negative, **target)
        if called is None:
            cells.append((math.nan,) * 4)
            cuts.append(math.nan)
            continue
        tp, fp = positive[:called].sum(), negative[:called].sum()
        cells.append((tp, fp, negative.sum() - fp, positive.sum() - tp))
        cuts.append(float(ordered.blocks.scores[called - 1]) if called else float(np.nextafter(ordered.blocks.scores[0], np.inf)))
    return rates_of(*np.array(cells).T), np.array(cuts)


@dataclass(frozen=True)
class _Ordered:
    """Known cases sorted once: their tie blocks, and for each case its block, its side and its patient."""

    blocks: Blocks
    block: Int64[np.ndarray, " known"]
    truth: Float64[np.ndarray, " known"]
    patient: Int64[np.ndarray, " known"]

    @classmethod
    def of(cls, labels: Float64[np.ndarray, " case"], scores: Float64[np.ndarray, " case"], plan: PatientResamples) -> _Ordered:
        truth, numbers, _ = known_cases(labels, scores)
        _, block = np.unique(-numbers, return_inverse=True)
        return cls(tie_blocks(labels, scores), block.astype(np.int64), truth, plan.patient[~np.isnan(labels)])

    def resampled(self, plan: PatientResamples) -> Any:
        """Yields the weight of present and of absent cases in each block, on the sample and on every resample."""
        n = len(self.blocks.scores)
        for chunk in plan.chunks():
            for counts in chunk:
                weights = counts[self.patient].astype(np.float64)
                positive = np.bincount(self.block, weights * self.truth, n)
                yield positive, np.bincount(self.block, weights, n) - positive


def sensitivity_at_specificity(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    specificity: float,
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Greatest sensitivity of a threshold whose specificity is at least this, in [0, 1]; NaN with one class only.

    For an interval give it to `bootstrap`, which then chooses the threshold in every resample, or use `operating_point`.

    Checked against: sklearn.metrics.roc_curve (tests/reference/test_operating_points_against_sklearn.py).
    """
    _check({"specificity": specificity})
    blocks = tie_blocks(labels, scores, weights)
    called = blocks_called(blocks.positive, blocks.negative, specificity=specificity)
    return math.nan if called is None else float(blocks.positive[:called].sum() / blocks.positive.sum())


def specificity_at_sensitivity(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    sensitivity: float,
    weights: Real[np.ndarray, " case"] | None = None,
) -> float:
    """Greatest specificity of a threshold whose sensitivity is at least this, in [0, 1]; NaN with one class only."""
    _check({"sensitivity": sensitivity})
    blocks = tie_blocks(labels, scores, weights)
    called = blocks_called(blocks.positive, blocks.negative, sensitivity=sensitivity)
    return math.nan if called is None else float(blocks.negative[called:].sum() / blocks.negative.sum())


@dataclass(frozen=True)
class ReaderComparison:
    """A reader's one operating point beside the model's curve, on the cases that the reader called.

    Attributes:
        reader_sensitivity: Of the reader's calls.
        reader_specificity: Of the reader's calls.
        model_sensitivity: Of the model, at a specificity at least the reader's.
        model_specificity: Of the model, at a sensitivity at least the reader's.
        sensitivity_difference: Model minus reader at the reader's specificity.
        specificity_difference: Model minus reader at the reader's sensitivity.
        n: Cases compared.
    """

    reader_sensitivity: Interval
    reader_specificity: Interval
    model_sensitivity: Interval
    model_specificity: Interval
    sensitivity_difference: Difference
    specificity_difference: Difference
    n: int

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words."""
        return {name: value.to_json() if isinstance(value, Interval) else value for name, value in vars(self).items()}


def compare_with_reader(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    calls: Shaped[np.ndarray, " case"],
    patients: Shaped[np.ndarray, " case"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> ReaderComparison:
    """Model against one reader, each at the other's rate: paired by patient, the model's threshold chosen anew in every resample.

    A reader's calls are one point, so an AUROC of them would compare a curve with two straight lines. The model has to reach
    the reader's rate with whole tie blocks, which favours the reader a little with few cases or coarse scores.

    Args:
        labels: 1, 0, -1 or NaN unknown (left out).
        scores: The model's.
        calls: The reader's: 1 present, 0 absent, -1 or NaN no call (left out, for the model too).
        patients: Whose case it is; None takes each as a patient of its own.
        resamples: Draws of patients.
        seed: Same seed, same draws.
        confidence: 0.95 for a 95 % interval.

    Source: Rajpurkar 2018 (CheXNeXt) and Irvin 2019 set a reader's point beside the curve; the paired form is Zhou 2011, 5.4.
    Checked against: every threshold tried on every resample (tests/unit/metrics/test_operating_points.py).
    """
    reader = known_labels(calls)
    truth = known_labels(labels)
    if reader.shape != truth.shape:
        raise ShapeMismatch(f"calls {reader.shape}, labels {truth.shape}; expected one call a case")
    truth[np.isnan(reader)] = np.nan
    plan = PatientResamples.of(patients, len(truth), resamples=resamples, seed=seed)
    own = rate_draws(truth, reader == 1, plan)
    model = _at_the_rates_of(own, _Ordered.of(truth, np.asarray(scores, dtype=np.float64), plan), plan)
    found: dict[str, Any] = {}
    for name, side in (("sensitivity", truth == 1), ("specificity", truth == 0)):
        n_patients = len(np.unique(plan.patient[side]))
        found[f"reader_{name}"] = share_interval_of(own[name], n_patients, confidence)
        found[f"model_{name}"] = share_interval_of(model[name], n_patients, confidence)
        found[f"{name}_difference"] = difference_of(own[name], model[name], confidence, n_patients=plan.n_patients)
    return ReaderComparison(**found, n=int(np.count_nonzero(~np.isnan(truth))))


def _at_the_rates_of(
    reader: dict[str, Float64[np.ndarray, " draw"]], ordered: _Ordered, plan: PatientResamples
) -> dict[str, Float64[np.ndarray, " draw"]]:
    """The model's sensitivity at the reader's specificity, and the reverse, draw by draw."""
    rows = []
    rates = zip(ordered.resampled(plan), reader["sensitivity"], reader["specificity"], strict=True)
    for (positive, negative), sensitivity, specificity in rates:
        if math.isnan(sensitivity) or math.isnan(specificity):
            rows.append((math.nan, math.nan))
            continue
        down = blocks_called(positive, negative, specificity=float(specificity))
        up = blocks_called(positive, negative, sensitivity=float(sensitivity))
        rows.append((positive[:down].sum() / positive.sum(), negative[up:].sum() / negative.sum()))
    return dict(zip(("sensitivity", "specificity"), np.array(rows).T, strict=True))


def _check(target: Any) -> None:
    if len(target) != 1 or not target.keys() <= Target.__annotations__.keys():
        raise ValueOutOfRange(f"{_words(target) or 'no target'}; expected one of {', '.join(Target.__annotations__)}")
    ((name, value),) = target.items()
    if name == "rule" and value not in get_args(Rule):
        raise ValueOutOfRange(f"rule {value!r}; expected one of {', '.join(get_args(Rule))}")
    if name == "threshold" and math.isnan(value):
        raise ValueOutOfRange("threshold NaN; expected a score, or infinity to call nobody")
    if name in {"sensitivity", "specificity", "ppv"} and not 0 <= value <= 1:
        raise ValueOutOfRange(f"{name} {value}; expected a share in [0, 1]")


def _words(target: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in target.items())
