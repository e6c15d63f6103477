"""Foreign images: each what its name says, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.audit.foreign import KINDS, foreign_images
from vesalius.types import Image


@pytest.fixture
def films() -> list[Image]:
    random = np.random.default_rng(3)
    return [Image(pixels=random.random((20, 14)).astype(np.float32), image_id=f"{n:016x}") for n in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_grey_stays_in_range_and_the_seed_decides(kind: str, films: list[Image]) -> None:
    first, again = foreign_images(kind, films, seed=7), foreign_images(kind, films, seed=7)
    for made, same, film in zip(first, again, films, strict=True):
        assert made.pixels.dtype == np.float32
        assert made.pixels.min() >= 0
        assert made.pixels.max() <= 1
        np.testing.assert_array_equal(made.pixels, same.pixels)
        assert made.image_id != film.image_id


@pytest.mark.parametrize("kind", ["noise", "blank"])
def test_another_seed_draws_other_greys(kind: str, films: list[Image]) -> None:
    assert not np.array_equal(foreign_images(kind, films, 1)[0].pixels, foreign_images(kind, films, 2)[0].pixels)


def test_rotations_and_inversion_undo_themselves(films: list[Image]) -> None:
    for kind, times in (("inverted", 2), ("rotated_180", 2), ("rotated_90", 4)):
        turned = films
        for _ in range(times):
            turned = foreign_images(kind, turned, 0)
        for film, back in zip(films, turned, strict=True):
            np.testing.assert_allclose(back.pixels, film.pixels, atol=1e-6)


def test_a_film_on_its_side_swaps_height_and_width(films: list[Image]) -> None:
    assert foreign_images("rotated_90", films, 0)[0].pixels.shape == (14, 20)


def test_a_blank_image_is_flat_but_not_constant(films: list[Image]) -> None:
    spread = [image.pixels.std() for image in foreign_images("blank", films, 0)]
    assert all(0.001 < one < 0.01 for one in spread)


def test_corners_go_where_the_name_says(films: list[Image]) -> None:
    film = films[0].pixels
    upside_down, on_its_side, black_for_white = (
        foreign_images(kind, films, 0)[0].pixels for kind in ("rotated_180", "rotated_90", "inverted")
    )
    assert (upside_down[0, 0], upside_down[0, -1]) == (film[-1, -1], film[-1, 0])
    assert (on_its_side[0, 0], on_its_side[0, -1]) == (film[0, -1], film[-1, -1])
    assert black_for_white[3, 5] == 1 - film[3, 5]
