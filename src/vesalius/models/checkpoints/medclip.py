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
TEXT_ANCHORS = (
    f"{TEXT}embeddings.word_embeddings.weight",
    f"{TEXT}embeddings.position_embeddings.weight",
    f"{TEXT}embeddings.token_type_embeddings.weight",
    f"{TEXT}encoder.layer.0.intermediate.dense.weight",
    "text_model.projection_head.weight",
)
RESNET_ANCHORS = (f"{SEEN}conv1.weight", f"{SEEN}layer1.0.conv1.weight", RESNET_PROJECTION)
SWIN_ANCHORS = (
    f"{SEEN}embeddings.patch_embeddings.projection.weight",
    f"{SEEN}encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
    f"{SEEN}encoder.layers.0.blocks.0.intermediate.dense.weight",
    SWIN_PROJECTION,
)
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
    residual = f"{SEEN}conv1.weight" in state
    sizes = Sizes(state, (*TEXT_ANCHORS, *(RESNET_ANCHORS if residual else SWIN_ANCHORS)))
    vision, rules = _read_resnet(sizes) if residual else _read_swin(sizes)
    words = bert_sizes(sizes, TEXT)
    config = ImageTextConfig(
        vision,
        TextTower("bert", min(CONTEXT, words["max_position_embeddings"]), words, "mean-layers-1-2-last", "linear"),
        sizes.of("text_model.projection_head.weight", 2)[0],
    )
    rules += [
        *of_text(BERT, TEXT),
        Rule("text_projection.weight", "text_model.projection_head.weight"),
        Rule("log_scale", "logit_scale"),
    ]
    expected = expected_shapes(config)
    taken, ignored = take_strictly(expected, state, name_sources(expected, rules), IGNORABLE)
    return Translated(config, taken, "ResNet" if residual else "Swin", ignored, ())


def _read_resnet(sizes: Sizes) -> tuple[VisionTower, list[Rule]]:
    settings = resnet_sizes(sizes, SEEN)
    channels = sizes.of(f"{SEEN}conv1.weight", 4)[1]
    rules = of_vision(torchvision_resnet(len(settings["depths"])), SEEN)
    return _tower("resnet", channels, settings), [*rules, Rule("vision_projection.weight", RESNET_PROJECTION)]


def _read_swin(sizes: Sizes) -> tuple[VisionTower, list[Rule]]:
    layers = f"{SEEN}encoder.layers."
    dim, channels, patch, _ = sizes.of(f"{SEEN}embeddings.patch_embeddings.projection.weight", 4)
    table, widened = "attention.self.relative_position_bias_table", f"{layers}0.blocks.0.intermediate.dense.weight"
    settings = {**swin_sizes(sizes, layers, table, dim, widened), "patch_size": patch}
    rules = of_vision(OLD_SWIN, SEEN)
    return _tower("swin", channels, settings), [*rules, Rule("vision_projection.weight", SWIN_PROJECTION)]


def _tower(kind: Any, channels: int, settings: dict[str, Any]) -> VisionTower:
    return VisionTower(kind, SIZE_PX, channels, settings, "linear", pooling="mean")
