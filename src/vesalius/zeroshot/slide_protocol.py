"""How good are words on slides, and how much hangs on the words? Balanced accuracy of every prompt set, with median and spread.

A prompt set is one drawing of templates and class names; MI-Zero draws 50 and reports the median. The spread over prompt sets says
how much of a figure is the wording; the interval, drawn over patients, how much is the slides.

Source: Lu et al. 2023, arXiv:2306.07831, section 4.2 (50 prompt sets, median of balanced accuracy); intervals are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int64, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.intervals import Interval, interval_of
from vesalius.zeroshot.prompt_sets import Spread
from vesalius.zeroshot.slide_scores import SlideScores


@dataclass(frozen=True)
class RuleAccuracy:
    """Balanced accuracy of one way of pooling.

    Attributes:
        rule: `top-1`, `top-5` ... or `mean`.
        accuracy: Of every prompt set.
        median: Over the prompt sets, with an interval over patients.
    """

    rule: str
    accuracy: Float64[np.ndarray, "set"]
    median: Interval

    def to_json(self) -> dict[str, Any]:
        """Returns median with interval, and the spread over prompt sets: minimum, quartiles, maximum."""
        return {
            "rule": self.rule,
            "median": self.median.to_json(),
            "spread": Spread.of(self.accuracy[:, None]).to_json([self.rule])[self.rule],
            "prompt_sets": len(self.accuracy),
        }


def judge_prompt_sets(
    slides: Sequence[SlideScores] | Mapping[str, Float64[np.ndarray, "slide set name"]],
    labels: Int[np.ndarray, " slide"],
    patients: Shaped[np.ndarray, " slide"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[RuleAccuracy]:
    """Returns the balanced accuracy of every prompt set under every way of pooling.

    The class with the greatest score is the answer; of equal scores the first. Patients are drawn with replacement, each class
    for itself, so that every class is in every draw: the interval takes their numbers as given. A class of one patient adds
    nothing to the interval's width; say so beside it.

    Args:
        slides: What `score_slide` returned for each slide; or the scores by rule.
        labels: Number of the right class of each slide.
        patients: Whose slide; slides of one patient are drawn together.
        resamples: Draws of patients.
        seed: Same seed, same draws.

    Raises:
        EmptyInput: No slide.
        ShapeMismatch: Not one label and patient a slide.
        ValueOutOfRange: A label that is no class.

    Checked against: scikit-learn's balanced_accuracy_score (tests/unit/zeroshot/test_slide_protocol.py).
    """
    tables = slides if isinstance(slides, Mapping) else tables_of(slides)
    labels = np.asarray(labels)
    first = next(iter(tables.values()))
    if labels.shape != (len(first),) or np.asarray(patients).shape != labels.shape:
        raise ShapeMismatch(f"{len(first)} slides, labels {labels.shape}, patients {np.shape(patients)}; expected one each")
    if labels.min() < 0 or labels.max() >= first.shape[2]:
        raise ValueOutOfRange(f"labels from {labels.min()} to {labels.max()}; expected 0 to {first.shape[2] - 1}")
    counts = _draw_patients(labels, np.asarray(patients), resamples, seed)
    return [_judge(rule, table, labels, counts, len(np.unique(patients))) for rule, table in tables.items()]


def tables_of(slides: Iterable[SlideScores]) -> dict[str, Float64[np.ndarray, "slide set name"]]:
    """Returns pooled scores by rule, slides stacked.

    Raises:
        EmptyInput: No slide.
    """
    pooled = [slide.pooled for slide in slides]
    if not pooled:
        raise EmptyInput("no slide to judge; score at least one")
    return {rule: np.stack([one[rule] for one in pooled]) for rule in pooled[0]}


def _judge(
    rule: str,
    table: Float64[np.ndarray, "slide set name"],
    labels: Int64[np.ndarray, " slide"],
    counts: Float64[np.ndarray, "draw slide"],
    n_patients: int,
) -> RuleAccuracy:
    right = (table.argmax(axis=2) == labels[:, None]).astype(np.float64)
    recalls = []
    for label in np.unique(labels):
        weight = counts * (labels == label)
        recalls.append(weight @ right / weight.sum(axis=1, keepdims=True))
    accuracy = np.mean(recalls, axis=0)
    draws = np.median(accuracy, axis=1)
    return RuleAccuracy(rule, accuracy[0], interval_of(draws, n_patients=n_patients))


def _draw_patients(
    labels: Int64[np.ndarray, " slide"], patients: Shaped[np.ndarray, " slide"], resamples: int, seed: int
) -> Float64[np.ndarray, "draw slide"]:
    """How often each slide counts: once in the first row, then as often as its patient was drawn among those of its classes."""
    names, number = np.unique(patients, return_inverse=True)
    classes = [tuple(np.unique(labels[number == patient])) for patient in range(len(names))]
    random = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(names)))
    for kind in sorted(set(classes)):
        members = np.array([patient for patient, of in enumerate(classes) if of == kind])
        picks = members[random.integers(len(members), size=(resamples, len(members)))]
        np.add.at(drawn, (np.arange(resamples)[:, None], picks), 1)
    return np.concatenate([np.ones((1, len(labels))), drawn[:, number]])
