"""Two towers that meet: images and words as unit vectors of one space.

Every image-text model of this package is this class: the families differ in their encoders, in which token speaks for the sentence,
and in how features are projected. The networks are those of transformers, built with random weights; nothing is fetched.

Sources:
    Radford et al. 2021, arXiv:2103.00020 (CLIP). Zhang et al. 2020, arXiv:2010.00747 (ConVIRT).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vesalius.models.clip_config import ImageTextConfig, Projection, TextTower, VisionTower

LARGEST_SCALE = 100.0
"""CLIP's clamp of the learned 1 / temperature: ln(100) = 4.6052."""


class ImageTextOutput(NamedTuple):
    """What the model says of some images and some sentences.

    Rows are L2-normalised; `scale` is the learned 1 / temperature, at most 100.
    """

    images: Float[Tensor, "case dim"]
    texts: Float[Tensor, "sentence dim"]
    scale: Float[Tensor, ""]


class ImageFeatures(NamedTuple):
    """What the vision tower says of some images, before the shared space."""

    pooled: Float[Tensor, "case width"]
    patches: Float[Tensor, "case width rows columns"]


class ImageTextModel(nn.Module):
    """An encoder of images and an encoder of words under two projections.

    Attributes:
        config: What it is made of.
        log_scale: Logarithm of 1 / temperature, learned; starts at ln(1 / 0.07).

    Source: Radford et al. 2021, section 2.3 and figure 3.
    Checked against: the authors' architectures with the same weights (tests/reference).
    """

    def __init__(self, config: ImageTextConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VISION_ENCODERS[config.vision.kind](config.vision)
        self.text = TEXT_ENCODERS[config.text.kind](config.text)
        dims = (config.embedding_dim, config.vision.hidden_dim)
        self.vision_projection = build_projection(config.vision.projection, int(self.vision.dim), *dims)
        dims = (config.embedding_dim, config.text.hidden_dim)
        self.text_projection = build_projection(config.text.projection, int(self.text.dim), *dims)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """1 / temperature, at most 100."""
        return self.log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()

    def image_features(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns the vision tower's features before projection, in float32."""
        features: ImageFeatures = self.vision(images)
        return ImageFeatures(features.pooled.float(), features.patches.float())

    def project_images(self, features: Float[Tensor, "case width"]) -> Float[Tensor, "case dim"]:
        """Returns unit vectors of pooled features, or of any patch's."""
        return normalize(self.vision_projection(features).float(), dim=-1)

    def embed_images(self, images: Float[Tensor, "case channel height width"]) -> Float[Tensor, "case dim"]:
        """Returns one unit vector an image."""
        features = self.vision(images)
        if self.config.vision.projection == "conv-mlp":
            return normalize(self.project_patches(features.patches).mean(dim=(2, 3)).float(), dim=-1)
        return self.project_images(features.pooled)

    def project_patches(self, patches: Float[Tensor, "case width rows columns"]) -> Float[Tensor, "case dim rows columns"]:
        """Returns patch features in the shared space, not normalised: their cosine with a sentence is its heat map."""
        projected: Tensor = self.vision_projection(patches.movedim(1, -1))
        return projected.movedim(-1, 1)

    def embed_texts(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence dim"]:
        """Returns one unit vector a sentence.

        Args:
            tokens: Ids of the model's own tokenizer, padded on the right; or token embeddings as `embed_tokens` gives them, real or
                learned, without positions.
            mask: 1 for a token, 0 for padding.
        """
        return normalize(self.text_projection(self.text(tokens, mask)).float(), dim=-1)

    def embed_tokens(self, tokens: Int[Tensor, "sentence token"]) -> Float[Tensor, "sentence token width"]:
        """Returns the rows of the token embedding: what `embed_texts` takes in place of ids."""
        embeddings: Tensor = self.text.embed_tokens(tokens)
        return embeddings

    def forward(
        self,
        images: Float[Tensor, "case channel height width"],
        tokens: Int[Tensor, "sentence token"],
        mask: Int[Tensor, "sentence token"],
    ) -> ImageTextOutput:
        """Returns the unit vectors of both and the scale of their dot products."""
        return ImageTextOutput(self.embed_images(images), self.embed_texts(tokens, mask), self.scale)


class ConvMlp(nn.Module):
    """1 x 1 convolution, BatchNorm, ReLU, 1 x 1 convolution, on features in the last axis; works on pooled rows and on maps.

    Source: Boecking 2022, arXiv:2204.09817 (BioViL's projector).
    """

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, dim)

    def forward(self, features: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes dim"]:
        """Returns the projected features; BatchNorm's axes are all but the last."""
        hidden = self.first(features)
        flat = self.norm(hidden.reshape(-1, hidden.shape[-1])).reshape(hidden.shape)
        projected: Tensor = self.second(torch.relu(flat))
        return projected


def build_projection(kind: Projection, width: int, dim: int, hidden: int) -> nn.Module:
    """Returns the map from a tower's features to the shared space; see `clip_config.Projection`."""
    inner = hidden or width
    if kind == "none":
        return nn.Identity()
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False))
    if kind == "mlp-bias-norm":
        return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.LayerNorm(inner, eps=1e-12), nn.Linear(inner, dim))
    if kind == "conv-mlp":
        return ConvMlp(width, inner, dim)
    return nn.Linear(width, dim, bias=kind == "linear-bias")


class ClipVision(nn.Module):
    """CLIP's vision transformer; patch features pass the same last norm as the class token."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModel

        settings = {"image_size": tower.size_px, "num_channels": tower.channels, **tower.settings}
        self.network = CLIPVisionModel(CLIPVisionConfig(**settings, attn_implementation="sdpa"))
        self.dim = int(tower.settings["hidden_size"])
        self.patch_px = int(tower.settings["patch_size"])

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns the class token and the patches; positions are interpolated to other sizes of image."""
        answer = self.network(pixel_values=images, interpolate_pos_encoding=images.shape[-1] != self._side)
        patches = self.network.post_layernorm(answer.last_hidden_state[:, 1:])
        return ImageFeatures(answer.pooler_output, _as_map(patches, images.shape[2] // self.patch_px))

    @property
    def _side(self) -> int:
        return int(self.network.config.image_size)


class Vit(nn.Module):
    """A plain vision transformer; pooled is the class token or the mean of the patches."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        from transformers import ViTConfig, ViTModel

        settings = {"image_size": tower.size_px, "num_channels": tower.channels, **tower.settings}
        self.network = ViTModel(ViTConfig(**settings, attn_implementation="sdpa"), add_pooling_layer=False)
        self.dim, self.pooling = int(tower.settings["hidden_size"]), tower.pooling
        self.patch_px = int(tower.settings["patch_size"])

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns pooled and patch features."""
        tokens = self.network(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        pooled = tokens[:, 0] if self.pooling == "class" else tokens[:, 1:].mean(dim=1)
        return ImageFeatures(pooled, _as_map(tokens[:, 1:], images.shape[2] // self.patch_px))


class Swin(nn.Module):
    """A Swin transformer, with CTransPath's convolutional stem where asked for; pooled is the mean of the patches.

    Source: Liu et al. 2021, arXiv:2103.14030; the stem: Wang et al. 2022 (CTransPath).
    """

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        from transformers import SwinConfig, SwinModel

        settings = {"image_size": tower.size_px, "num_channels": tower.channels, **tower.settings}
        self.network = SwinModel(SwinConfig(**settings), add_pooling_layer=False)
        if tower.kind == "ctranspath":
            self.network.embeddings.patch_embeddings.projection = ConvStem(tower.channels, int(tower.settings["embed_dim"]))
        self.dim = int(tower.settings["embed_dim"]) * 2 ** (len(tower.settings["depths"]) - 1)

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns the mean of the patches and the patches."""
        tokens = self.network(pixel_values=images).last_hidden_state
        return ImageFeatures(tokens.mean(dim=1), _as_map(tokens, math.isqrt(tokens.shape[1])))


class ConvStem(nn.Sequential):
    """Two stride-2 3 x 3 convolutions (BatchNorm, ReLU) and a 1 x 1 one in place of Swin's 4 x 4 cut."""

    def __init__(self, channels: int, dim: int) -> None:
        widths = (channels, dim // 8, dim // 4)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(dim // 4, dim, 1))


class ResNet(nn.Module):
    """A residual network; pooled is the mean of the last map."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        self.network = ResNetModel(ResNetConfig(num_channels=tower.channels, **tower.settings))
        self.dim = int(tower.settings["hidden_sizes"][-1])

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns the mean of the last map and the map."""
        features = self.network.encoder(self.network.embedder(images)).last_hidden_state
        return ImageFeatures(features.mean(dim=(2, 3)), features)


class Film(nn.Module):
    """An encoder of `models.encoders`, as the classifier uses it; pooled is the mean of the patch features."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        from vesalius.models.config import ClassifierConfig
        from vesalius.models.encoders import ENCODERS, encoder_dim

        encoder = tower.settings["encoder"]
        config = ClassifierConfig(("any",), encoder=encoder, size_px=tower.size_px, channels=tower.channels)
        self.network = ENCODERS[encoder](config)
        self.dim = encoder_dim(self.network)

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ImageFeatures:
        """Returns the mean of the patch features and the patches."""
        features = self.network(images)
        return ImageFeatures(features.mean(dim=(2, 3)), features)


class ClipText(nn.Module):
    """CLIP's causal text transformer; the end-of-text token, the greatest id, speaks."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        settings = {"max_position_embeddings": tower.context_length, **tower.settings}
        last = int(settings["vocab_size"]) - 1
        ends = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": 0}
        self.network = CLIPTextModel(CLIPTextConfig(**{**ends, **settings}, attn_implementation="sdpa"))
        self.dim, self.pooling = int(tower.settings["hidden_size"]), tower.pooling

    def embed_tokens(self, tokens: Int[Tensor, "sentence token"]) -> Float[Tensor, "sentence token width"]:
        """Returns the rows of the token embedding."""
        rows: Tensor = self.network.embeddings.token_embedding(tokens)
        return rows

    def hidden(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence token width"]:
        """Returns every token's state; a causal model does not see what is padded behind the end, so `mask` is not asked."""
        network = self.network  # transformers' own forward takes no embeddings; these are its steps
        states = network.embeddings(inputs_embeds=_embedded(self, tokens))
        encoded = network.encoder(inputs_embeds=states, attention_mask=None, is_causal=True).last_hidden_state
        hidden: Tensor = network.final_layer_norm(encoded)
        return hidden

    def forward(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence width"]:
        """Returns one row a sentence."""
        return _pool(self.hidden(tokens, mask), mask, "end")


class Bert(nn.Module):
    """A BERT: PubMedBERT, Bio_ClinicalBERT, CXR-BERT are its weights."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        settings = {"max_position_embeddings": max(512, tower.context_length), **tower.settings}
        self.network = BertModel(BertConfig(**settings, attn_implementation="sdpa"), add_pooling_layer=False)
        self.dim, self.pooling = int(tower.settings["hidden_size"]), tower.pooling

    def embed_tokens(self, tokens: Int[Tensor, "sentence token"]) -> Float[Tensor, "sentence token width"]:
        """Returns the rows of the token embedding."""
        rows: Tensor = self.network.embeddings.word_embeddings(tokens)
        return rows

    def forward(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence width"]:
        """Returns one row a sentence, pooled as the tower says."""
        layered = self.pooling == "mean-layers-1-2-last"
        answer = self.network(inputs_embeds=_embedded(self, tokens), attention_mask=mask, output_hidden_states=layered)
        if layered:
            states = [answer.hidden_states[index] for index in (1, 2, -1)]
            return torch.stack(states).mean(dim=0).mean(dim=1)
        return _pool(answer.last_hidden_state, mask, self.pooling)


class Gpt(nn.Module):
    """A causal language model in the manner of GPT-2; the end-of-text token speaks.

    Source: Lu et al. 2023, arXiv:2306.07831 (MI-Zero's text encoder is pre-trained so).
    """

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model

        ends = {"bos_token_id": 0, "eos_token_id": 0}
        settings = {"n_positions": tower.context_length, **ends, **tower.settings}
        self.network = GPT2Model(GPT2Config(**settings, attn_implementation="sdpa"))
        self.dim, self.pooling = int(tower.settings["n_embd"]), tower.pooling

    def embed_tokens(self, tokens: Int[Tensor, "sentence token"]) -> Float[Tensor, "sentence token width"]:
        """Returns the rows of the token embedding."""
        rows: Tensor = self.network.wte(tokens)
        return rows

    def hidden(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence token width"]:
        """Returns every token's state: what language pre-training predicts the next token from."""
        states: Tensor = self.network(inputs_embeds=_embedded(self, tokens), attention_mask=mask).last_hidden_state
        return states

    def forward(
        self, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"]
    ) -> Float[Tensor, "sentence width"]:
        """Returns one row a sentence."""
        return _pool(self.hidden(tokens, mask), mask, self.pooling)


VISION_ENCODERS: dict[str, Any] = {
    "clip-vit": ClipVision,
    "vit": Vit,
    "swin": Swin,
    "ctranspath": Swin,
    "resnet": ResNet,
    "film": Film,
}
TEXT_ENCODERS: dict[str, Any] = {"clip-text": ClipText, "bert": Bert, "gpt": Gpt}


def _embedded(
    encoder: ClipText | Bert | Gpt, tokens: Int[Tensor, "sentence token"] | Float[Tensor, "sentence token width"]
) -> Float[Tensor, "sentence token width"]:
    """Returns the embeddings of ids; what are embeddings already stay as they are."""
    return tokens if tokens.is_floating_point() else encoder.embed_tokens(tokens)


def _as_map(tokens: Float[Tensor, "case token width"], rows: int) -> Float[Tensor, "case width rows columns"]:
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], rows, -1)


def _pool(
    hidden: Float[Tensor, "sentence token width"], mask: Int[Tensor, "sentence token"], pooling: str
) -> Float[Tensor, "sentence width"]:
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "end":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
    weights = mask.to(hidden.dtype)[:, :, None]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
