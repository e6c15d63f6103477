from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.stats import entropy

import vesalius.uncertainty.segmentation as room
from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    Combination,
    boundary_band,
    case_scores,
    entropy_map,
    expected_entropy,
    mean_inside,
    mutual_information,
    pairwise_dice,
    predictive_entropy,
    stack_scores,
    volume_variation,
)

RANDOM = np.random.default_rng(0)
SHAPE = (6, 7, 8)
NONE = np.zeros(SHAPE, dtype=bool)
MAP = RANDOM.random(SHAPE).astype(np.float32)


def box(*sides: slice) -> np.ndarray:
    mask = NONE.copy()
    mask[sides] = True
    return mask


BOX = box(slice(1, 4), slice(2, 5), slice(2, 6))


def test_nothing_found_by_anyone() -> None:
    scores = case_scores([NONE, NONE, NONE], MAP)[1]
    disagreements = (
        scores.volume_variation,
        scores.pairwise_disagreement,
        scores.consensus_disagreement,
        scores.union_disagreement,
    )
    assert disagreements == (0, 0, 0, 0)
    assert scores.foreground_mean == scores.boundary_mean == MAP.max()
    assert scores.note == "no member has a voxel of this class"
    sure = case_scores([NONE, NONE], np.zeros(SHAPE))[1]
    assert sure.foreground_mean == 0


def test_one_of_three_found_something() -> None:
    scores = case_scores([BOX, NONE, NONE], MAP)[1]
    assert scores.pairwise_disagreement == pytest.approx(1 - (0 + 0 + 1) / 3)
    assert scores.consensus_disagreement == pytest.approx(1 - (0 + 1 + 1) / 3)  # the consensus is empty
    assert scores.union_disagreement == 1
    assert scores.volume_variation == pytest.approx(np.sqrt(2))
    assert scores.foreground_mean == MAP.max()
    assert "empty consensus" in scores.note


def test_one_member_disagrees_with_nobody() -> None:
    scores = case_scores([BOX], MAP)[1]
    assert [scores.volume_variation, scores.pairwise_disagreement, scores.consensus_disagreement, scores.union_disagreement] == [
        0
    ] * 4
    assert scores.foreground_mean == pytest.approx(MAP[BOX].mean(dtype=float))
    assert scores.note is None


def test_half_of_the_members_is_no_consensus() -> None:
    assert case_scores([BOX, NONE])[1].consensus_voxels == 0
    assert case_scores([BOX, BOX, NONE])[1].consensus_voxels == BOX.sum()


def test_a_full_grid_has_no_boundary() -> None:
    scores = case_scores([~NONE, ~NONE], MAP)[1]
    assert scores.boundary_mean == MAP.max()
    assert scores.foreground_mean == pytest.approx(MAP.mean(dtype=float))
    assert "no boundary" in scores.note


def test_without_a_map_its_means_are_nan_and_a_combination_drops_them() -> None:
    cases = [case_scores([BOX, np.roll(BOX, k, axis=0)])[1] for k in range(4)]
    table = stack_scores(cases)
    assert np.isnan(table["foreground_mean"]).all()
    fitted = Combination().fit(table)
    assert set(fitted.dropped) == {"foreground_mean", "boundary_mean", "volume_variation"}  # shifted masks are equally large
    assert np.argsort(fitted.score(table)).tolist()[0] == 0  # the members that agree


def test_classes_apart_and_maps_of_their_own() -> None:
    labels = np.where(BOX, 1, 0)
    labels[5] = 2
    other = labels.copy()
    other[5, :3] = 0
    scores = case_scores(np.stack([labels, other]), {1: MAP, 2: np.full(SHAPE, 0.5)}, classes=(1, 2))
    assert scores[1].pairwise_disagreement == 0
    assert scores[2].pairwise_disagreement == pytest.approx(1 - 2 * 32 / (56 + 32))
    assert scores[1].foreground_mean == pytest.approx(MAP[BOX].mean(dtype=float))
    assert scores[2].foreground_mean == 0.5
    alone = case_scores([labels == 2, other == 2], np.full(SHAPE, 0.5))[1]
    assert alone == scores[2]


def test_the_order_of_members_and_copies_of_them() -> None:
    members = [BOX, np.roll(BOX, 1, axis=1), np.roll(BOX, 1, axis=2)]
    one = case_scores(members, MAP)[1].measures()
    assert one == pytest.approx(case_scores(members[::-1], MAP)[1].measures())
    twice = case_scores(members * 2, MAP)[1].measures()
    for name in ("volume_variation", "consensus_disagreement", "union_disagreement", "foreground_mean"):
        assert twice[name] == pytest.approx(one[name])
    assert twice["pairwise_disagreement"] < one["pairwise_disagreement"]  # pairs of copies agree


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [RANDOM.random(SHAPE) < 0.4 for _ in range(3)]
    probabilities = RANDOM.random((3, *SHAPE))
    whole = case_scores(members, MAP, band_width=1), entropy_map(probabilities), mean_inside(MAP, members[0])
    monkeypatch.setattr(room, "SLAB_VOXELS", 60)
    cut = case_scores(members, MAP, band_width=1), entropy_map(probabilities), mean_inside(MAP, members[0])
    assert cut[0][1].measures() == pytest.approx(whole[0][1].measures(), rel=1e-12)
    assert np.array_equal(cut[1], whole[1])
    assert cut[2] == pytest.approx(whole[2], rel=1e-12)


def test_a_large_volume_needs_little_more_than_its_own_arrays() -> None:
    shape = (96, 256, 256)
    z, y, x = np.ogrid[:96, :256, :256]
    members = [((z - 48) * 2) ** 2 + (y - 128) ** 2 + (x - 128) ** 2 < radius**2 for radius in (80, 84, 90)]
    map_ = np.full(shape, 0.25, dtype=np.float32)
    tracemalloc.start()
    case_scores(members, map_, spacing_mm=(2.0, 1.0, 1.0), band_width=3.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 14 * map_.size  # one distance transform alone takes 20 bytes a voxel and more


def test_band_in_mm_stays_in_the_plane_of_thick_slices() -> None:
    band = boundary_band(BOX, 2.0, spacing_mm=(5.0, 1.0, 1.0))
    assert not band[0].any()
    assert band[2, 0, 3]
    assert boundary_band(BOX, 5.0, spacing_mm=(5.0, 1.0, 1.0))[0, 3, 3]
    assert not boundary_band(NONE, 1.0).any()
    assert not boundary_band(~NONE, 1.0).any()


def test_the_edge_of_the_grid_is_no_boundary() -> None:
    half = box(slice(0, 3))
    band = boundary_band(half, 1.0)
    assert np.array_equal(band, box(slice(2, 4)))


def test_mean_inside_leaves_out_what_is_not_known() -> None:
    map_ = MAP.copy()
    map_[2] = np.nan
    assert mean_inside(map_, BOX) == pytest.approx(np.nanmean(map_[BOX].astype(float)))
    assert mean_inside(map_, NONE) == np.nanmax(map_)
    assert np.isnan(mean_inside(np.full(SHAPE, np.nan), NONE))
    late = box(slice(5, 6))  # only the last slab holds a voxel of the mask
    assert mean_inside(MAP, late) == pytest.approx(MAP[5].mean(dtype=float))


@pytest.mark.parametrize(
    ("kind", "whole"),
    [("predictive", predictive_entropy), ("expected", expected_entropy), ("mutual-information", mutual_information)],
)
def test_maps_are_those_of_the_whole_array(kind: str, whole: object) -> None:
    binary = RANDOM.random((3, *SHAPE))
    assert np.array_equal(entropy_map(binary, kind=kind), whole(binary))
    classes = RANDOM.dirichlet(np.ones(4), (3, *SHAPE))
    first = np.moveaxis(classes, -1, 1)
    assert np.array_equal(entropy_map(list(first), kind=kind, task="multiclass"), whole(classes, task="multiclass"))


def test_maps_keep_their_precision_and_are_entropies() -> None:
    p = RANDOM.random((2, *SHAPE)).astype(np.float32)
    map_ = entropy_map(p)
    assert map_.dtype == np.float32
    mean = p.astype(float).mean(axis=0)
    assert map_ == pytest.approx(entropy(np.stack([mean, 1 - mean])), abs=1e-6)


def test_volume_variation_and_pairwise_dice() -> None:
    assert volume_variation(np.array([1.0, 3.0])) == pytest.approx(0.5)
    assert volume_variation(np.zeros(3)) == 0
    assert pairwise_dice([BOX, NONE]) == 0
    assert pairwise_dice([NONE, NONE]) == 1 == pairwise_dice([BOX])
    assert pairwise_dice(np.stack([BOX, BOX]).astype(int) * 3, label=3) == 1


def test_refusals() -> None:
    with pytest.raises(EmptyInput, match="0 members"):
        case_scores([])
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        case_scores([BOX, BOX[1:]])
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        case_scores([BOX], MAP[1:])
    with pytest.raises(ShapeMismatch, match="one number an axis"):
        boundary_band(BOX, 1.0, spacing_mm=(1.0, 1.0))
    with pytest.raises(ValueOutOfRange, match="finest spacing"):
        boundary_band(BOX, 0.5)
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        mean_inside(MAP, BOX[1:])
    with pytest.raises(EmptyInput, match="no member"):
        entropy_map(np.empty((0, 2)))
    with pytest.raises(ShapeMismatch, match="equal ones"):
        entropy_map([MAP, MAP[1:]])
    with pytest.raises(ValueOutOfRange, match="kind"):
        entropy_map(MAP[None], kind="total")
    with pytest.raises(EmptyInput, match="volume"):
        volume_variation(np.array([]))
    with pytest.raises(ValueOutOfRange, match="volume"):
        volume_variation(np.array([-1.0]))
    with pytest.raises(EmptyInput, match="no case"):
        stack_scores([])
