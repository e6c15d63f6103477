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
    sizes = Sizes(state)
    config = read_config(sizes)
    expected = expected_shapes(config, sizes)
    taken, ignored = take_strictly(expected, state, name_sources(expected, RULES), IGNORABLE, sizes)
    seen = config.vision
    variant = f"ViT, {seen.settings['num_hidden_layers']} layers, patch {seen.settings['patch_size']}, {seen.size_px} px"
    return Translated(config, taken, variant, ignored, _notes(config, family))


def read_config(sizes: Sizes) -> ImageTextConfig:
    """Returns what the tensors' shapes say of both towers."""
    cut, positions, words = "visual.conv1.weight", "visual.positional_embedding", "token_embedding.weight"
    norms = [(f"visual.{name}.{part}", 0) for name in ("ln_pre", "ln_post") for part in ("weight", "bias")]
    width = sizes.agree((cut, 0), (positions, 1), ("visual.proj", 0), *norms, published=768)
    patch = sizes.agree((cut, 2), (cut, 3), published=32)
    side = sizes.side(positions, sizes.agree((positions, 0), published=50) - 1)
    text_norms = [("ln_final.weight", 0), ("ln_final.bias", 0)]
    text_width = sizes.agree((words, 1), ("positional_embedding", 1), ("text_projection", 0), *text_norms, published=512)
    vision = {**clip_layer_sizes(sizes, "visual.", width), "patch_size": patch}
    text = {**clip_layer_sizes(sizes, "", text_width), "vocab_size": sizes.agree((words, 0), published=49408)}
    return ImageTextConfig(
        VisionTower("clip-vit", side * patch, sizes.agree((cut, 1), published=3), vision, "linear"),
        TextTower("clip-text", sizes.agree(("positional_embedding", 0), published=77), text, "end", "linear"),
        sizes.agree(("text_projection", 1), ("visual.proj", 1), published=512),
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
