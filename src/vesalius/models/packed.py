"""Weights in the layout that oneDNN likes best: the same answers on a CPU, up to twice as soon.

A general matrix product lays out its weight anew at every call and copies the bias into the result first. A network that
only answers can have its weights laid out once, and what follows a product (GELU, the sum with what came in) done while the
result is still in the cache. Convolutions want channels last. Nothing else changes; the network can no longer be trained.

What each part is worth: docs/models.md, "On a CPU". Measured by benchmarks/network.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vesalius.models.clip import ClipVision, Vit
from vesalius.models.encoders import VitEncoder

Activation = Literal["none", "gelu", "swish"]
"""What oneDNN can do to a product while it is still in the cache; swish is x * sigmoid(x)."""

QUICK_GELU = 1.702
"""CLIP's GELU is x * sigmoid(1.702 x), which is swish(1.702 x) / 1.702: the weights on either side carry the factor."""

SMALLEST_FEATURES = 64
"""Below this a layer is too small to gain."""


class PackedLinear(nn.Module):
    """`nn.Linear` with its weight laid out once, for one dtype on the CPU; several become one, their results side by side.

    Args:
        linears: Layers of the same input.
        activation: Of the result.
        factor: What weights are multiplied by before they are laid out.
        bias_factor: What biases are multiplied by.

    Checked against: the nn.Linear it came from (tests/unit/models/test_packed.py).
    """

    def __init__(self, *linears: nn.Linear, activation: Activation = "none", factor: float = 1.0, bias_factor: float = 1.0) -> None:
        super().__init__()
        self.in_features = linears[0].in_features
        self.out_features = sum(linear.out_features for linear in linears)
        self.activation = activation
        weight = torch.cat([linear.weight.detach() for linear in linears]).contiguous() * factor
        # plain attributes: the packed layout belongs to this machine and must never be saved
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        biases: list[Tensor | None] = [linear.bias for linear in linears]
        shifts = [weight.new_zeros(x.out_features) if b is None else b.detach() for x, b in zip(linears, biases, strict=True)]
        self._bias = None if all(bias is None for bias in biases) else torch.cat(shifts) * bias_factor

    def forward(
        self, inputs: Float[Tensor, "*leading in_features"], added: Float[Tensor, "*leading out_features"] | None = None
    ) -> Float[Tensor, "*leading out_features"]:
        """Returns activation(inputs @ weight.T + bias), or without activation inputs @ weight.T + bias + added."""
        packed = torch.ops.mkldnn._linear_pointwise
        result: Tensor = (
            packed(inputs, self._weight, self._bias, self.activation, [], "none" if self.activation == "gelu" else "")
            if added is None
            else packed.binary(inputs, added, self._weight, self._bias, "add")
        )
        return result


class PackedLayer(nn.Module):
    """One layer of a transformer in four products: query, key and value are one, GELU and both sums are part of theirs."""

    heads: int
    scaling: float
    norm_before: nn.LayerNorm
    norm_after: nn.LayerNorm
    query_key_value: PackedLinear
    output: PackedLinear
    widen: PackedLinear
    narrow: PackedLinear

    def forward(self, tokens: Float[Tensor, "case token dim"], *_: object, **__: object) -> Float[Tensor, "case token dim"]:
        """Returns the tokens after attention and perceptron; transformers also passes a mask, which for films is always None."""
        cases, count, dim = tokens.shape
        mixed = self.query_key_value(self.norm_before(tokens)).view(cases, count, 3, self.heads, dim // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value, scale=self.scaling).transpose(1, 2).reshape(cases, count, dim)
        tokens = self.output(seen, added=tokens)
        packed: Tensor = self.narrow(self.widen(self.norm_after(tokens)), added=tokens)
        return packed


class PackedVitLayer(PackedLayer):
    """A layer of transformers' ViT.

    Checked against: the layer it came from (tests/unit/models/test_packed.py).
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.attention, layer.mlp
        self.heads, self.scaling = int(attention.num_attention_heads), float(attention.scaling)
        self.norm_before, self.norm_after = layer.layernorm_before, layer.layernorm_after
        self.query_key_value = PackedLinear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = PackedLinear(attention.o_proj)
        self.widen, self.narrow = PackedLinear(mlp.fc1, activation="gelu"), PackedLinear(mlp.fc2)


class PackedClipLayer(PackedLayer):
    """A layer of transformers' CLIP vision tower, with either GELU.

    Checked against: the layer it came from (tests/unit/models/test_packed.py).
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads, self.scaling = int(attention.num_heads), float(attention.scale)
        self.norm_before, self.norm_after = layer.layer_norm1, layer.layer_norm2
        self.query_key_value = PackedLinear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = PackedLinear(attention.out_proj)
        if mlp.config.hidden_act == "quick_gelu":
            self.widen = PackedLinear(mlp.fc1, activation="swish", factor=QUICK_GELU, bias_factor=QUICK_GELU)
            self.narrow = PackedLinear(mlp.fc2, factor=1 / QUICK_GELU)
        else:
            self.widen, self.narrow = PackedLinear(mlp.fc1, activation="gelu"), PackedLinear(mlp.fc2)


def can_pack() -> bool:
    """Has this build of torch what it takes?"""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def pack_for_inference(network: nn.Module) -> nn.Module:
    """Lays out the weights of a network that only answers, in place, and returns it: linear layers packed, channels last.

    Where the build of torch or the device has no packed layout the linear layers stay as they were: the answers are the same,
    only later.
    Call it after the weights are loaded and the dtype is chosen; save weights before it.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are 1.2 to 2 x faster so
    if can_pack():
        _pack(network)
    return network


def _pack(network: nn.Module) -> None:
    owner, name, packed = _stack_of(network)
    if owner is not None:
        layers = getattr(owner, name)
        if all(_worth_packing(module) for module in layers.modules() if isinstance(module, nn.Linear)):
            setattr(owner, name, nn.ModuleList(packed(layer) for layer in layers))
        return
    for child_name, child in list(network.named_children()):
        if not isinstance(child, nn.Linear):
            _pack(child)
        elif _worth_packing(child):
            setattr(network, child_name, PackedLinear(child))


def _stack_of(network: nn.Module) -> tuple[Any, str, Callable[[Any], PackedLayer]]:
    """Returns where a network keeps its transformer's layers and what they become; None where it has no such layers."""
    if isinstance(network, VitEncoder):
        return network.vit, "layers", PackedVitLayer
    if isinstance(network, Vit) and network.network.config.hidden_act == "gelu":
        return network.network, "layers", PackedVitLayer
    if isinstance(network, ClipVision) and network.network.config.hidden_act in {"gelu", "quick_gelu"}:
        return network.network.encoder, "layers", PackedClipLayer
    return None, "", PackedVitLayer


def _worth_packing(linear: nn.Linear) -> bool:
    on_cpu = linear.weight.device.type == "cpu" and linear.weight.dtype in (torch.float32, torch.bfloat16)
    return on_cpu and min(linear.in_features, linear.out_features) >= SMALLEST_FEATURES
