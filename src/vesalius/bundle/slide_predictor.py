"""A locked bundle over whole slides: the five stops of a film, with the features of a slide's patches kept on disk on the way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.bundle.predictor import Locked, foreign
from vesalius.bundle.slide import SideFiles, draw_maps, feature_path
from vesalius.errors import OtherKind
from vesalius.inference.slide import ExtractOptions
from vesalius.slides.read import Slide, open_slide
from vesalius.types import Finding, Image, Prediction

if TYPE_CHECKING:
    from vesalius.inference.slide_words import SlideInference
    from vesalius.types import ProgressCallback


@dataclass(frozen=True)
class ReadOptions:
    """How slides are read; nothing of it decides what is said of them, but for the last bit, which hangs on the batch.

    Attributes:
        features: Folder of feature files: `CASE.h5`, taken up where it is there; None: a folder that is removed again.
        mpp: Micrometres per pixel of level 0, where the files do not say.
        files: What to write beside an answer.
        extract: Batch size and reading threads.
    """

    features: Path | None = None
    mpp: float | None = None
    files: SideFiles = field(default_factory=SideFiles)
    extract: ExtractOptions = field(default_factory=ExtractOptions)


@dataclass(frozen=True)
class SlidePredictor(Locked):
    """A bundle that answers whole slides, verified and ready; made by `vesalius.load`.

    Attributes:
        inference: From a slide to pooled scores and the slide's feature vector.
    """

    inference: SlideInference

    @property
    def patch_mpp(self) -> float:
        """Micrometres per pixel of the patches it was calibrated on."""
        return self.inference.rule.grid.mpp

    def predict(
        self,
        slide: str | Path | Slide | Image,
        case: str | None = None,
        *,
        features: str | Path | None = None,
        mpp: float | None = None,
    ) -> Prediction:
        """Answers one slide.

        Args:
            slide: A file, or an open slide, which stays open.
            case: Its name in the answer; the path unless given.
            features: Folder of feature files, taken up where they are there; None: nothing is kept.
            mpp: Micrometres per pixel of level 0, where the file does not say.

        Raises:
            OtherKind: A film, as `vesalius.read` gives it.
            VesaliusError: What `open_slide` and `extract_features` raise: a file that is no slide, no scale, no tissue.
        """
        if isinstance(slide, Image):
            raise OtherKind(f"this is a film, and {self.reference} reads whole slides: pass the path of a slide")
        return self.answer(slide, case, ReadOptions(None if features is None else Path(features), mpp))

    def answer(
        self,
        slide: str | Path | Slide,
        case: str | None = None,
        options: ReadOptions = ReadOptions(),
        progress: ProgressCallback | None = None,
    ) -> Prediction:
        """Answers one slide and writes beside it what `options` say; `progress` is called with (patches done, of how many)."""
        started = time.perf_counter()
        with _opened(slide, options.mpp) as opened, _folder(options.features) as folder:  # read
            name = case or opened.path.as_posix()
            reading = self.inference.run(opened, feature_path(folder, name), options=options.extract, progress=progress)
            output = reading.output  # logits
            probabilities = self.calibrator.calibrate(output.logits)  # calibrate
            ood = self.measure_distance(output)
            obstacle = foreign(ood, "slides")
            findings = self.decide(output.logits[0], probabilities[0], obstacle)  # decide
            prediction = Prediction(  # report: everything written or shown is derived from this
                case=name,
                image_id=opened.slide_id,
                bundle=self.reference,
                findings=findings,
                ood=ood,
                warnings=(*opened.warnings, *([obstacle.words] if obstacle else [])),
                seconds=time.perf_counter() - started,
            )
            draw_maps(opened, prediction, reading, list(map(_said, findings)), options.files)
        return prediction


def _said(finding: Finding) -> str:
    probability = "no probability" if finding.probability is None else f"probability {finding.probability:.2f}"
    reason = f" ({finding.reason.replace('_', ' ')})" if finding.reason else ""
    return f"{probability}, {finding.decision}{reason}"


@contextmanager
def _opened(slide: str | Path | Slide, mpp: float | None) -> Iterator[Slide]:
    if isinstance(slide, Slide):
        yield slide
    else:
        with open_slide(slide, mpp=mpp) as opened:
            yield opened


@contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
    else:
        with tempfile.TemporaryDirectory(prefix="slide-features.") as fresh:
            yield Path(fresh)
