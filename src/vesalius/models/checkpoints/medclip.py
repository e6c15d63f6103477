"""MedCLIP: Swin-tiny or ResNet-50, and Bio_ClinicalBERT, both under a linear projection without bias.

The file's Swin has the names of transformers before version 5. The sentence is the mean of layers 1, 2 and the last over all its
tokens, padding included; that is how it was trained, so it is how it is read.

Source: RyanWangZf/MedCLIP medclip/modeling_medclip.py (facts only; no licence stated).
Checked against: the authors' own classes over transformers and torchvision with the same weights (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Rule, Sizes, name_sources, take_strictly
from vesalius.models.checkpoints.towers import (
    BERT,
    OLD_SWIN,
    bert_sizes,
    expected_shapes,
    of_text,
    of_vision,
    resnet_sizes,
    swin_sizes,
    torchvision_resnet,
)
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower

SEEN, TEXT = "vision_model.model.", "text_model.model."
RESNET_PROJECTION, SWIN_PROJECTION = f"{SEEN}fc.weight", "vision_model.projection_head.weight"
TEXT_PROJECTION = "text_model.projection_head.weight"
IGNORABLE = (
    f"{TEXT}embeddings.position_ids",
    f"{TEXT}pooler.dense.weight",
    f"{TEXT}pooler.dense.bias",
    f"{SEEN}encoder.layers.*.blocks.*.attention.self.relative_position_index",
)
SIZE_PX, CONTEXT = 224, 77


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the configuration and the state in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    residual = any(key.startswith(f"{SEEN}layer1.") for key in state)
    sizes = Sizes(state)
    vision, rules = _read_resnet(sizes) if residual else _read_swin(sizes)
    words = bert_sizes(sizes, TEXT)
    config = ImageTextConfig(
        vision,
        TextTower("bert", min(CONTEXT, words["max_position_embeddings"]), words, "mean-layers-1-2-last", "linear"),
        sizes.agree((TEXT_PROJECTION, 0), (RESNET_PROJECTION if residual else SWIN_PROJECTION, 0), published=512),
    )
    rules += [
        *of_text(BERT, TEXT),
        Rule("text_projection.weight", TEXT_PROJECTION),
        Rule("log_scale", "logit_scale"),
    ]
    expected = expected_shapes(config, sizes)
    taken, ignored = take_strictly(expected, state, name_sources(expected, rules), IGNORABLE, sizes)
    return Translated(config, taken, "ResNet" if residual else "Swin", ignored, ())


def _read_resnet(sizes: Sizes) -> tuple[VisionTower, list[Rule]]:
    settings = resnet_sizes(sizes, SEEN)
    channels = sizes.agree((f"{SEEN}conv1.weight", 1), published=3)
    rules = of_vision(torchvision_resnet(len(settings["depths"])), SEEN)
    return _tower("resnet", channels, settings), [*rules, Rule("vision_projection.weight", RESNET_PROJECTION)]


def _read_swin(sizes: Sizes) -> tuple[VisionTower, list[Rule]]:
    layers = f"{SEEN}encoder.layers."
    cut = f"{SEEN}embeddings.patch_embeddings.projection"
    names = (f"{cut}.weight", f"{cut}.bias", f"{SEEN}embeddings.norm.weight", f"{SEEN}embeddings.norm.bias")
    dim = sizes.agree(*[(name, 0) for name in names], published=96)
    channels, patch = sizes.agree((names[0], 1), published=3), sizes.agree((names[0], 2), (names[0], 3), published=4)
    read = swin_sizes(sizes, layers, "attention.self.relative_position_bias_table", dim, "intermediate.dense")
    settings = {**read, "patch_size": patch}
    rules = of_vision(OLD_SWIN, SEEN)
    return _tower("swin", channels, settings), [*rules, Rule("vision_projection.weight", SWIN_PROJECTION)]


def _tower(kind: Any, channels: int, settings: dict[str, Any]) -> VisionTower:
    return VisionTower(kind, SIZE_PX, channels, settings, "linear", pooling="mean")
