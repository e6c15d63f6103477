"""`vesalius features` killed at any moment goes on, and ends with the very rows of a run that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.image_text import make_image_text_bundle
from tests.slides import tissue_picture, write_pyramid
from vesalius.inference.feature_file import read_features

FLAGS = ["--patch-px", "64", "--batch-size", "4", "--device", "cpu"]
SLOW = (
    "import sys, time; from vesalius.inference.slide import SlideEncoder; own = SlideEncoder.encode\n"
    "SlideEncoder.encode = lambda self, tensor: (time.sleep(0.1), own(self, tensor))[1]\n"
    "from vesalius.cli import main; sys.exit(main(sys.argv[1:]))"
)


def run(folder: Path, out: str, *, code: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, "features", "bundle", "a.tif", "--out", out, *FLAGS]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_kill_and_go_on(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "bundle")
    write_pyramid(tmp_path / "a.tif", tissue_picture(1600, 1000, box=(64, 64, 1540, 940)))
    plain = SLOW.replace("time.sleep(0.1)", "None")
    assert run(tmp_path, "whole", code=plain).wait(120) == 0
    expected = read_features(tmp_path / "whole" / "a.tif.h5")
    rows = tmp_path / "stopped" / "a.tif.h5.part" / "features.f32"
    kept = 0
    for _ in range(2):
        process = run(tmp_path, "stopped", code=SLOW)
        deadline = time.monotonic() + 60
        while not (rows.exists() and rows.stat().st_size > kept + 3 * 4 * 4 * expected.dim):
            assert time.monotonic() < deadline, "no rows came"
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "stopped" / "a.tif.h5").exists(), "no file bears the name before it is whole"
        assert rows.stat().st_size > kept, "what was done is kept"
        kept = rows.stat().st_size
    assert run(tmp_path, "stopped", code=plain).wait(120) == 0
    found = read_features(tmp_path / "stopped" / "a.tif.h5", expected=expected.facts)
    np.testing.assert_array_equal(found.whole(), expected.whole())
    np.testing.assert_array_equal(found.coordinates, expected.coordinates)
    assert not rows.parent.exists()
