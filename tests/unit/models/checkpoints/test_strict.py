"""Every tensor has its place or is named; nothing is loaded in part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vesalius.errors import CheckpointMismatch
from vesalius.models.checkpoints.strict import (
    Rule,
    Sizes,
    Source,
    load_strictly,
    name_shapes,
    name_sources,
    split_three,
    take_strictly,
    under,
)

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


def test_a_message_that_names_a_few_says_how_many_more_and_the_error_keeps_all() -> None:
    model, state = Small(), {f"other.{number}": torch.ones(1) for number in range(30)} | theirs() | {"proj": torch.randn(4, 5)}
    with pytest.raises(CheckpointMismatch) as caught:
        load_strictly(model, state, mapping_of(model))
    error = caught.value
    assert "other.29" in str(error), "unless told to name a few it names all"
    assert "--json" not in str(error)
    error.shown = 12
    assert "unexpected (30): other.0; " in str(error)
    assert "other.11 and 18 more" in str(error)
    assert "proj is 4 x 5, expected 4 x 3" in str(error)
    assert "every name: the same command with --json" in str(error)
    assert error.details() == {
        "missing": [],
        "unexpected": [f"other.{number}" for number in range(30)],
        "reshaped": {"proj": "4 x 5, expected 4 x 3"},
    }


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


def test_sizes_are_what_most_tensors_say() -> None:
    state = {"table": torch.zeros(50, 128), "norm": torch.zeros(128), "odd": torch.zeros(7), "deep.blocks.40.w": torch.zeros(1)}
    state |= {f"blocks.{number}.w": torch.zeros(2) for number in (0, 11)}
    sizes = Sizes(state)
    assert sizes.agree(("odd", 0), ("table", 1), ("norm", 0), ("absent", 0), published=1) == 128
    assert sizes.count("blocks.", 3) == 12
    assert sizes.count("none.", 3) == 3
    assert (sizes.side("table", 49), sizes.heads("table", 128)) == (7, 2)
    assert (sizes.odd, sizes.unknown, sizes.remarks()) == ({}, [], "")
    assert sizes.agree(("absent", 0), ("norm", 5), published=9) == 9
    assert sizes.unknown == ["absent"]


def test_sizes_that_contradict_each_other_are_told_with_everything_else() -> None:
    model, state = Small(), {**theirs(), "a": torch.zeros(3), "b": torch.zeros(4), "c": torch.zeros(50), "d": torch.zeros(96)}
    sizes = Sizes(state)
    assert sizes.agree(("a", 0), ("b", 0), published=4) == 4
    sizes.side("c", 50)
    sizes.heads("d", 96)
    del state["proj"]
    with pytest.raises(CheckpointMismatch) as caught:
        take_strictly(name_shapes(model), state, mapping_of(model), ("a", "b", "c", "d"), sizes)
    assert caught.value.missing == ("proj",)
    assert caught.value.reshaped == ("a", "b", "c", "d")
    assert "a and b disagree: 3, 4" in str(caught.value)


def test_where_a_size_is_unknown_names_are_compared_and_shapes_are_not() -> None:
    model, state = Small(), {**theirs(), "conv.bias": torch.zeros(9), "extra": torch.zeros(1)}
    sizes = Sizes(state)
    sizes.agree(("gone", 0), published=4)
    sizes.agree(("gone", 1), published=4)
    with pytest.raises(CheckpointMismatch, match="shapes were not compared: gone would tell") as caught:
        take_strictly(name_shapes(model), state, mapping_of(model), (), sizes)
    assert (caught.value.missing, caught.value.unexpected, caught.value.reshaped) == ((), ("extra",), ())
