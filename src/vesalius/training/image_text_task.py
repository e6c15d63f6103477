"""What the recipe `image-text` hands to the loop: pairs of a step, the gradient of their contrast, scores of the validation films.

A step's films and texts are drawn in every process alike, from (seed, step); each takes its rows. So what is right for what is
known everywhere, and only embeddings travel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor, nn

from vesalius.datasets.transforms import augment
from vesalius.losses.contrastive import gather_embeddings, shared_targets, symmetric_info_nce
from vesalius.losses.semantic_matching import Similarity, semantic_matching_share, semantic_targets
from vesalius.models.clip import LARGEST_SCALE
from vesalius.models.preprocessing import Preprocessing
from vesalius.training.data import films_of_step, share_of
from vesalius.training.film_task import AUGMENTATION, normalise
from vesalius.training.fit import Task, seed_of
from vesalius.training.gradient_cache import PairLoss, contrast_gradient
from vesalius.training.image_text_options import SCORES
from vesalius.training.image_text_scores import contrast_of_pairs, prompt_pair, retrieval_figures, zero_shot_figures
from vesalius.training.report_data import code_labels

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.models.clip import ImageTextModel
    from vesalius.models.contracts import Contract
    from vesalius.models.tokenizer import Tokenizer
    from vesalius.training.image_text import Setting
    from vesalius.training.image_text_options import ImageTextOptions

TEXTS = 2
"""Place of the words' draw among the random streams of a run."""

Targets = tuple[Float[Tensor, "image text"], Float[Tensor, "text image"]]


@dataclass(frozen=True)
class Contrast:
    """All films and texts of one step, over all processes.

    Attributes:
        cases: Places of the films among the training films.
        texts: As many texts; the n-th is the n-th film's own in the recipe `clip`, and any in `medclip`.
        targets: Of each film over all texts, and of each text over all films; None where only the own one is right.
    """

    cases: Int64[np.ndarray, " pair"]
    texts: list[str]
    targets: Targets | None


@dataclass(frozen=True)
class PairBatch:
    """Films and texts of one part of a step, in one process; films are made when they are asked for.

    Attributes:
        contrast: The whole step's.
        tokens: Ids of this part's texts.
        mask: 1 for a token, 0 for padding.
        counts: Films.
    """

    contrast: Contrast
    tokens: Int[Tensor, "text token"]
    mask: Int[Tensor, "text token"]
    counts: Float[Tensor, "1"]
    make: Any

    def images(self) -> Float[Tensor, "image channel height width"]:
        """The films as the network takes them, varied as this step varies them."""
        made: Tensor = self.make()
        return made


def make_task(fabric: Fabric, options: ImageTextOptions, setting: Setting) -> Task:
    """Returns what the loop needs, for this process of `fabric`."""
    draw = clip_contrast if options.recipe == "clip" else medclip_contrast
    contrast_of = lru_cache(maxsize=2)(lambda step: draw(options, setting, step))

    def batch(step: int, part: int) -> PairBatch:
        return part_of_step(fabric, options, setting, contrast_of(step), step, part)

    def gradient(module: nn.Module, parts: Sequence[PairBatch]) -> Float[Tensor, ""]:
        clamp_scale(module)
        return contrast_gradient(fabric, module, parts, pair_loss(fabric, parts[0].contrast))

    return Task(
        batch=batch,
        losses=lambda network, batch: torch.zeros(1),
        evaluate=lambda network: score_validation(fabric, network, options, setting),
        score=SCORES[setting.score],
        gradient=gradient,
    )


def clamp_scale(module: nn.Module) -> None:
    """Puts the learned scale back between 1 and 100, in place: a scale that is clamped on its way to the loss has no gradient.

    Source: the authors of CLIP and MedCLIP clamp the logarithm itself to [0, 4.6052].
    """
    with torch.no_grad():
        module.log_scale.clamp_(0.0, math.log(LARGEST_SCALE))  # type: ignore[operator]


def clip_contrast(options: ImageTextOptions, setting: Setting, step: int) -> Contrast:
    """Returns films with their own words: what is drawn of each report, and which other films it holds for."""
    cases = films_of_step(step, len(setting.train), options.contrasted, options.seed)
    generator = np.random.default_rng(seed_of(options.seed, TEXTS, step))
    texts, right = setting.reports.draw(cases, options.sentences, generator)
    shared = options.shared_words == "positives" and int(right.sum()) > len(cases)
    return Contrast(cases, texts, shared_targets(torch.from_numpy(right)) if shared else None)


def medclip_contrast(options: ImageTextOptions, setting: Setting, step: int) -> Contrast:
    """Returns films and labelled sentences of whatever report, and how far each should match each."""
    cases = films_of_step(step, len(setting.train), options.contrasted, options.seed)
    generator = np.random.default_rng(seed_of(options.seed, TEXTS, step))
    said = setting.sentences
    drawn = said.draw(options.contrasted, generator)
    codes = [torch.from_numpy(code_labels(labels, options.label_coding)) for labels in (setting.labels[cases], said.labels[drawn])]
    similarity: Similarity = "cosine" if options.label_coding == "signed" else "dot"
    targets = semantic_targets(codes[0], codes[1], similarity=similarity, sharpness=options.sharpness)
    return Contrast(cases, [said.sentences[place] for place in drawn], targets)


def part_of_step(
    fabric: Fabric, options: ImageTextOptions, setting: Setting, contrast: Contrast, step: int, part: int
) -> PairBatch:
    """Returns this process's part of a step; several parts make their films only when the network comes to them."""
    places = share_of(own_places(fabric, options.contrasted), part, options.parts)
    # A text tower that came with its own weights may read fewer tokens than was asked for.
    length = min(options.context_length, setting.config.text.context_length)
    texts = encode(setting.tokenizer, [contrast.texts[place] for place in places], length)
    seed = seed_of(options.seed, AUGMENTATION, step, int(places[0]))

    def make() -> Tensor:
        images = torch.from_numpy(setting.train.pixels(contrast.cases[places]))[:, None].to(fabric.device)
        if any(vars(options.augmentation).values()):
            images, _ = augment(images, None, options.augmentation, torch.Generator().manual_seed(seed))
        return as_input(images, setting.contract)

    tokens, mask = fabric.to_device(texts)
    counts = torch.tensor([float(len(places))])
    if options.parts > 1:
        return PairBatch(contrast, tokens, mask, counts, make)
    images = make()
    return PairBatch(contrast, tokens, mask, counts, lambda: images)


def own_places(fabric: Fabric, contrasted: int) -> Int64[np.ndarray, " own"]:
    """Returns which of a step's pairs are this process's: as many as every other's."""
    return share_of(np.arange(contrasted), fabric.global_rank, fabric.world_size)


def pair_loss(fabric: Fabric, contrast: Contrast) -> PairLoss:
    """Returns this process's share of the loss, of its embeddings: its rows, over the columns of all processes."""
    own = own_places(fabric, len(contrast.texts))
    if contrast.targets is None:
        targets = None
    else:
        targets = tuple(target[own[0] : own[-1] + 1].to(fabric.device) for target in contrast.targets)

    def loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        all_images, all_texts = gather_embeddings(fabric, images), gather_embeddings(fabric, texts)
        if targets is None:
            return symmetric_info_nce(images, texts, all_images, all_texts, scale, first=int(own[0]))
        return semantic_matching_share(images, texts, all_images, all_texts, scale, (targets[0], targets[1]))

    return loss


def as_input(images: Float[Tensor, "case 1 height width"], contract: Contract) -> Float[Tensor, "case channel height width"]:
    """Does what a contract does to a store's squares, on tensors."""
    if isinstance(contract, Preprocessing):
        return normalise(images, contract)
    return torch.from_numpy(contract.apply_pixels(images[:, 0].float().cpu().numpy())).to(images.device)


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], context_length: int
) -> tuple[Int[Tensor, "text token"], Int[Tensor, "text token"]]:
    """Returns ids and mask, cut at the context and padded to the longest here."""
    encoded = tokenizer.encode(texts, context_length, too_long="cut", padding="longest")
    return torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.mask)


def score_validation(fabric: Fabric, network: nn.Module, options: ImageTextOptions, setting: Setting) -> dict[str, Any]:
    """Returns retrieval of the validation reports and zero-shot ranking of the validation films, the same in every process."""
    validation = setting.validation
    model: ImageTextModel = network  # type: ignore[assignment]
    images = embed_shares(fabric, options, len(validation.films), lambda cases: _embed_films(fabric, model, setting, cases))
    figures: dict[str, Any] = {}
    if len(validation.pairs) > 1:
        texts, said = validation.reports.entire()
        words = embed_shares(
            fabric,
            options,
            len(texts),
            lambda cases: embed_words(fabric, model, setting.tokenizer, [texts[case] for case in cases]),
        )
        figures |= retrieval_figures(images[validation.pairs], words, float(model.scale), said)
    if setting.findings and not np.isnan(validation.truth).all():
        prompts = [prompt for side in zip(*map(prompt_pair, setting.findings), strict=True) for prompt in side]
        asked = embed_words(fabric, model, setting.tokenizer, prompts).double().cpu().numpy()
        figures |= zero_shot_figures(validation.truth, contrast_of_pairs(images, asked), setting.findings)
    return {**figures, "scale": float(model.scale)}


def embed_words(fabric: Fabric, model: ImageTextModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
    """Returns unit vectors of texts, in float32."""
    tokens, mask = fabric.to_device(encode(tokenizer, texts, model.config.text.context_length))
    return model.embed_texts(tokens, mask).float()


def _embed_films(
    fabric: Fabric, model: ImageTextModel, setting: Setting, cases: Int64[np.ndarray, " few"]
) -> Float[Tensor, "few dim"]:
    images = torch.from_numpy(setting.validation.films.pixels(cases))[:, None].to(fabric.device)
    return model.embed_images(as_input(images, setting.contract)).float()


def embed_shares(fabric: Fabric, options: ImageTextOptions, count: int, embed: Any) -> Float64[np.ndarray, "row dim"]:
    """Embeds so many rows, each process its share and a batch at once, and puts them together again."""
    mine = np.arange(fabric.global_rank, count, fabric.world_size)
    at_once = max(1, options.batch_size // fabric.world_size)
    pieces = [(few, embed(few)) for few in np.array_split(mine, -(-len(mine) // at_once) or 1) if len(few)]
    dim = torch.tensor(pieces[0][1].shape[1] if pieces else 0, device=fabric.device)
    if fabric.world_size > 1:
        dim = fabric.all_reduce(dim, reduce_op="max")
    rows = torch.zeros((count, int(dim)), device=fabric.device)
    for few, embedded in pieces:
        rows[few] = embedded
    if fabric.world_size > 1:
        rows = fabric.all_reduce(rows, reduce_op="sum")  # the others' rows are 0 here
    return np.asarray(rows.double().cpu().numpy())
