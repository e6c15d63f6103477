"""Whole slides read by words: features once, then any number of prompt sets; one line of JSON a slide, and what lies beside it.

reader = SlideWords(vesalius.load("bundles/patch-text"), prompt_sets)
answer = reader.answer("slide.svs", features="features")
answer.prediction.to_json()
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle.film_words import unread_words
from vesalius.bundle.side_files import place_in
from vesalius.inference.film import Precision
from vesalius.inference.slide import ExtractOptions, SlideEncoder, grid_for
from vesalius.inference.slide_words import SlideInference, SlideReading, SlideRule
from vesalius.models.contracts import doubts_of_domain
from vesalius.reporting.heatmap import uncalibrated
from vesalius.reporting.patch_table import write_patch_table
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import open_slide
from vesalius.types import Finding, Prediction
from vesalius.zeroshot.prompt_sets import Spread
from vesalius.zeroshot.slide_scores import PoolOptions, SlideScores
from vesalius.zeroshot.text_columns import text_columns

if TYPE_CHECKING:
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.inference.feature_file import SlideFeatures
    from vesalius.slides.read import Slide
    from vesalius.types import ProgressCallback
    from vesalius.zeroshot.heads import Average
    from vesalius.zeroshot.prompts import PromptSet


@dataclass(frozen=True)
class SlideOptions:
    """How slides are read by words.

    Attributes:
        grid: How a slide is cut; None: as the family's authors do.
        mpp: Micrometres per pixel of level 0, where the files do not say.
        pool: How patch scores become a slide's.
        average: Over the sentences of a finding.
        rule: Which of the pooled scores is the answer: `top-K` for a K that is pooled, or `mean`.
        extract: Batch size and reading threads.
    """

    grid: PatchGrid | None = None
    mpp: float | None = None
    pool: PoolOptions = field(default_factory=PoolOptions)
    average: Average = "embeddings"
    rule: str = "top-50"
    extract: ExtractOptions = field(default_factory=ExtractOptions)


@dataclass(frozen=True)
class SideFiles:
    """Folders for what may lie beside an answer; None: not written.

    Attributes:
        heatmap: `CASE.CLASS.png`: the whole slide under the scores of each class.
        pyramid: `CASE.CLASS.tif`: the same for slide viewers.
        table: `CASE.parquet`: a row a patch; and `CASE.json`: every pooling, with the spread over prompt sets.
    """

    heatmap: Path | None = None
    pyramid: Path | None = None
    table: Path | None = None


@dataclass(frozen=True)
class SlideAnswer:
    """What the words say of one slide.

    Attributes:
        prediction: The line: one finding a class, its `logit` the pooled score, median over the prompt sets; no probability.
        scores: Of every way of pooling, every prompt set, and every patch.
        features: Where the slide's features lie.
    """

    prediction: Prediction
    scores: SlideScores
    features: SlideFeatures

    def to_json(self) -> dict[str, Any]:
        """Returns, for every way of pooling and every class, the spread over prompt sets: minimum, quartiles, maximum."""
        names = [finding.name for finding in self.prediction.findings]
        pooled = {rule: Spread.of(values).to_json(names) for rule, values in self.scores.pooled.items()}
        sets = len(next(iter(self.scores.pooled.values())))
        line = self.prediction.to_json()
        return {
            "case": line["case"],
            "bundle": line["bundle"],
            "patches": len(self.features),
            "prompt_sets": sets,
            "pooled": pooled,
        }


@dataclass
class SlideWords:
    """A bundle of kind `image-text` and the words it is asked: every slide is then one call.

    Args:
        bundle: From `vesalius.load`.
        prompt_sets: One, or many of the same findings (`draw_prompt_sets`).
        options: See `SlideOptions`.
        precision: What the vision towers are held in; words are embedded in float32.
        device: `auto` takes an accelerator where there is one.

    Raises:
        BundleError: A model of grey films.
        TextTooLong: A sentence of more tokens than the text tower reads.
        ValueOutOfRange: A rule that is not among what is pooled.
    """

    bundle: ImageTextBundle
    prompt_sets: Sequence[PromptSet]
    options: SlideOptions = field(default_factory=SlideOptions)
    precision: Precision = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        rule = SlideRule(self.options.grid or grid_for(self.bundle.contract), self.options.pool, self.options.rule)
        models = tuple(self.bundle.each_model())
        columns = text_columns(models, self.bundle.encode, self.prompt_sets, average=self.options.average)
        name = self.bundle.reference
        encoder = SlideEncoder(models, self.bundle.contract, name=name, precision=self.precision, device=self.device)
        self.inference = SlideInference(encoder, columns, rule)
        of_words = (*self.prompt_sets[0].warnings, *unread_words(self.bundle, *self.prompt_sets))
        self.warnings = (*doubts_of_domain(self.bundle.contract, "slides"), *of_words)

    def answer(
        self,
        path: str | Path,
        *,
        features: str | Path,
        case: str | None = None,
        files: SideFiles = SideFiles(),
        progress: ProgressCallback | None = None,
    ) -> SlideAnswer:
        """Reads one slide by words.

        Args:
            path: The slide.
            features: Folder of feature files: `CASE.h5`, taken up where it is there.
            case: The slide's name in the answer; None: the path as given.
            files: What to write beside the answer.
            progress: Called with (patches done, of how many).

        Raises:
            VesaliusError: What `open_slide` and `extract_features` raise.
        """
        started = time.perf_counter()
        case = case or Path(path).as_posix()
        with open_slide(path, mpp=self.options.mpp) as slide:
            out = feature_path(features, case)
            reading = self.inference.run(slide, out, options=self.options.extract, progress=progress)
            logits = reading.output.logits[0]
            findings = tuple(Finding(name, float(logit)) for name, logit in zip(self.inference.findings, logits, strict=True))
            prediction = Prediction(
                case,
                slide.slide_id,
                self.bundle.reference,
                findings,
                warnings=(*slide.warnings, *self.warnings),
                seconds=time.perf_counter() - started,
            )
            answer = SlideAnswer(prediction, reading.scores, reading.features)
            if files.table is not None:
                _write_table(answer, files.table)
            said = [uncalibrated(finding.logit, self.options.rule) for finding in findings]
            draw_maps(slide, prediction, reading, said, files)
        return answer


def _write_table(answer: SlideAnswer, folder: Path) -> None:
    place = place_in(folder, answer.prediction.case)
    names = [finding.name for finding in answer.prediction.findings]
    write_patch_table(place.with_name(f"{place.name}.parquet"), answer.features.coordinates, answer.scores.patches, names)
    place.with_name(f"{place.name}.json").write_text(json.dumps(answer.to_json(), indent=1, allow_nan=False) + "\n")


def draw_maps(slide: Slide, prediction: Prediction, reading: SlideReading, said: Sequence[str], files: SideFiles) -> None:
    """Writes a heat map and a pyramid of each finding, where `files` asks for them; `said` is what stands above each picture."""
    from vesalius.reporting.file_names import file_name
    from vesalius.reporting.slide_map import PatchScores, draw_map, write_pyramid

    case, side = prediction.case, reading.features.side_level0 or 0.0
    for at, finding in enumerate(prediction.findings):
        map_ = PatchScores(finding.name, reading.features.coordinates, side, reading.scores.patches[:, at])
        if files.heatmap is not None:
            place = place_in(files.heatmap, case)
            place.parent.mkdir(parents=True, exist_ok=True)
            heading = f"{said[at]}; {len(reading.features)} patches"
            picture = draw_map(slide, map_, heading=heading, foot=f"{prediction.bundle} · not for medical use")
            picture.save(place.with_name(f"{place.name}.{file_name(finding.name)}.png"))
        if files.pyramid is not None:
            place = place_in(files.pyramid, case)
            write_pyramid(place.with_name(f"{place.name}.{file_name(finding.name)}.tif"), slide, map_)


def feature_path(folder: str | Path, case: str) -> Path:
    """Returns where a slide's features go: `CASE.h5` below `folder`, whatever its name says."""
    place = place_in(Path(folder), case)
    return place.with_name(f"{place.name}.h5")
