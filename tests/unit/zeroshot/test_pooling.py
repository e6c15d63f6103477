"""Pooling and smoothing against sorting everything; no order of patches changes an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.zeroshot.pooling import pool
from vesalius.zeroshot.smoothing import neighbours, smooth


def scores(patches: int, columns: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(patches, columns))


@pytest.mark.parametrize("patches", [1, 3, 7, 250])
@pytest.mark.parametrize("how", ["mean", "sum"])
def test_equals_sorting_each_column(patches: int, how: str) -> None:
    values = scores(patches)
    pooled = pool(values, (1, 5, 50), how=how)
    for k in (1, 5, 50):
        greatest = np.sort(values, axis=0)[::-1][:k]
        expected = greatest.mean(axis=0) if how == "mean" else greatest.sum(axis=0)
        np.testing.assert_allclose(pooled.top[k], expected, rtol=1e-12)
    np.testing.assert_allclose(pooled.mean, values.mean(axis=0))
    np.testing.assert_array_equal(pooled.top[1], values.max(axis=0))
    assert pooled.patches == patches


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_a_stream_in_any_order_gives_the_same(patches: int, size: int, seed: int) -> None:
    values = scores(patches, seed=seed)
    shuffled = np.random.default_rng(seed).permutation(patches)
    stream = (values[shuffled[start : start + size]] for start in range(0, patches, size))
    whole, streamed = pool(values, (1, 4)), pool(stream, (1, 4))
    for k in (1, 4):
        np.testing.assert_allclose(streamed.top[k], whole.top[k], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(streamed.mean, whole.mean, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_pooled() -> None:
    with pytest.raises(EmptyInput, match="no tissue"):
        pool(np.empty((0, 3)))
    with pytest.raises(EmptyInput):
        pool(iter(()))
    with pytest.raises(ValueOutOfRange, match="not finite"):
        pool(np.array([[0.0, np.nan]]))
    with pytest.raises(ValueOutOfRange, match="at least 1"):
        pool(scores(3), (0,))
    with pytest.raises(ShapeMismatch):
        pool(iter([scores(3, 2), scores(3, 3)]))


def test_neighbours_against_all_distances() -> None:
    places = np.random.default_rng(1).uniform(0, 1000, (90, 2))
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.testing.assert_array_equal(neighbours(places, 8), np.argsort(distance, axis=1)[:, :8])


def test_neighbours_on_a_grid_do_not_depend_on_the_order_of_patches() -> None:
    grid = np.stack(np.meshgrid(np.arange(9) * 256, np.arange(7) * 256), axis=-1).reshape(-1, 2)
    values = scores(len(grid), 3)
    smoothed = smooth(values, neighbours(grid, 8))
    order = np.random.default_rng(2).permutation(len(grid))
    np.testing.assert_allclose(smooth(values[order], neighbours(grid[order], 8)), smoothed[order], rtol=1e-12)
    assert (neighbours(grid, 8)[:, 0] == np.arange(len(grid))).all(), "a patch is the first of its own neighbours"


def test_smoothing_is_the_mean_and_few_patches_are_enough() -> None:
    places = np.array([[0, 0], [256, 0], [5000, 5000]])
    values = np.array([[1.0], [3.0], [11.0]])
    np.testing.assert_allclose(smooth(values, neighbours(places, 2)), [[2.0], [2.0], [7.0]])
    np.testing.assert_allclose(smooth(values, neighbours(places, 8)), np.full((3, 1), 5.0))
    np.testing.assert_allclose(smooth(values, neighbours(places, 1)), values)
    with pytest.raises(ValueOutOfRange):
        neighbours(places, 0)
    with pytest.raises(ShapeMismatch):
        smooth(values[:2], neighbours(places, 2))
