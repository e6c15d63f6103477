"""`vesalius audit BUNDLE --slides LABELS`: a bundle of slides measured on labelled slides."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from vesalius.cli import EXIT_GATE_REFUSED, EXIT_OK, EXIT_SOME_FAILED
from vesalius.errors import BundleError

if TYPE_CHECKING:
    from vesalius.audit.evaluate import AuditResult
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.cli.audit import Command
    from vesalius.cli.console import Console
    from vesalius.datasets.slide_labels import SlideLabels
    from vesalius.types import Prediction


def audit_labelled_slides(command: Command, console: Console) -> int:
    """Answers the slides of the CSV, measures the answers, puts the figures into the bundle and returns the exit code.

    Raises:
        BundleError: The bundle reads films.
        EmptyInput: No slide is left to measure by.
        LabelsError: The CSV cannot be used as it is.
    """
    from vesalius.audit.slides import audit_slides, keep_audit
    from vesalius.bundle.card import exclusive
    from vesalius.bundle.load import load_answering
    from vesalius.bundle.slide_predictor import ReadOptions, SlidePredictor
    from vesalius.datasets.slide_labels import read_slide_labels

    options = command.options()
    predictor = load_answering(command.bundle)
    if not isinstance(predictor, SlidePredictor):
        raise BundleError(f"{predictor.reference} reads films; audit it with --store STORE")
    if command.store is not None:
        raise BundleError(f"{predictor.reference} reads slides, and --store holds films; leave it out")
    classes = exclusive(predictor.description)
    assert command.slides is not None
    labels = read_slide_labels(command.slides, predictor.findings, classes=classes, split="test", every=True)
    reading = ReadOptions(command.features or command.bundle.resolve().parent / "features", command.mpp)
    result = audit_slides(predictor, labels, answer_slides(command, console, predictor, labels, reading), options, reading)
    keep_audit(command.bundle, predictor, result, command.report)
    _show(console, command, result)
    return EXIT_GATE_REFUSED if result.refused else EXIT_SOME_FAILED if _failed(result) else EXIT_OK


def answer_slides(
    command: Command, console: Console, predictor: SlidePredictor, labels: SlideLabels, reading: ReadOptions
) -> list[Prediction]:
    """Returns an answer to each slide; one that could not be read is named by its file's name, with the reason."""
    from vesalius.bundle.cases import Case
    from vesalius.bundle.slide_lines import answer_slide_case
    from vesalius.cli.calibrate_slides import name_with_features
    from vesalius.cli.slide_progress import SlideProgress

    assert reading.features is not None
    predictions = []
    # A decoder's warning may quote the header.
    with console.progress(f"{len(labels.slides)} slides", "patches") as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = SlideProgress(progress, len(labels.slides))
        for slide in labels.slides:
            case = Case(name_with_features(reading.features, command.slides, slide.case), slide.path)
            prediction = answer_slide_case(predictor, case, reading, done.patch)
            if prediction.error is not None:
                console.say(f"left out: {slide.path.name}: {prediction.error.message}")
            predictions.append(prediction)
            done.finish_slide()
    return predictions


def _failed(result: AuditResult) -> bool:
    from vesalius.audit.slides import CALIBRATED_ON

    return any(code != CALIBRATED_ON for code in result.document["slides"]["left_out"])


def _show(console: Console, command: Command, result: AuditResult) -> None:
    from vesalius.cli.audit import show_verdict

    document = result.document
    rows = [(key["label"], key["text"], key["range"].strip("()")) for key in document["key_figures"]]
    console.table(
        f"{document['bundle']['reference']} on {document['slides']['n']} slides", ("figure", "value", "95 % interval"), rows
    )
    for code, count in document["slides"]["left_out"].items():
        console.say(f"left out: {count} slides, {code.replace('_', ' ')}")
    show_verdict(console, result)
    console.say(f"report: {command.report / 'index.html'}")
    console.result(document | {"report": str(command.report / "index.html"), "refused": result.refused})
