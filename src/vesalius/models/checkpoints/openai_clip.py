"""OpenAI's CLIP with a vision transformer, and CheXzero, which is CLIP ViT-B/32 trained on films and reports.

A state dict of 302 tensors for ViT-B/32. OpenAI's TorchScript archives hold three numbers more and weights in half precision.
Both networks have the quick GELU, x * sigmoid(1.702 x): read with the usual GELU they give other numbers without complaint.

Sources: openai/CLIP clip/model.py; rajpurkarlab/CheXzero (see docs/checkpoints.md for the commits).
Checked against: openai/CLIP's own class with the same weights, at full size (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vesalius.errors import CheckpointMismatch
from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Rule, Sizes, name_sources, take_strictly
from vesalius.models.checkpoints.towers import CLIP_TEXT, CLIP_VISION, clip_layer_sizes, expected_shapes, of_text, of_vision
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower

ANCHORS = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "visual.ln_post.weight",
    "visual.transformer.resblocks.0.mlp.c_fc.weight",
    "transformer.resblocks.0.mlp.c_fc.weight",
    "text_projection",
    "positional_embedding",
    "token_embedding.weight",
    "ln_final.weight",
)
IGNORABLE = ("input_resolution", "context_length", "vocab_size")
RULES = [
    *of_vision(CLIP_VISION, "visual."),
    *of_text(CLIP_TEXT, ""),
    Rule("vision_projection.weight", "visual.proj", "transposed"),
    Rule("text_projection.weight", "text_projection", "transposed"),
    Rule("log_scale", "logit_scale"),
]
PUBLISHED = (512, 768, 12, 32, 224, 512, 12, 77, 49408)
"""CheXzero: shared space; vision width, depth, patch, side; text width, depth, context, vocabulary."""


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the configuration and the state in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    if "visual.attnpool.c_proj.weight" in state:
        raise CheckpointMismatch(
            "this is a CLIP whose vision tower is a residual network with attention pooling, which is not supported; "
            "take one with a vision transformer (ViT-B/32, ViT-B/16, ViT-L/14)",
            unexpected=[key for key in state if key.startswith("visual.attnpool.")],
        )
    config = read_config(Sizes(state, ANCHORS))
    expected = expected_shapes(config)
    taken, ignored = take_strictly(expected, state, name_sources(expected, RULES), IGNORABLE)
    seen = config.vision
    variant = f"ViT, {seen.settings['num_hidden_layers']} layers, patch {seen.settings['patch_size']}, {seen.size_px} px"
    return Translated(config, taken, variant, ignored, _notes(config, family))


def read_config(sizes: Sizes) -> ImageTextConfig:
    """Returns what the tensors' shapes say of both towers."""
    _, channels, patch, _ = sizes.of("visual.conv1.weight", 4)
    positions = "visual.positional_embedding"
    side = sizes.side(positions, sizes.of(positions, 2)[0] - 1)
    vision = {**clip_layer_sizes(sizes, "visual.", "visual.ln_post.weight"), "patch_size": patch}
    rows, _ = sizes.of("token_embedding.weight", 2)
    text = {**clip_layer_sizes(sizes, "", "ln_final.weight"), "vocab_size": rows}
    return ImageTextConfig(
        VisionTower("clip-vit", side * patch, channels, vision, "linear"),
        TextTower("clip-text", sizes.of("positional_embedding", 2)[0], text, "end", "linear"),
        sizes.of("text_projection", 2)[1],
    )


def _notes(config: ImageTextConfig, family: str) -> tuple[str, ...]:
    vision, text = config.vision.settings, config.text.settings
    got = (
        config.embedding_dim,
        *(vision["hidden_size"], vision["num_hidden_layers"], vision["patch_size"], config.vision.size_px),
        *(text["hidden_size"], text["num_hidden_layers"], config.text.context_length, text["vocab_size"]),
    )
    if family != "chexzero" or got == PUBLISHED:
        return ()
    return ("every checkpoint that CheXzero's authors released is ViT-B/32 at 224 px with 302 tensors; this one has other sizes",)
