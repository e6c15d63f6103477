"""`vesalius predict` with a bundle that was calibrated on slides: one JSON line a slide."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.errors import BundleError, EmptyInput

if TYPE_CHECKING:
    from vesalius.bundle.cases import Case
    from vesalius.bundle.slide_predictor import SlidePredictor
    from vesalius.cli.console import Console
    from vesalius.cli.predict import Command


def predict_slides(command: Command, console: Console, predictor: SlidePredictor, cases: Sequence[Case]) -> int:
    """Answers every slide that has no line yet and returns the exit code.

    Raises:
        BundleError: A DICOM report is asked for, which slides have none of; or the file holds answers of another bundle.
        EmptyInput: There is no slide.
    """
    from vesalius.bundle.answers_file import AnswersFile
    from vesalius.bundle.side_files import HEAT_MAP, Wanted, ending_of_maps, lacks
    from vesalius.bundle.slide import SideFiles
    from vesalius.bundle.slide_lines import answer_slide_case
    from vesalius.bundle.slide_predictor import ReadOptions
    from vesalius.cli.predict import PATCHES_AT_ONCE, say_what_is_done, say_what_lacks, show_tally
    from vesalius.cli.slide_progress import SlideProgress
    from vesalius.inference.slide import ExtractOptions

    if command.sr is not None:
        raise BundleError("there is no DICOM structured report of slides; leave --sr out")
    slides = choose_slides(command.paths, cases, predictor.reference, console)
    answers = AnswersFile(command.out, predictor.reference)
    wanted = [Wanted(HEAT_MAP, command.heatmap, ending_of_maps(predictor.findings))]
    complete = say_what_is_done(console, slides, answers, lambda case: lacks(case, wanted), "slides")
    to_do = [case for case in slides if case.name not in complete]
    for notice in predictor.notices:
        console.say(notice)
    extract = ExtractOptions(command.batch_size or PATCHES_AT_ONCE, command.workers)
    options = ReadOptions(command.features_at, command.mpp, SideFiles(heatmap=command.heatmap), extract)
    # A decoder's warning may quote the header, and in threads no filter of warnings holds but one around them all.
    with answers.appending() as append, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with console.progress(f"{len(to_do)} slides", "patches") as progress:
            done = SlideProgress(progress, len(to_do))
            for case in to_do:
                append(answer_slide_case(predictor, case, options, done.patch))
                done.finish_slide()
    show_tally(console, answers.tally, predictor.reference, "slides")
    late = say_what_lacks(console, answers)
    console.say(f"answers: {command.out}; features: {command.features_at}")
    console.result(answers.tally.to_json() | {"bundle": predictor.reference, "out": str(command.out)})
    return EXIT_SOME_FAILED if answers.tally.failed or late else EXIT_OK


def choose_slides(paths: Sequence[Path], cases: Sequence[Case], reference: str, console: Console) -> list[Case]:
    """Returns the slides among the cases, and whatever was named itself; says how many files in folders are none.

    Raises:
        EmptyInput: There is no slide.
    """
    from vesalius.bundle.slide_cases import finest_of_series
    from vesalius.slides.read import is_slide

    named = {path.resolve() for path in paths if not path.is_dir()}
    slides = [case for case in cases if case.path.resolve() in named or is_slide(case.path)]
    if not slides:
        raise EmptyInput(
            f"none of {len(cases)} files in {', '.join(map(str, paths))} is a slide, and {reference} reads slides; "
            "name slides, or folders that hold them; films are for a bundle of films"
        )
    if len(slides) < len(cases):
        console.say(f"{len(cases) - len(slides)} files in folders are no slides and were passed over.")
    return finest_of_series(slides, named)
