"""Tissue against masks that are known because the picture was painted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.slides import GLASS, tissue_picture, write_pyramid
from vesalius.errors import EmptyInput, ValueOutOfRange
from vesalius.slides.read import open_slide
from vesalius.slides.tissue import TissueMask, TissueOptions, find_tissue, is_ink, majority, otsu, remove_small, saturation_of

FINE = TissueOptions(mpp=0.5, least_area_um2=500, largest_hole_um2=500)


def mask_of(tmp_path: Path, picture: np.ndarray, options: TissueOptions = FINE) -> TissueMask:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture)) as slide:
        return find_tissue(slide, options)


def test_tissue_is_where_it_was_painted(tmp_path: Path) -> None:
    found = mask_of(tmp_path, tissue_picture(box=(100, 60, 500, 400)))
    truth = np.zeros((480, 640), dtype=bool)
    truth[60:400, 100:500] = True
    assert found.downsample == 1
    assert (found.mask != truth).mean() < 0.005
    assert found.share == pytest.approx(truth.mean(), abs=0.005)


def test_dust_and_holes(tmp_path: Path) -> None:
    picture = tissue_picture(box=(100, 60, 500, 400))
    picture[420:440, 560:580] = (200, 120, 170)  # 100 square micrometres of dust
    picture[100:130, 200:230] = GLASS  # a hole of 225
    found = mask_of(tmp_path, picture)
    assert not found.mask[420:440, 560:580].any()
    assert found.mask[100:130, 200:230].all()
    assert (
        not mask_of(tmp_path, picture, TissueOptions(mpp=0.5, least_area_um2=50, largest_hole_um2=50)).mask[105:125, 205:225].any()
    )


def test_pen_and_shade_are_no_tissue(tmp_path: Path) -> None:
    picture = tissue_picture(box=(100, 60, 300, 400))
    picture[60:400, 360:420] = (20, 120, 60)  # green pen
    picture[60:400, 440:500] = (30, 40, 190)  # blue pen
    picture[60:400, 520:600] = (90, 90, 90)  # a shade: dark, without colour
    found = mask_of(tmp_path, picture)
    assert found.mask[100:360, 140:260].all()
    assert not found.mask[:, 340:].any()


def test_an_empty_slide_says_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    glass = np.clip(random.normal(240, 2, (480, 640, 3)), 0, 255).astype(np.uint8)
    with pytest.raises(EmptyInput, match="no tissue"):
        mask_of(tmp_path, glass)


def test_a_region_without_glass_is_all_tissue(tmp_path: Path) -> None:
    picture = tissue_picture(box=(0, 0, 640, 480))
    picture[:, 320:] = (150, 60, 130)  # more deeply stained
    assert mask_of(tmp_path, picture).share == 1.0


def test_the_same_tissue_at_another_scale_of_the_mask(tmp_path: Path) -> None:
    picture = tissue_picture(box=(100, 60, 500, 400))
    coarse = mask_of(tmp_path, picture, TissueOptions(mpp=1.25, least_area_um2=500, largest_hole_um2=500))
    assert coarse.downsample == 2.5
    assert coarse.share == pytest.approx(mask_of(tmp_path, picture).share, abs=0.02)


def test_shares_of_squares_by_hand() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:4] = True
    tissue = TissueMask(mask, 10.0, 0.1)
    corners = np.array([[20, 10], [10, 0], [0, 0], [30, 20], [50, 30], [25, 15]])
    # the last square touches columns 2 to 4 and rows 1 to 3, of which four of nine pixels are tissue; one lies half outside
    np.testing.assert_allclose(tissue.shares_within(corners, 20), [1, 1 / 4, 0, 1 / 4, 0, 4 / 9])


def test_otsu_against_trying_every_threshold() -> None:
    random = np.random.default_rng(3)
    for share in (0.1, 0.5, 0.9):
        low, high = random.normal(30, 8, 4000), random.normal(120, 20, 4000)
        values = np.where(random.random(4000) < share, high, low).clip(0, 255).astype(np.uint8)

        def within(threshold: int, values: np.ndarray = values) -> float:
            parts = values[values <= threshold], values[values > threshold]
            return sum(len(part) * part.var() for part in parts if len(part))

        tried = [within(threshold) for threshold in range(255)]
        assert within(round(otsu(values.reshape(40, 100)) * 255)) == pytest.approx(min(tried))


@pytest.mark.parametrize("colour", [(243, 243, 243), (0, 0, 0), (200, 120, 170)])
def test_a_slide_of_one_colour(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    """Blank glass scanned by a machine that writes white: one heap of values, and no threshold between two."""
    with open_slide(write_pyramid(tmp_path / "a.tif", np.full((480, 640, 3), colour, dtype=np.uint8))) as slide:
        if colour == (200, 120, 170):
            assert find_tissue(slide).share == 1.0
        else:
            with pytest.raises(EmptyInput, match="no tissue"):
                find_tissue(slide)


def test_otsu_between_two_values() -> None:
    values = np.array([[10] * 5 + [200] * 5], dtype=np.uint8)
    assert 10 <= otsu(values) * 255 < 200


def test_majority_is_the_median_of_a_mask() -> None:
    mask = np.random.default_rng(0).random((40, 50)) < 0.5
    np.testing.assert_array_equal(majority(mask), ndimage.median_filter(mask.astype(np.uint8), 5).astype(bool))


def test_pieces() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[3:5, 3:5] = True
    np.testing.assert_array_equal(np.argwhere(remove_small(mask, 2)).min(axis=0), [3, 3])
    assert remove_small(mask, 4).sum() == 4
    assert not remove_small(mask, 5).any()
    assert not remove_small(np.zeros((3, 3), dtype=bool), 1).any()


def test_colours() -> None:
    picture = np.array([[[240, 240, 240], [10, 10, 10], [220, 120, 180], [20, 120, 60], [40, 30, 160], [120, 80, 170]]], np.uint8)
    np.testing.assert_array_equal(saturation_of(picture), [[0, 0, 100, 100, 130, 90]])
    np.testing.assert_array_equal(is_ink(picture), [[False, False, False, True, True, False]])


def test_options_out_of_range() -> None:
    with pytest.raises(ValueOutOfRange):
        TissueOptions(mpp=0)
    with pytest.raises(ValueOutOfRange):
        TissueOptions(least_saturation=2)
