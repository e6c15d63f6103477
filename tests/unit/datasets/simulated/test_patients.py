from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy
from vesalius.datasets.simulated_radiographs.patients import Pose, aim, breast_cm, draw_patient, draw_pose, ray_map
from vesalius.datasets.simulated_radiographs.projection import MAP_NODES, to_voxels

RIGID = replace(draw_patient(np.random.default_rng(0)), scale=(1.0, 1.0, 1.0), bend_mm=np.zeros((5, 5, 5, 3), np.float32))
STILL = Pose("PA", (0.0, 0.0, 0.0), 0.0, 1.0)


def mapped(blocks: Anatomy, pose: Pose) -> np.ndarray:
    """Where the points of a PA film come from in the CT, in mm."""
    geometry = aim(blocks, RIGID, STILL, np.random.default_rng(1))
    return ray_map(blocks, RIGID, pose, geometry) * np.array(blocks.spacing_mm) + np.array(blocks.origin_mm)


def points(blocks: Anatomy) -> np.ndarray:
    return aim(blocks, RIGID, STILL, np.random.default_rng(1)).points(*MAP_NODES)


def test_a_patient_like_the_ct_standing_still_is_not_changed(blocks: Anatomy) -> None:
    np.testing.assert_allclose(mapped(blocks, STILL), points(blocks), atol=1e-3)


def test_turning_keeps_all_distances(blocks: Anatomy) -> None:
    turned = mapped(blocks, replace(STILL, turn_rad=(0.1, -0.2, 0.15)))
    still = points(blocks)
    chosen = np.random.default_rng(0).integers(0, still[..., 0].size, (2, 300))
    before, after = (np.linalg.norm(np.subtract(*(p.reshape(-1, 3)[i] for i in chosen)), axis=-1) for p in (still, turned))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-2)
    assert np.abs(turned - still).max() > 20


def test_breathing_out_lifts_the_diaphragm_and_leaves_the_apex(blocks: Anatomy) -> None:
    moved = mapped(blocks, replace(STILL, breath_mm=12.0)) - points(blocks)
    z = points(blocks)[..., 0]
    np.testing.assert_allclose(moved[z > 60], 0, atol=1e-3)
    np.testing.assert_allclose(moved[z < -100][:, 0], -12, atol=0.5)  # what is seen there lay 12 mm lower in the CT


def test_a_heart_one_and_a_half_times_as_wide_is_read_from_two_thirds_as_far(blocks: Anatomy) -> None:
    still = points(blocks)
    moved = mapped(blocks, replace(STILL, heart=1.5))
    offset = still - np.array(blocks.heart_mm)
    inside = (np.abs(offset) < (20, 20, 30)).all(-1)
    assert inside.sum() > 5
    np.testing.assert_allclose(moved[inside][:, 2], offset[inside][:, 2] / 1.5, atol=1.5)
    far = np.linalg.norm(offset, axis=-1) > 180
    np.testing.assert_allclose(moved[far], still[far], atol=0.5)


@pytest.mark.parametrize(("view", "low", "high"), [("PA", 1800, 1800), ("AP", 950, 1150)])
def test_the_tube_stands_where_the_view_says(blocks: Anatomy, view: str, low: float, high: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        pose = draw_pose(generator, view, 1.0)  # type: ignore[arg-type]
        geometry = aim(blocks, draw_patient(generator), pose, generator)
        assert low <= geometry.source_to_detector_mm <= high
        assert (geometry.source_mm[1] < geometry.detector_y_mm) == (view == "PA")


def test_no_random_patient_is_torn_or_folded(blocks: Anatomy) -> None:
    """Along every ray, across and down, the map of a drawn patient keeps its order."""
    generator = np.random.default_rng(0)
    for view in ("PA", "AP"):
        for _ in range(10):
            patient, pose = draw_patient(generator), draw_pose(generator, view, 1.4)
            rays = ray_map(blocks, patient, pose, aim(blocks, patient, pose, generator))
            assert (np.diff(rays[..., 2], axis=2) > 0).all()
            assert (np.diff(rays[..., 0], axis=1) < 0).all()
            assert (np.abs(np.diff(rays[..., 1], axis=0)) > 0).all()


def test_only_women_have_breasts_and_they_end_in_a_rounded_lower_edge(blocks: Anatomy) -> None:
    generator = np.random.default_rng(3)
    drawn = [draw_patient(generator) for _ in range(40)]
    assert {patient.sex for patient in drawn} == {"F", "M"}
    for patient in drawn:
        thick = breast_cm(patient, aim(blocks, patient, STILL, generator), 48)
        assert thick.any() == (patient.sex == "F")
    assert np.isfinite(to_voxels(blocks, np.zeros(3))).all()
