"""AdamW's groups, the learning rate, the averages: against written-out versions and torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vesalius.training.optimization import (
    average_weights,
    averaging_decay,
    build_optimizer,
    build_sgd,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)
from vesalius.training.options import OptimizationOptions


def test_norms_biases_and_positions_are_not_decayed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.norm = nn.LayerNorm(2)
            self.position_embeddings = nn.Parameter(torch.zeros(1, 4, 2))
            self.frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)

    net = Net()
    decayed, kept = parameter_groups(net, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(net.linear.weight)]
    assert {id(p) for p in kept["params"]} == {
        id(net.linear.bias),
        id(net.norm.weight),
        id(net.norm.bias),
        id(net.position_embeddings),
    }
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("text", ["bert-tiny", "gpt-tiny", "clip-text"])
def test_no_encoder_s_positions_are_decayed(text: str) -> None:
    """Each network of transformers has another word for them."""
    from vesalius.models.clip import TEXT_ENCODERS
    from vesalius.models.clip_config import build_config

    tower = build_config("vit-tiny", text, vocabulary=40, context_length=13).text  # type: ignore[arg-type]
    encoder = TEXT_ENCODERS[tower.kind](tower)
    decayed, kept = parameter_groups(encoder, 0.1)
    places = 512 if text == "bert-tiny" else 13
    assert not [p for p in decayed["params"] if len(p) == places]  # type: ignore[attr-defined]
    assert [p.ndim for p in kept["params"] if len(p) == places] == [2]  # type: ignore[attr-defined]


def test_a_part_of_the_network_learns_at_a_share_of_the_rate() -> None:
    net = nn.ModuleDict({"text": nn.Linear(2, 1), "vision": nn.Linear(2, 1)})
    for build in (
        lambda options: build_optimizer(net, options, "float32", {"text.": 0.25}),
        lambda options: build_sgd(net, options, 0.9, {"text.": 0.25}),
    ):
        optimizer = build(OptimizationOptions(weight_decay=0.1))
        set_learning_rate(optimizer, 0.4)
        rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
        assert rates[id(net["text"].weight)] == (pytest.approx(0.1), 0.1)
        assert rates[id(net["text"].bias)] == (pytest.approx(0.1), 0.0)
        assert rates[id(net["vision"].weight)] == (0.4, 0.1)
        assert rates[id(net["vision"].bias)] == (0.4, 0.0)


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed", "16-mixed"])
def test_one_step_of_the_optimizer_is_adamw_as_published(precision: str) -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 2.0)
    options = OptimizationOptions(learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(net, options, precision)
    (3 * net.weight).sum().backward()
    optimizer.step()
    # first step: m/(1-b1) = g, v/(1-b2) = g^2, so the update is g/|g|; the decay is decoupled: lr * wd * w
    assert net.weight.item() == pytest.approx(2.0 - 0.1 * 0.5 * 2.0 - 0.1 * 1.0, abs=1e-6)


def test_the_learning_rate_is_torchs_warmup_and_cosine() -> None:
    steps, options = 50, OptimizationOptions(learning_rate=0.3, warmup=0.1, final_learning_rate=0.05)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    climb = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 6, end_factor=1.0, total_iters=5)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=44, eta_min=0.3 * 0.05)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [climb, fall], milestones=[5])
    for step in range(steps):
        assert learning_rate(step, steps, options) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9), step
        optimizer.step()
        both.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_learning_rate(steps: int) -> None:
    rates = [learning_rate(step, steps, OptimizationOptions(warmup=0.9)) for step in range(steps)]
    assert all(0 < rate <= 1e-3 and math.isfinite(rate) for rate in rates)


def test_the_average_is_the_written_out_recursion() -> None:
    options = OptimizationOptions(ema_decay=0.9)
    net = nn.Linear(2, 1)
    averaged = average_weights(net, 40, options)
    expected = None
    for step in range(40):
        nn.init.constant_(net.weight, float(step))
        averaged.update_parameters(net)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = float(step) if expected is None else decay * expected + (1 - decay) * step
    assert averaged.module.weight[0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_stochastic_weight_averaging_is_the_plain_mean_of_the_last_steps() -> None:
    options = OptimizationOptions(swa=0.25)
    net = nn.Linear(2, 1)
    averaged = average_weights(net, 40, options)
    for step in range(40):
        nn.init.constant_(net.weight, float(step))
        averaged.update_parameters(net)
    assert averaged.module.weight[0, 0].item() == pytest.approx(sum(range(30, 40)) / 10, rel=1e-5)


def test_without_averaging_the_weights_are_the_trained_ones() -> None:
    net = nn.Linear(2, 1)
    averaged = average_weights(net, 5, OptimizationOptions(ema_decay=0.0))
    for step in range(5):
        nn.init.constant_(net.weight, float(step))
        averaged.update_parameters(net)
    assert averaged.module.weight[0, 0].item() == 4.0
    assert averaging_decay(100, 1000, OptimizationOptions(ema_decay=0.0)) == 0.0


def test_running_statistics_are_averaged_counters_copied_and_the_average_needs_no_gradient() -> None:
    net = nn.BatchNorm1d(1, momentum=1.0)
    averaged = average_weights(net, 5, OptimizationOptions(ema_decay=0.5))
    for level in (1.0, 3.0):
        net.train()(torch.full((4, 1), level))
        averaged.update_parameters(net)
    decay = min(0.5, 2 / 11)
    assert averaged.module.running_mean.item() == pytest.approx(decay * 1.0 + (1 - decay) * 3.0, rel=1e-5)
    assert averaged.module.num_batches_tracked.item() == 2
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
