"""What every recipe does around the one loop: starts the processes, names the settings, refuses another run's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only

from vesalius.errors import RunError
from vesalius.training.options import load_toml, to_plain

if TYPE_CHECKING:
    from vesalius.training.image_text_options import ImageTextOptions
    from vesalius.training.language_options import LanguageOptions
    from vesalius.training.options import ClassifierOptions, OptimizationOptions
    from vesalius.training.run import RunFolder

    RunOptions = ClassifierOptions | ImageTextOptions | LanguageOptions

FABRIC_PRECISION = {"float32": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}
ANYWHERE = frozenset({"store", "out", "cache_gb", "save_every"})
"""Settings that may differ when a run goes on: they change where things lie, not one number."""

_TINY, _NEARLY_1 = 1e-300, 1 - 1e-12
RANGES = {
    "learning_rate": (_TINY, 1e300, "a number above 0"),
    "weight_decay": (0.0, 1e300, "0 or more"),
    "warmup": (0.0, 1.0, "a share of the steps"),
    "final_learning_rate": (0.0, 1.0, "a share of the highest"),
    "clip_norm": (0.0, 1e300, "0 (never) or more"),
    "ema_decay": (0.0, _NEARLY_1, "0 or more, below 1"),
    "swa": (0.0, 1.0, "a share of the steps"),
    "momentum": (0.0, _NEARLY_1, "0 or more, below 1"),
    "text_rate": (0.0, 1e300, "0 or more"),
}
"""What each setting of an optimizer may be, least and greatest; NaN is neither."""

LEAST = {"batch_size": 1, "devices": 1, "nodes": 1, "evaluations": 1, "save_every": 1}


def refuse_counts(options: RunOptions, least: Mapping[str, int] = LEAST) -> None:
    """Refuses numbers of steps, films and processes that no run could have, and a precision that the machine has not.

    Raises:
        RunError: Names the setting, what was got and what is possible.
    """
    for name, minimum in least.items():
        if getattr(options, name) < minimum:
            raise RunError(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least {minimum}")
    if (options.steps is not None and options.steps < 1) or options.epochs <= 0:
        raise RunError(f"--steps is {options.steps} and --epochs {options.epochs:g}; a run needs more than 0 of either")
    refuse_optimization(options.optimization)
    refuse_accelerator(options.accelerator)
    on_cpu = options.accelerator == "cpu" or (options.accelerator == "auto" and not torch.cuda.is_available())
    if options.precision == "16-mixed" and on_cpu:
        raise RunError("--precision 16-mixed needs a GPU; use bf16-mixed or float32 on this machine")


def refuse_accelerator(name: str) -> None:
    """Refuses a GPU that the machine has not.

    Raises:
        RunError: It has none.
    """
    if name == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise RunError("--accelerator gpu, and there is no GPU that torch can use here; see `vesalius doctor`, or leave it out")


def refuse_optimization(options: OptimizationOptions) -> None:
    """Refuses rates and shares that no optimizer could have.

    Raises:
        RunError: Names the setting, what was got and what is possible.
    """
    for name, (least, most, words) in RANGES.items():
        value = getattr(options, name, least)
        if not least <= value <= most:
            raise RunError(f"--{name.replace('_', '-')} is {value:g}; expected {words}")


def launch(options: RunOptions) -> Fabric:
    """Starts the other processes, if any, and returns the hand that steers them.

    On one machine they are started here, by running the same command again; under torchrun or Slurm they are there already.
    """
    several = options.devices * options.nodes > 1
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if several else "auto",
        precision=FABRIC_PRECISION[options.precision],
    )
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Is this the process that shows and writes, and not one that was started to help it?"""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def signature(options: Any, fingerprint: str) -> str:
    """Returns a hash of all that changes a number of the run."""
    told = {name: value for name, value in to_plain(options).items() if name not in ANYWHERE}
    return hashlib.sha256(json.dumps([told, fingerprint], sort_keys=True).encode()).hexdigest()


def begun_before(folder: RunFolder, options: Any) -> bool:
    """Has a run with these settings begun in the folder?

    Raises:
        RunError: There is a run with other settings; the message names what differs.
    """
    if not folder.settings.is_file():
        return False
    earlier, now = to_plain(load_toml(type(options), folder.settings)), to_plain(options)
    differ = [name for name in sorted({*earlier, *now} - ANYWHERE) if earlier.get(name) != now.get(name)]
    if differ:
        words = ", ".join(f"{name} was {earlier.get(name)!r}, is {now.get(name)!r}" for name in differ)
        raise RunError(f"{folder.path} holds a run with other settings ({words}); use its settings to go on, or another --out")
    return True
