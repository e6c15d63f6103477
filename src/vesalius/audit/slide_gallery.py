"""A few slides under the scores of their patches, chosen by the rule of films and carried inside the page.

The scores come from the features that were kept, so no patch is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vesalius.audit.answers import Answers
from vesalius.audit.gallery import THUMBNAIL_PX, GalleryFilm, choose_cases, data_uri, words_of
from vesalius.audit.slide_rows import shown_name
from vesalius.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.datasets.slide_labels import LabelledSlide


def make_slide_gallery(
    predictor: SlidePredictor,
    slides: Sequence[tuple[LabelledSlide, str]],
    cohorts: Mapping[str, Answers],
    reading: ReadOptions,
) -> tuple[GalleryFilm, ...]:
    """Returns, for each kind, a few slides of every cohort; one that cannot be read again is left out.

    Args:
        predictor: Who answered.
        slides: By the numbers in `Answers.rows`: a line of the CSV, and the name its features lie under.
        cohorts: The answers.
        reading: Where the features lie, and the scale of slides that do not say it.
    """
    films = []
    for cohort, answers in cohorts.items():
        for choice in choose_cases(cohort, answers, predictor):
            slide, name = slides[int(answers.rows[choice.case])]
            try:
                picture, overlay = _draw(predictor, slide, name, choice.finding, reading)
            except (VesaliusError, OSError):  # it was read when it was answered; a picture is not worth the audit
                continue
            words = words_of(choice, answers, predictor)
            finding, site = predictor.findings[choice.finding], slide.site or "site unknown"
            films.append(
                GalleryFilm(choice.kind, cohort, finding, site, "", shown_name(slide.case), words, picture, overlay, "contrasts")
            )
    return tuple(films)


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
