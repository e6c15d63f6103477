"""Films read by words: towers and embedded prompts that answer like a bundle, with contrasts in the place of probabilities.

    reader = FilmWords(vesalius.load("bundles/words"), prompts_for(["pleural effusion"]))
    reader.predict_batch([image])

Each sentence is embedded once a bundle, each film once a checkpoint, whatever the number of findings, synonyms and prompt sets.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64

from vesalius.dicom.quality import quality_problem
from vesalius.errors import BundleError, PromptsError, TextTooLong
from vesalius.inference.film import Precision
from vesalius.inference.zero_shot import Embedded, ImageEmbedder, ZeroShotInference, place_evidence
from vesalius.models.contracts import doubts_of_domain
from vesalius.types import Finding, Prediction
from vesalius.zeroshot.heads import (
    Average,
    Cosines,
    TextHead,
    TextTable,
    build_head,
    class_score,
    contrast,
    embed_texts,
    paired_score,
    standardised_score,
    texts_of,
)
from vesalius.zeroshot.prompt_sets import Spread, draw_prompt_sets
from vesalius.zeroshot.prompts import PromptSet, prompts_for

if TYPE_CHECKING:
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.bundle.predictor import Locked
    from vesalius.models.image_tower import ImageTower
    from vesalius.types import Image

Score = Literal["none", "paired", "class", "standardised"]
"""A score by its name beside the raw contrast; see `zeroshot.heads`. None of them is a probability."""


@dataclass(frozen=True)
class WordOptions:
    """How films are read by words.

    Attributes:
        average: Over the sentences of a finding: of embeddings, or of logits.
        prompt_sets: Draw so many prompt sets: the logit is the median over them, and the line holds their spread. 0: all templates
            with all synonyms at once.
        seed: Of the draws.
        score: Another score beside the contrast.
        precision: What the vision encoders are held in; words are embedded in float32.
    """

    average: Average = "embeddings"
    prompt_sets: int = 0
    seed: int = 0
    score: Score = "none"
    precision: Precision = "float32"


@dataclass(frozen=True)
class WordsPrediction(Prediction):
    """A prediction by words: `logit` is the raw contrast, and there is neither probability nor decision.

    Attributes:
        more: What else its line holds: `spread` over prompt sets, a score by name.
    """

    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the line of `vesalius zeroshot`."""
        return super().to_json() | dict(self.more)


class WordMemory:
    """What one bundle has computed so far: sentences embedded by each checkpoint, and towers that are ready to answer.

    Checkpoints are read from disk one after the other; a text tower is let go as soon as its sentences are embedded.
    """

    def __init__(self, bundle: ImageTextBundle) -> None:
        self._bundle = bundle
        self._tables: list[TextTable] = [TextTable({}) for _ in range(bundle.members)]
        self._embedders: dict[tuple[Precision, str], ImageEmbedder] = {}

    def prepare(self, prompt_sets: Sequence[PromptSet], precision: Precision, device: str) -> ImageEmbedder:
        """Embeds the sentences that are new and returns the towers.

        Raises:
            TextTooLong: A sentence of more tokens than the text tower reads.
        """
        from vesalius.models.image_tower import ImageTower

        wanted = [text for text in texts_of(prompt_sets) if text not in self._tables[0].rows]
        made = self._embedders.get((precision, device))
        if wanted:
            self._check_length(wanted)
        if wanted or made is None:
            towers: list[ImageTower] = []
            for member, model in enumerate(self._bundle.each_model()):
                if wanted:
                    fresh = embed_texts(model, self._bundle.encode, wanted)
                    self._tables[member] = TextTable({**self._tables[member].rows, **fresh.rows})
                if made is None:
                    towers.append(ImageTower.of(model))
            if made is None:
                made = ImageEmbedder(towers, self._bundle.contract, precision=precision, device=device)
                self._embedders[precision, device] = made
        return made

    def _check_length(self, texts: Sequence[str]) -> None:
        """Says which words are too long, before any weight is read; they are the asker's own, no report's."""
        try:
            self._bundle.encode(texts)
        except TextTooLong:
            room = self._bundle.text_rule.context_length
            for text in texts:
                try:
                    self._bundle.encode([text])
                except TextTooLong as error:
                    raise TextTooLong(
                        f"{text!r} has more tokens than the {room} that this model reads; ask in fewer words"
                    ) from error

    def heads(self, prompt_set: PromptSet, average: Average) -> tuple[TextHead, ...]:
        """Returns the head of every checkpoint; `prepare` must have seen the prompt set."""
        return tuple(build_head(table, prompt_set, average=average) for table in self._tables)


class FilmWords:
    """A bundle of kind `image-text` and what it is asked; answers films as a predictor does, without probability and decision.

    Attributes:
        bundle: Who answers.
        asked: What it is asked.
        options: See `WordOptions`.
        warnings: What to know of the words that are asked; in every answer.
        inference: From films to contrasts.

    Raises:
        TextTooLong: A sentence of more tokens than the text tower reads.
        PromptsError: A score that does not go with the prompts.
    """

    def __init__(
        self, bundle: ImageTextBundle, asked: PromptSet, options: WordOptions = WordOptions(), *, device: str = "auto"
    ) -> None:
        if options.score != "none" and (options.score == "class") != (asked.kind == "classes"):
            fits = "class" if asked.kind == "classes" else "paired or standardised"
            raise PromptsError(f"the score `{options.score}` does not go with prompts of kind {asked.kind}; choose {fits}")
        self.bundle, self.asked, self.options = bundle, asked, options
        self.warnings = (*doubts_of_domain(bundle.contract, "films"), *asked.warnings, *unread_words(bundle, asked))
        drawn = draw_prompt_sets(asked, n_sets=options.prompt_sets, seed=options.seed) if options.prompt_sets else []
        memory = bundle.memory
        embedder = memory.prepare([asked, *drawn], options.precision, device)
        self.inference = ZeroShotInference(embedder, bundle.contract, memory.heads(asked, options.average))
        self._drawn = [memory.heads(one, options.average) for one in drawn]

    @property
    def reference(self) -> str:
        """Name and the first 12 hex digits of the bundle's id."""
        return self.bundle.reference

    @property
    def question(self) -> str:
        """The prompts' name and the first 12 hex digits of a hash of all that decides a logit: words, average, draws, precision."""
        return question_of(self.asked, self.options)

    def predict(self, image: Image, case: str | None = None, *, evidence: bool = False) -> WordsPrediction:
        """Reads one film by words."""
        return self.predict_batch([image], None if case is None else [case], evidence=evidence)[0]

    def predict_batch(
        self, images: Sequence[Image], cases: Sequence[str] | None = None, *, evidence: bool = False
    ) -> list[WordsPrediction]:
        """Reads several films by words, in one pass of the towers.

        Args:
            images: From `vesalius.read`.
            cases: Their names in the answers; the images' ids without them.
            evidence: Keep the patches' agreement with the words, for a heat map.
        """
        if not images:
            return []
        started = time.perf_counter()
        films = self.inference.embedder.embed(images, patches=evidence)
        maps = place_evidence(self.inference.evidence(films), images, self.bundle.contract) if evidence else None
        logits, spread = self._logits(films)
        scores = self._scores(self.inference.cosines(films))
        share_s = (time.perf_counter() - started) / len(images)
        answers = []
        for at, image in enumerate(images):
            problem = quality_problem(image)
            answers.append(
                WordsPrediction(
                    case=image.image_id if cases is None else cases[at],
                    image_id=image.image_id,
                    bundle=self.reference,
                    findings=tuple(map(Finding, self.asked.findings, map(float, logits[at]))),
                    warnings=(*image.warnings, *([problem] if problem else []), *self.warnings),
                    seconds=share_s,
                    evidence=None if maps is None else maps[at],
                    evidence_of="contrasts",
                    more=self._more(at, spread, scores),
                )
            )
        return answers

    def _logits(
        self, films: Embedded
    ) -> tuple[Float64[np.ndarray, "case finding"], Float64[np.ndarray, "set case finding"] | None]:
        """Contrasts, mean over checkpoints; with prompt sets the median over them, and what each of them says."""
        if not self._drawn:
            return self.inference.read(films._replace(patches=())).logits, None
        by_set = np.stack(
            [
                np.mean([contrast(rows, head) for rows, head in zip(films.members, heads, strict=True)], axis=0)
                for heads in self._drawn
            ]
        )
        return np.median(by_set, axis=0), by_set

    def _scores(self, cosines: Sequence[Cosines]) -> Float64[np.ndarray, "case finding"] | None:
        if self.options.score == "paired":
            return paired_score(cosines)
        if self.options.score == "class":
            return class_score(cosines, self.inference.embedder.scales)
        return standardised_score(cosines) if self.options.score == "standardised" else None

    def _more(
        self,
        at: int,
        by_set: Float64[np.ndarray, "set case finding"] | None,
        scores: Float64[np.ndarray, "case finding"] | None,
    ) -> dict[str, Any]:
        names = self.asked.findings
        more: dict[str, Any] = {}
        if by_set is not None:
            more["spread"] = Spread.of(by_set[:, at]).to_json(names)
        if scores is not None:
            shown = {name: float(score) if np.isfinite(score) else None for name, score in zip(names, scores[at], strict=True)}
            more[f"{self.options.score}_score"] = shown
        return more


def unread_words(bundle: ImageTextBundle, *asked: PromptSet) -> tuple[str, ...]:
    """Returns, a finding, what of its sentences the vocabulary cannot read: such words are all one to the model, whatever they say.

    Raises:
        TokenizerError: The bundle was made without a tokenizer.
    """
    unknown = bundle.words.unknown
    if unknown is None:
        return ()
    warnings = []
    sentences: dict[str, dict[str, None]] = {}  # of all sets, each once and in order
    for one in asked:
        for finding, (positive, negative) in one.texts().items():
            sentences.setdefault(finding, {}).update(dict.fromkeys((*positive, *negative)))
    for finding, texts in ((finding, tuple(found)) for finding, found in sentences.items()):
        tokens, mask = bundle.encode(texts, too_long="cut")
        unread = np.flatnonzero((tokens == unknown).any(axis=1) | (mask.sum(axis=1) <= 2))
        if len(unread):
            warnings.append(
                f"{finding}: {len(unread)} of its {len(texts)} sentences, {texts[unread[0]]!r} first, have words that this model's "
                "vocabulary cannot spell; all such words are one to it, whatever they say: ask in words of its language"
            )
    return tuple(warnings)


def question_of(asked: PromptSet, options: WordOptions, **more: Any) -> str:
    """Returns `NAME@sha256:` and 12 hex digits of all that decides a logit of this question; `more` is plain data."""
    content = json.dumps([asked.sha256, asdict(options), more], sort_keys=True).encode()
    return f"{asked.name}@sha256:{hashlib.sha256(content).hexdigest()[:12]}"


def zeroshot(
    bundle: ImageTextBundle | Locked,
    image: Image,
    texts: Sequence[str] | PromptSet | str | Path,
    *,
    options: WordOptions = WordOptions(),
    evidence: bool = False,
    device: str = "auto",
) -> WordsPrediction:
    """Reads one film by words: `vs.zeroshot(vs.load("bundles/words"), vs.read("IM1.dcm"), ["pleural effusion", "pneumothorax"])`.

    `logit` of each finding is the raw contrast, cosine with the words less cosine with their denial; `probability` and `decision`
    are None. Sentences are embedded once and towers loaded once a bundle: ask as often as you like.

    Args:
        bundle: Of kind `image-text`, from `vesalius.load`.
        image: From `vesalius.read`.
        texts: Each against "no TEXT" (names of absences are turned round and say so in `warnings`); or prompts; or the name of a
            prompt file, ours or yours.
        options: See `WordOptions`.
        evidence: Keep the patches' agreement with the words, for a heat map.
        device: `auto` takes an accelerator where there is one.

    Raises:
        BundleError: A bundle of another kind, which answers `predict`.
        PromptsError: Words that cannot be asked.
        TextTooLong: A sentence of more tokens than the text tower reads.
    """
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.zeroshot.prompt_file import load_prompts

    if not isinstance(bundle, ImageTextBundle):
        raise BundleError(f"{bundle.reference} answers its own findings, not any words: use its `predict`")
    asked = load_prompts(texts) if isinstance(texts, str | Path) else texts
    asked = asked if isinstance(asked, PromptSet) else prompts_for(asked)
    return FilmWords(bundle, asked, options, device=device).predict(image, evidence=evidence)
