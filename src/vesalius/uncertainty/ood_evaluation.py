"""How well a score tells foreign images from films of home, with patient-clustered intervals; near, far, and normal films apart.

One figure over all of home hides the commonest fault of scores for many labels: that a normal film scores as foreign. So the table
measures each foreign group against all of home, against its films without a finding, and against those with findings.

Sources: Liang 2018, arXiv:1706.02690 (FPR at 95 % TPR); Davis & Goadrich 2006 (AUPR); Yang 2022, arXiv:2210.07242 (near and far).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_cases, known_labels, tie_blocks
from vesalius.metrics.intervals import Interval, PatientResamples, interval_of, macro_draws, ranking_draws

Distance = Literal["near", "far"]
Against = Literal["all", "no finding", "with findings"]
Patients = Shaped[np.ndarray, "case"]

FIGURES = ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out")
_TPR = 0.95


@dataclass(frozen=True)
class OodMetrics:
    """How well foreign images are told from films of home.

    Attributes:
        n_in: Films of home.
        n_out: Foreign images.
        auroc: Chance that a foreign image scores above a film of home; the same whichever of them is called positive.
        aupr_in: Average precision with home as the positive class; a useless score reaches the share of home.
        aupr_out: With the foreign images as the positive class.
        fpr95: Positive class home: share of foreign images that pass when at least 95 % of home do. The usual "FPR95".
        fpr95_out: Positive class foreign: share of home that is stopped when at least 95 % of the foreign images are.
    """

    n_in: int
    n_out: int
    auroc: Interval
    aupr_in: Interval
    aupr_out: Interval
    fpr95: Interval
    fpr95_out: Interval

    def to_json(self) -> dict[str, Any]:
        """Returns the counts, and each figure as `{"value", "low", "high"}`."""
        return {"n_in": self.n_in, "n_out": self.n_out, **{name: getattr(self, name).to_json() for name in FIGURES}}


@dataclass(frozen=True)
class OodRow:
    """One foreign group against one part of home.

    Attributes:
        group: Name of the group; in `OodTable.means` how far it is.
        distance: "near", "far", or None where not said.
        against: Part of home: all of it, its films with no finding, or those with findings.
        metrics: The figures.
    """

    group: str
    distance: Distance | None
    against: Against
    metrics: OodMetrics

    def to_json(self) -> dict[str, Any]:
        """Returns the row as plain words and numbers."""
        return {"group": self.group, "distance": self.distance, "against": self.against, **self.metrics.to_json()}


@dataclass(frozen=True)
class OodTable:
    """Every group against every part of home, all on the same resamples of patients.

    Attributes:
        rows: Groups in the order given; for each, the parts of home.
        means: For near and for far, the mean over its groups of the same resample, as OpenOOD reports them.
        normal_auroc: Chance that a film of home without a finding scores as more foreign than one with findings; 0.5 is fair,
            near 1 the score punishes normal films. None without labels.
    """

    rows: tuple[OodRow, ...]
    means: tuple[OodRow, ...]
    normal_auroc: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Returns the table as plain words and numbers."""
        rows = {name: [row.to_json() for row in getattr(self, name)] for name in ("rows", "means")}
        return {**rows, "normal_auroc": None if self.normal_auroc is None else self.normal_auroc.to_json()}


def fpr_at_tpr(
    labels: Shaped[np.ndarray, " case"],
    scores: Real[np.ndarray, " case"],
    weights: Real[np.ndarray, " case"] | None = None,
    *,
    tpr: float = _TPR,
) -> float:
    """Least share of negatives at or above a threshold that at least `tpr` of the positives reach, in [0, 1]; NaN with one class.

    Label 1 is the positive class and should score higher: for FPR95 with home as the positive class, 1 for home and minus the
    score. Exactly `tpr` or more, tied scores whole; fd-shifts 0.1 takes 0.9495, which is another threshold from 100 positives on.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A score is NaN where the label is known, or `tpr` is outside (0, 1].

    Source: Liang 2018, section 4.3.
    Checked against: sklearn.metrics.roc_curve, and fd-shifts' rule written out (tests/reference).
    """
    if not 0 < tpr <= 1:
        raise ValueOutOfRange(f"tpr {tpr}; expected a share above 0, at most 1")
    blocks = tie_blocks(labels, scores, weights)
    return float(_fpr(blocks.positive, blocks.negative, tpr))


def ood_metrics(
    in_scores: Real[np.ndarray, " home"],
    out_scores: Real[np.ndarray, " foreign"],
    *,
    patients: tuple[Patients | None, Patients | None] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> OodMetrics:
    """AUROC, AUPR and FPR95 of a score, each with a patient-clustered interval.

    Args:
        in_scores: Of films of home, higher = more foreign; +infinity is allowed.
        out_scores: Of foreign images.
        patients: Of home and of the foreign images; the same name on both sides is the same patient (a film and its altered copy
            are not independent). None takes each case as a patient of its own.
        resamples: How many draws of patients.
        seed: Same seed, same draws.
        confidence: 0.95 for a 95 % interval.

    Raises:
        EmptyInput: No film of home, or no foreign image.
        ShapeMismatch: Not one patient a case.
        ValueOutOfRange: A score is NaN.

    Checked against: sklearn's roc_auc_score, average_precision_score and roc_curve on the same resamples (tests/reference).
    """
    parts = [np.asarray(in_scores, dtype=np.float64), np.asarray(out_scores, dtype=np.float64)]
    if not (parts[0].size and parts[1].size):
        raise EmptyInput(f"{parts[0].size} films of home and {parts[1].size} foreign images; at least one of each is needed")
    truth = np.repeat([0.0, 1.0], [len(part) for part in parts])[:, None]
    plan = _plan(parts, patients or (None, None), resamples, seed)
    (draws,) = _draws(truth, np.concatenate(parts), plan)
    return _metrics(truth[:, 0], draws, plan, confidence)


def ood_table(
    in_scores: Real[np.ndarray, " home"],
    out_scores: Mapping[str, Real[np.ndarray, " _"]],
    *,
    distances: Mapping[str, Distance] | None = None,
    in_labels: Shaped[np.ndarray, "home finding"] | None = None,
    patients: tuple[Patients | None, Mapping[str, Patients]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> OodTable:
    """Each foreign group against all of home, its films with no finding, and those with findings; 95 % intervals.

    Args:
        in_scores: Of films of home, higher = more foreign.
        out_scores: Of each foreign group, by its name.
        distances: How far each group is: "near" (another hospital, another view) or "far" (another part of the body, noise).
        in_labels: 1, 0, NaN unknown, of home. No finding: all labels known and absent. With findings: one present. A film that is
            neither counts in all of home only. Without labels home is not parted.
        patients: Of home, and of each group; see `ood_metrics`.
        resamples: How many draws of patients, the same for every row.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No film of home, no group, or a group without images.
        ShapeMismatch: Labels or patients that are not one row a case.
        ValueOutOfRange: A NaN score, or a distance of an unknown group or of another word than near and far.
    """
    far = dict(distances or {})
    strange = [name for name, word in far.items() if name not in out_scores or word not in get_args(Distance)]
    if strange:
        raise ValueOutOfRange(f"distances of {', '.join(strange)}; expected near or far, of {', '.join(out_scores)}")
    parts = [np.asarray(scores, dtype=np.float64) for scores in (in_scores, *out_scores.values())]
    if len(parts) < 2 or not all(part.size for part in parts):
        raise EmptyInput("home, and at least one foreign group, each with a score or more are needed")
    home_patients, group_patients = patients or (None, {})
    plan = _plan(parts, (home_patients, *(group_patients.get(name) for name in out_scores)), resamples, seed)
    home = _parts_of_home(in_labels, len(parts[0]))
    places = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    keys: list[tuple[str, Against]] = [(name, against) for name in out_scores for against in home]
    columns = [_column(home[against], places, 1 + list(out_scores).index(name)) for name, against in keys]
    if "no finding" in home:
        normal = np.full(len(places), np.nan)
        normal[: len(parts[0])][home["with findings"]], normal[: len(parts[0])][home["no finding"]] = 0.0, 1.0
        columns.append(normal)
    truth = np.column_stack(columns)
    draws = _draws(truth, np.concatenate(parts), plan)
    rows = tuple(
        OodRow(name, far.get(name), against, _metrics(truth[:, at], draws[at], plan)) for at, (name, against) in enumerate(keys)
    )
    punished = interval_of(draws[-1]["auroc"], n_patients=plan.n_patients) if "no finding" in home else None
    return OodTable(rows, tuple(_mean_rows(rows, draws, plan)), punished)


def _mean_rows(
    rows: Sequence[OodRow], draws: Sequence[dict[str, Float64[np.ndarray, " draw"]]], plan: PatientResamples
) -> list[OodRow]:
    """The mean over the groups of each distance, for each part of home, resample by resample."""
    means = []
    for distance in get_args(Distance):
        for against in get_args(Against):
            chosen = [at for at, row in enumerate(rows) if (row.distance, row.against) == (distance, against)]
            if chosen:
                mean = {name: macro_draws(np.column_stack([draws[at][name] for at in chosen])) for name in FIGURES}
                figures = {name: interval_of(mean[name], n_patients=plan.n_patients) for name in FIGURES}
                n_out = sum(rows[at].metrics.n_out for at in chosen)
                means.append(OodRow(distance, distance, against, OodMetrics(rows[chosen[0]].metrics.n_in, n_out, **figures)))
    return means


def _parts_of_home(labels: Shaped[np.ndarray, "home finding"] | None, n: int) -> dict[Against, Bool[np.ndarray, " home"]]:
    every: dict[Against, Bool[np.ndarray, " home"]] = {"all": np.ones(n, dtype=bool)}
    if labels is None:
        return every
    truth = known_labels(labels)
    if truth.ndim != 2 or len(truth) != n:
        raise ShapeMismatch(f"labels {truth.shape} of {n} films of home; expected (case, finding)")
    return {**every, "no finding": (truth == 0).all(axis=1), "with findings": (truth == 1).any(axis=1)}


def _column(home: Bool[np.ndarray, " home"], places: Shaped[np.ndarray, " case"], group: int) -> Float64[np.ndarray, " case"]:
    """1 for the images of a group, 0 for the chosen films of home, NaN for every other case."""
    truth = np.where(places == group, 1.0, np.nan)
    truth[: len(home)][home] = 0.0
    return truth


def _plan(
    parts: Sequence[Float64[np.ndarray, " _"]], patients: Sequence[Patients | None], resamples: int, seed: int
) -> PatientResamples:
    """One plan over home and every group; a case without a patient is a patient of its own."""
    owners: list[str] = []
    for index, (part, names) in enumerate(zip(parts, patients, strict=True)):
        shape = part.shape if names is None else np.shape(names)
        if part.ndim != 1 or shape != part.shape:
            raise ShapeMismatch(f"scores {part.shape}, patients {shape}; expected one score and one patient a case")
        owners += [f"alone {index} {at}" for at in range(len(part))] if names is None else [f"of {name}" for name in names]
    return PatientResamples.of(np.array(owners), len(owners), resamples=resamples, seed=seed)


def _draws(
    truth: Float64[np.ndarray, "case column"], scores: Float64[np.ndarray, " case"], plan: PatientResamples
) -> list[dict[str, Float64[np.ndarray, " draw"]]]:
    """Every figure of each column (1 foreign, 0 home, NaN neither) on the sample (first) and on every resample."""
    table = np.repeat(scores[:, None], truth.shape[1], axis=1)
    auroc, aupr_out = ranking_draws(truth, table, plan)
    _, aupr_in = ranking_draws(1 - truth, -table, plan)
    fpr = [(_fpr_draws(1 - column, -scores, plan), _fpr_draws(column, scores, plan)) for column in truth.T]
    return [
        dict(zip(FIGURES, (auroc[:, at], aupr_in[:, at], aupr_out[:, at], *fpr[at]), strict=True)) for at in range(truth.shape[1])
    ]


def _fpr_draws(
    labels: Float64[np.ndarray, " case"], scores: Float64[np.ndarray, " case"], plan: PatientResamples
) -> Float64[np.ndarray, " draw"]:
    """FPR at 95 % TPR on the sample (first) and on every resample; sorted once."""
    known = ~np.isnan(labels)
    truth, numbers, _ = known_cases(labels[known], scores[known])
    distinct, block = np.unique(-numbers, return_inverse=True)
    patient = plan.patient[known]
    draws = []
    for counts in (row for chunk in plan.chunks() for row in chunk):
        weights = counts[patient].astype(np.float64)
        positive = np.bincount(block, weights * truth, len(distinct))
        draws.append(_fpr(positive, np.bincount(block, weights * (1 - truth), len(distinct)), _TPR))
    return np.asarray(draws)


def _fpr(positive: Float64[np.ndarray, " block"], negative: Float64[np.ndarray, " block"], tpr: float) -> float:
    """From the weights in each block of tied scores, best first. Whole counts: k / n is the float nearest to that share."""
    found, passed = np.cumsum(positive), np.cumsum(negative)
    if not (found.size and found[-1] and passed[-1]):
        return math.nan
    return float(passed[np.argmax(found / found[-1] >= tpr)] / passed[-1])


def _metrics(
    truth: Float64[np.ndarray, " case"],
    draws: Mapping[str, Float64[np.ndarray, " draw"]],
    plan: PatientResamples,
    confidence: float = 0.95,
) -> OodMetrics:
    figures = {name: interval_of(draws[name], confidence, n_patients=plan.n_patients) for name in FIGURES}
    return OodMetrics(int((truth == 0).sum()), int((truth == 1).sum()), **figures)
