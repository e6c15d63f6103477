"""Is this film of the kind the bundle was fitted on? The gate that overrides every answer.

In-sample distances are too small: a Gaussian has bent itself to the cases it was fitted on, the more so the fewer they are. So
the threshold is a quantile of cross-fitted scores, each case scored by a fit that did not see its patient.

Source: the scores' own modules (`mahalanobis`, `ood_neighbours`, `ood_scores`); Vovk 2015 for cross-fitting them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Real, Shaped

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels
from vesalius.uncertainty.folds import patient_folds
from vesalius.uncertainty.mahalanobis import Form, Mahalanobis
from vesalius.uncertainty.ood_neighbours import KNearest, ViM
from vesalius.uncertainty.ood_scores import Detector, Energy, Labels, MaxLogit, MaxProbability, Scores

__all__ = ["Detector", "OodGate", "ScoreName", "detector_from_state"]

ScoreName = Literal[
    "mahalanobis",
    "two-class",
    "class",
    "relative",
    "knn",
    "vim",
    "softmax-vim",
    "energy",
    "centred-energy",
    "softmax-energy",
    "max-logit",
    "max-probability",
]


@dataclass(frozen=True)
class _Scale:
    """What cross-fitted scores of one kind look like: median, upper quantile, and the floor under which nothing natural lies."""

    middle: float
    upper: float
    floor: float | None

    def mirror(self, scores: Scores) -> Scores:
        """Scores under the floor, moved above the upper quantile, the further the smaller they are; the rest as they are."""
        if self.floor is None:
            return scores
        with np.errstate(divide="ignore"):
            return np.where(scores < self.floor, self.upper * self.floor / scores, scores)

    def standardise(self, scores: Scores) -> Scores:
        """0 at the median and 1 at the upper quantile of the cross-fitted scores."""
        standard: Scores = (scores - self.middle) / ((self.upper - self.middle) or 1.0)
        return standard


class OodGate:
    """Stops a case whose score is above what `quantile` of new calibration patients would reach.

    Scores, one or several:
        of features: "mahalanobis" (single Gaussian), "two-class", "class", "relative" (see `Mahalanobis`), "knn" (`KNearest`);
        of features and logits: "vim" (findings by themselves), "softmax-vim" (see `ViM`);
        of logits: "energy", "centred-energy", "softmax-energy" (see `Energy`), "max-logit", "max-probability" (of a softmax).
    Several are joined by their greatest standardised value: (score - median) / (quantile - median) over the cross-fitted scores of
    each. ODIN needs the image and its gradient, and so is no score of a gate.

    A distance can also be too small: images without content often land near the mean of all films, where no film ever is. A
    Mahalanobis distance ("mahalanobis") below its floor (twice as far under the median, in logarithms, as the nearest calibration
    film, itself fitted on or held out) is mirrored to quantile x floor / distance, above the threshold.

    Attributes (after `fit`):
        threshold: A case is out where its score is above this.
        reference_scores: Cross-fitted scores of the calibration split, in its order.
        note: What limits the threshold, or None.

    Source: Vovk 2015 (cross-conformal) for cross-fitting, with the order statistic ceil((n + 1) quantile) of Papadopoulos 2002; the
        floor is ours, after the argument of Nalisnick 2019, arXiv:1906.02994, that the most probable point is not typical.
    Checked against: its false alarms on new cases in simulation (tests/statistical).
    """

    def __init__(
        self, scores: tuple[ScoreName, ...] = ("mahalanobis",), *, quantile: float = 0.99, folds: int = 10, seed: int = 0
    ) -> None:
        """Says which scores.

        Raises:
            ValueOutOfRange: An unknown score, or a quantile outside (0, 1).
        """
        unknown = [name for name in scores if name not in get_args(ScoreName)]
        if unknown or not scores or not 0 < quantile < 1:
            raise ValueOutOfRange(f"scores {scores}, quantile {quantile}; expected {', '.join(get_args(ScoreName))} and a share")
        self.scores, self.quantile, self.folds, self.seed = tuple(scores), quantile, folds, seed
        self.reference_scores: Scores | None = None
        self.note: str | None = None
        self._detectors: dict[str, Detector] = {}
        self._scale: dict[str, _Scale] = {}
        self._threshold: float | None = None

    def fit(
        self,
        features: Real[np.ndarray, "case dim"],
        logits: Real[np.ndarray, "case finding"],
        *,
        labels: Labels | None = None,
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits the scores and their threshold on the calibration split only.

        Args:
            features: What the network made of each film.
            logits: Before calibration.
            labels: (case, finding) of 1, 0, NaN unknown, or class numbers (case,), -1 unknown, for films of one class each. Needed
                by "two-class", "class" and "relative"; "centred-energy" and "vim" place the middle of each finding by them.
            patients: Whose film it is; None takes each as a patient of its own.

        Raises:
            EmptyInput: Fewer than four patients.
            NotEstimable: The features cannot carry the score; the message says why.
            ShapeMismatch: Labels that a score cannot use, or not one row a case.
            ValueOutOfRange: A feature or logit is not finite.
        """
        x, z = np.asarray(features, dtype=np.float64), np.asarray(logits, dtype=np.float64)
        y = None if labels is None else known_labels(labels) if labels.ndim == 2 else np.asarray(labels)
        if y is not None and len(y) != len(x):
            raise ShapeMismatch(f"labels {y.shape}, features {x.shape}; expected one row of labels a case")
        fold = patient_folds(patients, np.zeros((len(x), 0)), folds=self.folds, seed=self.seed)
        if len(x) == 0 or fold.max() < 3:
            raise EmptyInput("fewer than four patients in the calibration split; a gate cannot be fitted on them")
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise ValueOutOfRange("a feature or logit of the calibration split is not finite; look at the network first")
        crossed: dict[str, Scores] = {name: np.empty(len(x)) for name in self.scores}
        for index in range(fold.max() + 1):
            held = fold == index
            rest = None if y is None else y[~held]
            for name in self.scores:
                crossed[name][held] = _detector(name).fit(x[~held], z[~held], rest).score(x[held], z[held])
        self._detectors = {name: _detector(name).fit(x, z, y) for name in self.scores}
        # The films the final score was fitted on lie nearer to it than any new film, and must pass all the same.
        nearest = {name: min(float(crossed[name].min()), float(self._detectors[name].score(x, z).min())) for name in self.scores}
        self._scale = {name: self._measure(name, crossed[name], nearest[name]) for name in self.scores}
        self.reference_scores = self._joined(crossed)
        self._threshold, self.note = self._order_statistic(self.reference_scores)
        return self

    @property
    def threshold(self) -> float:
        """Greatest score that still passes.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._threshold is None:
            raise NotFitted("OodGate is not fitted; call fit(features, logits) on the calibration split first")
        return self._threshold

    def score(self, features: Real[np.ndarray, "case dim"], logits: Real[np.ndarray, "case finding"]) -> Scores:
        """Foreignness of each case, higher = more foreign; +infinity where a feature or logit is not finite.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Features of another dimension than in `fit`.
        """
        _ = self.threshold
        x, z = np.asarray(features, dtype=np.float64), np.asarray(logits, dtype=np.float64)
        joined = self._joined({name: detector.score(x, z) for name, detector in self._detectors.items()})
        finite = np.isfinite(x).all(axis=1) & np.isfinite(z).all(axis=1)
        return np.where(finite, joined, np.inf)

    def is_out(self, features: Real[np.ndarray, "case dim"], logits: Real[np.ndarray, "case finding"]) -> Bool[np.ndarray, " case"]:
        """True where the score is above the threshold: the case must not be answered."""
        out: Bool[np.ndarray, " case"] = ~(self.score(features, logits) <= self.threshold)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Returns the float64 arrays of the fitted scores, and the reference scores."""
        arrays = {f"{name}.{key}": array for name, detector in self._detectors.items() for key, array in detector.state().items()}
        return arrays if self.reference_scores is None else {**arrays, "reference_scores": self.reference_scores}

    def to_json(self) -> dict[str, Any]:
        """Returns the rest of the gate as plain numbers and words.

        Raises:
            NotFitted: `fit` was not called.
        """
        scale = {name: vars(values) for name, values in self._scale.items()}
        options = {"scores": list(self.scores), "quantile": self.quantile, "folds": self.folds, "seed": self.seed}
        detectors = {name: detector.to_json() for name, detector in self._detectors.items()}
        return {**options, "threshold": self.threshold, "scale": scale, "note": self.note, "detectors": detectors}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], json: dict[str, Any]) -> Self:
        """Returns the fitted gate from `state()` and `to_json()`."""
        gate = cls(tuple(json["scores"]), quantile=json["quantile"], folds=json["folds"], seed=json["seed"])
        for name in gate.scores:
            own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
            # A gate written before scores had options does not name them: they were the usual ones.
            options = json.get("detectors", {}).get(name) or _detector(name).to_json()
            gate._detectors[name] = detector_from_state(own, options)
        gate._scale = {name: _Scale(**values) for name, values in json["scale"].items()}
        gate._threshold, gate.note = json["threshold"], json["note"]
        gate.reference_scores = np.asarray(arrays["reference_scores"], dtype=np.float64)
        return gate

    def _joined(self, scores: dict[str, Scores]) -> Scores:
        mirrored = {name: self._scale[name].mirror(values) for name, values in scores.items()}
        if len(scores) == 1:
            return next(iter(mirrored.values()))
        joined: Scores = np.max([self._scale[name].standardise(values) for name, values in mirrored.items()], axis=0)
        return joined

    def _measure(self, name: str, crossed: Scores, nearest: float) -> _Scale:
        middle, upper = float(np.median(crossed)), self._order_statistic(crossed)[0]
        # A square of a distance, so 0 is its natural end; energies have none, and no floor.
        floor = nearest**2 / middle if name == "mahalanobis" and nearest > 0 else None
        return _Scale(middle, upper, floor)

    def _order_statistic(self, scores: Scores) -> tuple[float, str | None]:
        n = len(scores)
        rank = int(np.ceil((n + 1) * self.quantile - 1e-9))
        note = None
        if rank > n:
            note = f"{n} cases cannot hold a quantile of {self.quantile:g}: the greatest score is the threshold"
        return float(np.sort(scores)[min(rank, n) - 1]), note


def _detector(name: str) -> Detector:
    forms: dict[str, Form] = {"mahalanobis": "single", "two-class": "two-class", "class": "class", "relative": "relative"}
    if name in forms:
        return Mahalanobis(forms[name])
    made: dict[str, Detector] = {
        "knn": KNearest(),
        "vim": ViM(),
        "softmax-vim": ViM(form="softmax"),
        "energy": Energy(),
        "centred-energy": Energy(centred=True),
        "softmax-energy": Energy(form="softmax"),
        "max-logit": MaxLogit(),
        "max-probability": MaxProbability(form="softmax"),
    }
    return made[name]


def detector_from_state(arrays: dict[str, np.ndarray], json: dict[str, Any]) -> Detector:
    """Returns a fitted score from its `state()` and `to_json()`.

    Raises:
        ValueOutOfRange: A kind of score that this version does not know.
    """
    makers: dict[str, Callable[..., Detector]] = {
        "mahalanobis": Mahalanobis,
        "energy": Energy,
        "max-logit": MaxLogit,
        "max-probability": MaxProbability,
        "knn": KNearest,
        "vim": ViM,
    }
    options = dict(json)
    kind = options.pop("kind", None)
    if kind not in makers:
        raise ValueOutOfRange(f"a score of kind {kind!r}; expected one of {', '.join(makers)}: a newer version may have written it")
    return makers[kind](**options).restore(arrays)
