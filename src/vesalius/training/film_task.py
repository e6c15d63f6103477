"""The three functions of the recipe `classifier`: a batch of films, its losses, the score of the validation films."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from vesalius.datasets.transforms import Mixed, augment, mix
from vesalius.losses.asymmetric import asymmetric_loss
from vesalius.losses.evidence import evidence_loss
from vesalius.losses.focal import focal_loss
from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.losses.partial_labels import marginal_likelihood_loss
from vesalius.metrics.classification import auprc, auroc
from vesalius.metrics.proper_scores import nll
from vesalius.training.data import films_of_step, share_of
from vesalius.training.fit import Task, seed_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.models.preprocessing import Preprocessing
    from vesalius.training.classifier import Setting
    from vesalius.training.options import ClassifierOptions

FOCUSING_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"asymmetric": asymmetric_loss, "focal": focal_loss}

AUGMENTATION = 1
"""Place of augmentation among the random streams of a run; dropout has its own."""


@dataclass(frozen=True)
class FilmBatch:
    """Films as the network takes them, and what they say.

    Attributes:
        images: Augmented and normalised.
        targets: In [0, 1].
        known: Does the target count?
        uncertain: Is the target a prior, to be marginalised over?
        masks: Share of each small square that the finding covers; None without guidance.
        masks_known: Is that known?
        counts: Known labels, and known masks if there is guidance.
    """

    images: Float[Tensor, "case channel height width"]
    targets: Float[Tensor, "case finding"]
    known: Bool[Tensor, "case finding"]
    uncertain: Bool[Tensor, "case finding"]
    masks: Float[Tensor, "case finding side side"] | None
    masks_known: Bool[Tensor, "case finding"] | None
    counts: Float[Tensor, " term"]


def make_task(fabric: Fabric, options: ClassifierOptions, setting: Setting) -> Task:
    """Returns the three functions, for this process of `fabric`."""
    return Task(
        batch=lambda step, part: training_batch(fabric, options, setting, step, part),
        losses=lambda network, batch: film_losses(network, batch, options, setting),
        evaluate=lambda network: score_validation(fabric, network, options, setting),
        score="macro_auprc",
    )


def training_batch(fabric: Fabric, options: ClassifierOptions, setting: Setting, step: int, part: int) -> FilmBatch:
    """Returns this process's part of a step: cut from the shuffled epochs, varied, mixed, normalised."""
    shares = fabric.world_size * options.accumulate
    place = fabric.global_rank * options.accumulate + part
    cases = share_of(films_of_step(step, len(setting.train), options.batch_size, options.seed), place, shares)
    generator = torch.Generator().manual_seed(seed_of(options.seed, AUGMENTATION, step, place))
    images = torch.from_numpy(setting.train.pixels(cases))[:, None].to(fabric.device)
    masks, masks_known = (None, None) if setting.evidence is None else fabric.to_device(setting.evidence.masks(cases))
    labels = setting.train_labels
    tables = (torch.from_numpy(table[cases]) for table in (labels.targets, labels.known, labels.uncertain))
    targets, known, uncertain = fabric.to_device(tuple(tables))
    variation = options.augmentation
    if any(vars(variation).values()):
        images, masks = augment(images, masks, variation, generator)
    mixed = mix(Mixed(images, targets, known, masks, masks_known), variation, generator)
    counts = [mixed.known.sum()] if mixed.masks_known is None else [mixed.known.sum(), mixed.masks_known.sum()]
    return FilmBatch(
        images=normalise(mixed.images, setting.preprocessing),
        targets=mixed.targets,
        known=mixed.known,
        uncertain=uncertain,
        masks=mixed.masks,
        masks_known=mixed.masks_known,
        counts=torch.stack(counts).float(),
    )


def film_losses(network: nn.Module, batch: FilmBatch, options: ClassifierOptions, setting: Setting) -> Float[Tensor, " term"]:
    """Returns the loss of the films' labels and, with guidance, that of the patch evidence, each a mean over its counts."""
    answer = network(batch.images)
    terms = [label_loss(answer.logits, batch, options, setting)]
    if batch.masks is not None and batch.masks_known is not None:
        terms.append(options.evidence_weight * evidence_loss(answer.patch_logits, batch.masks, batch.masks_known))
    return torch.stack(terms)


def label_loss(
    logits: Float[Tensor, "case finding"], batch: FilmBatch, options: ClassifierOptions, setting: Setting
) -> Float[Tensor, ""]:
    """Mean over known labels: of the chosen loss where the label is certain, of the marginal likelihood where it is left open."""
    certain = batch.known & ~batch.uncertain
    if options.loss == "bce":
        weight = None if setting.positive_weight is None else torch.from_numpy(setting.positive_weight).to(logits)
        chosen = binary_cross_entropy(logits, batch.targets, certain, weight)
    else:
        chosen = FOCUSING_LOSSES[options.loss](logits, batch.targets, certain)
    if options.uncertain_labels != "marginalise":
        return chosen
    opened = marginal_likelihood_loss(logits, batch.targets, batch.uncertain)
    n_certain, n_open = certain.sum(), batch.uncertain.sum()
    return (chosen * n_certain + opened * n_open) / (n_certain + n_open).clamp_min(1)


def score_validation(fabric: Fabric, network: nn.Module, options: ClassifierOptions, setting: Setting) -> dict[str, Any]:
    """Returns loss and ranking figures of the validation films, the same in every process."""
    logits = validation_logits(fabric, network, options, setting)
    truth, names = setting.validation_truth, setting.config.findings
    areas = {name: auroc(truth[:, column], logits[:, column]) for column, name in enumerate(names)}
    precisions = {name: auprc(truth[:, column], logits[:, column]) for column, name in enumerate(names)}
    return {
        "validation_loss": nll(truth.ravel(), logits.ravel()),
        "macro_auprc": macro(precisions),
        "macro_auroc": macro(areas),
        "auprc": precisions,
        "auroc": areas,
    }


def macro(figures: dict[str, float]) -> float:
    """Mean over the findings whose figure is defined; NaN if none is."""
    defined = [figure for figure in figures.values() if not math.isnan(figure)]
    return sum(defined) / len(defined) if defined else math.nan


def validation_logits(
    fabric: Fabric, network: nn.Module, options: ClassifierOptions, setting: Setting
) -> Float64[np.ndarray, "case finding"]:
    """Returns the logits of all validation films; each process computes its share and they are put together again."""
    films, shares = setting.validation, fabric.world_size
    mine = np.arange(fabric.global_rank, len(films), shares)
    at_once = max(1, options.batch_size // (shares * options.accumulate))
    logits = torch.zeros((len(films), len(setting.config.findings)), device=fabric.device)
    for start in range(0, len(mine), at_once):
        few = mine[start : start + at_once]
        images = torch.from_numpy(films.pixels(few))[:, None].to(fabric.device)
        logits[few] = network(normalise(images, setting.preprocessing)).logits.float()
    if shares > 1:
        logits = fabric.all_reduce(logits, reduce_op="sum")  # the others' rows are 0 here
    return np.asarray(logits.double().cpu().numpy())


def normalise(images: Float[Tensor, "case 1 height width"], contract: Preprocessing) -> Float[Tensor, "case channel height width"]:
    """Does what the last step of `Preprocessing.apply` does, on tensors."""
    return ((images - contract.mean) / contract.std).expand(-1, contract.channels, -1, -1)
