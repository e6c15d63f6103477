from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import Brightness, Flip, Gamma, Identity, Noise, Rotate, Rotate90, Scale, Shift

FILM = np.random.default_rng(0).random((2, 9, 7))
VOLUME = np.random.default_rng(1).random((4, 6, 5))
EXACT = [
    Identity(),
    Flip((-1,)),
    Flip((-2,)),
    Flip((-1, -2)),
    Rotate90(1),
    Rotate90(2),
    Rotate90(3),
    Rotate(0.0),
    Scale(1.0),
    Shift((0.0, 0.0)),
]


@pytest.mark.parametrize("transform", EXACT, ids=lambda transform: transform.name)
def test_exact_views_come_back_exactly_and_are_all_seen(transform: object) -> None:
    np.testing.assert_array_equal(transform.inverse(transform.apply(FILM)), FILM)
    assert transform.seen(FILM.shape[1:]).all()


@pytest.mark.parametrize(
    "transform", [Flip((-3,)), Flip((-1, -3)), Rotate90(1, (-3, -1)), Scale(1.0, 3), Shift((1.0, 0.0, -1.0))], ids=lambda t: t.name
)
def test_volumes_come_back_where_they_were_seen(transform: object) -> None:
    back = transform.inverse(transform.apply(VOLUME))
    seen = transform.seen(VOLUME.shape)
    assert transform.dimensions == 3
    np.testing.assert_array_equal(back[seen], VOLUME[seen])
    assert seen.mean() > 0.5


@pytest.mark.parametrize(
    "transform", [Rotate(11.0), Scale(1.2), Scale(0.8), Shift((1.4, -2.3)), Rotate(-9.0, (-3, -1)), Scale(1.1, 3)]
)
def test_a_linear_image_comes_back_where_it_was_seen(transform: object) -> None:
    # Linear interpolation is exact on a linear image, so what is seen must come back to rounding; what is not seen need not.
    shape = (9, 8, 10) if transform.dimensions == 3 else (24, 20)
    image = sum(k * axis for k, axis in enumerate(np.meshgrid(*map(np.arange, shape), indexing="ij"), 2)).astype(float)
    back, seen = transform.inverse(transform.apply(image)), transform.seen(shape)
    assert 0.3 < seen.mean() < 1
    np.testing.assert_allclose(back[seen], image[seen], atol=1e-9)
    assert np.abs(back - image)[~seen].max() > 0.1


def test_a_shift_moves_towards_higher_indices_and_loses_what_leaves() -> None:
    image = np.zeros((4, 5))
    image[1, 1] = 1
    moved = Shift((2.0, 1.0)).apply(image)
    assert np.argwhere(moved == 1).tolist() == [[3, 2]]
    seen = Shift((2.0, 1.0)).seen((4, 5))
    assert seen[:2, :4].all()
    assert seen.sum() == 8


def test_a_turn_goes_the_way_of_numpys_quarter_turn() -> None:
    image = np.zeros((11, 11))
    image[5, 9] = 1  # right of the centre
    turned = Rotate(45.0).apply(Rotate(45.0).apply(image))
    row, column = np.unravel_index(turned.argmax(), turned.shape)
    assert (row, column) == tuple(np.argwhere(np.rot90(image))[0])  # above it


def test_label_maps_stay_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (12, 10))
    back = Rotate(10.0).inverse(labels, interpolation="nearest")
    assert back.dtype == labels.dtype
    assert set(np.unique(back)) <= set(range(5))
    mask = labels > 2
    assert Rotate(10.0).inverse(mask, interpolation="nearest").dtype == bool
    assert Rotate(10.0).apply(mask).dtype == np.float64  # a view of a mask has parts of voxels


def test_float32_stays_float32() -> None:
    film = FILM.astype(np.float32)
    for transform in (Rotate(5.0), Gamma(0.8), Brightness(0.1), Noise(0.1), Flip()):
        assert transform.apply(film).dtype == np.float32


@pytest.mark.parametrize("transform", [Gamma(1.7), Brightness(0.1), Noise(0.02)])
def test_grey_values_do_not_know_the_unit(transform: object) -> None:
    in_hu = FILM * 2000 - 1000
    np.testing.assert_allclose(transform.apply(in_hu), transform.apply(FILM) * 2000 - 1000, atol=1e-9)
    np.testing.assert_array_equal(transform.inverse(FILM), FILM)
    assert transform.seen((9, 7)).all()


def test_grey_values_by_hand() -> None:
    image = np.array([[0.0, 2.0, 4.0]])
    np.testing.assert_allclose(Gamma(2.0).apply(image), [[0, 1, 4]])
    np.testing.assert_allclose(Brightness(-0.25).apply(image), [[-1, 1, 3]])
    np.testing.assert_array_equal(Gamma(2.0).apply(np.ones((2, 2))), np.ones((2, 2)))
    noisy = Noise(0.1, seed=3).apply(np.tile(image, (4000, 1)))
    assert (noisy - np.tile(image, (4000, 1))).std() == pytest.approx(0.4, rel=0.03)
    np.testing.assert_array_equal(noisy, Noise(0.1, seed=3).apply(np.tile(image, (4000, 1))))
    assert not np.array_equal(noisy, Noise(0.1, seed=4).apply(np.tile(image, (4000, 1))))


def test_sides() -> None:
    assert [t.laterality_safe for t in (Flip(), Flip((-2,)), Rotate90(2))] == [False] * 3
    assert all(
        t.laterality_safe for t in (Identity(), Rotate(3.0), Scale(1.1), Shift((1.0, 1.0)), Gamma(1.2), Noise(), Brightness())
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Flip(()),
        lambda: Flip((0,)),
        lambda: Flip((-1, -1)),
        lambda: Rotate90(1, (-1,)),
        lambda: Rotate(50.0),
        lambda: Rotate(float("nan")),
        lambda: Scale(3.0),
        lambda: Scale(1.1, 1),
        lambda: Shift((1.0,)),
        lambda: Shift((1.0, float("inf"))),
        lambda: Gamma(0.0),
        lambda: Brightness(0.6),
        lambda: Noise(-0.1),
        lambda: Rotate(5.0).inverse(FILM, interpolation="cubic"),
    ],
)
def test_settings_that_make_no_sense(make: object) -> None:
    with pytest.raises(ValueOutOfRange):
        make()


def test_too_few_axes() -> None:
    with pytest.raises(ShapeMismatch, match="last 3 axes"):
        Flip((-3,)).apply(np.zeros((4, 4)))
