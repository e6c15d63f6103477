"""How much of a training step is the network: `fit` against a bare forward, backward and optimizer step.

Both sides take the same network, optimizer, precision and films, in turns, in one process; the ratio is of medians over the turns.
`fit` also cuts batches, augments, guides the evidence, clips, averages the weights and keeps its books.

    python benchmarks/training_step.py [--steps 12] [--turns 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from lightning_fabric import Fabric
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.datasets.store import write_store
from vesalius.training import state
from vesalius.training.classifier import build_learner, make_plan, setup
from vesalius.training.film_task import make_task, training_batch
from vesalius.training.fit import fit
from vesalius.training.options import ClassifierOptions
from vesalius.training.recipe import FABRIC_PRECISION
from vesalius.training.run import RunFolder

FINDINGS = ("effusion", "pneumothorax", "consolidation", "nodule", "cardiomegaly")
TARGET = 0.9


@dataclass(frozen=True)
class Case:
    """One network at one size."""

    encoder: str
    size_px: int
    batch_size: int
    precision: str


CASES = (
    Case("resnet-small", 128, 32, "float32"),
    Case("resnet-small", 128, 32, "bf16-mixed"),
    Case("vit-small-16", 224, 8, "float32"),
    Case("vit-base-16", 224, 4, "float32"),
    Case("vit-base-16", 224, 4, "bf16-mixed"),
)


def random_store(folder: Path, size_px: int, n: int = 64) -> Path:
    random = np.random.default_rng(0)
    table = {f"label:{name}": random.integers(0, 2, n).astype(float) for name in FINDINGS}
    split = np.where(np.arange(n) % 4 == 3, "validation", "train")
    masks = random.integers(0, 2, (n, len(FINDINGS), size_px, size_px)).astype(np.uint8) * 255
    pixels = random.integers(0, 4096, (n, size_px, size_px)).astype(np.uint16)
    write_store(folder, pixels, pd.DataFrame({"split": split, "bits_stored": 12, **table}), masks=masks, structures=FINDINGS)
    return folder


def bare_steps_per_second(fabric: Fabric, learner: state.Learner, batch: object, steps: int) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        with fabric.autocast():
            logits = learner.module(batch.images).logits
        binary_cross_entropy_with_logits(logits.float(), batch.targets).backward()
        learner.optimizer.step()
        learner.optimizer.zero_grad()
    return steps / (time.perf_counter() - started)


def fit_steps_per_second(fabric: Fabric, options: ClassifierOptions, setting: object) -> float:
    """Takes the time between the first and the last step's end, so that starting and the evaluation are in neither."""
    learner, _ = build_learner(options, setting)
    plan = replace(make_plan(options, setting), evaluations=1)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(fabric, options, setting)
        task = replace(task, evaluate=lambda network: ends.append(time.perf_counter()) or {"macro_auprc": 0.5})
        fit(
            fabric, learner, task, plan, options.optimization, RunFolder(Path(folder)),
            lambda done, total: ends.append(time.perf_counter()) if done == 1 else None,
        )  # fmt: skip
    return (plan.steps - 1) / (ends[1] - ends[0])


def measure(case: Case, steps: int, turns: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        options = ClassifierOptions(
            store=random_store(Path(folder) / "store", case.size_px),
            out=Path(folder),
            steps=steps + 1,
            accelerator="cpu",
            encoder=case.encoder,
            size_px=case.size_px,
            batch_size=case.batch_size,
            precision=case.precision,
        )
        setting = setup(options)
        fabric = Fabric(accelerator="cpu", devices=1, precision=FABRIC_PRECISION[case.precision])
        learner, _ = build_learner(options, setting)
        learner.module.train()
        batch = training_batch(fabric, options, setting, 0, 0)
        bare_steps_per_second(fabric, learner, batch, 2)
        speeds = []
        for turn in range(turns):
            sides = [
                lambda: bare_steps_per_second(fabric, learner, batch, steps),
                lambda: fit_steps_per_second(fabric, options, setting),
            ]
            first, second = sides if turn % 2 == 0 else sides[::-1]
            one, two = first(), second()
            speeds.append((one, two) if turn % 2 == 0 else (two, one))
    bare, ours = (statistics.median(side) for side in zip(*speeds, strict=True))
    ratio = statistics.median(ours / bare for bare, ours in speeds)
    return {**vars(case), "bare_steps_per_second": bare, "fit_steps_per_second": ours, "ratio": ratio, "target": TARGET}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--case", type=int, default=None, help="only this one of the cases, counted from 0")
    arguments = parser.parse_args()
    chosen = CASES if arguments.case is None else CASES[arguments.case : arguments.case + 1]
    for case in chosen:
        print(json.dumps(measure(case, arguments.steps, arguments.turns)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
