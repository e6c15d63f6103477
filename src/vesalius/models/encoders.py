"""Encoders of films: each turns images into a map of patch features (case, dim, height, width).

The networks are those of transformers and MONAI, built with random weights; nothing is fetched. What is ours is the
convolutional stem of `vit-conv-small` and the choice of sizes.

Sources:
    ViT: Dosovitskiy et al. 2021, arXiv:2010.11929; sizes of its table 1, tiny and small of Touvron et al. 2021, arXiv:2012.12877.
    Convolutional stem: Xiao et al. 2021, arXiv:2106.14881 (stride-2 3x3 convolutions instead of one 16x16 cut).
    ResNet: He et al. 2016, arXiv:1512.03385. DenseNet-121: Huang et al. 2017, arXiv:1608.06993.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.errors import BundleError
from vesalius.models.config import ClassifierConfig, Encoder

PATCH_PX = 16


class VitEncoder(nn.Module):
    """A vision transformer; positions are interpolated where a film is larger or smaller than in training."""

    def __init__(self, config: ClassifierConfig, *, dim: int, depth: int, heads: int, convolutional: bool = False) -> None:
        super().__init__()
        from transformers import ViTConfig, ViTModel

        if config.size_px % PATCH_PX:
            raise BundleError(
                f"a ViT cuts patches of {PATCH_PX} px, so its size must be a multiple of {PATCH_PX}; got {config.size_px}"
            )
        self.vit = ViTModel(
            ViTConfig(
                hidden_size=dim,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                intermediate_size=4 * dim,
                image_size=config.size_px,
                patch_size=PATCH_PX,
                num_channels=config.channels,
                attn_implementation="sdpa",
            ),
            add_pooling_layer=False,
        )
        if convolutional:
            self.vit.embeddings.patch_embeddings.projection = ConvolutionalStem(config.channels, dim)
        self.dim = dim

    def forward(self, images: Float[Tensor, "case channel height width"]) -> Float[Tensor, "case dim rows columns"]:
        """Returns patch features; the class token has done its work inside and is left out."""
        rows, columns = images.shape[2] // PATCH_PX, images.shape[3] // PATCH_PX
        tokens: Tensor = self.vit(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        return tokens.transpose(1, 2).reshape(images.shape[0], self.dim, rows, columns)


class ConvolutionalStem(nn.Sequential):
    """Four stride-2 convolutions in place of the 16 x 16 cut: far better on few films."""

    def __init__(self, channels: int, dim: int) -> None:
        widths = [channels, dim // 8, dim // 4, dim // 2, dim]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(dim, dim, 1))

    @property
    def weight(self) -> Tensor:
        """The last convolution's weight: transformers asks its projection for the dtype it wants."""
        last = self[-1]
        if not isinstance(last, nn.Conv2d):
            raise TypeError(f"the stem ends in a convolution; this one ends in {type(last).__name__}")
        return last.weight


class ResNetEncoder(nn.Module):
    """A residual network without its classifier.

    Args:
        config: What the classifier is made of.
        fine: The last stage keeps the grid of the one before it, so that patches are half as large.
        sizes: As transformers' ResNetConfig takes them.
    """

    def __init__(self, config: ClassifierConfig, *, fine: bool = False, **sizes: Any) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        resnet = ResNetModel(ResNetConfig(num_channels=config.channels, **sizes))
        self.embedder, self.stages = resnet.embedder, resnet.encoder
        self.dim = int(sizes["hidden_sizes"][-1])
        if fine:
            entry = self.stages.stages[-1].layers[0]
            entry.shortcut.convolution.stride = entry.layer[0].convolution.stride = (1, 1)

    def forward(self, images: Float[Tensor, "case channel height width"]) -> Float[Tensor, "case dim rows columns"]:
        """Returns the last stage's map."""
        features: Tensor = self.stages(self.embedder(images)).last_hidden_state
        return features


class DenseNetEncoder(nn.Module):
    """DenseNet-121, the convolutional baseline of chest films since CheXNet."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        from monai.networks.nets import DenseNet121

        self.features = DenseNet121(spatial_dims=2, in_channels=config.channels, out_channels=1).features
        self.dim = 1024

    def forward(self, images: Float[Tensor, "case channel height width"]) -> Float[Tensor, "case dim rows columns"]:
        """Returns the rectified last map."""
        return torch.relu(self.features(images))


RESNET_SMALL: dict[str, Any] = {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [2, 2, 2], "layer_type": "basic"}

ENCODERS: dict[Encoder, Callable[[ClassifierConfig], nn.Module]] = {
    "vit-tiny-16": lambda config: VitEncoder(config, dim=192, depth=12, heads=3),
    "vit-small-16": lambda config: VitEncoder(config, dim=384, depth=12, heads=6),
    "vit-base-16": lambda config: VitEncoder(config, dim=768, depth=12, heads=12),
    "vit-large-16": lambda config: VitEncoder(config, dim=1024, depth=24, heads=16),
    "vit-conv-small": lambda config: VitEncoder(config, dim=128, depth=4, heads=4, convolutional=True),
    "resnet-small": lambda config: ResNetEncoder(config, **RESNET_SMALL),
    "resnet-small-8": lambda config: ResNetEncoder(config, fine=True, **RESNET_SMALL),
    "resnet-18": lambda config: ResNetEncoder(
        config, embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
    ),
    "resnet-50": lambda config: ResNetEncoder(
        config, embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], depths=[3, 4, 6, 3], layer_type="bottleneck"
    ),
    "densenet-121": DenseNetEncoder,
}
"""What each word of `models.config.Encoder` builds."""


def encoder_dim(encoder: nn.Module) -> int:
    """Returns the number of features of each patch."""
    return int(encoder.dim)  # type: ignore[arg-type]  # nn.Module types every attribute as a tensor or a module
