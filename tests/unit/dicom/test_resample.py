from __future__ import annotations

import numpy as np
import pytest

from vesalius.dicom.resample import content_box, dequantise, quantise, resize_to_square, standardise
from vesalius.errors import ShapeMismatch
from vesalius.types import Image


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (100, 100, 50, (0, 0, 50, 50)),
        (200, 100, 50, (0, 12, 50, 37)),
        (100, 200, 50, (12, 0, 37, 50)),
        (1, 1000, 64, (31, 0, 32, 64)),
        (30, 20, 60, (0, 10, 60, 50)),
    ],
)
def test_the_film_is_centred_in_its_square(height: int, width: int, size: int, box: tuple[int, int, int, int]) -> None:
    assert content_box(height, width, size) == box


def test_outside_the_film_the_square_is_black_and_inside_it_is_the_film() -> None:
    square = resize_to_square(np.full((200, 100), 0.5, np.float32), 50)
    expected = np.zeros((50, 50), np.float32)
    expected[:, 12:37] = 0.5
    np.testing.assert_array_equal(square, expected)


def test_shrinking_averages_and_does_not_alias() -> None:
    checkerboard = (np.indices((256, 256)).sum(0) % 2).astype(np.float32)
    inner = resize_to_square(checkerboard, 32)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, 0.5, atol=0.01)


def test_a_square_of_that_size_comes_back_bit_for_bit() -> None:
    pixels = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    np.testing.assert_array_equal(resize_to_square(pixels, 64), pixels)


def test_quantise_by_hand() -> None:
    levels = quantise(np.array([[0, 0.5, 1], [-0.2, 1.3, 0.1]], np.float32), 8)
    assert levels.dtype == np.uint16
    assert levels.tolist() == [[0, 128, 255], [0, 255, 26]]
    assert dequantise(levels, 8).dtype == np.float32
    assert dequantise(np.array([51], np.uint16), 8)[0] == np.float32(0.2)


def test_standardise_is_the_square_at_the_films_own_depth() -> None:
    image = Image(pixels=np.linspace(0, 1, 128 * 64, dtype=np.float32).reshape(128, 64), image_id="x", bits_stored=10)
    square = standardise(image, 32)
    assert square.shape == (32, 32)
    assert not square[:, :8].any()
    assert 900 < square.max() <= 1023


@pytest.mark.parametrize("bits", [0, 17])
def test_depths_that_no_store_has_are_refused(bits: int) -> None:
    with pytest.raises(ShapeMismatch, match="1 to 16"):
        quantise(np.zeros((2, 2), np.float32), bits)


def test_an_empty_square_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="at least 1"):
        resize_to_square(np.zeros((2, 2), np.float32), 0)
