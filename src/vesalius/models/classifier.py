"""A film classifier whose heat map is its own evidence: encoder -> patch logits -> pooling -> the film's logits.

Patch logits pooled to the film's logit, with finding masks as an auxiliary target where there are any, were worth more on a
second site than anything else tried on simulated films; and the map needs no explaining method: the logit is made of it.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from vesalius.layers.pooling import PatchPooling
from vesalius.models.config import ClassifierConfig
from vesalius.models.encoders import ENCODERS, encoder_dim


class ClassifierOutput(NamedTuple):
    """What a classifier says of some films."""

    logits: Float[Tensor, "case finding"]
    """one a finding, uncalibrated"""
    features: Float[Tensor, "case dim"]
    """mean patch features, for out-of-distribution scores and probes"""
    patch_logits: Float[Tensor, "case finding height width"]
    """the evidence: what was pooled to `logits`"""


class Classifier(nn.Module):
    """Any encoder under one head.

    Attributes:
        config: What it is made of.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ENCODERS[config.encoder](config)
        dim = encoder_dim(self.encoder)
        findings = len(config.findings)
        self.dropout = nn.Dropout2d(config.dropout)
        self.evidence = nn.Conv2d(dim, findings, kernel_size=1)
        self.attention = nn.Conv2d(dim, findings, kernel_size=1) if config.pooling == "attention" else None
        self.pooling = PatchPooling(config.pooling, findings)

    def forward(self, images: Float[Tensor, "case channel height width"]) -> ClassifierOutput:
        """Returns logits, features and the patch logits behind them, all in float32.

        Args:
            images: As `Preprocessing.apply` makes them; height and width at least 32, for a ViT multiples of 16.
        """
        feature_map = self.encoder(images)
        kept = self.dropout(feature_map)
        patch_logits = self.evidence(kept).float()
        attention = None if self.attention is None else self.attention(kept).flatten(2)
        logits = self.pooling(patch_logits.flatten(2), attention)
        return ClassifierOutput(logits, feature_map.float().mean(dim=(2, 3)), patch_logits)


def build_classifier(config: ClassifierConfig) -> Classifier:
    """Returns a classifier with random weights; set torch's seed first if they must be the same twice."""
    return Classifier(config)
