"""`vesalius calibrate BUNDLE --slides LABELS`: words asked of whole slides become probabilities, with a rule and a gate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.errors import BundleError, DuplicateImage, EmptyInput, MissingDependency, RunError, VesaliusError

if TYPE_CHECKING:
    from pathlib import Path

    from vesalius.bundle.slide import SlideWords
    from vesalius.cli.calibrate import Command
    from vesalius.cli.console import Console
    from vesalius.cli.slide_progress import SlideProgress
    from vesalius.datasets.slide_labels import LabelledSlide, SlideLabels
    from vesalius.inference.film import NetworkOutput
    from vesalius.zeroshot.prompts import PromptSet


@dataclass
class SlidesRead:
    """What came of the labelled slides.

    Attributes:
        outputs: Of each slide that was read, in order.
        kept: Which rows of the labels they are.
        slide_ids: Of their content.
        left_out: How many were not taken, by error code.
    """

    outputs: list[NetworkOutput] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    slide_ids: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def calibrate_slides(command: Command, console: Console) -> int:
    """Calibrates what `--prompts` or `--finding` ask of the slides in `--slides`, writes the bundle and returns the exit code."""
    from vesalius.bundle.calibrate import calibrate, unfitted
    from vesalius.bundle.image_text import load_image_text
    from vesalius.bundle.save import check_free
    from vesalius.bundle.zero_shot_slides import describe_slides, save_slides
    from vesalius.cli.calibrate import show_class_cut, words
    from vesalius.cli.calibrate_words import read_question
    from vesalius.datasets.slide_labels import read_slide_labels
    from vesalius.inference.film import join

    _check(command)
    check_free(command.out, overwrite=command.overwrite)
    towers, asked = load_image_text(command.runs[0]), read_question(command.prompts, command.finding)
    classes = asked.kind == "classes"
    unfitted(command.calibration_options(), classes=classes)  # an option that cannot be is refused now, not after hours
    assert command.slides is not None
    table = read_slide_labels(command.slides, asked.findings, classes=classes, sites=words(command.sites))
    mind = _what_to_mind(table, asked)
    for warning in mind:
        console.say(f"mind: {warning}")
    reader = build_reader(command, towers, asked, table.findings)
    read = read_slides(command, console, reader, table)
    output, labels = join(read.outputs), table.table()[read.kept]
    calibration = calibrate(
        output, labels, table.patients()[read.kept], table.findings, command.calibration_options(), classes=classes
    )
    about = _provenance(command, reader, table, read, mind)
    name = command.name or command.out.resolve().name
    description = describe_slides(name, reader, asked.only(table.findings), calibration, about, notices=command.notice)
    bundle_id = save_slides(command.out, description, reader=reader, calibration=calibration, overwrite=command.overwrite)
    show_class_cut(console, calibration, labels, "slides")
    command.show(console, description, bundle_id, "slides")
    return EXIT_SOME_FAILED if read.left_out else EXIT_OK


def build_reader(command: Command, towers: Any, asked: PromptSet, findings: tuple[str, ...]) -> SlideWords:
    """Returns what reads slides: the prompt sets are drawn as `vesalius zeroshot` draws them, then kept for what has labels."""
    from vesalius.bundle.slide import SlideWords
    from vesalius.cli.slide_flags import slide_options
    from vesalius.inference.slide import ExtractOptions
    from vesalius.zeroshot.prompt_sets import draw_prompt_sets

    drawn = draw_prompt_sets(asked, n_sets=command.prompt_sets, seed=command.seed) if command.prompt_sets else [asked]
    extract = ExtractOptions(command.batch_size, command.workers)
    options = slide_options(towers.contract, command.cut, command.pool, average=command.average, extract=extract)
    return SlideWords(towers, [one.only(findings) for one in drawn], options, command.precision, command.device)


def read_slides(command: Command, console: Console, reader: SlideWords, table: SlideLabels) -> SlidesRead:
    """Reads every slide; one that cannot be read is named by its file's name, with the reason, and left out.

    Raises:
        EmptyInput: None could be read.
    """
    from vesalius.cli.slide_progress import SlideProgress

    read, total = SlidesRead(), len(table.slides)
    with console.progress(f"{total} slides", "patches") as progress:
        all_of_them = SlideProgress(progress, total)
        for row, slide in enumerate(table.slides):
            try:
                _read_one(command, reader, slide, row, read, all_of_them)
            except MissingDependency:
                raise
            except (VesaliusError, OSError) as error:
                code = error.code if isinstance(error, VesaliusError) else "unreadable"
                why = str(error) if isinstance(error, VesaliusError) else error.strerror or type(error).__name__
                read.left_out[code] += 1
                console.say(f"left out: {slide.path.name}: {why}")
            all_of_them.finish_slide()
    if not read.kept:
        codes = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(read.left_out.items()))
        raise EmptyInput(
            f"none of {total} slides could be read ({codes}); "
            "a path in the column `file` starts at the folder of the CSV, or is whole"
        )
    return read


def _read_one(
    command: Command, reader: SlideWords, slide: LabelledSlide, row: int, read: SlidesRead, progress: SlideProgress
) -> None:
    from vesalius.bundle.slide import feature_path
    from vesalius.slides.read import open_slide

    with open_slide(slide.path, mpp=command.cut.mpp) as opened:
        if opened.slide_id in read.slide_ids:
            raise DuplicateImage("the same slide stands above under another name; one line a slide")
        out = feature_path(command.features_at, name_with_features(command.features_at, command.slides, slide.case))
        reading = reader.inference.run(opened, out, options=reader.options.extract, progress=progress.patch)
        read.slide_ids.append(opened.slide_id)
    read.outputs.append(reading.output)
    read.kept.append(row)


def name_with_features(folder: Path, csv: Path | None, case: str) -> str:
    """Returns under which name a slide's features lie: as the CSV calls it, or as verbs do that are given the CSV's folder.

    `vesalius features BUNDLE slides/` calls a slide `slides/a.svs`, and `slides/labels.csv` calls it `a.svs`.
    """
    from vesalius.bundle.slide import feature_path

    names = [case] if csv is None else [case, f"{csv.resolve().parent.name}/{case}"]
    return next((name for name in names if feature_path(folder, name).exists()), case)


def _what_to_mind(table: SlideLabels, asked: PromptSet) -> list[str]:
    from vesalius.zeroshot.prompts import plain_name

    found = list(asked.warnings)
    if not table.patients_known:
        found.append(
            "no column patient_id: each slide was taken as a patient of its own; where a patient has several, "
            "held-out figures are too good"
        )
    kept = {plain_name(name) for name in table.findings}
    lacking = [name for name in asked.findings if plain_name(name) not in kept]
    if lacking:
        found.append(f"no label of {', '.join(lacking)}; left out")
    return found


def _provenance(command: Command, reader: SlideWords, table: SlideLabels, read: SlidesRead, mind: list[str]) -> dict[str, Any]:
    """Returns where slides and words come from; nothing here names a place on this machine or a patient."""
    from vesalius.models.contracts import doubts_of_domain

    origin = dict(reader.bundle.description["provenance"])
    made_with = command.rules_asked(classes=reader.prompt_sets[0].kind == "classes")
    made_with |= {"average": command.average, "prompt_sets": command.prompt_sets}
    kept = [table.slides[row] for row in read.kept]
    sites = sorted({slide.site for slide in kept if slide.site is not None})
    doubts = [*doubts_of_domain(reader.bundle.contract, "slides")]
    if not origin.get("training_sites"):
        doubts.append(
            "nobody here knows which slides the towers were trained on: "
            "make sure that no patient of the calibration slides was one of them"
        )
    return {
        "training_sites": sorted({*origin.get("training_sites", ()), *sites}),
        "slides": {"calibration": len(kept)},
        "calibration": {
            "patients": len({slide.patient for slide in kept}),
            "sites": sites,
            "left_out": dict(sorted(read.left_out.items())),
            "slide_ids": sorted(read.slide_ids),
            "options": made_with,
        },
        "towers": {key: value for key, value in origin.items() if key not in {"software", "warnings"}},
        "warnings": [*origin.get("warnings", ()), *doubts, *mind],
        "date": command.date,
    }


def _check(command: Command) -> None:
    """Refuses what is not for slides.

    Raises:
        BundleError: Several bundles, or views of a film.
        RunError: A store beside the slides.
    """
    if command.store is not None:
        raise RunError("--store holds films and --slides names slides; give one of the two")
    if len(command.runs) != 1:
        raise BundleError(
            "one bundle of kind image-text at a time; an ensemble is one bundle of several checkpoints: `bundle import`"
        )
    if command.tta != "none":
        raise BundleError("slides are looked at as they are; leave --tta out")
