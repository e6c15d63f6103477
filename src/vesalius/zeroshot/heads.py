"""From words to scores: sentences become unit vectors once, and every question after that is a product with the images' vectors.

For a pair the score is the contrast cos+ - cos-; for classes the cosine with each. Neither is a probability, and nothing here calls
it one: `paired_score` is CheXzero's number under its own name.

Sources: Tiu 2022 (CheXzero: encode, normalise, mean, normalise, cosine without the learned scale, softmax of the pair).
    Radford 2021, arXiv:2103.00020, section 3.1.4 (mean of embeddings). Wang 2022, arXiv:2210.10163 (MedCLIP: mean of logits).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.special import expit, softmax

from vesalius.errors import PromptsError, ShapeMismatch
from vesalius.zeroshot.prompts import PromptKind, PromptSet

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.models.tokenizer import Encoded

Average = Literal["embeddings", "logits"]
"""Over the sentences of a finding: `embeddings` takes the mean of their unit vectors and makes it a unit vector again (CLIP,
CheXzero, MI-Zero); `logits` takes the mean of the cosines (MedCLIP)."""

Encode = Callable[[Sequence[str]], "Encoded"]
"""From sentences to ids: `ImageTextBundle.encode`."""

TEXTS_AT_ONCE = 64


class Cosines(NamedTuple):
    """What images say to the words for a finding and to those against it; `negative` is None for classes."""

    positive: Float64[np.ndarray, "case finding"]
    negative: Float64[np.ndarray, "case finding"] | None

    @property
    def contrast(self) -> Float64[np.ndarray, "case finding"]:
        """cos+ - cos-, in [-2, 2]; for classes the cosine."""
        return self.positive if self.negative is None else self.positive - self.negative


@dataclass(frozen=True)
class TextTable:
    """Sentences that one checkpoint has embedded, each once.

    Attributes:
        rows: From sentence to its unit vector.
    """

    rows: Mapping[str, Float32[np.ndarray, " dim"]]

    def of(self, texts: Sequence[str]) -> Float32[np.ndarray, "text dim"]:
        """Returns the rows of sentences.

        Raises:
            PromptsError: One that was not embedded.
        """
        try:
            return np.stack([self.rows[text] for text in texts])
        except KeyError:
            raise PromptsError("a sentence of these prompts was not embedded; embed the texts of all prompt sets first") from None


@dataclass(frozen=True)
class TextHead:
    """What one checkpoint's images are held against: one vector a finding for it, and one against it.

    Attributes:
        kind: Pairs or classes.
        findings: Names, in the order of the rows.
        average: How the sentences of a finding were joined.
        positive: Unit vectors; with `average` logits the plain means, which are shorter.
        negative: The same of the denials; None for classes.
    """

    kind: PromptKind
    findings: tuple[str, ...]
    average: Average
    positive: Float32[np.ndarray, "finding dim"]
    negative: Float32[np.ndarray, "finding dim"] | None = None

    def __post_init__(self) -> None:
        rows = (self.positive.shape, self.positive.shape if self.negative is None else self.negative.shape)
        if len(set(rows)) > 1 or len(self.positive) != len(self.findings) or (self.negative is None) != (self.kind == "classes"):
            raise ShapeMismatch(
                f"a head of kind {self.kind} for {len(self.findings)} findings with vectors of {rows}; expected one each"
            )

    @property
    def difference(self) -> Float32[np.ndarray, "finding dim"]:
        """What an image's vector is multiplied by to give its contrast."""
        return self.positive if self.negative is None else self.positive - self.negative


def embed_texts(model: ImageTextModel, encode: Encode, texts: Iterable[str]) -> TextTable:
    """Returns the unit vector of each sentence, computed once and in float32.

    Sentences are read by length, each without padding: nothing of a sentence's vector hangs on its company. (MedCLIP's authors let
    their mean run over the padding of a batch, so there the same prompt has another vector in another batch.)

    Raises:
        TextTooLong: A sentence of more tokens than the text tower reads.
        EmptyInput: No sentence.
    """
    import torch

    wanted = list(dict.fromkeys(texts))
    tokens, mask = encode(wanted)
    lengths = mask.sum(axis=1)
    rows: dict[str, Float32[np.ndarray, " dim"]] = {}
    place = model.log_scale.device
    with torch.inference_mode():
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for start in range(0, len(alike), TEXTS_AT_ONCE):
                some = alike[start : start + TEXTS_AT_ONCE]
                ids, ones = (torch.from_numpy(array[some, :length]).to(place) for array in (tokens, mask))
                vectors = model.embed_texts(ids, ones).cpu().numpy()
                rows |= {wanted[number]: vector for number, vector in zip(some, vectors, strict=True)}
    return TextTable(rows)


def texts_of(prompt_sets: Iterable[PromptSet]) -> tuple[str, ...]:
    """Returns every sentence of some prompt sets, each once."""
    every = (text for one in prompt_sets for words in one.texts().values() for text in (*words.positive, *words.negative))
    return tuple(dict.fromkeys(every))


def build_head(table: TextTable, prompt_set: PromptSet, *, average: Average = "embeddings") -> TextHead:
    """Returns the head of a prompt set from sentences that were embedded.

    Raises:
        PromptsError: A sentence that was not embedded, or an average that is not known.

    Source: Tiu 2022; Radford 2021, section 3.1.4; Wang 2022.
    Checked against: the authors' order written out by hand (tests/reference/test_zero_shot_arithmetic.py).
    """
    if average not in ("embeddings", "logits"):
        raise PromptsError(f"average {average!r}; expected embeddings or logits")
    texts = prompt_set.texts()
    positive = np.stack([_join(table.of(words.positive), average) for words in texts.values()])
    if prompt_set.kind == "classes":
        return TextHead(prompt_set.kind, prompt_set.findings, average, positive)
    negative = np.stack([_join(table.of(words.negative), average) for words in texts.values()])
    return TextHead(prompt_set.kind, prompt_set.findings, average, positive, negative)


def text_weights(model: ImageTextModel, encode: Encode, prompt_set: PromptSet, *, average: Average = "embeddings") -> TextHead:
    """Returns the head of one prompt set of one checkpoint.

    Args:
        model: Its text tower is run.
        encode: From sentences to ids: `ImageTextBundle.encode`.
        prompt_set: What is asked.
        average: Over the sentences of a finding.

    Raises:
        TextTooLong: A sentence of more tokens than the text tower reads.
    """
    return build_head(embed_texts(model, encode, texts_of([prompt_set])), prompt_set, average=average)


def cosines(images: Float[np.ndarray, "case dim"], head: TextHead) -> Cosines:
    """Returns the cosines of unit vectors of images with the words, averaged as the head says; in float64.

    Raises:
        ShapeMismatch: Images of another space.
    """
    if images.ndim != 2 or images.shape[1] != head.positive.shape[1]:
        raise ShapeMismatch(
            f"images {images.shape} and words {head.positive.shape}; expected the same width: are both of one checkpoint?"
        )
    rows = images.astype(np.float64)
    against = None if head.negative is None else rows @ head.negative.T.astype(np.float64)
    return Cosines(rows @ head.positive.T.astype(np.float64), against)


def contrast(images: Float[np.ndarray, "case dim"], head: TextHead) -> Float64[np.ndarray, "case finding"]:
    """Returns the raw contrast: cos+ - cos- of a pair, the cosine of a class.

    It is no probability, and has no common scale: the score of one finding cannot be held against that of another.

    Raises:
        ShapeMismatch: Images of another space.
    """
    return cosines(images, head).contrast


def paired_score(members: Sequence[Cosines]) -> Float64[np.ndarray, "case finding"]:
    """Returns CheXzero's score: softmax over the pair of cosines, mean over checkpoints; in (0.12, 0.88), near 0.5 in practice.

    It is a contrast in other clothes and no probability: the authors take the softmax of bare cosines, without the learned scale.

    Raises:
        PromptsError: Classes have no pair; see `class_score`.

    Source: Tiu 2022; the mean over checkpoints is taken after the softmax.
    Checked against: the authors' steps written out by hand (tests/reference/test_zero_shot_arithmetic.py).
    """
    if any(member.negative is None for member in members):
        raise PromptsError("classes have no denial, so no paired score; use class_score")
    score: Float64[np.ndarray, "case finding"] = np.mean([expit(member.contrast) for member in members], axis=0)
    return score


def class_score(members: Sequence[Cosines], scales: Sequence[float]) -> Float64[np.ndarray, "case finding"]:
    """Returns CLIP's score of classes: softmax of scale x cosine, mean over checkpoints; it sums to 1 and is no probability.

    Args:
        members: Cosines of each checkpoint.
        scales: Learned 1 / temperature of each.

    Source: Radford 2021, figure 3.
    """
    shares = [softmax(scale * member.positive, axis=1) for scale, member in zip(scales, members, strict=True)]
    score: Float64[np.ndarray, "case finding"] = np.mean(shares, axis=0)
    return score


def standardised_score(members: Sequence[Cosines]) -> Float64[np.ndarray, "case finding"]:
    """Returns CheXzero's score without denials: the cosines of one image, standardised over its findings, through a sigmoid.

    The score of a finding hangs on which other findings are asked; of a single finding it is undefined (NaN).

    Source: Tiu 2022, the published code's mode without softmax: (l - mean) / standard deviation, divided by n.
    """
    scores = []
    for member in members:
        cosine = member.positive
        spread = cosine.std(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(expit((cosine - cosine.mean(axis=1, keepdims=True)) / spread))
    score: Float64[np.ndarray, "case finding"] = np.mean(scores, axis=0)
    return score


def _join(rows: Float32[np.ndarray, "text dim"], average: Average) -> Float32[np.ndarray, " dim"]:
    mean: Float32[np.ndarray, " dim"] = rows.astype(np.float64).mean(axis=0).astype(np.float32)
    if average == "logits":
        return mean
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise PromptsError("the sentences of a finding cancel out: their mean has no direction; ask with fewer, or average logits")
    unit: Float32[np.ndarray, " dim"] = (mean / length).astype(np.float32)
    return unit
