"""The networks that the families are built of: how the authors name their tensors, and how their sizes are read from them.

Names and shapes are facts of the authors' published code: openai/CLIP, timm, torchvision, and transformers before version 5.
"""

from __future__ import annotations

from typing import Any

import torch

from vesalius.models.checkpoints.strict import Rule, Shape, Sizes, name_shapes, split_three, under
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig

W = r"(weight|bias)"


def expected_shapes(config: ImageTextConfig, sizes: Sizes) -> dict[str, Shape]:
    """Returns our names and shapes for a configuration that was read from a file; no memory is taken for the weights.

    Raises:
        CheckpointMismatch: No network has such sizes.
    """
    try:
        with torch.device("meta"):
            return name_shapes(ImageTextModel(config))
    except (ValueError, RuntimeError) as error:
        raise sizes.impossible("the sizes of these tensors make no network") from error


def _clip_layers() -> list[Rule]:
    theirs = r"transformer.resblocks.\1."
    rules = [
        Rule(rf"self_attn\.out_proj\.{W}", r"attn.out_proj.\2"),
        Rule(rf"layer_norm(1|2)\.{W}", r"ln_\2.\3"),
        Rule(rf"mlp\.fc1\.{W}", r"mlp.c_fc.\2"),
        Rule(rf"mlp\.fc2\.{W}", r"mlp.c_proj.\2"),
        *split_three([rf"self_attn\.{name}_proj\.{W}" for name in "qkv"], r"attn.in_proj_\2"),
    ]
    return [Rule(rf"encoder\.layers\.(\d+)\.{r.ours}", theirs + r.theirs, r.layout, r.part, r.parts) for r in rules]


CLIP_VISION = [
    Rule(r"embeddings\.class_embedding", "class_embedding"),
    Rule(r"embeddings\.patch_embedding\.weight", "conv1.weight"),
    Rule(r"embeddings\.position_embedding\.weight", "positional_embedding"),
    Rule(rf"pre_layrnorm\.{W}", r"ln_pre.\1"),
    Rule(rf"post_layernorm\.{W}", r"ln_post.\1"),
    *_clip_layers(),
]
"""CLIPVisionModel against `visual.` of openai/CLIP."""

CLIP_TEXT = [
    Rule(r"embeddings\.token_embedding\.weight", "token_embedding.weight"),
    Rule(r"embeddings\.position_embedding\.weight", "positional_embedding"),
    Rule(rf"final_layer_norm\.{W}", r"ln_final.\1"),
    *_clip_layers(),
]
"""CLIPTextModel against the text half of openai/CLIP, which has no prefix."""

TIMM_VIT = [
    Rule(r"embeddings\.cls_token", "cls_token"),
    Rule(r"embeddings\.position_embeddings", "pos_embed"),
    Rule(rf"embeddings\.patch_embeddings\.projection\.{W}", r"patch_embed.proj.\1"),
    *split_three([rf"layers\.(\d+)\.attention\.{name}_proj\.{W}" for name in "qkv"], r"blocks.\1.attn.qkv.\2"),
    Rule(rf"layers\.(\d+)\.attention\.o_proj\.{W}", r"blocks.\1.attn.proj.\2"),
    Rule(rf"layers\.(\d+)\.layernorm_before\.{W}", r"blocks.\1.norm1.\2"),
    Rule(rf"layers\.(\d+)\.layernorm_after\.{W}", r"blocks.\1.norm2.\2"),
    Rule(rf"layers\.(\d+)\.mlp\.(fc1|fc2)\.{W}", r"blocks.\1.mlp.\2.\3"),
    Rule(rf"layernorm\.{W}", r"norm.\1"),
]
"""ViTModel against timm's VisionTransformer, which MAE's encoder is too."""

BERT = [Rule("(.+)", r"\1")]
"""BertModel keeps its names."""

_BLOCK = r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_DOWN = r"encoder\.layers\.{}\.downsample\.(norm\.weight|norm\.bias|reduction\.weight)"


def timm_swin(stages: int, *, renumbered: bool) -> list[Rule]:
    """Returns the rules of SwinModel against timm's SwinTransformer.

    Args:
        stages: How many.
        renumbered: timm from 0.9 on counts a downsampling to the stage that it leads to, before that to the stage that it ends.
    """
    theirs = r"layers.\1.blocks.\2."
    return [
        Rule(r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
        Rule(rf"embeddings\.norm\.{W}", r"patch_embed.norm.\1"),
        *split_three([rf"{_BLOCK}attention\.{name}_proj\.{W}" for name in "qkv"], theirs + r"attn.qkv.\3"),
        Rule(rf"{_BLOCK}attention\.o_proj\.{W}", theirs + r"attn.proj.\3"),
        Rule(rf"{_BLOCK}attention\.relative_position_bias\.(\w+)", theirs + r"attn.\3"),
        Rule(rf"{_BLOCK}layernorm_before\.{W}", theirs + r"norm1.\3"),
        Rule(rf"{_BLOCK}layernorm_after\.{W}", theirs + r"norm2.\3"),
        Rule(rf"{_BLOCK}mlp\.(fc1|fc2)\.{W}", theirs + r"mlp.\3.\4"),
        *[Rule(_DOWN.format(stage), rf"layers.{stage + renumbered}.downsample.\1") for stage in range(stages - 1)],
        Rule(rf"layernorm\.{W}", r"norm.\1"),
    ]


OLD_SWIN = [
    Rule(r"(embeddings\..+)", r"\1"),
    *[
        Rule(rf"{_BLOCK}attention\.{short}_proj\.{W}", rf"encoder.layers.\1.blocks.\2.attention.self.{word}.\3")
        for short, word in (("q", "query"), ("k", "key"), ("v", "value"))
    ],
    Rule(rf"{_BLOCK}attention\.o_proj\.{W}", r"encoder.layers.\1.blocks.\2.attention.output.dense.\3"),
    Rule(rf"{_BLOCK}attention\.relative_position_bias\.(\w+)", r"encoder.layers.\1.blocks.\2.attention.self.\3"),
    Rule(rf"{_BLOCK}(layernorm_before|layernorm_after)\.{W}", r"encoder.layers.\1.blocks.\2.\3.\4"),
    Rule(rf"{_BLOCK}mlp\.fc1\.{W}", r"encoder.layers.\1.blocks.\2.intermediate.dense.\3"),
    Rule(rf"{_BLOCK}mlp\.fc2\.{W}", r"encoder.layers.\1.blocks.\2.output.dense.\3"),
    Rule(_DOWN.format(r"(\d+)"), r"encoder.layers.\1.downsample.\2"),
    Rule(rf"layernorm\.{W}", r"layernorm.\1"),
]
"""SwinModel against the same class of transformers before version 5."""


def torchvision_resnet(stages: int) -> list[Rule]:
    """Returns the rules of ResNetModel against torchvision's ResNet."""
    rules = [
        Rule(r"embedder\.embedder\.convolution\.weight", "conv1.weight"),
        Rule(r"embedder\.embedder\.normalization\.(\w+)", r"bn1.\1"),
    ]
    for stage in range(stages):
        ours, theirs = rf"encoder\.stages\.{stage}\.layers\.(\d+)\.", rf"layer{stage + 1}.\1."
        rules += [
            Rule(rf"{ours}shortcut\.convolution\.weight", theirs + "downsample.0.weight"),
            Rule(rf"{ours}shortcut\.normalization\.(\w+)", theirs + r"downsample.1.\2"),
        ]
        for place in range(3):
            rules += [
                Rule(rf"{ours}layer\.{place}\.convolution\.weight", f"{theirs}conv{place + 1}.weight"),
                Rule(rf"{ours}layer\.{place}\.normalization\.(\w+)", rf"{theirs}bn{place + 1}.\2"),
            ]
    return rules


def clip_layer_sizes(sizes: Sizes, prefix: str, width: int) -> dict[str, Any]:
    """Returns width, depth, heads and inner width of one of CLIP's transformers; its GELU is the quick one."""
    layers = f"{prefix}transformer.resblocks."
    perceptron = ((f"{layers}{n}.mlp.{name}", axis) for n in (0, 1) for name, axis in (("c_fc.weight", 0), ("c_proj.weight", 1)))
    return {
        "hidden_size": width,
        "num_hidden_layers": sizes.count(layers, 12),
        "num_attention_heads": sizes.heads(f"{layers}0.ln_1.weight", width),
        "intermediate_size": sizes.agree((f"{layers}0.mlp.c_fc.bias", 0), *perceptron, published=4 * width),
        "hidden_act": "quick_gelu",
    }


def timm_vit_sizes(sizes: Sizes, prefix: str) -> tuple[dict[str, Any], int, int]:
    """Returns the settings of a plain ViT in timm's names, its side in pixels and its channels."""
    cut, positions, blocks = f"{prefix}patch_embed.proj.weight", f"{prefix}pos_embed", f"{prefix}blocks."
    names = ((f"{prefix}norm.weight", 0), (positions, 2), (f"{prefix}cls_token", 2), (f"{prefix}patch_embed.proj.bias", 0))
    width = sizes.agree((cut, 0), *names, published=768)
    patch = sizes.agree((cut, 2), (cut, 3), published=16)
    side = sizes.side(positions, sizes.agree((positions, 1), published=197) - 1)
    inner = ((f"{blocks}0.mlp.fc1.weight", 0), (f"{blocks}0.mlp.fc2.weight", 1), (f"{blocks}1.mlp.fc1.bias", 0))
    settings = {
        "hidden_size": width,
        "num_hidden_layers": sizes.count(blocks, 12),
        "num_attention_heads": sizes.heads(f"{prefix}cls_token", width),
        "intermediate_size": sizes.agree((f"{blocks}0.mlp.fc1.bias", 0), *inner, published=4 * width),
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }
    return settings, side * patch, sizes.agree((cut, 1), published=3)


def bert_sizes(sizes: Sizes, prefix: str) -> dict[str, Any]:
    """Returns the settings of a BERT; the vocabulary is as large as the table of words, whatever the file is called."""
    words, places, kinds = (f"{prefix}embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
    layers = f"{prefix}encoder.layer."
    norms = [(f"{prefix}embeddings.LayerNorm.{name}", 0) for name in ("weight", "bias")]
    width = sizes.agree((words, 1), (places, 1), (kinds, 1), *norms, published=768)
    inner = (
        (f"{layers}0.intermediate.dense.weight", 0),
        (f"{layers}0.output.dense.weight", 1),
        (f"{layers}1.intermediate.dense.bias", 0),
    )
    return {
        "vocab_size": sizes.agree((words, 0), published=30522),
        "hidden_size": width,
        "num_hidden_layers": sizes.count(layers, 12),
        "num_attention_heads": sizes.heads(words, width),
        "intermediate_size": sizes.agree((f"{layers}0.intermediate.dense.bias", 0), *inner, published=4 * width),
        "max_position_embeddings": sizes.agree((places, 0), published=512),
        "type_vocab_size": sizes.agree((kinds, 0), published=2),
    }


def swin_sizes(sizes: Sizes, layers: str, table: str, dim: int, widened: str) -> dict[str, Any]:
    """Returns the settings of a Swin transformer.

    Args:
        sizes: Of the file.
        layers: What stands before a stage's number.
        table: What stands between a block's number and its table of relative positions.
        dim: Features of the first stage.
        widened: What stands between a block's number and the first linear layer of its perceptron.
    """
    stages = sizes.count(layers, 4)
    first = f"{layers}0.blocks."
    tables = [[f"{layers}{stage}.blocks.{block}.{table}" for block in (0, 1)] for stage in range(stages)]
    offsets = sizes.agree(*[(key, 0) for pair in tables for key in pair], published=169)
    inner = [(f"{first}{block}.{widened}.{name}", 0) for block in (0, 1) for name in ("weight", "bias")]
    return {
        "embed_dim": dim,
        "depths": [sizes.count(f"{layers}{stage}.blocks.", 2) for stage in range(stages)],
        "num_heads": [sizes.agree(*[(key, 1) for key in pair], published=3 * 2**stage) for stage, pair in enumerate(tables)],
        "patch_size": 4,
        "window_size": (sizes.side(tables[0][0], offsets) + 1) // 2,
        "mlp_ratio": sizes.agree(*inner, published=4 * dim) / dim,
    }


def resnet_sizes(sizes: Sizes, prefix: str) -> dict[str, Any]:
    """Returns the settings of a residual network in torchvision's names."""
    stages = sizes.count(f"{prefix}layer", 5) - 1
    basic = f"{prefix}layer1.0.bn2.weight" in sizes.shapes and f"{prefix}layer1.0.bn3.weight" not in sizes.shapes
    bottleneck = not basic or f"{prefix}layer1.0.conv3.weight" in sizes.shapes
    last, wide = (3, 4) if bottleneck else (2, 1)

    def width_of(stage: int) -> int:
        block = f"{prefix}layer{stage}.0."
        names = (f"{block}conv{last}.weight", f"{block}bn{last}.weight", f"{block}bn{last}.bias")
        return sizes.agree(*[(name, 0) for name in names], published=64 * wide * 2 ** (stage - 1))

    stem = (f"{prefix}conv1.weight", f"{prefix}bn1.weight", f"{prefix}bn1.bias")
    return {
        "embedding_size": sizes.agree(*[(name, 0) for name in stem], published=64),
        "hidden_sizes": [width_of(stage) for stage in range(1, stages + 1)],
        "depths": [sizes.count(f"{prefix}layer{stage}.", 3) for stage in range(1, stages + 1)],
        "layer_type": "bottleneck" if bottleneck else "basic",
    }


def of_text(rules: list[Rule], theirs: str) -> list[Rule]:
    """Returns the rules of the text tower's network, whose names begin with `theirs` in the file."""
    return under(rules, "text.network.", theirs)


def of_vision(rules: list[Rule], theirs: str) -> list[Rule]:
    """Returns the rules of the vision tower's network, whose names begin with `theirs` in the file."""
    return under(rules, "vision.network.", theirs)
