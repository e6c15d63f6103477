"""The gradient of many parts is that of one, whatever sits in the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vesalius.losses.contrastive import info_nce
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import build_config
from vesalius.training.gradient_cache import contrast_gradient

PAIRS = 12


@dataclass
class Part:
    pixels: Tensor
    tokens: Tensor
    mask: Tensor
    made: int = 0

    def images(self) -> Tensor:
        self.made += 1
        return self.pixels


def towers(vision: str, dropout: float = 0.0) -> ImageTextModel:
    torch.manual_seed(0)
    config = build_config(vision, "bert-tiny", size_px=32, vocabulary=40, context_length=12, embedding_dim=16)
    settings = {**config.text.settings, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return ImageTextModel(replace(config, text=replace(config.text, settings=settings))).train()


def batch(channels: int) -> Part:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn((PAIRS, channels, 32, 32), generator=generator)
    mask = (torch.arange(12)[None] < torch.randint(3, 13, (PAIRS, 1), generator=generator)).long()
    return Part(pixels, torch.randint(0, 40, (PAIRS, 12), generator=generator) * mask, mask)


def cut(whole: Part, parts: int) -> list[Part]:
    return [
        Part(*rows) for rows in zip(*(table.tensor_split(parts) for table in (whole.pixels, whole.tokens, whole.mask)), strict=True)
    ]


def gradients(model: nn.Module, parts: list[Part]) -> tuple[float, dict[str, Tensor]]:
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(model)
    model.zero_grad()
    torch.manual_seed(5)
    loss = contrast_gradient(fabric, module, parts, info_nce)
    return loss.item(), {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Each tensor to 1e-5 of its own length, or of a millionth of the whole gradient's where rounding is all there is."""
    assert set(mine) == set(theirs)
    length = torch.stack([gradient.norm() for gradient in theirs.values()]).norm()
    for name, gradient in theirs.items():
        assert float((mine[name] - gradient).norm()) <= float(1e-5 * gradient.norm() + 1e-6 * length), name


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_parts_give_the_gradient_of_the_whole(parts: int) -> None:
    model, whole = towers("vit-tiny"), batch(3)
    loss, expected = gradients(model, [whole])
    again, cached = gradients(model, cut(whole, parts))
    assert again == pytest.approx(loss, rel=1e-6)
    assert set(cached) == set(expected) >= {"log_scale", "vision_projection.weight", "text_projection.weight"}
    assert_same(cached, expected)


def test_the_scale_learns_too() -> None:
    model, whole = towers("vit-tiny"), batch(3)
    _, cached = gradients(model, cut(whole, 3))
    step = 1e-3
    losses = []
    for side in (step, -step):
        with torch.no_grad():
            model.log_scale += side
            output = model(whole.pixels, whole.tokens, whole.mask)
            losses.append(float(info_nce(*output).double()))
            model.log_scale -= side
    assert float(cached["log_scale"]) == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=2e-3)


def test_dropout_is_the_same_in_both_passes() -> None:
    """With other dropout in the second pass the gradient would be that of no loss: compare with one that keeps the graph."""
    model, whole = towers("vit-tiny", dropout=0.3), batch(3)
    halves = cut(whole, 2)
    loss, cached = gradients(model, halves)
    model.zero_grad()
    torch.manual_seed(5)
    outputs = [model(half.pixels, half.tokens, half.mask) for half in halves]
    kept = info_nce(torch.cat([one.images for one in outputs]), torch.cat([one.texts for one in outputs]), outputs[0].scale)
    kept.backward()
    assert loss == pytest.approx(kept.item(), rel=1e-6)
    assert_same(cached, {name: value.grad for name, value in model.named_parameters() if value.grad is not None})


def test_running_statistics_move_once_a_part_and_films_are_made_when_asked_for() -> None:
    model, whole = towers("resnet-small"), batch(1)
    before = {name: value.clone() for name, value in model.named_buffers()}
    halves = cut(whole, 2)
    gradients(model, halves)
    counters = [name for name in before if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(dict(model.named_buffers())[name] - before[name]) == 2 for name in counters)
    reference = towers("resnet-small")
    with torch.no_grad():
        for half in halves:
            reference(half.pixels, half.tokens, half.mask)
    for (name, mine), theirs in zip(model.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    assert [half.made for half in halves] == [2, 2], "once for each pass, and none is held between"
    (single,) = one = [batch(1)]
    gradients(model, one)
    assert single.made == 1


def test_half_precision_gives_nearly_the_same() -> None:
    model, whole = towers("vit-tiny"), batch(3)
    _, expected = gradients(model, [whole])
    fabric: Any = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    module = fabric.setup_module(model)
    model.zero_grad()
    contrast_gradient(fabric, module, cut(whole, 3), info_nce)
    for name in ("vision_projection.weight", "text_projection.weight"):
        mine, theirs = dict(model.named_parameters())[name].grad.flatten(), expected[name].flatten()
        assert float(torch.nn.functional.cosine_similarity(mine, theirs, dim=0)) > 0.99
