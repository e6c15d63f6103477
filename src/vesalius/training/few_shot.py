"""The few-shot protocol: who is drawn, what stands beside the learned prompts, and how far a point of the curve may be trusted.

k shots are one film each of k patients a class, drawn with a seed; the draw of fewer shots is part of the draw of more. The curve
is scored on patients of another split, all of them at every point; intervals draw these patients again. The interval speaks of the
patients that score; the spread over the repeats speaks of the patients that were drawn to learn from.

Sources: Zhou 2022, arXiv:2109.01134 (1, 2, 4, 8, 16 shots); Radford 2021, arXiv:2103.00020, section 3.1.5 (linear probe beside).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from vesalius.errors import NotEstimable
from vesalius.metrics.classification import known_labels
from vesalius.metrics.intervals import PatientResamples, difference_of, interval_of, macro_draws, ranking_draws, summed_draws
from vesalius.uncertainty.logistic_ridge import fit_ridge

Method = Literal["hand-written prompts", "learned prompts", "linear probe"]
Draws = Float64[np.ndarray, "draw"]


def draw_shots(
    truth: Float64[np.ndarray, "case finding"], patients: Shaped[np.ndarray, " case"], shots: int, seed: int, *, exclusive: bool
) -> Int64[np.ndarray, " shot"]:
    """Returns the cases of one draw: `shots` patients of every class, one film of each, or all there are where there are fewer.

    Classes are the findings; where they may occur together, films on which none is present are one more. A film may be drawn for
    several findings and counts once.

    Args:
        truth: 1 present, 0 absent, -1 uncertain, NaN unknown.
        patients: Whose film each is.
        shots: Patients a class.
        seed: Same seed, same patients; a smaller number of shots draws the first of them.
        exclusive: Has every film exactly one finding?
    """
    classes = [truth[:, column] == 1 for column in range(truth.shape[1])]
    if not exclusive:
        classes.append(~(truth == 1).any(axis=1) & (truth == 0).any(axis=1))
    drawn: set[int] = set()
    for number, members in enumerate(classes):
        random = np.random.default_rng([seed, number])
        cases = random.permutation(np.flatnonzero(members))
        _, first = np.unique(patients[cases], return_index=True)
        drawn.update(cases[np.sort(first)][:shots].tolist())
    return np.array(sorted(drawn), dtype=np.int64)


def linear_probe(
    learned: Float32[np.ndarray, "shot dim"],
    truth: Float64[np.ndarray, "shot finding"],
    scored: Float32[np.ndarray, "case dim"],
    penalty: float,
) -> Float64[np.ndarray, "case finding"]:
    """Returns logits of a logistic regression with a ridge on frozen embeddings, finding by finding.

    Embeddings are centred on the drawn films and scaled to unit variance a number, over all numbers together. A finding that the
    draw shows one side of only has logit 0 everywhere.

    Checked against: scikit-learn's LogisticRegression on the same columns (tests/unit/training/test_few_shot.py).
    """
    centre = learned.mean(axis=0, dtype=np.float64)
    centred = learned - centre
    spread = float(np.sqrt(np.square(centred).mean())) or 1.0
    # fewer films than numbers: the ridge's weights lie in the span of the films, so nothing is lost by turning into it
    _, sizes, directions = np.linalg.svd(centred / spread, full_matrices=False)
    span = directions[sizes > sizes[0] * 1e-9] if len(sizes) and sizes[0] > 0 else directions[:1]
    design, asked = centred / spread @ span.T, (scored - centre) / spread @ span.T
    known = known_labels(truth)
    logits = np.zeros((len(scored), truth.shape[1]))
    for column in range(truth.shape[1]):
        told = ~np.isnan(known[:, column])
        try:
            weights, intercept = fit_ridge(design[told], known[told, column], penalty) if told.any() else (np.zeros(len(span)), 0.0)
        except NotEstimable:
            continue
        logits[:, column] = asked @ weights + intercept
    return logits


@dataclass(frozen=True)
class Point:
    """One method at one number of shots.

    Attributes:
        method: Which.
        shots: `0`, a number, or `full`.
        scores: Of the scored films, one block a repeat.
        films: How many films each repeat learned from.
    """

    method: Method
    shots: str
    scores: Float64[np.ndarray, "repeat case finding"]
    films: tuple[int, ...]


def few_shot_curve(
    points: Sequence[Point],
    truth: Float64[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, " case"],
    findings: Sequence[str],
    *,
    exclusive: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Returns one row a point: the mean over its repeats with an interval by patient, and how far it is from the points beside it.

    Rows hold `macro_auroc`, `auroc` by finding and, for exclusive classes, `accuracy`; `repeats` has the least and greatest macro
    AUROC of a single draw; `minus_hand_written` and `minus_linear_probe` are differences of the macro AUROC on the same resamples.
    """
    plan = PatientResamples.of(patients, len(truth), resamples=resamples, seed=seed)
    figures = {(point.method, point.shots): _figures(point, truth, plan, exclusive=exclusive) for point in points}
    rows = []
    for point in points:
        own = figures[point.method, point.shots]
        row = {
            "method": point.method,
            "shots": point.shots,
            "films": float(np.mean(point.films)),
            "macro_auroc": interval_of(own.macro, n_patients=plan.n_patients).to_json(),
            "repeats": {"n": len(point.scores), "least": own.repeats[0], "greatest": own.repeats[1]},
            "auroc": {
                name: interval_of(own.auroc[:, column], n_patients=plan.n_patients).to_json()
                for column, name in enumerate(findings)
            },
        }
        if own.accuracy is not None:
            row["accuracy"] = interval_of(own.accuracy, n_patients=plan.n_patients).to_json()
        rows.append(row | _differences(point, figures, plan.n_patients))
    return rows


@dataclass(frozen=True)
class _Figures:
    """Draws of one point's figures, the sample itself first; means over its repeats."""

    macro: Draws
    auroc: Float64[np.ndarray, "draw finding"]
    accuracy: Draws | None
    repeats: tuple[float, float]


def _figures(point: Point, truth: Float64[np.ndarray, "case finding"], plan: PatientResamples, *, exclusive: bool) -> _Figures:
    repeats, _, findings = point.scores.shape
    labels, scores = np.tile(truth, (1, repeats)), np.concatenate(list(point.scores), axis=1)
    areas = ranking_draws(labels, scores, plan)[0].reshape(-1, repeats, findings)
    macros = np.stack([macro_draws(areas[:, repeat]) for repeat in range(repeats)], axis=1)
    accuracy = None
    if exclusive:
        right = (point.scores.argmax(axis=2) == (truth == 1).argmax(axis=1)).mean(axis=0)
        sums = summed_draws(np.column_stack([right, np.ones(len(right))]), plan)
        accuracy = sums[:, 0] / sums[:, 1]
    return _Figures(macros.mean(axis=1), areas.mean(axis=1), accuracy, (float(macros[0].min()), float(macros[0].max())))


def _differences(point: Point, figures: Mapping[tuple[Method, str], _Figures], n_patients: int) -> dict[str, Any]:
    if point.method != "learned prompts":
        return {}
    others: dict[str, tuple[Method, str]] = {
        "minus_hand_written": ("hand-written prompts", "0"),
        "minus_linear_probe": ("linear probe", point.shots),
    }
    own = figures[point.method, point.shots].macro
    return {
        name: difference_of(figures[other].macro, own, n_patients=n_patients).to_json()
        for name, other in others.items()
        if other in figures
    }
