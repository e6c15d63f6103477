from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy
from vesalius.datasets.simulated_radiographs.projection import MAP_NODES, Geometry, integrate, to_voxels

PA = Geometry((0.0, -1600.0, 0.0), 200.0, (0.0, 0.0), 300.0, -130.0, 130.0)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_fused_kernel_agrees_with_scipy_on_the_expanded_map(channels: int) -> None:
    generator = np.random.default_rng(0)
    volume = generator.random((11, 12, 13, channels)).astype(np.float32)
    ray_map = generator.uniform(-2, 14, (4, 5, 6, 3)).astype(np.float32)  # also outside, on every side
    size, steps = 17, 9
    got = integrate(volume, ray_map, size, steps)

    at = np.meshgrid(
        (np.arange(steps) + 0.5) * 3 / steps, np.arange(size) * 4 / (size - 1), np.arange(size) * 5 / (size - 1), indexing="ij"
    )
    points = np.stack([ndimage.map_coordinates(ray_map[..., k].astype(np.float64), at, order=1) for k in range(3)])
    z, y, x = np.maximum(points[0], 0), points[1], np.clip(points[2], 0, 12)
    inside = (y >= 0) & (y <= 11) & (z <= 10)
    for channel in range(channels):
        sampled = ndimage.map_coordinates(volume[..., channel].astype(np.float64), [z, y, x], order=1, mode="nearest")
        np.testing.assert_allclose(got[..., channel], (sampled * inside).sum(0), atol=2e-4)


def test_a_ray_through_a_ball_is_as_long_as_its_chord(blocks: Anatomy) -> None:
    radius, centre = 60.0, np.array([10.0, -20.0, 15.0])
    axes = [o + s * np.arange(n) for o, s, n in zip(blocks.origin_mm, blocks.spacing_mm, blocks.structures.shape, strict=True)]
    away = np.sqrt(sum((a - c) ** 2 for a, c in zip(np.meshgrid(*axes, indexing="ij"), centre, strict=True)))
    ball = np.clip((radius - away) / 4 + 0.5, 0, 1).astype(np.float32)[..., None]
    size, steps = 65, 130
    got = integrate(ball, to_voxels(blocks, PA.points(*MAP_NODES)), size, steps)[..., 0] * PA.step_cm(steps, size) * 10

    focus = np.array(PA.source_mm)
    along = np.linspace(150, -150, size)
    z, x = np.meshgrid(along, -along, indexing="ij")
    direction = np.stack([z, np.full_like(z, PA.detector_y_mm), x], -1) - focus
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    middle = (direction * (centre - focus)).sum(-1)
    missed = ((centre - focus) ** 2).sum() - middle**2
    chord = 2 * np.sqrt(np.maximum(radius**2 - missed, 0))
    deep = chord > 60  # the rim is blurred by 4 to 6 mm voxels
    assert deep.sum() > 400
    np.testing.assert_allclose(got[deep], chord[deep], rtol=0.03)
    assert abs(got.sum() / chord.sum() - 1) < 0.01


def test_what_lies_nearer_the_tube_is_magnified_more(blocks: Anatomy) -> None:
    def width_px(y_mm: float) -> int:
        x = blocks.origin_mm[2] + blocks.spacing_mm[2] * np.arange(blocks.structures.shape[2])
        y = blocks.origin_mm[1] + blocks.spacing_mm[1] * np.arange(blocks.structures.shape[1])
        slab = np.zeros((*blocks.structures.shape, 1), np.float32)
        slab[:, np.argmin(np.abs(y - y_mm)), np.abs(x) < 80] = 1
        film = integrate(slab, to_voxels(blocks, PA.points(*MAP_NODES)), 301, 200)[150, :, 0]
        return int((film > film.max() / 2).sum())

    # 39 voxels of 4 mm, in 300 mm on 301 pixels, times focus-detector over focus-slab distance
    for y_mm in (-96.0, 96.0):
        expected = 156 / 1.0 * 1800 / (1600 + y_mm)
        assert abs(width_px(y_mm) - expected) < 3


def test_nothing_lies_above_the_volume_and_the_body_goes_on_below_and_beside() -> None:
    volume = np.ones((4, 5, 6, 1), np.float32)
    ray_map = np.zeros((2, 2, 2, 3), np.float32)
    ray_map[..., 1] = 2
    for z, x, expected in ((9, 2, 0), (-9, 2, 1), (2, -9, 1), (2, 20, 1)):
        ray_map[..., 0], ray_map[..., 2] = z, x
        np.testing.assert_allclose(integrate(volume, ray_map, 3, 5), 5 * expected)
