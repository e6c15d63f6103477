"""`vesalius predict`: a bundle over films, or over slides."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.cli.console import Console
from vesalius.errors import BundleError

if TYPE_CHECKING:
    from vesalius.bundle.answers_file import AnswersFile, Tally
    from vesalius.bundle.cases import Case
    from vesalius.bundle.predictor import Predictor
    from vesalius.types import Image, Prediction

FILMS_AT_ONCE, PATCHES_AT_ONCE = 8, 32


@dataclass(frozen=True)
class Command:
    """A bundle over films, or over slides: one JSON line a case, and if asked for heat maps and DICOM structured reports.

    Films are DICOM, PNG or JPEG files, or folders that hold them. A bundle that was calibrated on slides reads slides instead
    (every format of OpenSlide, tiled DICOM), and keeps the features of their patches. Each line is written as soon as its case is
    done; run the same command again after a stop and it goes on with the next case. A case that cannot be read is a line with an
    error and its reason, and the next case still runs; the exit code is 3 then.

        vesalius predict bundles/cxr study/ --out answers.jsonl
        vesalius predict bundles/cxr study/IM1.dcm --out answers.jsonl --heatmap heatmaps --sr reports
        vesalius predict bundles/kidney slides/ --out answers.jsonl --features features
    """

    bundle: tyro.conf.Positional[Path]
    """the bundle's folder; verified before anything else"""
    paths: tyro.conf.Positional[tuple[Path, ...]]
    """films or slides, as the bundle reads them, or folders of them"""
    out: Path
    """a file for the answers, one JSON line a case"""
    sr: Path | None = None
    """a folder for one DICOM structured report a case (TID 1500); for DICOM films only"""
    heatmap: Path | None = None
    """a folder for one overlay a case and finding: where on the film or slide the evidence lies"""
    features: Path | None = None
    """for slides: a folder of patch features, taken up where they are there; unless given, `features` beside --out"""
    mpp: float | None = None
    """for slides: micrometres per pixel of the finest level, where the files do not say"""
    batch_size: int | None = None
    """films, or patches of a slide, a pass of the network; unless given 8 films or 32 patches"""
    workers: int = 1
    """threads that read and decode while the network computes"""
    limit_pixels: int = 100_000_000
    """a film that claims more pixels is refused before it is decoded"""
    device: str = "auto"
    """what computes: auto, cpu, cuda, cuda:1 ..."""
    json: bool = False
    """print one machine-readable object at the end"""

    def run(self) -> int:
        """Answers every case that is not finished and returns the exit code."""
        from vesalius.bundle.cases import list_cases
        from vesalius.bundle.load import load_answering
        from vesalius.bundle.predictor import Predictor
        from vesalius.cli.predict_slides import predict_slides

        console = Console(json=self.json)
        written = [path for path in (self.out, self.sr, self.heatmap, self.features) if path is not None]
        cases = list_cases(self.paths, leave_out=[*written, self.bundle])
        predictor = load_answering(self.bundle, device=self.device)
        if isinstance(predictor, Predictor):
            return self._predict_films(console, predictor, cases)
        return predict_slides(self, console, predictor, cases)

    @property
    def features_at(self) -> Path:
        """Where features of slides go."""
        return self.features or self.out.parent / "features"

    def _predict_films(self, console: Console, predictor: Predictor, cases: list[Case]) -> int:
        from vesalius.bundle.answers_file import AnswersFile
        from vesalius.bundle.side_files import DICOM_REPORT, HEAT_MAP, REPORT, Wanted, ending_of_maps, lacks

        if self.features is not None or self.mpp is not None:
            raise BundleError(f"--features and --mpp are of slides, and {predictor.reference} reads films; leave them out")
        answers = AnswersFile(self.out, predictor.reference)
        maps = Wanted(HEAT_MAP, self.heatmap, ending_of_maps(predictor.findings))
        wanted = (maps, Wanted(DICOM_REPORT, self.sr, REPORT))
        complete = say_what_is_done(console, cases, answers, lambda case: lacks(case, wanted))
        done = sum(case.name in complete for case in cases)
        for notice in predictor.notices:
            console.say(notice)
        # A decoder's warning may quote the header, and in threads no filter of warnings holds but one around them all.
        with console.progress("predict") as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for count in self._answer(predictor, cases, answers, complete):
                progress(done + count, len(cases))
        show_tally(console, answers.tally, predictor.reference)
        late = say_what_lacks(console, answers)
        console.say(f"answers: {self.out}")
        console.result(answers.tally.to_json() | {"bundle": predictor.reference, "out": str(self.out)})
        return EXIT_SOME_FAILED if answers.tally.failed or late else EXIT_OK

    def _answer(self, predictor: Predictor, cases: list[Case], answers: AnswersFile, complete: frozenset[str]) -> Iterator[int]:
        """Yields how many cases were answered so far; each is in the file before the next is made."""
        from vesalius.bundle.slide_lines import name_slide
        from vesalius.bundle.stream import StreamOptions, answer_cases

        paths = {case.name: case.path for case in cases}
        options = StreamOptions(self.batch_size or FILMS_AT_ONCE, self.workers, self.heatmap is not None, self.limit_pixels)
        stream = answer_cases(predictor, cases, finished=complete, options=options)
        with answers.appending() as append:
            for count, (prediction, image) in enumerate(stream, start=1):
                append(self._write_beside(name_slide(prediction, paths[prediction.case]), image))
                yield count

    def _write_beside(self, prediction: Prediction, image: Image | None) -> Prediction:
        """Writes heat maps and report of one case before its line, so that a line means that all of it is there."""
        from vesalius.bundle.side_files import write_heatmaps, write_report

        if image is None or prediction.error is not None:
            return prediction
        if self.heatmap is not None:
            prediction = write_heatmaps(prediction, image, self.heatmap)
        if self.sr is not None:
            prediction = write_report(prediction, image, self.sr)
        return prediction


def say_what_is_done(
    console: Console, cases: Sequence[Case], answers: AnswersFile, lacks: Callable[[str], set[str]], what: str = "cases"
) -> frozenset[str]:
    """Says how many cases there is nothing left to do of, and how many lack only what lies beside; returns the former by name."""
    complete = answers.complete(lacks)
    done = sum(case.name in complete for case in cases)
    lacking = sum(case.name in answers.finished and case.name not in complete for case in cases)
    given_up = sum(bool(lacks(case.name) & answers.unwritten.get(case.name, set())) for case in cases)
    if done:
        rest = "; going on with the rest" if done + lacking < len(cases) else ""
        console.say(f"{done} of {len(cases)} {what} are in {answers.path} already{rest}.")
    if lacking:
        console.say(
            f"{lacking} of {len(cases)} {what} keep their lines in {answers.path}, and get the files that lack beside them."
        )
    if given_up:
        told = f"{given_up} of {len(cases)} {what} lack files that could not be written when they were answered"
        console.say(f"{told}; their lines say why: delete those lines to try again.")
    return complete


def say_what_lacks(console: Console, answers: AnswersFile) -> bool:
    """Says which cases of this run did not get the files that were asked for beside their lines, and why of the first.

    Returns whether one of them had its line already: then nothing in the file says so.
    """
    if answers.unmade:
        case, why = next(iter(answers.unmade.items()))
        more = f", and {len(answers.unmade) - 1} more" if len(answers.unmade) > 1 else ""
        console.say(f"without the files that were asked for beside their lines: {case} ({why}){more}")
    return bool(answers.late)


def show_tally(console: Console, tally: Tally, reference: str, what: str = "films") -> None:
    """Prints what became of every case and every finding; `what` the cases are."""
    rows = [("cases", tally.cases), ("answered", tally.answered)]
    rows += [(f"abstained: {reason.replace('_', ' ')}", count) for reason, count in sorted(tally.abstained.items())]
    rows += [(f"failed: {code.replace('_', ' ')}", count) for code, count in sorted(tally.failed.items())]
    console.say(reference)
    console.table(what, ("", what), rows)
    words = ("present", "absent", "abstain")
    findings = [(name, *(counts[word] for word in words)) for name, counts in tally.findings.items()]
    if findings:
        console.table("findings", ("finding", *words), findings)
