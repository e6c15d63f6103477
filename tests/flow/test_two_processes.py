"""Two processes share each batch and learn what one process learns from the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.stores import square_films

STILL = "--rotate-deg 0 --scale 0 --shift 0 --gamma 0 --contrast 0 --noise 0 --blur 0"
"""Chance is drawn in each process on its own, so only what involves none can be equal."""


def train(store: Path, out: Path, devices: int) -> dict[str, Any]:
    # 9 films a step, so that the two shares differ in films and in known labels
    words = f"--encoder vit-tiny-16 --size 32 --steps 6 --evaluations 2 --batch-size 9 --accelerator cpu --json {STILL}"
    command = [sys.executable, "-m", "vesalius", "train", "classifier", "--store", str(store), "--out", str(out)]
    done = subprocess.run(
        [*command, "--devices", str(devices), *words.split()], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "only the first process speaks"
    best: dict[str, Any] = json.loads(done.stdout)["best"]
    return best


def test_two_processes_are_one(tmp_path: Path) -> None:
    store = square_films(tmp_path / "store").path
    one, two = (train(store, tmp_path / str(devices), devices) for devices in (1, 2))
    for figure in ("train_loss", "gradient_norm", "validation_loss", "macro_auroc", "macro_auprc"):
        assert two[figure] == pytest.approx(one[figure], rel=1e-4), figure
    alone, together = (load_file(tmp_path / name / "checkpoints" / "best.safetensors") for name in ("1", "2"))
    for name, weight in alone.items():
        # Adam divides by the gradient's size: where that is nearly 0, rounding alone moves a weight by up to the learning rate
        torch.testing.assert_close(together[name], weight, atol=2e-4, rtol=1e-3, msg=name)
