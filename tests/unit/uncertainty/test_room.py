"""The room as a whole: shapes as annotated, no torch, nothing heavy at import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vesalius.metrics
import vesalius.uncertainty


def test_every_shape_is_as_annotated() -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("every_public_call.py")], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "every shape was checked", done.stderr[-2000:]


def test_whole_room_without_torch_and_pandas() -> None:
    program = """
import sys
for name in ("torch", "pandas", "sklearn"):
    sys.modules[name] = None
import numpy as np
import vesalius.metrics, vesalius.uncertainty
assert not {"numba", "scipy"} & set(sys.modules), "importing the rooms imported something heavy"
for room in (vesalius.metrics, vesalius.uncertainty):
    for name in room.__all__:
        getattr(room, name)
assert "numba" not in sys.modules, "numba is for intervals only"
p = np.linspace(0.1, 0.9, 20)[:, None]
print(vesalius.uncertainty.evaluate(p, (p > 0.4).astype(float)).macro["auroc"].value)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1.0", done.stderr[-2000:]


@pytest.mark.parametrize("room", [vesalius.metrics, vesalius.uncertainty])
def test_names(room: object) -> None:
    assert sorted(room._HOME) == sorted(room.__all__) == sorted(dir(room))
    assert not set(room._HOME) & set(room._HOME.values()), "a module of that name would take the function's place once imported"
    with pytest.raises(AttributeError, match="it has: "):
        room.nothing  # noqa: B018 - asking is the point
