"""Killed at any moment and started again, `vesalius predict` leaves the file of a run that was never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import make_bundle, make_film
from tests.films import film, save
from vesalius.cli import main

FILMS = 40

# The network waits a little before each batch, so that there is a moment to be killed in.
SLOW = """
import sys, time
import torch
torch.set_num_threads(1)
from vesalius.bundle.predictor import Predictor
quick = Predictor.predict_batch
def slow(self, *arguments, **options):
    time.sleep(0.15)
    return quick(self, *arguments, **options)
Predictor.predict_batch = slow
from vesalius.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("flow")
    make_bundle(folder / "tiny")
    study = folder / "study"
    study.mkdir()
    for seed in range(FILMS):
        levels = np.rint(make_film(100 + seed).pixels * 4095).astype(np.uint16)
        save(film(levels), study, f"{seed:03d}.dcm")
    (study / "017.dcm").write_bytes(b"torn")
    return folder / "tiny", study


def without_seconds(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) | {"seconds": None} for line in path.read_text().splitlines()]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", SLOW, *command], **quiet)


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    pytest.fail(f"{count} lines did not come")


def test_killed_twice_and_gone_on(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, study = prepared
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    ask = ["predict", str(bundle), str(study), "--batch-size", "4", "--device", "cpu", "--out"]
    assert main([*ask, str(whole)]) == 3
    for lines in (5, 14):
        process = start([*ask, str(killed)])
        wait_for_lines(killed, lines, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = killed.read_bytes()
    assert 14 <= finished.count(b"\n") < FILMS, "killed on the way"
    with killed.open("ab") as file:
        file.write(b'{"case": "study/0')  # what a stop in the middle of a line leaves
    assert main([*ask, str(killed)]) == 3
    assert killed.read_bytes().startswith(finished), "no finished case is lost or written again"
    assert without_seconds(killed) == without_seconds(whole)
    assert len(without_seconds(whole)) == FILMS
