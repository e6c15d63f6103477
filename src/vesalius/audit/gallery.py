"""A few films with their evidence, chosen by rule and carried inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from scipy.special import logit

from vesalius.audit.answers import Answers
from vesalius.audit.classes import are_classes, likeliest, likeliest_class
from vesalius.types import EvidenceKind, Reason

if TYPE_CHECKING:
    from vesalius.bundle.predictor import Locked, Predictor
    from vesalius.datasets.store import Store

FILMS_A_GROUP = 3
THUMBNAIL_PX = 320
SMALLEST = 1e-15
NEAREST_CUT = 1e-3
"""A cut of 0 or above 1 answers all or nothing; sureness is then taken from this far inside."""


@dataclass(frozen=True)
class GalleryFilm:
    """One film of the gallery, its pictures as data URIs.

    Attributes:
        kind: error, uncertain, foreign or correct.
        words: What was said and what was true, in a sentence.
        picture: The film as the store keeps it.
        overlay: The film under the network's evidence for `finding`.
        evidence_of: What that evidence is.
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
    evidence_of: EvidenceKind = "logits"


@dataclass(frozen=True)
class Choice:
    """A film of a cohort, by its place among the answers, and the finding it is shown for."""

    kind: str
    cohort: str
    case: int
    finding: int


def make_gallery(predictor: Predictor, store: Store, cohorts: Mapping[str, Answers]) -> tuple[GalleryFilm, ...]:
    """Returns, for each kind, a few films of every cohort, one finding each."""
    return tuple(
        _make(choice, answers, predictor, store)
        for cohort, answers in cohorts.items()
        for choice in choose_cases(cohort, answers, predictor)
    )


def choose_cases(cohort: str, answers: Answers, predictor: Locked) -> list[Choice]:
    """Returns what `choose_films` does; of classes by the likeliest, and how far it lies from the cut."""
    thresholds = np.asarray(predictor.policy.thresholds, dtype=np.float64)
    if not are_classes(predictor.policy):
        return choose_films(cohort, answers, thresholds)
    best = likeliest_class(answers)
    found = choose_films(cohort, likeliest(answers), np.clip(thresholds[:1], NEAREST_CUT, 1 - NEAREST_CUT))
    return [replace(one, finding=int(best[one.case])) for one in found]


def choose_films(cohort: str, answers: Answers, thresholds: Float64[np.ndarray, " finding"]) -> list[Choice]:
    """The surest errors and right answers, the answers nearest their threshold, and the films the gate thought most foreign.

    Sure is far from the locked threshold, in logits: 0.3 is a sure yes where the threshold is 0.02.
    """
    known = np.isfinite(answers.labels) & np.isfinite(answers.probabilities)
    answered, right = known & (answers.decisions >= 0), answers.decisions == answers.labels
    probabilities = np.clip(np.where(known, answers.probabilities, 0.5), SMALLEST, 1 - SMALLEST)
    sureness = np.abs(logit(probabilities) - logit(thresholds))
    foreign = np.repeat(np.nan_to_num(answers.ood_scores)[:, None], len(thresholds), axis=1)
    present_first = sureness + 1000.0 * (answers.decisions == 1)  # a found finding shows more than an absent one
    chosen = {
        "error": _best(answered & ~right, sureness, FILMS_A_GROUP),
        "uncertain": _best(known & (answers.reasons == str(Reason.UNCERTAIN)), -sureness, FILMS_A_GROUP),
        "foreign": _best(known & answers.flagged[:, None], foreign, FILMS_A_GROUP),
        "correct": _best(answered & right, present_first, FILMS_A_GROUP),
    }
    return [Choice(kind, cohort, int(case), int(finding)) for kind, pairs in chosen.items() for case, finding in pairs]


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


def _make(choice: Choice, answers: Answers, predictor: Predictor, store: Store) -> GalleryFilm:
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
        words=words_of(choice, answers, predictor),
        picture=data_uri(film),
        overlay=data_uri(film if evidence is None else overlay(image, evidence, side_px=THUMBNAIL_PX)),
        evidence_of=prediction.evidence_of,
    )


def words_of(choice: Choice, answers: Answers, predictor: Locked) -> str:
    """Returns what was said of a case and what is true, in a sentence."""
    if are_classes(predictor.policy):
        return _words_of_class(choice, answers, predictor)
    at = (choice.case, choice.finding)
    truth = "present" if answers.labels[at] == 1 else "absent"
    given = f"{answers.probabilities[at]:.2f} against a threshold of {float(predictor.policy.thresholds[choice.finding]):.2f}"
    if choice.kind == "foreign":
        score, limit = float(answers.ood_scores[choice.case]), float(predictor.gate.threshold)
        return f"Stopped: score {score:.3g}, the gate's threshold is {limit:.3g}. Truly {truth}."
    if answers.decisions[at] < 0:
        return f"No answer: probability {given}. Truly {truth}."
    return f"Said {'present' if answers.decisions[at] == 1 else 'absent'}: probability {given}. Truly {truth}."


def _words_of_class(choice: Choice, answers: Answers, predictor: Locked) -> str:
    case, names = choice.case, predictor.findings
    truth = f"Truly {names[int((answers.labels[case] == 1).argmax())]}."
    given = f"probability {answers.probabilities[case, choice.finding]:.3f}"
    if choice.kind == "foreign":
        score, limit = float(answers.ood_scores[case]), float(predictor.gate.threshold)
        return f"Stopped: score {score:.3g}, the gate's threshold is {limit:.3g}. Likeliest {names[choice.finding]}. {truth}"
    cut = float(predictor.policy.thresholds[choice.finding])
    if answers.decisions[case, choice.finding] < 0:
        return f"No answer: likeliest {names[choice.finding]}, {given}, the cut is {cut:.3f}. {truth}"
    return f"Said {names[choice.finding]}: {given}, the cut is {cut:.3f}. {truth}"


def data_uri(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Returns a small JPEG inside a data URI."""
    from PIL import Image as Picture

    small = Picture.fromarray(picture)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
