"""`vesalius zeroshot`: films and slides read by words."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.cli.arguments import gather
from vesalius.cli.console import Console
from vesalius.cli.slide_flags import CutFlags, PoolFlags, as_plain, slide_options

if TYPE_CHECKING:
    from vesalius.bundle.answers_file import AnswersFile
    from vesalius.bundle.cases import Case
    from vesalius.bundle.film_words import WordOptions
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.bundle.score_tally import ScoreTally
    from vesalius.bundle.slide import SlideWords
    from vesalius.cli.zeroshot_labels import Judged
    from vesalius.datasets.slide_labels import LabelledSlide
    from vesalius.types import Image, Prediction
    from vesalius.zeroshot.prompts import PromptSet

    Append = Callable[[Prediction], None]


def arrange(arguments: list[str]) -> list[str]:
    """Lets `--finding` be given several times, with one text or several each time."""
    return gather(arguments, "--finding")


@dataclass(frozen=True)
class Command:
    """Films and slides read by words: you type findings, each case gets a score for each of them. Nothing is trained.

    A score (`logit`) is the raw contrast: how much nearer the image lies to the words than to their denial. It is NOT a
    probability, 0 is no threshold, and the scores of two findings cannot be compared: only the same finding on two images can.
    `vesalius calibrate BUNDLE --prompts FILE` makes probabilities, decisions and abstention of it.

    Each text is asked against "no TEXT". A name of an absence is turned round and not denied once more: "No Finding" is asked as
    sentences of normality against sentences of abnormality, and each line says so. Prompt files bring synonyms and templates; five
    come with the package: chexpert, nih (films), lung, renal, organs (slides).

        vesalius zeroshot bundles/chexzero films/ --out scores.jsonl --finding "pleural effusion" pneumothorax
        vesalius zeroshot bundles/chexzero films/ --out scores.jsonl --prompts chexpert --prompt-sets 50 --heatmap maps
        vesalius zeroshot bundles/patch-text slides/ --out scores.jsonl --prompts renal --features features
        vesalius zeroshot bundles/patch-text slides/ --out scores.jsonl --prompts renal --prompt-sets 50 --labels labels.csv

    One JSON line a case, written as soon as it is done; run the same command again after a stop and it goes on with the next case.
    A case that cannot be read is a line with an error, the next one still runs, and the exit code is 3 then.
    """

    bundle: tyro.conf.Positional[Path]
    """a bundle of kind image-text, from `vesalius bundle import`; verified before anything else"""
    paths: tyro.conf.Positional[tuple[Path, ...]]
    """films (DICOM, PNG, JPEG), slides, or folders of them"""
    out: Path
    """a file for the scores, one JSON line a case"""
    finding: tuple[str, ...] = ()
    """what to look for, in your own words; each against "no TEXT" """
    prompts: str | None = None
    """instead of --finding: a prompt file (YAML), or one of ours: chexpert, nih, lung, renal, organs"""
    average: Literal["embeddings", "logits"] = "embeddings"
    """over synonyms and templates: the mean of their embeddings (CLIP, CheXzero), or of their cosines (MedCLIP)"""
    prompt_sets: int = 0
    """draw so many prompt sets (50 as in MI-Zero): the score is their median, and each line holds the spread over them; 0 takes all
    words at once"""
    seed: int = 0
    """of the drawn prompt sets"""
    score: Literal["none", "paired", "class", "standardised"] = "none"
    """for films: another score by its name in each line: CheXzero's softmax of the pair, CLIP's softmax of classes, or CheXzero's
    score without denials (of two findings or more); of all words at once, drawn sets or not; none of them is a probability"""
    heatmap: Path | None = None
    """a folder for one overlay a case and finding: where the patches agree with the words"""
    features: Path | None = None
    """for slides: a folder of patch features, taken up where they are there; unless given, `features` beside --out"""
    cut: tyro.conf.OmitArgPrefixes[CutFlags] = field(default_factory=CutFlags)
    """for slides: how they are cut into patches"""
    pool: tyro.conf.OmitArgPrefixes[PoolFlags] = field(default_factory=PoolFlags)
    """for slides: how patches become a slide's score"""
    labels: Path | None = None
    """for slides and prompts of classes: a CSV with columns `file`, `class` and `patient_id`; at the end stands the balanced
    accuracy over all prompt sets: its median, and how far the wording moves it"""
    patches: Path | None = None
    """for slides: a folder for one table a slide, a row a patch, and beside it every pooling with the spread over prompt sets"""
    pyramid: Path | None = None
    """for slides: a folder for one heat map a slide and finding that slide viewers open"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """what the image encoder is held in; bfloat16 is about twice as fast and moves a contrast by up to 0.01"""
    batch_size: int = 16
    """films a pass of the network"""
    workers: int = 1
    """threads that read and decode while the network computes"""
    limit_pixels: int = 100_000_000
    """a film that claims more pixels is refused before it is decoded"""
    device: str = "auto"
    """what computes: auto, cpu, cuda, cuda:1 ..."""
    json: bool = False
    """print one machine-readable object at the end"""

    def run(self) -> int:
        """Scores every case that is not finished and returns the exit code."""
        from vesalius.bundle.answers_file import AnswersFile
        from vesalius.bundle.asked_file import asked_path
        from vesalius.bundle.cases import list_cases
        from vesalius.bundle.image_text import load_image_text
        from vesalius.bundle.score_tally import ScoreTally
        from vesalius.cli.calibrate_words import read_question
        from vesalius.cli.predict import say_what_is_done, say_what_lacks
        from vesalius.cli.zeroshot_labels import match_slides, read_classes

        console = Console(json=self.json)
        asked = read_question(self.prompts, self.finding)
        labels = None if self.labels is None else read_classes(self.labels, asked)
        beside = (asked_path(self.out), self.heatmap, self.features_at, self.patches, self.pyramid, self.labels)
        no_cases = [path for path in (self.out, *beside) if path is not None]
        films, slides = part_slides(list_cases(self.paths, leave_out=[*no_cases, self.bundle]))
        known = None if labels is None else match_slides(slides, labels)
        bundle, tally = load_image_text(self.bundle), ScoreTally()
        answers = AnswersFile(self.out, bundle.reference, tally)
        question = self._keep_question(asked, bundle, bool(slides))
        complete = say_what_is_done(console, (*films, *slides), answers, self._lacks(asked, slides))
        minds = what_to_mind(bundle, asked, films=bool(films), slides=bool(slides))
        for notice in (*bundle.notices, *(f"mind: {one}" for one in minds)):
            console.say(notice)
        to_do = [case for case in slides if case.name not in complete]
        reader = self._slide_reader(bundle, asked) if to_do or known else None
        # A decoder's warning may quote the header, and in threads no filter of warnings holds but one around them all.
        with answers.appending() as append, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._score_films(console, (bundle, asked), films, append, complete)
            if reader is not None:
                self._score_slides(console, reader, asked, to_do, append)
            judged = self._judge(console, reader, asked, known, answers)
        show_scores(console, tally, bundle.reference, asked)
        lacks = say_what_lacks(console, answers)
        told = tally.to_json() | {"bundle": bundle.reference, "out": str(self.out), "prompts": question}
        told["notices"] = [*bundle.notices, *minds]
        if judged is not None:
            judged.show(console)
            told["judged"] = judged.to_json()
        console.say(f"scores: {self.out}")
        console.result(told)
        return EXIT_SOME_FAILED if tally.failed or lacks else EXIT_OK

    @property
    def features_at(self) -> Path:
        """Where features of slides go."""
        return self.features or self.out.parent / "features"

    def word_options(self) -> WordOptions:
        """Returns how films are read by words."""
        from vesalius.bundle.film_words import WordOptions

        return WordOptions(self.average, self.prompt_sets, self.seed, self.score, self.precision)

    def _keep_question(self, asked: PromptSet, bundle: ImageTextBundle, slides: bool) -> str:
        """Puts what is asked beside the scores, or refuses scores that are there and answered something else."""
        from dataclasses import asdict

        from vesalius.bundle.asked_file import keep_question
        from vesalius.bundle.film_words import question_of

        more: dict[str, Any] = {}
        if slides:
            more = as_plain(self.cut, self.pool)
        question = question_of(asked, self.word_options(), **more)
        about = {"bundle": bundle.reference, "options": asdict(self.word_options()) | more, "prompts": asked.to_json()}
        keep_question(self.out, question, about)
        return question

    def _lacks(self, asked: PromptSet, slides: Sequence[Case]) -> Callable[[str], set[str]]:
        """Returns what tells which of what is asked for a case lacks beside its line; tables and pyramids are of slides alone."""
        from vesalius.bundle.side_files import HEAT_MAP, PYRAMID, TABLE, Wanted, ending_of_maps, lacks

        names = {case.name for case in slides}
        of_films = [Wanted(HEAT_MAP, self.heatmap, ending_of_maps(asked.findings))]
        pyramid = Wanted(PYRAMID, self.pyramid, ending_of_maps(asked.findings, "tif"))
        of_slides = [*of_films, Wanted(TABLE, self.patches, "json"), pyramid]
        return lambda case: lacks(case, of_slides if case in names else of_films)

    def _score_films(
        self,
        console: Console,
        question: tuple[ImageTextBundle, PromptSet],
        films: Sequence[Case],
        append: Append,
        finished: frozenset[str],
    ) -> None:
        """Each film is in the file before the next is made."""
        from vesalius.bundle.film_words import FilmWords
        from vesalius.bundle.stream import StreamOptions, answer_cases

        done = sum(case.name in finished for case in films)
        if done == len(films):
            return
        reader = FilmWords(*question, self.word_options(), device=self.device)
        options = StreamOptions(self.batch_size, self.workers, self.heatmap is not None, self.limit_pixels)
        # finished films are passed on as well: a score's last bit hangs on its batch, and batches are windows of the input
        stream = answer_cases(reader, films, finished=finished, options=options)
        with console.progress("zeroshot") as progress:
            for count, (prediction, image) in enumerate(stream, start=done + 1):
                append(self._write_beside(prediction, image))
                progress(count, len(films))

    def _score_slides(self, console: Console, reader: SlideWords, asked: PromptSet, slides: Sequence[Case], append: Append) -> None:
        from vesalius.bundle.slide import SideFiles
        from vesalius.bundle.slide_lines import score_slide_case
        from vesalius.cli.slide_progress import SlideProgress

        if not slides:
            return
        files = SideFiles(self.heatmap, self.pyramid, self.patches)
        with console.progress(f"{len(slides)} slides", "patches") as progress:
            done = SlideProgress(progress, len(slides))
            for case in slides:
                append(score_slide_case(reader, case, asked, features=self.features_at, files=files, progress=done.patch))
                done.finish_slide()

    def _judge(
        self,
        console: Console,
        reader: SlideWords | None,
        asked: PromptSet,
        known: Sequence[tuple[Case, LabelledSlide]] | None,
        answers: AnswersFile,
    ) -> Judged | None:
        from vesalius.cli.zeroshot_labels import judge

        if reader is None or known is None:
            return None
        read = [(case, slide) for case, slide in known if case.name not in answers.failed]
        if not read:
            console.say(f"none of {len(known)} slides of a known class could be read: nothing to judge; their lines say why")
            return None
        with console.progress("judge", "slides") as progress:
            return judge(reader, read, asked.findings, self.features_at, progress)

    def _slide_reader(self, bundle: ImageTextBundle, asked: PromptSet) -> SlideWords:
        from vesalius.bundle.slide import SlideWords
        from vesalius.inference.slide import ExtractOptions
        from vesalius.zeroshot.prompt_sets import draw_prompt_sets

        drawn = draw_prompt_sets(asked, n_sets=self.prompt_sets, seed=self.seed) if self.prompt_sets else [asked]
        extract = ExtractOptions(self.batch_size, self.workers)
        options = slide_options(bundle.contract, self.cut, self.pool, average=self.average, extract=extract)
        return SlideWords(bundle, drawn, options, self.precision, self.device)

    def _write_beside(self, prediction: Prediction, image: Image | None) -> Prediction:
        """Writes the heat maps of one case before its line, so that a line means that all of it is there."""
        from vesalius.bundle.side_files import write_heatmaps

        if image is None or prediction.error is not None or self.heatmap is None:
            return prediction
        return write_heatmaps(prediction, image, self.heatmap)


def part_slides(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Returns films and slides apart, each in order; of a DICOM slide in a folder only the finest level is a case."""
    from vesalius.bundle.slide_cases import finest_of_series
    from vesalius.slides.read import is_slide

    slides = [case for case in cases if is_slide(case.path)]
    names = {case.name for case in slides}
    return [case for case in cases if case.name not in names], finest_of_series(slides)


def what_to_mind(bundle: ImageTextBundle, asked: PromptSet, *, films: bool, slides: bool) -> list[str]:
    """Returns what a user should know of this question to this bundle, before any score."""
    from vesalius.bundle.film_words import unread_words
    from vesalius.models.contracts import doubts_of_domain

    doubts = [*(doubts_of_domain(bundle.contract, "films") if films else ())]
    doubts += doubts_of_domain(bundle.contract, "slides") if slides else ()
    return [*doubts, *asked.warnings, *unread_words(bundle, asked)]


def show_scores(console: Console, tally: ScoreTally, reference: str, asked: PromptSet) -> None:
    """Prints what became of every case, and the range of each finding's contrasts."""
    rows = [("cases", tally.cases), ("scored", tally.answered)]
    rows += [(f"failed: {code.replace('_', ' ')}", count) for code, count in sorted(tally.failed.items())]
    console.say(f"{reference}, asked with {asked.name}")
    console.table("cases", ("", "cases"), rows)
    spread = tally.spread()
    if spread:
        columns = ("finding", "least", "median", "greatest")
        findings = [(name, *(f"{value:+.4f}" for value in values.values())) for name, values in spread.items()]
        console.table("contrasts over the cases: no probabilities, not comparable between findings", columns, findings)
