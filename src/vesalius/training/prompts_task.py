"""The functions of the recipe `prompts`: a batch of embedded films, its loss, the score of films under a generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.metrics.classification import auroc, known_labels
from vesalius.training.data import films_of_step
from vesalius.training.film_task import macro
from vesalius.training.fit import Task
from vesalius.zeroshot import heads
from vesalius.zeroshot.heads import text_weights
from vesalius.zeroshot.learned_prompts import PromptDesign, PromptGenerator, contrast, embed_prompts, prompt_generator

if TYPE_CHECKING:
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.models.clip import ImageTextModel
    from vesalius.training.prompts_data import EmbeddedFilms
    from vesalius.training.prompts_options import PromptsOptions
    from vesalius.zeroshot.prompts import PromptSet

CASES_AT_ONCE = 64


@dataclass(frozen=True)
class Setting:
    """All that is settled before the first step.

    Attributes:
        options: What was asked for.
        bundle: The frozen towers with their words.
        model: Its first checkpoint, frozen, on the device.
        prompts: The words.
        design: Of the learned prompts.
        train: Films to draw from.
        validation: Films that may choose weights; may be empty.
        scored: Films that score the curve.
        key: Names towers, store and settings.
        sites: Sites of the training films.
        fingerprint: Of the store.
        notes: What the user should know.
    """

    options: PromptsOptions
    bundle: ImageTextBundle
    model: ImageTextModel
    prompts: PromptSet
    design: PromptDesign
    train: EmbeddedFilms
    validation: EmbeddedFilms
    scored: EmbeddedFilms
    key: str
    sites: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]

    @property
    def exclusive(self) -> bool:
        """Has a film exactly one of the findings?"""
        return self.design.kind == "classes"

    @property
    def device(self) -> torch.device:
        """What computes."""
        return self.model.log_scale.device


@dataclass(frozen=True)
class PromptBatch:
    """Embedded films of a step, and what they say."""

    images: Float[Tensor, "case dim"]
    features: Float[Tensor, "case width"]
    targets: Float[Tensor, "case finding"]
    known: Bool[Tensor, "case finding"]
    counts: Float[Tensor, " term"]


def build_generator(setting: Setting, seed: int) -> PromptGenerator:
    """Returns the generator before training."""
    return prompt_generator(setting.design, setting.model, setting.bundle.encode, seed)


def read_generator(generator: PromptGenerator, path: Path) -> PromptGenerator:
    """Puts the weights of a finished draw into a generator."""
    from safetensors.torch import load_file

    generator.load_state_dict(load_file(path))
    return generator.eval()


def make_task(setting: Setting, few: EmbeddedFilms, seed: int) -> Task:
    """Returns the loop's functions for one draw: the gradient reaches the generator, which is all that the loop knows."""
    truth = known_labels(few.truth)

    def batch(step: int, _part: int) -> PromptBatch:
        cases = films_of_step(step, len(few), setting.options.batch_size, seed)
        known = ~np.isnan(truth[cases])
        count = len(cases) if setting.exclusive else int(known.sum())
        arrays = (few.images[cases], few.features[cases], np.nan_to_num(truth[cases]).astype(np.float32), known)
        images, features, targets, told = (torch.from_numpy(array).to(setting.device) for array in arrays)
        return PromptBatch(images, features, targets, told, torch.tensor([float(count)]))

    return Task(
        batch=batch,
        losses=lambda network, films: prompt_loss(network, films, setting),
        evaluate=lambda network: score_validation(network, setting),
        score="macro_auroc",
    )


def prompt_loss(network: nn.Module, films: PromptBatch, setting: Setting) -> Float[Tensor, " term"]:
    """Returns the loss of contrasts times the towers' scale.

    Cross-entropy over exclusive classes; binary cross-entropy over known labels where findings may occur together.
    """
    texts = embed_prompts(setting.model, network(films.images, films.features))
    logits = contrast(setting.design.kind, films.images, texts) * setting.model.scale
    if setting.exclusive:
        return nn.functional.cross_entropy(logits, films.targets.argmax(dim=1))[None]
    return binary_cross_entropy(logits, films.targets, films.known)[None]


def score_validation(network: nn.Module, setting: Setting) -> dict[str, Any]:
    """Returns the ranking figures of the validation films; undefined where there are none."""
    films = setting.validation
    names = setting.design.findings
    if not len(films):
        return {"macro_auroc": float("nan"), "auroc": dict.fromkeys(names, float("nan"))}
    logits, truth = score(setting, network, films), known_labels(films.truth)
    areas = {name: auroc(truth[:, column], logits[:, column]) for column, name in enumerate(names)}
    return {"macro_auroc": macro(areas), "auroc": areas}


def score(setting: Setting, generator: nn.Module, films: EmbeddedFilms) -> Float64[np.ndarray, "case finding"]:
    """Returns the raw contrasts of embedded films."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(films), CASES_AT_ONCE):
            few = slice(start, start + CASES_AT_ONCE)
            images, features = (torch.from_numpy(array[few]).to(setting.device) for array in (films.images, films.features))
            texts = embed_prompts(setting.model, generator(images, features))
            parts.append(contrast(setting.design.kind, images, texts).double().cpu().numpy())
    return np.concatenate(parts)


def hand_written(setting: Setting, films: EmbeddedFilms) -> Float64[np.ndarray, "case finding"]:
    """Returns the raw contrasts of the words alone, all that the prompt set has for each finding; nothing of it is learned."""
    head = text_weights(setting.model, setting.bundle.encode, setting.prompts)
    return heads.contrast(films.images, head)
