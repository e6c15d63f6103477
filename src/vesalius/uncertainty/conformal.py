"""Sets of classes that hold the truth with a chosen frequency, for one-of-many labels: LAC, APS, and the same per class or group.

The promise: over new cases of the same kind as the calibration cases, the set holds the true class at least `confidence` of the
time, whatever the model. It is a frequency over calibration *and* new cases: one calibration set may give a little less (with n
cases the coverage it gives is Beta distributed, standard deviation about sqrt(c (1 - c) / n)). For "with 90 % confidence never
below" use `RiskControl`. Cases must be exchangeable; with `patients` the greatest score of each patient is taken, and a set then
holds the truth for all of a new patient's cases at once.

Sources: Vovk 2005; Sadinle 2019, arXiv:1609.00451 (LAC); Romano 2020, arXiv:2006.02544 (APS); Angelopoulos & Bates 2021,
arXiv:2107.07511.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.units import known_units, reduce_units

Score = Literal["lac", "aps"]


def conformal_quantile(scores: Float64[np.ndarray, " unit"], confidence: float) -> float:
    """The ceil((n + 1) confidence)-th smallest score; inf where that is more than n, so that everything is let in.

    Source: Vovk 2005; the finite-sample rank. MAPIE raises or clips where n is too small.
    """
    # 0.9 * 10 is 9, not the tenth: rounding must not take one more score.
    rank = math.ceil((len(scores) + 1) * confidence - 1e-9)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else math.inf


class ConformalSets(ABC):
    """What LAC and APS share: a score of every class, one threshold, and the set of classes at or below it.

    Attributes (after `fit`):
        thresholds: Greatest score let in; one, or one a class or group.
        notes: What a reader should know, one entry a threshold, or None.
    """

    def __init__(self, confidence: float = 0.9) -> None:
        """Says how often a set must hold the truth.

        Raises:
            ValueOutOfRange: Not inside (0, 1).
        """
        if not 0 < confidence < 1:
            raise ValueOutOfRange(f"confidence is {confidence}; expected a share above 0 and below 1")
        self.confidence = confidence
        self._thresholds: list[float] | None = None
        self._notes: list[str | None] = []

    @abstractmethod
    def class_scores(self, probabilities: Float64[np.ndarray, "case cls"]) -> Float64[np.ndarray, "case cls"]:
        """How strange each class would be; small is likely."""

    def fit(
        self,
        probabilities: Real[np.ndarray, "case cls"],
        labels: Shaped[np.ndarray, " case"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Finds the threshold on calibration cases; labels are class numbers, -1 unknown (left out).

        Raises:
            EmptyInput: No case with a known label.
            ShapeMismatch: Arrays that do not go together.
            ValueOutOfRange: A probability outside [0, 1] or NaN, or a label that is no class.
        """
        true_scores, _, unit, n_units = self._true_scores(probabilities, labels, patients)
        worst = reduce_units(true_scores, unit, n_units, "worst")
        self._keep([worst], ["all cases"])
        return self

    def predict_set(self, probabilities: Real[np.ndarray, "case cls"]) -> Bool[np.ndarray, "case cls"]:
        """True for each class in the set. A set may be empty: no class is likely enough.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of classes than in `fit`.
        """
        thresholds = self.thresholds
        inside: Bool[np.ndarray, "case cls"] = self.class_scores(self._checked(probabilities)) <= thresholds[0]
        return inside

    @property
    def thresholds(self) -> Float64[np.ndarray, " threshold"]:
        """Greatest score let in; inf lets in everything."""
        if self._thresholds is None:
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(probabilities, labels) on calibration cases first")
        return np.array(self._thresholds, dtype=np.float64)

    @property
    def notes(self) -> list[str | None]:
        """What to know of each threshold, or None."""
        return list(self._notes)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, inf as None; read back, every float is the same.

        Raises:
            NotFitted: `fit` was not called.
        """
        found = [value if math.isfinite(value) else None for value in self.thresholds.tolist()]
        return {
            "kind": type(self).__name__,
            **self._options(),
            "n_classes": self._n_classes,
            "thresholds": found,
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted sets that `to_json` described.

        Raises:
            ValueOutOfRange: The state is of another kind.
        """
        if state["kind"] != cls.__name__:
            raise ValueOutOfRange(f"state of a {state['kind']}; use {state['kind']}.from_json")
        options = {name: value for name, value in state.items() if name not in {"kind", "n_classes", "thresholds", "notes"}}
        sets = cls(**options)
        sets._n_classes = state["n_classes"]
        sets._thresholds = [math.inf if value is None else value for value in state["thresholds"]]
        sets._notes = list(state["notes"])
        return sets

    def _options(self) -> dict[str, Any]:
        return {"confidence": self.confidence}

    _n_classes: int | None = None

    def _checked(self, probabilities: object) -> Float64[np.ndarray, "case cls"]:
        p = np.asarray(probabilities, dtype=np.float64)
        if p.ndim != 2 or (self._n_classes is not None and p.shape[1] != self._n_classes):
            raise ShapeMismatch(f"probabilities {p.shape}; expected (case, {self._n_classes or 'class'})")
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueOutOfRange("a probability lies outside [0, 1] or is NaN; calibrate logits first")
        return p

    def _true_scores(
        self, probabilities: object, labels: object, patients: Shaped[np.ndarray, " case"] | None
    ) -> tuple[Float64[np.ndarray, " known"], Int64[np.ndarray, " known"], Int64[np.ndarray, " known"], int]:
        self._n_classes = None
        p, truth = self._checked(probabilities), np.asarray(labels)
        if truth.shape != (len(p),):
            raise ShapeMismatch(f"labels {truth.shape}, probabilities {p.shape}; expected one class number a case")
        known = truth >= 0
        if not known.any():
            raise EmptyInput("no case with a known label; conformal sets need calibration cases")
        chosen = truth[known].astype(np.int64)
        if not (np.isin(truth, np.arange(-1, p.shape[1]))).all():
            raise ValueOutOfRange(f"a label is none of 0 to {p.shape[1] - 1}, or -1 for unknown")
        self._n_classes = p.shape[1]
        scores = self.class_scores(p[known])[np.arange(len(chosen)), chosen]
        unit, n_units = known_units(patients, known)
        return scores, chosen, unit, n_units

    def _keep(self, scores: list[Float64[np.ndarray, " unit"]], names: list[str]) -> None:
        self._thresholds, self._notes = [], []
        for one, name in zip(scores, names, strict=True):
            quantile = conformal_quantile(one[~np.isnan(one)], self.confidence)
            short = f"{name}: {np.count_nonzero(~np.isnan(one))} units are too few for {self.confidence:g}; always in the set"
            self._thresholds.append(quantile)
            self._notes.append(short if math.isinf(quantile) else None)


class LAC(ConformalSets):
    """Least ambiguous sets: every class whose probability is at least a threshold. Smallest on average; may be empty.

    Source: Sadinle 2019; score 1 - p(class).
    Checked against: MAPIE 1.6 `SplitConformalClassifier(conformity_score="lac")`, the same sets (tests/reference).
    """

    score: ClassVar[Score] = "lac"

    def class_scores(self, probabilities: Float64[np.ndarray, "case cls"]) -> Float64[np.ndarray, "case cls"]:
        """1 - p."""
        return 1 - probabilities


class APS(ConformalSets):
    """Adaptive sets: classes from the likeliest on until enough probability is gathered, so that hard cases get larger sets.

    Randomised, the last class is in with the chance that is just needed, and coverage is exact; the random number of a case is
    made from its own probabilities and `seed`, so the same case always has the same set, alone or in a batch. Not randomised, the
    score is the mass up to and with the class itself, and the threshold is found for that same score: coverage holds as well,
    sets are a little larger and change less. MAPIE scores at random but, by default, takes the last class in always: its coverage
    is too high (0.92 for 0.90 in one trial). Either may be empty. Equal probabilities enter together.

    Source: Romano 2020, eq. 5-8.
    Checked against: MAPIE 1.6 (non-randomised prediction at the same threshold), the definition class by class (tests/reference);
    coverage in simulation (tests/statistical).
    """

    score: ClassVar[Score] = "aps"

    def __init__(self, confidence: float = 0.9, *, randomised: bool = True, seed: int = 0) -> None:
        """Says how often a set must hold the truth, and whether the last class is drawn.

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1).
        """
        super().__init__(confidence)
        self.randomised, self.seed = randomised, seed

    def class_scores(self, probabilities: Float64[np.ndarray, "case cls"]) -> Float64[np.ndarray, "case cls"]:
        """Mass of the likelier classes and, of the class itself, all or a random part."""
        falling = np.argsort(-probabilities, axis=1)
        ordered = np.take_along_axis(probabilities, falling, axis=1)
        mass = np.cumsum(ordered, axis=1)
        tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        own = ordered.copy()
        if tied.any():
            mass[tied], own[tied] = _whole_ties(ordered[tied], mass[tied])
        if self.randomised:
            mass -= row_uniform(probabilities, self.seed)[:, None] * own
        scores = np.empty(probabilities.shape)
        np.put_along_axis(scores, falling, mass, axis=1)
        return scores

    def _options(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "randomised": self.randomised, "seed": self.seed}


class ClassConditional(ConformalSets):
    """A threshold of its own for each class: of the cases of every class, at least `confidence` have it in their set (Mondrian).

    A class with fewer than confidence / (1 - confidence) calibration units is always in the set, and a note says so.

    Source: Vovk 2005, chapter 4; Ding 2023, arXiv:2306.09335 (why few cases a class make large sets).
    Checked against: LAC or APS fitted on the cases of one class (tests/unit); coverage by class in simulation (tests/statistical).
    """

    def __init__(self, confidence: float = 0.9, score: Score = "lac", *, randomised: bool = True, seed: int = 0) -> None:
        """Says how often each class must be held, by which score; the last two are for "aps".

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1), or another score.
        """
        super().__init__(confidence)
        self.base = _base(confidence, score, randomised, seed)

    def fit(
        self,
        probabilities: Real[np.ndarray, "case cls"],
        labels: Shaped[np.ndarray, " case"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """As in `ConformalSets.fit`, a threshold a class; a patient counts once in every class they have."""
        scores, truth, unit, n_units = self._true_scores(probabilities, labels, patients)
        assert self._n_classes is not None
        classes = range(self._n_classes)
        worst = [reduce_units(scores[truth == k], unit[truth == k], n_units, "worst") for k in classes]
        self._keep(worst, [f"class {k}" for k in classes])
        return self

    def predict_set(self, probabilities: Real[np.ndarray, "case cls"]) -> Bool[np.ndarray, "case cls"]:
        """True for each class that is at or below its own threshold."""
        thresholds = self.thresholds
        return self.class_scores(self._checked(probabilities)) <= thresholds

    def class_scores(self, probabilities: Float64[np.ndarray, "case cls"]) -> Float64[np.ndarray, "case cls"]:
        """Those of LAC or APS."""
        return self.base.class_scores(probabilities)

    def _options(self) -> dict[str, Any]:
        return _base_options(self.base)


class GroupConditional(ConformalSets):
    """A threshold of its own for each group (site, sex, scanner): the promise holds in every group, not only on the whole.

    A group that was not there in `fit`, or had too few units, gets every class.

    Source: Vovk 2005 (Mondrian taxonomies); Romano 2020, arXiv:1908.05428 (equalised coverage).
    Checked against: LAC or APS fitted on one group (tests/unit).
    """

    def __init__(self, confidence: float = 0.9, score: Score = "lac", *, randomised: bool = True, seed: int = 0) -> None:
        """Says how often the truth must be held in each group, by which score.

        Raises:
            ValueOutOfRange: The confidence is not inside (0, 1), or another score.
        """
        super().__init__(confidence)
        self.base = _base(confidence, score, randomised, seed)
        self.groups: list[str] = []

    def fit(  # type: ignore[override]  # the group of each case is needed here
        self,
        probabilities: Real[np.ndarray, "case cls"],
        labels: Shaped[np.ndarray, " case"],
        groups: Shaped[np.ndarray, " case"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """As in `ConformalSets.fit`, a threshold a group; names of groups are taken as text.

        Raises:
            ShapeMismatch: Not one group a case.
        """
        scores, _, unit, n_units = self._true_scores(probabilities, labels, patients)
        names = self._names(groups, len(np.asarray(labels)))[np.asarray(labels) >= 0]
        self.groups = sorted(set(names.tolist()))
        inside = [names == name for name in self.groups]
        self._keep([reduce_units(scores[rows], unit[rows], n_units, "worst") for rows in inside], self.groups)
        return self

    def predict_set(  # type: ignore[override]  # the group of each case is needed here
        self, probabilities: Real[np.ndarray, "case cls"], groups: Shaped[np.ndarray, " case"]
    ) -> Bool[np.ndarray, "case cls"]:
        """True for each class that is at or below the threshold of the case's group."""
        of = dict(zip(self.groups, self.thresholds.tolist(), strict=True))
        p = self._checked(probabilities)
        limit = np.array([of.get(name, math.inf) for name in self._names(groups, len(p)).tolist()], dtype=np.float64)
        return self.class_scores(p) <= limit[:, None]

    def class_scores(self, probabilities: Float64[np.ndarray, "case cls"]) -> Float64[np.ndarray, "case cls"]:
        """Those of LAC or APS."""
        return self.base.class_scores(probabilities)

    def to_json(self) -> dict[str, Any]:
        """As in `ConformalSets.to_json`, with the names of the groups."""
        return {**super().to_json(), "groups": list(self.groups)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted sets that `to_json` described."""
        sets = super().from_json({name: value for name, value in state.items() if name != "groups"})
        sets.groups = list(state["groups"])
        return sets

    def _options(self) -> dict[str, Any]:
        return _base_options(self.base)

    @staticmethod
    def _names(groups: object, n_cases: int) -> Shaped[np.ndarray, " case"]:
        names = np.asarray(groups)
        if names.shape != (n_cases,):
            raise ShapeMismatch(f"groups {names.shape}; expected one a case: ({n_cases},)")
        return names.astype(str)


def _whole_ties(
    ordered: Float64[np.ndarray, "case cls"], mass: Float64[np.ndarray, "case cls"]
) -> tuple[Float64[np.ndarray, "case cls"], Float64[np.ndarray, "case cls"]]:
    """Mass up to the end of each block of equal probabilities, and the mass of the block, at each of its classes."""
    n_classes = ordered.shape[1]
    place = np.arange(n_classes)
    differs = ordered[:, 1:] != ordered[:, :-1]
    ends = np.column_stack([differs, np.ones(len(ordered), dtype=bool)])
    starts = np.column_stack([np.ones(len(ordered), dtype=bool), differs])
    start = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(ends, place, n_classes)[:, ::-1], axis=1)[:, ::-1]
    return np.take_along_axis(mass, end, axis=1), ordered * (end - start + 1)


def row_uniform(rows: Float64[np.ndarray, "case column"], seed: int = 0) -> Float64[np.ndarray, " case"]:
    """A number in [0, 1) made from the bits of each row: equal rows get equal numbers, different rows unrelated ones.

    Source: the mixing steps of splitmix64 (Steele 2014), over the columns.
    """
    bits = np.ascontiguousarray(rows + 0.0).view(np.uint64)
    state = np.full(len(rows), seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for column in bits.T:
        state = (state ^ column) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    uniform: Float64[np.ndarray, " case"] = (state >> np.uint64(11)) * 2.0**-53
    return uniform


def _base(confidence: float, score: Score, randomised: bool, seed: int) -> LAC | APS:
    if score not in get_args(Score):
        raise ValueOutOfRange(f"score {score!r}; expected one of {', '.join(get_args(Score))}")
    return LAC(confidence) if score == "lac" else APS(confidence, randomised=randomised, seed=seed)


def _base_options(base: LAC | APS) -> dict[str, Any]:
    return {**base._options(), "score": base.score}
