"""A slide cut by micrometres: which patches, where, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.slides import tissue_picture, write_pyramid
from vesalius.errors import EmptyInput, ValueOutOfRange
from vesalius.slides.patches import PatchGrid, read_patches
from vesalius.slides.read import Slide, open_slide
from vesalius.slides.tissue import TissueMask, find_tissue

EVERYWHERE = TissueMask(np.ones((48, 64), dtype=bool), 10.0, 0.1)


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Slide]:
    with open_slide(write_pyramid(tmp_path / "a.tif", tissue_picture())) as opened:
        yield opened


def test_a_grid_covers_the_slide_row_by_row(slide: Slide) -> None:
    places = PatchGrid(64, 0.5).places(slide, EVERYWHERE)
    across, down = 640 // 64, 480 // 64
    np.testing.assert_array_equal(places, [(64 * x, 64 * y) for y in range(down) for x in range(across)])
    assert places.dtype == np.int64


def test_patches_between_levels_and_with_overlap(slide: Slide) -> None:
    grid = PatchGrid(32, 1.6, overlap=0.25)
    side = grid.side_at(slide.mpp)
    assert (grid.side_um, side) == (pytest.approx(51.2), pytest.approx(102.4, rel=1e-4))
    places = grid.places(slide, EVERYWHERE)
    columns = np.unique(places[:, 0])
    np.testing.assert_allclose(np.diff(columns), 0.75 * side, atol=1)
    assert columns[-1] + side <= 640 + 1
    assert columns[-1] + side + 0.75 * side > 640


def test_only_patches_with_enough_tissue(slide: Slide) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[:, :32] = True  # tissue on the left half: the patch from 256 to 384 has half of it
    for least, last in ((0.25, 256), (0.5, 256), (0.51, 128), (1.0, 128)):
        places = PatchGrid(128, 0.5, least_tissue=least).places(slide, TissueMask(mask, 10.0, 0.1))
        assert places[:, 0].max() == last
    with pytest.raises(EmptyInput, match=r"none of 15 patches of 64 micrometres has 25% of tissue"):
        PatchGrid(128, 0.5).places(slide, TissueMask(np.zeros((48, 64), dtype=bool), 10.0, 0.1))


def test_a_slide_smaller_than_a_patch_says_so(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", tissue_picture(100, 90, box=(5, 5, 95, 85)))
    with open_slide(path) as slide, pytest.raises(EmptyInput, match=r"50 by 45 micrometres.* patch of 112"):
        PatchGrid(224, 0.5).places(slide, find_tissue(slide))


def test_detail_that_was_not_scanned_is_refused(slide: Slide) -> None:
    with pytest.raises(ValueOutOfRange, match="--patch-mpp"):
        PatchGrid(64, 0.25).places(slide, EVERYWHERE)
    assert len(PatchGrid(64, 0.4).places(slide, EVERYWHERE)), "a little finer than the slide is still read"


@pytest.mark.parametrize("workers", [1, 3])
def test_patches_come_in_order_in_batches(slide: Slide, workers: int) -> None:
    picture = tissue_picture()
    grid = PatchGrid(64, 0.5)
    places = grid.places(slide, EVERYWHERE)
    batches = list(read_patches(slide, places, grid, batch_size=32, workers=workers))
    assert [len(batch) for batch in batches] == [32, 32, 6]
    for (x, y), patch in zip(places, np.concatenate(batches), strict=True):
        np.testing.assert_array_equal(patch, picture[y : y + 64, x : x + 64])


def test_batches_are_read_as_they_are_asked_for(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    own = type(slide).read
    monkeypatch.setattr(type(slide), "read", lambda self, *place: asked.append(place) or own(self, *place))
    grid = PatchGrid(64, 0.5)
    batches = read_patches(slide, grid.places(slide, EVERYWHERE), grid, batch_size=4)
    next(batches)
    assert len(asked) == 4


def test_what_no_grid_can_be(slide: Slide) -> None:
    for wrong in ({"side_px": 8}, {"mpp": 0.0}, {"overlap": 1.0}, {"least_tissue": 1.5}):
        with pytest.raises(ValueOutOfRange):
            PatchGrid(**wrong)
    with pytest.raises(ValueOutOfRange, match="at least 1"):
        next(read_patches(slide, np.array([[0, 0]]), PatchGrid(), batch_size=0))
