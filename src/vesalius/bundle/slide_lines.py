"""The line of one slide that was read by words, with the spread over prompt sets beside the median."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle.film_words import WordsPrediction
from vesalius.errors import VesaliusError
from vesalius.types import Failure, Prediction
from vesalius.zeroshot.prompt_sets import Spread

if TYPE_CHECKING:
    from vesalius.bundle.cases import Case
    from vesalius.bundle.slide import SideFiles, SlideWords
    from vesalius.zeroshot.prompts import PromptSet


def score_slide_case(reader: SlideWords, case: Case, asked: PromptSet, *, features: Path, files: SideFiles) -> Prediction:
    """Returns the line of a slide; of one that could not be read a line with the error."""
    started = time.perf_counter()
    try:
        answer = reader.answer(case.path, features=features, case=case.name, files=files)
    except VesaliusError as error:
        failure = Failure(error.code, str(error))
    except OSError as error:
        words = f"the slide could not be read: {error.strerror or type(error).__name__}; check the disk and its permissions"
        failure = Failure("unreadable", words)
    else:
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
    return Prediction(case.name, None, reader.bundle.reference, error=failure, seconds=time.perf_counter() - started)
