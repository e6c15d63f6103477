"""A download that is killed half way goes on from there, in another process."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.file_server import Behaviour, serving

CONTENT = np.random.default_rng(1).bytes(4_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_a_killed_pull_goes_on_where_it_was(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, pause_s=0.03)
    part, whole = tmp_path / ".weights.bin.part", tmp_path / "weights.bin"
    with serving(server) as url:
        command = [sys.executable, "-m", "vesalius", "pull", "mine", "--url", url, "--to", str(tmp_path), "--sha256", DIGEST]
        environment = {**os.environ, "NO_PROXY": "*"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while (not part.exists() or part.stat().st_size < 1_000_000) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        kept = part.stat().st_size
        assert 1_000_000 <= kept < len(CONTENT)
        assert not whole.exists()
        server.pause_s, server.seen = 0.0, []
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert server.seen == [f"bytes={kept}-"]
    assert hashlib.sha256(whole.read_bytes()).hexdigest() == DIGEST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.bin", "weights.bin.sha256"]
