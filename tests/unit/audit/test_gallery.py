"""Films are chosen by rule: far from the threshold, near it, or far from home."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image

from vesalius.audit.answers import Answers
from vesalius.audit.gallery import choose_films, data_uri


def answers(
    probabilities: list[list[float]], labels: list[list[float]], decisions: list[list[int]], scores: list[float]
) -> Answers:
    said = np.array(decisions)
    flagged = np.array(scores) > 3
    reasons = np.where(flagged[:, None], "out_of_distribution", np.where(said < 0, "uncertain", "")).astype(object)
    rows = np.arange(len(scores))
    p = np.array(probabilities)
    return Answers(
        np.log(p), p, said, reasons, np.array(scores, dtype=float), flagged, rows, np.array(labels, dtype=float), rows.astype(str)
    )


def chosen(found: Answers, thresholds: list[float], kind: str) -> list[tuple[int, int]]:
    return [(one.case, one.finding) for one in choose_films("internal", found, np.array(thresholds)) if one.kind == kind]


def test_sure_is_far_from_the_threshold_not_from_a_half() -> None:
    found = answers([[0.30], [0.45], [0.0006]], [[0], [0], [1]], [[1], [1], [0]], [1, 1, 1])
    assert chosen(found, [0.02], "error") == [(1, 0), (2, 0), (0, 0)]


def test_one_film_is_shown_once_under_a_heading_and_findings_take_turns() -> None:
    p = [[0.99, 0.98], [0.97, 0.96], [0.95, 0.60], [0.94, 0.5]]
    found = answers(p, [[0, 0]] * 4, [[1, 1]] * 4, [1] * 4)
    errors = chosen(found, [0.5, 0.5], "error")
    assert len({case for case, _ in errors}) == len(errors) == 3
    assert errors[0] == (0, 0)


def test_withheld_answers_are_those_nearest_the_threshold() -> None:
    found = answers([[0.41], [0.49], [0.58]], [[0], [1], [0]], [[-1]] * 3, [1, 1, 1])
    assert chosen(found, [0.5], "uncertain")[0] == (1, 0)
    assert chosen(found, [0.5], "error") == chosen(found, [0.5], "correct") == []


def test_the_gates_films_come_by_score_and_not_as_uncertain() -> None:
    found = answers([[0.9]] * 4, [[1]] * 4, [[-1]] * 4, [5, 9, 1, 7])
    assert chosen(found, [0.5], "foreign") == [(1, 0), (3, 0), (0, 0)]
    assert chosen(found, [0.5], "uncertain") == [(2, 0)]


def test_unknown_labels_are_never_shown() -> None:
    found = answers([[0.9], [0.1]], [[np.nan], [np.nan]], [[1], [-1]], [1, 5])
    assert choose_films("internal", found, np.array([0.5])) == []


def test_a_picture_becomes_a_small_jpeg_within_the_page(predictor: Any) -> None:
    uri = data_uri(np.full((900, 600, 3), 200, dtype=np.uint8))
    assert uri.startswith("data:image/jpeg;base64,")
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert picture.size == (213, 320)
