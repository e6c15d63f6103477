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
