"""One tiny bundle for all, and a copy for those that damage it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bundles import make_bundle


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_bundle(path)
    return path


@pytest.fixture
def copied(locked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(locked, tmp_path / "copied"))
