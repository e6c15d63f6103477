"""How the weights move: AdamW, warm-up and cosine, averaged weights.

Sources: Loshchilov & Hutter 2019 (AdamW); Loshchilov & Hutter 2017 (cosine); Izmailov et al. 2018 (stochastic weight averaging);
Tarvainen & Valpola 2017 (the average's decay climbs from 0, so that it does not remember the random start).
Checked against `torch.optim.lr_scheduler` and a written-out average: tests/unit/training/test_optimization.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from vesalius.training.options import OptimizationOptions, Precision

NEVER_DECAYED = ("position", "wpe.", "cls_token", "class_token", "register_token")
"""Embeddings that are added to tokens (`wpe` is GPT-2's word for positions): pulling them to 0 regularises nothing."""


def parameter_groups(
    module: nn.Module, weight_decay: float, shares: Mapping[str, float] = MappingProxyType({})
) -> list[dict[str, object]]:
    """Splits the parameters that learn into decayed weights and the rest: biases, norms, position embeddings.

    Args:
        module: Whose they are.
        weight_decay: Of the decayed ones.
        shares: Beginning of a name -> share of the learning rate; what has no such name has all of it, in the first two groups.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or any(word in name for word in NEVER_DECAYED)
            share = next((share for beginning, share in shares.items() if name.startswith(beginning)), 1.0)
            groups.setdefault((share, not plain), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decayed else 0.0, **({} if share == 1.0 else {"share": share})}
        for (share, decayed), parameters in groups.items()
    ]


def build_optimizer(
    module: nn.Module, options: OptimizationOptions, precision: Precision, shares: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.AdamW:
    """Returns AdamW over `module`; fused, but with 16-mixed, whose gradients must be unscaled before they are clipped."""
    fused = precision != "16-mixed"
    return torch.optim.AdamW(
        parameter_groups(module, options.weight_decay, shares),
        lr=options.learning_rate,
        betas=(0.9, 0.999),
        fused=fused,
        foreach=not fused,
    )


def build_sgd(
    module: nn.Module, options: OptimizationOptions, momentum: float, shares: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.SGD:
    """Returns stochastic gradient descent with momentum over `module`; its weight decay is part of the gradient."""
    return torch.optim.SGD(parameter_groups(module, options.weight_decay, shares), lr=options.learning_rate, momentum=momentum)


def learning_rate(step: int, steps: int, options: OptimizationOptions) -> float:
    """Learning rate of `step` (counted from 0) of `steps`: a straight climb, then half a cosine down to its last share."""
    warmup = min(round(options.warmup * steps), steps - 1)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    through = (step - warmup) / max(1, steps - 1 - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, through)))
    return options.learning_rate * (options.final_learning_rate + (1 - options.final_learning_rate) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Sets the learning rate of every group, or its share: a function of the step alone, so nothing of it need be saved."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("share", 1.0)


def averaging_decay(updates: int, steps: int, options: OptimizationOptions) -> float:
    """Share of the old average kept at the update after `updates` earlier ones.

    An exponential average whose decay climbs as (1 + n) / (10 + n) to `ema_decay`; over the last `swa` share of the steps
    an equal one.
    """
    first_equal = steps - round(options.swa * steps)
    if options.swa > 0 and updates >= first_equal:
        equal = updates - first_equal
        return equal / (equal + 1)
    return min(options.ema_decay, (1 + updates) / (10 + updates))


def average_weights(module: nn.Module, steps: int, options: OptimizationOptions) -> AveragedModel:
    """Returns a copy of `module` that `update_parameters` moves towards it, running statistics of batch norms with it."""

    def move(averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, 1 - averaging_decay(int(updates), steps, options))
        else:
            torch._foreach_copy_(averages, weights)  # counters have no mean

    average: Callable[[list[Tensor], list[Tensor], Tensor], None] = torch.no_grad()(move)
    averaged = AveragedModel(module, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]
    averaged.requires_grad_(requires_grad=False)
    return averaged.eval()
