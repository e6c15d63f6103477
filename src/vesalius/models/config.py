"""What a classifier is made of, as plain data: a bundle keeps it, the command line offers it. Light: no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from vesalius.errors import BundleError

Encoder = Literal[
    "vit-tiny-16",
    "vit-small-16",
    "vit-base-16",
    "vit-large-16",
    "vit-conv-small",
    "resnet-small",
    "resnet-small-8",
    "resnet-18",
    "resnet-50",
    "densenet-121",
]
"""ViTs by size and patch; `vit-conv-small` has a convolutional stem; `resnet-small` is for small data and small machines, and
`resnet-small-8` is the same with patches of 8 px, for findings smaller than 16."""

Pooling = Literal["attention", "logsumexp", "mean", "max"]
"""How patch logits become the film's logit: see `vesalius.layers.pooling`."""


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that decides the shape of a classifier's weights.

    Attributes:
        findings: One logit each, in this order.
        encoder: The network between film and patch features.
        size_px: Side of the square it sees.
        channels: 1, or 3 for encoders that were trained on colour.
        pooling: How patch logits become the film's logit.
        dropout: Share of patch features dropped before the head while training, 0 to 1.
    """

    findings: tuple[str, ...]
    encoder: Encoder = "vit-base-16"
    size_px: int = 512
    channels: int = 1
    pooling: Pooling = "logsumexp"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.findings or len(set(self.findings)) != len(self.findings):
            raise BundleError(f"a classifier needs at least one finding, each once; got {list(self.findings)}")
        if self.encoder not in get_args(Encoder):
            raise BundleError(f"unknown encoder {self.encoder!r}; there are: {', '.join(get_args(Encoder))}")
        if self.pooling not in get_args(Pooling):
            raise BundleError(f"unknown pooling {self.pooling!r}; there are: {', '.join(get_args(Pooling))}")
        if self.size_px < 32 or self.channels not in (1, 3):
            raise BundleError(f"size_px must be at least 32 and channels 1 or 3; got {self.size_px} and {self.channels}")
        if not 0.0 <= self.dropout < 1.0:
            raise BundleError(f"dropout is a share in [0, 1); got {self.dropout}")

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict."""
        return {**asdict(self), "findings": list(self.findings)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ClassifierConfig:
        """Reads what `to_json` returned.

        Raises:
            BundleError: A field is unknown, missing or out of range; the bundle or run was made by another version.
        """
        try:
            return cls(**{**value, "findings": tuple(value["findings"])})
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"this classifier's configuration cannot be read ({error}); was it made by another version?"
            ) from error
