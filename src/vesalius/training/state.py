"""What a run writes while it goes, so that a stop at any moment loses nothing and doubles nothing.

Every file is written beside its place and moved there whole. Data order, augmentation and dropout are functions of seed, step and
process, so weights, averages, optimizer and the step are all that must be kept.
"""

from __future__ import annotations

import json
import math
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vesalius.errors import RunError

if TYPE_CHECKING:
    from torch.optim.swa_utils import AveragedModel

    from vesalius.training.run import RunFolder


@dataclass
class Learner:
    """What learns: the network, the average of its weights, and the optimizer that moves it."""

    module: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer


@dataclass
class Standing:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        seconds: Wall time spent, over all its starts.
        loss_sum: Training loss summed since the last evaluation.
        norm_sum: Gradient norms, likewise.
        since: Steps in these two sums.
        best: The best evaluation's line of `metrics.jsonl`; empty before the first.
    """

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    since: int = 0
    best: dict[str, Any] = field(default_factory=dict)


def save_atomically(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def save_json(path: Path, value: dict[str, Any]) -> None:
    """Writes one JSON object; what is not a finite number becomes null."""
    save_atomically(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """Returns `value` with every float that JSON cannot hold replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_checkpoint(folder: RunFolder, learner: Learner, standing: Standing, scaler: dict[str, Any], signature: str) -> None:
    """Writes `last.ckpt`; `signature` names the settings that it belongs to."""
    content = {
        "signature": signature,
        "standing": vars(standing),
        "module": learner.module.state_dict(),
        "averaged": learner.averaged.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "scaler": scaler,
    }
    folder.last.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.last.with_name(folder.last.name + ".part")
    torch.save(content, beside)
    beside.replace(folder.last)


def load_checkpoint(folder: RunFolder, learner: Learner, signature: str) -> tuple[Standing, dict[str, Any]]:
    """Puts `last.ckpt` back into `learner`; returns how far it was and the state of the gradient scaler.

    A run without a checkpoint is at step 0.

    Raises:
        RunError: The checkpoint cannot be read, or belongs to other settings.
    """
    if not folder.last.is_file():
        return Standing(), {}
    try:
        content = torch.load(folder.last, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise RunError(f"{folder.last} cannot be read ({type(error).__name__}); delete {folder.path} and train again") from error
    if content["signature"] != signature:
        raise RunError(f"{folder.last} was made with other settings, another store or other texts; train into another folder")
    learner.module.load_state_dict(content["module"])
    learner.averaged.load_state_dict(content["averaged"])
    learner.optimizer.load_state_dict(content["optimizer"])
    return Standing(**content["standing"]), content["scaler"]


def save_weights(path: Path, module: nn.Module) -> None:
    """Writes the weights of `module` as safetensors."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_atomically(path, save(weights, metadata={"format": "pt"}))


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Adds one line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite(record), allow_nan=False) + "\n")


def keep_lines_until(path: Path, step: int) -> None:
    """Drops what was written after the checkpoint at `step`, or was cut off in the middle: it will be written again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["step"] > step:
            break
        kept.append(line + "\n")
    save_atomically(path, "".join(kept).encode())


def best_lines(path: Path, score: str, most: int) -> list[dict[str, Any]]:
    """Returns the `most` lines of `metrics.jsonl` with the highest score, best first; of equals the later, undefined ones last."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ranked = sorted(records, key=lambda one: (-math.inf if one[score] is None else one[score], one["step"]), reverse=True)
    return ranked[:most]
