"""The half of an image-text model that sees: vision encoder and projection, without the words.

Once its questions are embedded a model needs its text tower no more: this half answers, in whatever precision, and projects in
float32.

Checked against: the whole model (tests/unit/models/test_image_tower.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vesalius.errors import BundleError
from vesalius.models.clip import VISION_ENCODERS, ImageTextModel, build_projection
from vesalius.models.clip_config import ImageTextConfig

HELD = ("vision.", "vision_projection.", "log_scale")
"""Of a whole model's state, by the names' beginnings."""


class Seen(NamedTuple):
    """What the tower says of some images.

    Attributes:
        embeddings: Unit vectors in the space of words.
        features: Pooled, before projection.
        patches: Unit vectors of the patches in the space of words; None unless asked for.
    """

    embeddings: Float[Tensor, "case dim"]
    features: Float[Tensor, "case width"]
    patches: Float[Tensor, "case dim rows columns"] | None


class ImageTower(nn.Module):
    """Vision encoder, projection and the learned scale of an image-text model; its weights have the same names.

    Attributes:
        config: Of both towers; only `vision` and `embedding_dim` are built.
    """

    def __init__(self, config: ImageTextConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VISION_ENCODERS[config.vision.kind](config.vision)
        dims = (config.embedding_dim, config.vision.hidden_dim)
        self.vision_projection = build_projection(config.vision.projection, int(self.vision.dim), *dims)
        self.log_scale = nn.Parameter(torch.zeros(()))

    @classmethod
    def of(cls, model: ImageTextModel) -> ImageTower:
        """Returns the tower of a whole model, sharing its weights; the text tower can then be let go."""
        tower = cls.__new__(cls)
        nn.Module.__init__(tower)
        tower.config, tower.vision, tower.vision_projection = model.config, model.vision, model.vision_projection
        tower.log_scale = model.log_scale
        return tower

    @classmethod
    def from_state(cls, config: ImageTextConfig, state: Mapping[str, Tensor]) -> ImageTower:
        """Returns a tower with its weights.

        Raises:
            BundleError: Weights that do not fit the configuration.
        """
        with no_random_weights():
            tower = cls(config)
        try:
            tower.load_state_dict(dict(state))
        except RuntimeError as error:
            raise BundleError("the weights of an image tower do not fit its configuration; make the bundle again") from error
        return tower.eval().requires_grad_(requires_grad=False)

    @property
    def scale(self) -> float:
        """Learned 1 / temperature, at most 100."""
        return min(float(self.log_scale.detach().float().exp()), 100.0)

    @property
    def width(self) -> int:
        """How many pooled features an image has."""
        return int(self.vision.dim)

    def answer_in(self, dtype: torch.dtype, device: torch.device) -> ImageTower:
        """Moves the tower, casts the encoder and lays it out to answer; the projection stays in float32. In place; returns it."""
        from vesalius.models.packed import pack_for_inference

        self.eval().requires_grad_(requires_grad=False).to(device)
        self.vision.to(dtype)
        self.vision = pack_for_inference(self.vision)
        return self

    def forward(self, images: Float[Tensor, "case channel height width"], *, patches: bool = False) -> Seen:
        """Returns unit vectors and pooled features of images, and with `patches` the unit vectors of their patches; in float32.

        Args:
            images: As the contract makes them, in the encoder's dtype.
            patches: Also project every patch.
        """
        seen = self.vision(images)
        pooled, grid = seen.pooled.float(), seen.patches
        of_patches = self.config.vision.projection == "conv-mlp"  # BioViL projects every patch and takes the mean
        projected = self.vision_projection(grid.float().movedim(1, -1)).movedim(-1, 1) if patches or of_patches else None
        whole = projected.mean(dim=(2, 3)) if of_patches and projected is not None else self.vision_projection(pooled)
        unit = None if projected is None or not patches else normalize(projected, dim=1)
        return Seen(normalize(whole, dim=-1), pooled, unit)


def no_random_weights() -> AbstractContextManager[None]:
    """What is built inside has the weights that were in memory, to be loaded next, strictly: 3 s sooner for a ViT-B/32."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:
        return nullcontext()
    without: AbstractContextManager[None] = no_init_weights()
    return without


def tower_state(model: ImageTextModel | ImageTower) -> dict[str, Tensor]:
    """Returns the weights of the half that sees, from a whole model or a tower that was not laid out yet."""
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name.startswith(HELD)}
