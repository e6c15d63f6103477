"""`vesalius zeroshot --labels`: slides of known classes, and how good every prompt set is on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vesalius.errors import EmptyInput, PromptsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vesalius.bundle.cases import Case
    from vesalius.bundle.slide import SlideWords
    from vesalius.cli.console import Console
    from vesalius.datasets.slide_labels import LabelledSlide, SlideLabels
    from vesalius.types import ProgressCallback
    from vesalius.zeroshot.prompts import PromptSet
    from vesalius.zeroshot.slide_protocol import RuleAccuracy

COLUMNS = ("pooling", "median balanced accuracy (95 %)", "least prompt set", "greatest prompt set")


def read_classes(path: Path, asked: PromptSet) -> SlideLabels:
    """Returns which slide is of which class, whatever its split: nothing is fitted here.

    Raises:
        LabelsError: No CSV of slides and classes.
        PromptsError: Findings are asked, which are not classes.
    """
    from vesalius.datasets.slide_labels import read_slide_labels

    if asked.kind != "classes":
        raise PromptsError(
            "--labels judges slides and prompts of `kind: classes`; findings get their figures by `vesalius calibrate` and "
            "`vesalius audit`, with --slides, or with --store for films"
        )
    return read_slide_labels(path, asked.findings, classes=True, split=None)


@dataclass(frozen=True)
class Judged:
    """What came of the labelled slides.

    Attributes:
        slides, patients: How many counted.
        found: One a way of pooling.
        lacking: Classes of which there is no slide.
    """

    slides: int
    patients: int
    found: Sequence[RuleAccuracy]
    lacking: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers."""
        return {"slides": self.slides, "patients": self.patients, "accuracy": [one.to_json() for one in self.found]}

    def show(self, console: Console) -> None:
        """Prints them as a table."""
        rows = [
            (one.rule, f"{one.median.value:.3f} ({_number(one.median.low)}, {_number(one.median.high)})", *_ends(one))
            for one in self.found
        ]
        console.table(
            f"{self.slides} slides of {self.patients} patients, {len(self.found[0].accuracy)} prompt set(s)", COLUMNS, rows
        )
        if self.lacking:
            console.say(f"mind: no slide of {', '.join(self.lacking)}: its recall is not in the mean")
        console.say("intervals draw patients; from the least to the greatest prompt set it is the wording that differs")


def match_slides(slides: Sequence[Case], labels: SlideLabels) -> list[tuple[Case, LabelledSlide]]:
    """Returns the slides of a known class, each with its line of the CSV.

    Raises:
        EmptyInput: There is none.
    """
    of = {slide.path.resolve(): slide for slide in labels.slides if 1.0 in slide.labels}
    found = [(case, known) for case in slides if (known := of.get(case.path.resolve())) is not None]
    if not found:
        raise EmptyInput(
            f"none of {len(slides)} slides is of a known class by the labels CSV; "
            "its column `file` has paths from its own folder, or whole ones"
        )
    return found


def judge(
    reader: SlideWords,
    known: Sequence[tuple[Case, LabelledSlide]],
    classes: Sequence[str],
    features: Path,
    progress: ProgressCallback,
) -> Judged:
    """Returns balanced accuracy of every prompt set over slides that were read, from the features that lie there.

    Args:
        reader: What was asked.
        known: Slides that could be read, at least one.
        classes: Their names, in the order of the labels.
        features: Folder of their features.
        progress: Called with (slides done, of how many).
    """
    import numpy as np

    from vesalius.bundle.slide import feature_path
    from vesalius.slides.read import open_slide
    from vesalius.zeroshot.slide_protocol import judge_prompt_sets

    scores = []
    for done, (case, _) in enumerate(known, start=1):
        with open_slide(case.path, mpp=reader.options.mpp) as slide:
            place = feature_path(features, case.name)
            scores.append(reader.inference.run(slide, place, options=reader.options.extract).scores)
        progress(done, len(known))
    numbers, patients = [slide.labels.index(1.0) for _, slide in known], [slide.patient for _, slide in known]
    found = judge_prompt_sets(scores, np.array(numbers), np.array(patients))
    lacking = tuple(name for number, name in enumerate(classes) if number not in numbers)
    return Judged(len(scores), len(set(patients)), found, lacking)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(one: RuleAccuracy) -> tuple[str, str]:
    return f"{one.accuracy.min():.3f}", f"{one.accuracy.max():.3f}"
