"""The three functions of the recipe `classifier`: a batch of films, its losses, the score of the validation films."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor, nn

from vesalius.metrics.calibration import nll
from vesalius.metrics.classification import auprc, auroc
from vesalius.training.data import films_of_step, share_of
from vesalius.training.fit import Task, seed_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.training.classifier import Setting
    from vesalius.training.data import Films
    from vesalius.training.options import ClassifierOptions

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
    counts: Float[Tensor, "term"]
