"""CXR-MAE (medical_mae): the encoder of a masked autoencoder of films, in timm's names, under `model`; the decoder is left out.

It has no words. `vesalius train classifier --init-from FILE --encoder vit-small-16` starts from it.

Source: lambert-x/medical_mae models_mae.py (Apache-2.0), which cannot be built without a GPU; He et al. 2022, arXiv:2111.06377.
Checked against: the authors' own class with the same weights (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Sizes, name_shapes, name_sources, take_strictly, under
from vesalius.models.checkpoints.towers import TIMM_VIT, timm_vit_sizes
from vesalius.models.clip import Vit
from vesalius.models.clip_config import VisionTower

IGNORABLE = (
    "mask_token",
    "decoder_pos_embed",
    "decoder_embed.weight",
    "decoder_embed.bias",
    "decoder_blocks.*",
    "decoder_norm.weight",
    "decoder_norm.bias",
    "decoder_pred.weight",
    "decoder_pred.bias",
)


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the tower and the state of `models.clip.Vit` in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    sizes = Sizes(state)
    settings, size_px, channels = timm_vit_sizes(sizes, "")
    tower = VisionTower("vit", size_px, channels, settings, "none", pooling="class")
    with torch.device("meta"):
        expected = name_shapes(Vit(tower))
    taken, ignored = take_strictly(expected, state, name_sources(expected, under(TIMM_VIT, "network.", "")), IGNORABLE, sizes)
    variant = f"ViT, {settings['num_hidden_layers']} layers, patch {settings['patch_size']}, {size_px} px"
    return Translated(tower, taken, variant, ignored, ())


def as_classifier_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the same weights in the names of the classifier's ViT (`vit-tiny-16` to `vit-large-16`)."""
    return {f"encoder.vit.{name.removeprefix('network.')}": tensor for name, tensor in state.items()}
