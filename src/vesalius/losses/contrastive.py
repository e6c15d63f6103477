"""An image and its own words, told from everyone else's: the symmetric contrast, over all processes, in any amount of memory.

Sources:
    van den Oord et al. 2018, arXiv:1807.03748 (InfoNCE); Radford et al. 2021, arXiv:2103.00020, figure 3 (symmetric form).
    Gao et al. 2021, arXiv:2101.06983 (gradient caching).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Embedded = Float[Tensor, "pair dim"]


def info_nce(images: Embedded, texts: Embedded, scale: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of finding the own text among all texts, and the own image among all images, halved.

    Args:
        images: Unit vectors.
        texts: Unit vectors of the same pairs, in the same order.
        scale: 1 / temperature.

    Source: Radford et al. 2021, figure 3.
    Checked against: the authors' formula in float64 (tests/reference/losses).
    """
    return symmetric_info_nce(images, texts, images, texts, scale, first=0)


def symmetric_info_nce(
    images: Embedded,
    texts: Embedded,
    all_images: Float[Tensor, "all dim"],
    all_texts: Float[Tensor, "all dim"],
    scale: Float[Tensor, ""],
    *,
    first: int,
) -> Float[Tensor, ""]:
    """This process's share of the contrast over all processes: its images among all texts, its texts among all images.

    The mean over the processes, of equal numbers of pairs, is `info_nce` of all pairs.

    Args:
        images: Unit vectors of this process's pairs.
        texts: The same.
        all_images: Every process's, gathered with their gradient (`gather_embeddings`).
        all_texts: The same.
        scale: 1 / temperature.
        first: Number of this process's first pair among all.
    """
    own = torch.arange(first, first + len(images), device=images.device)
    there = cross_entropy(scale * images.float() @ all_texts.float().T, own)
    back = cross_entropy(scale * texts.float() @ all_images.float().T, own)
    return (there + back) / 2


def shared_targets(right: Bool[Tensor, "text image"]) -> tuple[Float[Tensor, "image text"], Float[Tensor, "text image"]]:
    """Returns, for each image, equal shares of 1 on every text that is right for it, and the same for each text.

    Normal films share their sentences by the hundred; told apart, they would teach nothing but noise. Where only the own text is
    right the targets are one-hot, and the contrast is `info_nce`.

    Args:
        right: Does the text hold for the image? At least for its own.

    Source: Yang et al. 2022, arXiv:2204.03610 (UniCL), eq. 2-4, with what a report says as classes.
    """
    of_texts = right.float() / right.sum(dim=1, keepdim=True)
    of_images = right.T.float() / right.sum(dim=0)[:, None]
    return of_images, of_texts


def gather_embeddings(fabric: Fabric, embeddings: Embedded) -> Float[Tensor, "all dim"]:
    """Returns the rows of all processes, in order of their rank; the gradient flows back to the process that each row came from.

    Every process must bring the same number of rows.
    """
    if fabric.world_size == 1:
        return embeddings
    gathered = fabric.all_gather(embeddings, sync_grads=True)
    if not isinstance(gathered, Tensor):
        raise TypeError(f"a tensor was gathered; got {type(gathered).__name__}")
    return gathered.flatten(0, 1)


def cached_contrast(
    embed: Callable[[int], Sequence[Tensor]],
    parts: int,
    loss: Callable[..., Float[Tensor, ""]],
    backward: Callable[[Tensor], None] = Tensor.backward,
    within: Callable[[int], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> Float[Tensor, ""]:
    """Adds the gradient of a contrast over a batch that does not fit into memory at once; returns the loss, detached.

    First every part is embedded without keeping what a gradient needs; then the loss of all of them gives the gradient of each
    embedding; then every part is embedded again, with its random numbers as before, and takes its embeddings' gradient back through
    the network. Memory is that of one part; time is that of one more forward pass.

    Args:
        embed: From the number of a part to rows: unit vectors of its images, of its texts, and whatever else `loss` takes and has a
            gradient (the scale, as a tensor of shape (1,)). Dropout must come from torch's own generators.
        parts: How many there are.
        loss: Of what `embed` returns, each joined over all parts in order. It is computed once, and its gradient is not scaled.
        backward: How a part's gradient is taken (`fabric.backward`).
        within: What stands around the second pass of a part (`no_backward_sync` of all but the last).

    Source: Gao et al. 2021, section 3.2.
    Checked against: the gradient of the whole batch at once, to 1e-5 (tests/unit/losses).
    """
    states: list[tuple[Tensor, list[Tensor]]] = []
    rows: list[Sequence[Tensor]] = []
    with torch.no_grad():
        for part in range(parts):
            states.append(random_state())
            rows.append(embed(part))
    kinds = list(zip(*rows, strict=True))
    whole = [torch.cat(kind).requires_grad_() for kind in kinds]
    total = loss(*whole)
    torch.autograd.backward(total)
    pieces = [torch.split(gradient_of(leaf), [len(piece) for piece in kind]) for leaf, kind in zip(whole, kinds, strict=True)]
    after = random_state()
    for part, gradients in enumerate(zip(*pieces, strict=True)):
        restore(states[part])
        with within(part):
            again = embed(part)
            backward(torch.stack([(row * slope).sum() for row, slope in zip(again, gradients, strict=True)]).sum())
    restore(after)
    return total.detach()


def gradient_of(leaf: Tensor) -> Tensor:
    """The gradient of a leaf; zeros where the loss did not use it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def random_state() -> tuple[Tensor, list[Tensor]]:
    """The state of torch's generators, of the CPU and of every GPU."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def restore(state: tuple[Tensor, Sequence[Tensor]]) -> None:
    """Sets torch's generators back."""
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(list(state[1]))
