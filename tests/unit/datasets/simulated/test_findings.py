from __future__ import annotations

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs.anatomy import HEART, Anatomy
from vesalius.datasets.simulated_radiographs.findings import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EFFUSION,
    FINDINGS,
    NODULE,
    PNEUMOTHORAX,
    Chest,
    Lesion,
    put_in,
)

LOBE = {CONSOLIDATION: "lung_lower_lobe_right", NODULE: "lung_upper_lobe_right"}


def with_lesion(anatomy: Anatomy, finding: str, severity: float = 0.6, lean_deg: float = 0.0, place: int = 3) -> Chest:
    chest = Chest(anatomy)
    put_in(chest, Lesion(finding, severity, "right", LOBE.get(finding), place), lean_deg)
    return chest


def taken(chest: Chest, finding: str) -> np.ndarray:
    """The finding's share of every voxel of the whole volume."""
    whole = np.zeros(chest.anatomy.structures.shape)
    for box, share in chest.changed[finding]:
        whole[box] += share
    return whole


def heights(chest: Chest) -> np.ndarray:
    return (chest.anatomy.origin_mm[0] + chest.anatomy.spacing_mm[0] * np.arange(len(chest.tissue)))[:, None, None]


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_lesion_stays_where_it_belongs(blocks: Anatomy, finding: str) -> None:
    chest = with_lesion(blocks, finding)
    where = taken(chest, finding) > 0.5
    assert where.any()
    allowed = {CARDIOMEGALY: [HEART], CONSOLIDATION: [3]}.get(finding, [1, 2, 3])
    assert np.isin(blocks.structures[where], allowed).all()
    left = np.isin(blocks.structures, [4, 5])
    np.testing.assert_array_equal(chest.tissue[left], blocks.tissue[left])


@pytest.mark.parametrize("finding", [EFFUSION, CONSOLIDATION, NODULE])
def test_what_replaces_air_only_makes_denser(blocks: Anatomy, finding: str) -> None:
    change = with_lesion(blocks, finding).tissue - blocks.tissue
    assert change.min() >= 0
    assert change[..., 0].max() > 0.5
    assert not change[..., 1].any()


@pytest.mark.parametrize("finding", [EFFUSION, CONSOLIDATION, NODULE, PNEUMOTHORAX])
def test_more_severe_is_larger(blocks: Anatomy, finding: str) -> None:
    sizes = [taken(with_lesion(blocks, finding, severity), finding).sum() for severity in (0.1, 0.5, 0.9)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_fluid_lies_at_the_bottom_and_climbs_along_the_outer_wall(blocks: Anatomy) -> None:
    chest = with_lesion(blocks, EFFUSION)
    fluid = taken(chest, EFFUSION) > 0.5
    lung = np.isin(blocks.structures, [1, 2, 3])
    z = np.broadcast_to(heights(chest), lung.shape)
    assert z[fluid].mean() < z[lung & ~fluid].mean() - 60
    tops = [z[:, 20, column][fluid[:, 20, column]].max() for column in np.flatnonzero(fluid.any((0, 1)))]
    assert tops[0] > min(tops) + 20  # the patient's right wall is at the low end of x


def test_fluid_runs_to_the_back_of_a_patient_who_leans_back(blocks: Anatomy) -> None:
    upright, leaning = (taken(with_lesion(blocks, EFFUSION, lean_deg=lean), EFFUSION) for lean in (0.0, 45.0))
    y = np.arange(upright.shape[1])[None, :, None]
    assert (leaning * y).sum() / leaning.sum() < (upright * y).sum() / upright.sum() - 2


def test_a_pneumothorax_takes_tissue_away_above_and_outside(blocks: Anatomy) -> None:
    chest = with_lesion(blocks, PNEUMOTHORAX)
    air = taken(chest, PNEUMOTHORAX) > 0.9
    assert chest.tissue[..., 0][air].mean() < 0.1  # 0.2 before
    lung = np.isin(blocks.structures, [1, 2, 3])
    z, _, x = np.indices(lung.shape)
    assert z[air].mean() > z[lung].mean() + 3
    assert x[air].mean() < x[lung].mean()  # the outer side of the right lung
    bottom = z[lung].min()
    assert not air[bottom : bottom + 2].any()


def test_a_nodule_is_as_large_as_a_ball_of_its_size(blocks: Anatomy) -> None:
    volumes = [taken(with_lesion(blocks, NODULE, 0.5, place=place), NODULE).sum() * 4 * 6 * 4 for place in range(12)]
    assert np.median(volumes) == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.25)


def test_the_same_place_is_found_again(blocks: Anatomy) -> None:
    first, again, elsewhere = (taken(with_lesion(blocks, NODULE, place=place), NODULE) for place in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != elsewhere).any()


def test_a_lung_lesion_without_a_side_is_refused(blocks: Anatomy) -> None:
    with pytest.raises(ValueError, match="needs a side"):
        put_in(Chest(blocks), Lesion(EFFUSION, 0.5), 0.0)
