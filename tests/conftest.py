"""What every test stands on: few threads, no network, real films only where they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest  # noqa: E402

REAL_DATA = Path(os.environ.get("VESALIUS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, with a clear word, what this machine cannot run."""
    absent = {}
    if not REAL_DATA.is_dir():
        absent["real"] = "the real films are not here; see docs/real-films.md"
    if shutil.which("dciodvfy") is None:
        absent["dciodvfy"] = "dciodvfy is not installed; Debian: apt-get install dicom3tools"
    for item in items:
        for marker, why in absent.items():
            if marker in item.keywords and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of docs/real-films.md."""
    return REAL_DATA


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own settings folder (the patient key lives there)."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vesalius demo` leaves behind, small; made once for all workers. Read it, copy it, never write into it."""
    import subprocess
    import sys

    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "small-demo" / "demo"
    with FileLock(shared / "small-demo.lock"):
        if not (folder / "predictions.jsonl").exists():
            folder.parent.mkdir(exist_ok=True)
            command = [sys.executable, "-m", "vesalius", "demo", "--out", "demo", "--patients", "56", "--train-seconds", "10"]
            done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=550, check=False)
            assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            (folder.parent / "stdout.txt").write_text(done.stdout)
    return folder
