"""The line of one slide: read by words, with the spread over prompt sets beside the median; or answered by a locked bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle.film_words import WordsPrediction
from vesalius.dicom.raster import looks_like_raster
from vesalius.errors import OtherKind, VesaliusError
from vesalius.slides.read import is_slide
from vesalius.types import Failure, Prediction
from vesalius.zeroshot.prompt_sets import Spread

if TYPE_CHECKING:
    from vesalius.bundle.cases import Case
    from vesalius.bundle.slide import SideFiles, SlideWords
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.types import ProgressCallback
    from vesalius.zeroshot.prompts import PromptSet


OUR_OWN = frozenset({"file_missing", "unreadable"})
"""Errors of reading that say nothing of what is in the file."""


def score_slide_case(
    reader: SlideWords,
    case: Case,
    asked: PromptSet,
    *,
    features: Path,
    files: SideFiles,
    progress: ProgressCallback | None = None,
) -> Prediction:
    """Returns the line of a slide; of one that could not be read a line with the error."""

    def score() -> Prediction:
        answer = reader.answer(case.path, features=features, case=case.name, files=files, progress=progress)
        told = answer.prediction
        more: dict[str, Any] = {}
        if len(reader.prompt_sets) > 1:
            more["spread"] = Spread.of(answer.scores.pooled[reader.options.rule]).to_json(asked.findings)
        return WordsPrediction(
            case=told.case,
            image_id=told.image_id,
            bundle=told.bundle,
            findings=told.findings,
            warnings=told.warnings,
            seconds=told.seconds,
            more=more,
        )

    return _line(case, reader.bundle.reference, score)


def answer_slide_case(
    predictor: SlidePredictor, case: Case, options: ReadOptions, progress: ProgressCallback | None = None
) -> Prediction:
    """Returns the answer to a slide; to one that could not be read a line with the error, to a film one that says what to do."""

    def answer() -> Prediction:
        if is_film(case.path):
            raise OtherKind(f"this is a film, and {predictor.reference} reads whole slides; give it to a bundle of films")
        return predictor.answer(case.path, case.name, options, progress)

    return _line(case, predictor.reference, answer)


def name_slide(prediction: Prediction, path: Path) -> Prediction:
    """Returns the line of a film; of one that could not be read because it is a slide, with an error that says what to do."""
    if prediction.error is None or prediction.error.code in OUR_OWN or not is_slide(path):
        return prediction
    words = (
        f"this is a slide, and {prediction.bundle} reads films; read it by words with `vesalius zeroshot`, or give it to a bundle "
        "that was calibrated on slides (`vesalius calibrate BUNDLE --slides LABELS.csv`)"
    )
    return replace(prediction, error=Failure(OtherKind.code, words))


def is_film(path: Path) -> bool:
    """Is it a PNG, a JPEG, or DICOM that is no slide? By content; a file that cannot be opened is none."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return looks_like_raster(start) or (start[128:] == b"DICM" and not is_slide(path))


def _line(case: Case, reference: str, answer: Callable[[], Prediction]) -> Prediction:
    started = time.perf_counter()
    try:
        return answer()
    except VesaliusError as error:
        failure = Failure(error.code, str(error))
    except OSError as error:
        words = f"the slide could not be read: {error.strerror or type(error).__name__}; check the disk and its permissions"
        failure = Failure("unreadable", words)
    return Prediction(case.name, None, reference, error=failure, seconds=time.perf_counter() - started)
