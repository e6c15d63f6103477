"""Linear layers in the layout that oneDNN likes best: the same answers on a CPU, one and a half to two times sooner.

A general matrix product lays out its weight anew at every call and copies the bias into the result first. A network that
only answers can have its weights laid out once. Nothing else changes; the network can no longer be trained.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_FEATURES = 64
"""Below this a layer is too small to gain."""


class PackedLinear(nn.Module):
    """`nn.Linear` with its weight laid out once, for one dtype on the CPU.

    Checked against: the nn.Linear it came from (tests/unit/models/test_packed.py).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias: Tensor | None = linear.bias
        self._bias = None if bias is None else bias.detach().clone()
        # plain attribute: the packed layout belongs to this machine and must never be saved
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), None)

    def forward(self, inputs: Float[Tensor, "*leading in_features"]) -> Float[Tensor, "*leading out_features"]:
        """Returns inputs @ weight.T + bias."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return result


def can_pack() -> bool:
    """Has this build of torch what it takes?"""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def pack_for_inference(network: nn.Module) -> nn.Module:
    """Replaces the large linear layers of a network that only answers, in place, and returns it.

    Where the build of torch or the device has no packed layout the network comes back as it was: the answers are the same,
    only later.
    Call it after the weights are loaded and the dtype is chosen.
    """
    if not can_pack():
        return network
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Linear) and min(child.in_features, child.out_features) >= SMALLEST_FEATURES:
            if child.weight.device.type == "cpu" and child.weight.dtype in (torch.float32, torch.bfloat16):
                setattr(network, name, PackedLinear(child))
        else:
            pack_for_inference(child)
    return network
