"""Every tensor has its place or is named; nothing is loaded in part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vesalius.errors import CheckpointMismatch
from vesalius.models.checkpoints.strict import Rule, Sizes, Source, load_strictly, name_shapes, name_sources, split_three, under

IGNORABLE = ("position_ids", "layers.*.mask")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.out = nn.Linear(4, 3, bias=False)
        self.point = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.zeros(()))


RULES = [
    *split_three([rf"{name}\.(weight|bias)" for name in "qkv"], r"attn.qkv_\1"),
    Rule(r"out\.weight", "proj", "transposed"),
    Rule(r"point\.weight", "conv.weight", "pointwise"),
    Rule(r"point\.bias", "conv.bias"),
]


def mapping_of(model: nn.Module) -> dict[str, Source]:
    return name_sources(name_shapes(model), RULES, {"scale": 2.0})


def theirs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "attn.qkv_weight": torch.randn(12, 4),
        "attn.qkv_bias": torch.randn(12),
        "proj": torch.randn(4, 3),
        "conv.weight": torch.randn(2, 3, 1, 1),
        "conv.bias": torch.randn(2),
    }


def test_every_layout_arrives_as_the_authors_would_compute_it() -> None:
    model, state, inputs = Small(), theirs(), torch.randn(5, 4)
    load_strictly(model, state, mapping_of(model))
    mixed = inputs @ state["attn.qkv_weight"].T + state["attn.qkv_bias"]
    ours = torch.cat([model.q(inputs), model.k(inputs), model.v(inputs)], dim=1)
    torch.testing.assert_close(ours, mixed)
    hidden = inputs @ state["proj"]
    torch.testing.assert_close(model.out(inputs), hidden)
    convolved = nn.functional.conv2d(hidden[:, :, None, None], state["conv.weight"], state["conv.bias"])[:, :, 0, 0]
    torch.testing.assert_close(model.point(hidden), convolved)
    assert model.scale.item() == 2.0


def test_left_out_tensors_are_those_of_the_list_and_are_reported() -> None:
    model = Small()
    state = {**theirs(), "position_ids": torch.arange(3), "layers.7.mask": torch.zeros(2)}
    assert load_strictly(model, state, mapping_of(model), IGNORABLE) == ("position_ids", "layers.7.mask")
    with pytest.raises(CheckpointMismatch) as caught:
        load_strictly(model, state, mapping_of(model))
    assert caught.value.unexpected == ("position_ids", "layers.7.mask")


def test_every_fault_is_named_at_once_and_nothing_is_loaded() -> None:
    model, state = Small(), theirs()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    del state["attn.qkv_bias"], state["conv.bias"]
    state |= {"proj": torch.randn(4, 5), "extra": torch.ones(1), "layers.mask": torch.ones(1)}
    with pytest.raises(CheckpointMismatch) as caught:
        load_strictly(model, state, mapping_of(model), IGNORABLE)
    error = caught.value
    assert error.missing == ("attn.qkv_bias", "conv.bias")
    assert error.unexpected == ("extra", "layers.mask")
    assert error.reshaped == ("proj",)
    for word in ("attn.qkv_bias", "conv.bias", "extra", "layers.mask", "proj is 4 x 5, expected 4 x 3"):
        assert word in str(error)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_half_precision_becomes_single_and_memory_is_not_shared() -> None:
    model, state = Small(), {name: value.half() for name, value in theirs().items()}
    load_strictly(model, state, mapping_of(model))
    assert model.q.weight.dtype == torch.float32
    torch.testing.assert_close(model.q.weight.data, state["attn.qkv_weight"][:4].float())
    held = theirs()
    taken = Source("conv.bias").take(held["conv.bias"])
    taken += 1
    assert torch.equal(held["conv.bias"], theirs()["conv.bias"])


def test_the_same_letters_inside_a_name_are_not_a_prefix() -> None:
    rule = under([Rule(r"a\.weight", "w")], "our.", "module.x.")[0]
    assert rule.apply("our.a.weight") == Source("module.x.w")
    assert rule.apply("ourxa.weight") is None
    with pytest.raises(KeyError, match=r"other\.name"):
        name_sources(["other.name"], [rule])


def test_sizes_name_what_they_hang_on() -> None:
    state = {
        "table": torch.zeros(50, 128),
        "blocks.0.w": torch.zeros(2),
        "blocks.11.w": torch.zeros(2),
        "deep.blocks.40.w": torch.zeros(1),
    }
    with pytest.raises(CheckpointMismatch) as caught:
        Sizes(state, ("table", "first", "second"))
    assert caught.value.missing == ("first", "second")
    sizes = Sizes(state, ("table",))
    assert sizes.count("blocks.") == 12
    assert sizes.count("none.") == 0
    assert sizes.side("table", 49) == 7
    assert sizes.heads("table", 128) == 2
    for fault in (lambda: sizes.side("table", 50), lambda: sizes.heads("table", 96), lambda: sizes.of("table", 3)):
        with pytest.raises(CheckpointMismatch) as caught:
            fault()
        assert caught.value.reshaped == ("table",)
    with pytest.raises(CheckpointMismatch) as caught:
        sizes.of("absent", 1)
    assert caught.value.missing == ("absent",)
