"""A few slides under the scores of their patches, chosen by the rule of films and carried inside the page.

The scores come from the features that were kept, so no patch is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vesalius.audit.answers import Answers
from vesalius.audit.classes import likeliest, likeliest_class
from vesalius.audit.gallery import THUMBNAIL_PX, Choice, GalleryFilm, choose_films, data_uri, words_of
from vesalius.audit.slide_rows import shown_name
from vesalius.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.datasets.slide_labels import LabelledSlide

NEAREST_CUT = 1e-3
"""A cut of 0 or above 1 answers all or nothing; sureness is then taken from this far inside."""


def make_slide_gallery(
    predictor: SlidePredictor,
    slides: Sequence[tuple[LabelledSlide, str]],
    cohorts: Mapping[str, Answers],
    reading: ReadOptions,
    *,
    classes: bool,
) -> tuple[GalleryFilm, ...]:
    """Returns, for each kind, a few slides of every cohort; one that cannot be read again is left out.

    Args:
        predictor: Who answered.
        slides: By the numbers in `Answers.rows`: a line of the CSV, and the name its features lie under.
        cohorts: The answers.
        reading: Where the features lie, and the scale of slides that do not say it.
        classes: They exclude each other; shown is the likeliest.
    """
    films = []
    for cohort, answers in cohorts.items():
        for choice in choose_slides(cohort, answers, predictor, classes=classes):
            slide, name = slides[int(answers.rows[choice.case])]
            try:
                picture, overlay = _draw(predictor, slide, name, choice.finding, reading)
            except (VesaliusError, OSError):  # it was read when it was answered; a picture is not worth the audit
                continue
            words = _words_of_class(choice, answers, predictor) if classes else words_of(choice, answers, predictor)
            finding, site = predictor.findings[choice.finding], slide.site or "site unknown"
            films.append(
                GalleryFilm(choice.kind, cohort, finding, site, "", shown_name(slide.case), words, picture, overlay, "contrasts")
            )
    return tuple(films)


def choose_slides(cohort: str, answers: Answers, predictor: SlidePredictor, *, classes: bool) -> list[Choice]:
    """Returns what `choose_films` does; of classes by the likeliest, and how far it lies from the cut."""
    thresholds = np.asarray(predictor.policy.thresholds, dtype=np.float64)
    if not classes:
        return choose_films(cohort, answers, thresholds)
    best = likeliest_class(answers)
    found = choose_films(cohort, likeliest(answers), np.clip(thresholds[:1], NEAREST_CUT, 1 - NEAREST_CUT))
    return [Choice(one.kind, one.cohort, one.case, int(best[one.case])) for one in found]


def _draw(predictor: SlidePredictor, slide: LabelledSlide, name: str, finding: int, reading: ReadOptions) -> tuple[str, str]:
    from vesalius.bundle.slide import feature_path
    from vesalius.reporting.slide_map import PatchScores, paint_overview
    from vesalius.slides.read import open_slide

    assert reading.features is not None
    with open_slide(slide.path, mpp=reading.mpp) as opened:
        read = predictor.inference.run(opened, feature_path(reading.features, name), options=reading.extract)
        overview, downsample = opened.overview(THUMBNAIL_PX)
    map_ = PatchScores(
        predictor.findings[finding], read.features.coordinates, read.features.side_level0 or 0.0, read.scores.patches[:, finding]
    )
    return data_uri(overview), data_uri(paint_overview(overview, downsample, map_))


def _words_of_class(choice: Choice, answers: Answers, predictor: SlidePredictor) -> str:
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
