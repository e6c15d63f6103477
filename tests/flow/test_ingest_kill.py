"""kill -9 at random moments: nothing lost, nothing doubled, the same store as an unbroken run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.films import film, save
from vesalius.datasets.store import MANIFEST_FILE, Store

N_FILMS, SIDE = 56, 1000
KILL_AFTER_PARTS = (0, 1, 3, 5, 7, 7)
"""There are seven; after the last one the store is being put together."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
    for number in range(N_FILMS):
        stored = np.roll(noise, 17 * number)
        save(film(stored, PatientID=f"P{number // 2}"), folder, f"{number:03d}.dcm")
    (folder / "020.dcm").write_bytes((folder / "020.dcm").read_bytes()[:5000])
    (folder / "030.dcm").write_bytes((folder / "029.dcm").read_bytes())
    (folder.parent / "key").write_bytes(bytes(range(32)))
    lines = [f"{number:03d}.dcm,{number % 2},{'A' if number < 40 else 'B'}" for number in range(N_FILMS)]
    (folder.parent / "labels.csv").write_text("\n".join(["file,Nodule,site", *lines]) + "\n")
    return folder


def start(films: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = [
        films,
        "--out",
        out,
        "--labels",
        films.parent / "labels.csv",
        "--patient-key",
        films.parent / "key",
        "--size",
        "96",
    ]
    command = [sys.executable, "-m", "vesalius", "ingest", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(films: Path, out: Path) -> None:
    process = start(films, out)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in {0, 3}, errors.decode()


def same_store(first: Path, second: Path) -> None:
    for name in (MANIFEST_FILE, "rejects.csv", "images.h5"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())


def test_killed_again_and_again_it_makes_the_store_of_an_unbroken_run(films: Path, tmp_path: Path) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "broken"
    finish(films, unbroken)
    moments = random.Random(0)
    n_killed = 0
    for n_parts in KILL_AFTER_PARTS:
        process = start(films, out)
        while process.poll() is None and not ((out / ".parts").is_dir() and len(list(out.glob(".parts/*.h5"))) >= n_parts):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        n_killed += process.returncode == -signal.SIGKILL
    finish(films, out)
    assert n_killed >= 4, "the kills came too late to mean anything"
    same_store(unbroken, out)
    manifest = Store(out).manifest
    assert len(manifest) == N_FILMS - 2
    assert manifest["path"].is_unique


def test_killed_as_soon_as_parts_are_there_it_reuses_them(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start(films, out)
    while not (parts := list(out.glob(".parts/*.h5"))) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert parts, "the ingest ended before it could be killed"
    assert not (out / MANIFEST_FILE).exists()
    written = {part: part.stat().st_mtime_ns for part in parts}
    time.sleep(0.3)  # a worker may finish its part before it notices that its parent is gone
    second = start(films, out)
    while second.poll() is None and len(list(out.glob(".parts/*.h5"))) < len(parts) + 1:
        time.sleep(0.005)
    kept = {part: part.stat().st_mtime_ns for part in parts if part.exists()}
    second.communicate()
    assert kept == written or not kept, "a finished part was written again"
    assert len(Store(out)) == N_FILMS - 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for orphans in /proc")
def test_no_reader_outlives_its_parent(films: Path, tmp_path: Path) -> None:
    process = start(films, tmp_path / "store")
    while not list((tmp_path / "store").glob(".parts/*")) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.3)
    family = descendants(process.pid)
    assert family, "there were no readers to watch"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 15
    while any(is_alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if is_alive(pid)]


def descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() and os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    except (FileNotFoundError, ProcessLookupError):
        return False
