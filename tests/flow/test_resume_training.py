"""kill -9 in the middle of training, then the same command again: the run that nobody stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.stores import square_films

TIMES = {"seconds", "films_per_second"}


def command(store: Path, out: Path) -> list[str]:
    words = "--encoder vit-tiny-16 --size 32 --steps 60 --evaluations 6 --save-every 3 --batch-size 8 --accelerator cpu --mixup 0.3"
    return [sys.executable, "-m", "vesalius", "train", "classifier", "--store", str(store), "--out", str(out), *words.split()]


def lines(out: Path) -> list[dict[str, Any]]:
    text = (out / "metrics.jsonl").read_text() if (out / "metrics.jsonl").exists() else ""
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in text.splitlines()]


def train(store: Path, out: Path) -> None:
    done = subprocess.run(command(store, out), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    store = square_films(tmp_path / "store").path
    train(store, tmp_path / "unbroken")
    broken = tmp_path / "broken"
    process = subprocess.Popen(command(store, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while len(lines(broken)) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (broken / "model.json").exists(), "it was killed too late to be a test"
    assert 2 <= len(lines(broken)) < 6
    train(store, broken)
    assert lines(broken) == lines(tmp_path / "unbroken")
    weights = [(folder / "checkpoints" / "best.safetensors").read_bytes() for folder in (broken, tmp_path / "unbroken")]
    assert weights[0] == weights[1]
