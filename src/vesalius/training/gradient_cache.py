"""The gradient of a contrast over more pairs than memory holds, over any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.losses.contrastive import cached_contrast

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PairLoss = Callable[[Float[Tensor, "image dim"], Float[Tensor, "text dim"], Float[Tensor, ""]], Float[Tensor, ""]]


class Pairs(Protocol):
    """Films and texts of one part of a step, in one process."""

    @property
    def tokens(self) -> Int[Tensor, "text token"]:
        """Ids of the texts."""

    @property
    def mask(self) -> Int[Tensor, "text token"]:
        """1 for a token, 0 for padding."""

    def images(self) -> Float[Tensor, "image channel height width"]:
        """The films as the network takes them; made when they are asked for, the same each time."""


def contrast_gradient(fabric: Fabric, module: nn.Module, parts: Sequence[Pairs], loss: PairLoss) -> Float[Tensor, ""]:
    """Adds the gradient of one step's contrast to the parameters; returns this process's share of the loss, detached.

    One part goes through the network once. Several go through twice (`cached_contrast`): no more than one of them is in memory at
    any time, films included. Running statistics of batch norms move once a part, as they would without the first pass.

    Args:
        fabric: Of this process.
        module: What `fabric.setup` returned for an `ImageTextModel`.
        parts: This process's share of the step.
        loss: Of all unit vectors of this process's images and texts, and the scale.

    Source: Gao et al. 2021, arXiv:2101.06983.
    Checked against: the gradient without parts, and of one process (tests/unit/training, tests/flow).
    """

    def embed(part: int) -> tuple[Tensor, Tensor, Tensor]:
        output = module(parts[part].images(), parts[part].tokens, parts[part].mask)
        return output.images, output.texts, output.scale[None]

    def embed_unmoved(part: int) -> tuple[Tensor, Tensor, Tensor]:
        if torch.is_grad_enabled():
            return embed(part)
        with unmoved_buffers(module):
            return embed(part)

    if len(parts) == 1:
        images, texts, scale = embed(0)
        whole = loss(images, texts, scale.mean())
        fabric.backward(whole)
        return whole.detach()
    return cached_contrast(
        embed_unmoved,
        len(parts),
        lambda images, texts, scales: loss(images, texts, scales.mean()),
        fabric.backward,
        lambda part: fabric.no_backward_sync(module, enabled=part < len(parts) - 1),
    )


@contextmanager
def unmoved_buffers(module: nn.Module) -> Iterator[None]:
    """Puts buffers (running means, counters) back to what they were."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    yield
    with torch.no_grad():
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
