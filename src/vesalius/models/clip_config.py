"""What a model of images and words is made of, as plain data: a bundle keeps it, the command line offers it. Light: no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from vesalius.errors import BundleError

VisionKind = Literal["clip-vit", "vit", "swin", "ctranspath", "resnet", "film"]
"""`clip-vit` is CLIP's (norm before the blocks, class token); `vit` the plain one, class token or mean; `ctranspath` a Swin with a
convolutional stem; `film` one of `models.config.Encoder`, the mean of its patch features."""

TextKind = Literal["clip-text", "bert", "gpt"]

TextPooling = Literal["end", "first", "mean", "mean-layers-1-2-last"]
"""Which token speaks for the sentence: the end-of-text token, the first, the mean of the unpadded ones, or the mean over layers 1,
2 and the last of the means over all tokens, padding included (as MedCLIP's authors trained it)."""

Projection = Literal["none", "linear", "linear-bias", "mlp", "mlp-bias-norm", "conv-mlp"]
"""From a tower's features to the shared space: `mlp` is linear, GELU, linear without bias; `mlp-bias-norm` linear, GELU, LayerNorm,
linear with bias; `conv-mlp` 1 x 1 convolution, BatchNorm, ReLU, 1 x 1 convolution on every patch, then the mean."""

VisionEncoder = Literal[
    "clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "swin-tiny", "resnet-50", "resnet-small", "vit-conv-small", "vit-tiny"
]
TextEncoder = Literal["clip-text", "bert-base", "bert-small", "bert-tiny", "gpt-small", "gpt-tiny"]


@dataclass(frozen=True)
class VisionTower:
    """The encoder of images.

    Attributes:
        kind: Which network.
        size_px: Side of the square it sees.
        channels: 1 or 3.
        settings: Its sizes, in the words of transformers' configuration of that network; `encoder` for `film`.
        projection: Into the shared space.
        hidden_dim: Width inside an `mlp` projection; 0 takes the features' own.
        pooling: `class` token, or `mean` of the patches, where the network offers both.
    """

    kind: VisionKind
    size_px: int
    channels: int = 3
    settings: dict[str, Any] = field(default_factory=dict)
    projection: Projection = "linear"
    hidden_dim: int = 0
    pooling: Literal["class", "mean"] = "class"


@dataclass(frozen=True)
class TextTower:
    """The encoder of words.

    Attributes:
        kind: Which network.
        context_length: Tokens at most.
        settings: Its sizes, in the words of transformers' configuration of that network.
        pooling: Which token speaks for the sentence.
        projection: Into the shared space.
        hidden_dim: Width inside an `mlp` projection; 0 takes the features' own.
    """

    kind: TextKind
    context_length: int
    settings: dict[str, Any] = field(default_factory=dict)
    pooling: TextPooling = "end"
    projection: Projection = "linear"
    hidden_dim: int = 0


@dataclass(frozen=True)
class ImageTextConfig:
    """Everything that decides the shape of the weights of an image-text model.

    Attributes:
        vision: The encoder of images.
        text: The encoder of words.
        embedding_dim: Size of the shared space.
    """

    vision: VisionTower
    text: TextTower
    embedding_dim: int = 512

    def __post_init__(self) -> None:
        checks = (
            (self.vision.kind, VisionKind),
            (self.text.kind, TextKind),
            (self.text.pooling, TextPooling),
            (self.vision.projection, Projection),
            (self.text.projection, Projection),
        )
        for word, words in checks:
            if word not in get_args(words):
                raise BundleError(f"unknown {word!r} in an image-text model; there are: {', '.join(get_args(words))}")
        if min(self.vision.size_px, self.text.context_length, self.embedding_dim) < 1 or self.vision.channels not in (1, 3):
            raise BundleError(f"sizes must be at least 1 and channels 1 or 3; got {self}")

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ImageTextConfig:
        """Reads what `to_json` returned.

        Raises:
            BundleError: A field is unknown, missing or out of range; the bundle or run was made by another version.
        """
        try:
            return cls(VisionTower(**value["vision"]), TextTower(**value["text"]), value["embedding_dim"])
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"this image-text model's configuration cannot be read ({error}); was it made by another version?"
            ) from error


def build_config(
    vision: VisionEncoder,
    text: TextEncoder,
    *,
    size_px: int = 224,
    vocabulary: int = 49408,
    context_length: int = 77,
    embedding_dim: int = 512,
) -> ImageTextConfig:
    """Returns the configuration of two encoders by name.

    Args:
        vision: The encoder of images.
        text: The encoder of words.
        size_px: Side of the square that the vision encoder sees.
        vocabulary: Number of tokens that the tokenizer knows.
        context_length: Tokens at most.
        embedding_dim: Size of the shared space.
    """
    kind, settings = _VISION[vision]
    channels = 1 if kind == "film" else 3
    seen = VisionTower(kind, size_px, channels, dict(settings), pooling="mean" if kind in {"film", "resnet", "swin"} else "class")
    word_kind, word_settings, pooling = _TEXT[text]
    words = TextTower(word_kind, context_length, {**word_settings, "vocab_size": vocabulary}, pooling)
    return ImageTextConfig(seen, words, embedding_dim)


def _sizes(dim: int, depth: int, heads: int, **more: Any) -> dict[str, Any]:
    layers = {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": 4 * dim}
    return {**layers, **more}


_QUICK = {"hidden_act": "quick_gelu"}
_VISION: dict[VisionEncoder, tuple[VisionKind, dict[str, Any]]] = {
    "clip-vit-b-32": ("clip-vit", _sizes(768, 12, 12, patch_size=32, **_QUICK)),
    "clip-vit-b-16": ("clip-vit", _sizes(768, 12, 12, patch_size=16, **_QUICK)),
    "clip-vit-l-14": ("clip-vit", _sizes(1024, 24, 16, patch_size=14, **_QUICK)),
    "swin-tiny": (
        "swin",
        {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "patch_size": 4, "window_size": 7},
    ),
    "resnet-50": (
        "resnet",
        {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
    ),
    "resnet-small": ("film", {"encoder": "resnet-small"}),
    "vit-conv-small": ("film", {"encoder": "vit-conv-small"}),
    "vit-tiny": ("vit", _sizes(64, 2, 2, patch_size=16)),
}
_TEXT: dict[TextEncoder, tuple[TextKind, dict[str, Any], TextPooling]] = {
    "clip-text": ("clip-text", _sizes(512, 12, 8, **_QUICK), "end"),
    "bert-base": ("bert", _sizes(768, 12, 12), "first"),
    "bert-small": ("bert", _sizes(256, 4, 4), "first"),
    "bert-tiny": ("bert", _sizes(64, 2, 2), "first"),
    "gpt-small": ("gpt", {"n_embd": 256, "n_layer": 4, "n_head": 4}, "end"),
    "gpt-tiny": ("gpt", {"n_embd": 64, "n_layer": 2, "n_head": 2}, "end"),
}
