"""A few films with their evidence, chosen by rule and carried inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt8

from vesalius.audit.answers import Answers

if TYPE_CHECKING:
    from vesalius.bundle.predictor import Predictor
    from vesalius.datasets.store import Store

FILMS_A_GROUP = 4
THUMBNAIL_PX = 320
WHY = {
    "uncertain": "too close to call",
    "out_of_distribution": "unlike the films it was calibrated on",
    "poor_quality": "image too poor",
    "not_assessable": "not a view it can read",
}


@dataclass(frozen=True)
class GalleryFilm:
    """One film of the gallery, its pictures as data URIs.

    Attributes:
        kind: error, abstained or correct.
        words: What was said and what was true, in a sentence.
        picture: The film as the store keeps it.
        overlay: The film under the network's evidence for `finding`.
    """

    kind: str
    cohort: str
    finding: str
    site: str
    view: str
    image_id: str
    words: str
    picture: str
    overlay: str


@dataclass(frozen=True)
class _Choice:
    kind: str
    cohort: str
    case: int
    finding: int


def make_gallery(predictor: Predictor, store: Store, cohorts: Mapping[str, Answers]) -> tuple[GalleryFilm, ...]:
    """Returns, for each kind, a few films of every cohort, one finding each."""
    films = []
    for cohort, answers in cohorts.items():
        for choice in _choose(cohort, answers):
            films.append(_make(choice, answers, predictor, store))
    return tuple(films)


def _choose(cohort: str, answers: Answers) -> list[_Choice]:
    """The surest errors and right answers, and the films nearest the threshold or furthest from home that got no answer."""
    known = np.isfinite(answers.labels) & np.isfinite(answers.probabilities)
    answered = known & (answers.decisions >= 0)
    right = answers.decisions == answers.labels
    sureness = np.abs(np.nan_to_num(answers.probabilities, nan=0.5) - 0.5)
    present_first = sureness + 10.0 * (answers.decisions == 1)  # a found finding shows more than an absent one
    chosen = {
        "error": _best(answered & ~right, sureness, FILMS_A_GROUP),
        "abstained": _best(known & (answers.decisions < 0), -sureness, FILMS_A_GROUP),
        "correct": _best(answered & right, present_first, FILMS_A_GROUP),
    }
    return [_Choice(kind, cohort, int(case), int(finding)) for kind, pairs in chosen.items() for case, finding in pairs]


def _best(allowed: Any, order: Any, count: int) -> Int64[np.ndarray, "chosen pair"]:
    """The `count` allowed (case, finding) pairs of greatest `order`, at most one a film and, while others last, one a finding."""
    cases, findings = np.nonzero(allowed)
    ranked = np.argsort(-order[cases, findings], kind="stable")
    for strict in (True, False):
        pairs: list[tuple[int, int]] = []
        for index in ranked:
            case, finding = int(cases[index]), int(findings[index])
            repeated = any(finding == other for _, other in pairs)
            if len(pairs) < count and case not in {other for other, _ in pairs} and not (strict and repeated):
                pairs.append((case, finding))
        if len(pairs) == count:
            break
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _make(choice: _Choice, answers: Answers, predictor: Predictor, store: Store) -> GalleryFilm:
    from vesalius.reporting.heatmap import overlay

    row = int(answers.rows[choice.case])
    image, about = store.image(row), store.manifest.iloc[row]
    prediction = predictor.predict_batch([image], evidence=True)[0]
    film = np.rint(np.repeat(image.pixels[:, :, None], 3, axis=2) * 255).astype(np.uint8)
    evidence = None if prediction.evidence is None else prediction.evidence[choice.finding]
    return GalleryFilm(
        kind=choice.kind,
        cohort=choice.cohort,
        finding=predictor.findings[choice.finding],
        site=str(about["site"]),
        view="" if image.view_position is None else str(image.view_position),
        image_id=image.image_id,
        words=_words(choice, answers),
        picture=data_uri(film),
        overlay=data_uri(film if evidence is None else overlay(image, evidence)),
    )


def _words(choice: _Choice, answers: Answers) -> str:
    at = (choice.case, choice.finding)
    truth = "present" if answers.labels[at] == 1 else "absent"
    if answers.decisions[at] < 0:
        said = f"No answer ({WHY[answers.reasons[at]]})"
    else:
        said = "Said present" if answers.decisions[at] == 1 else "Said absent"
    return f"{said}, probability {answers.probabilities[at]:.2f}; truly {truth}."


def data_uri(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Returns a small JPEG inside a data URI."""
    from PIL import Image as Picture

    small = Picture.fromarray(picture)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
