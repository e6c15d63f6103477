"""A chest of simple shapes, so that most tests need neither the CT nor its six seconds."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs.anatomy import HEART, Anatomy

SPACING_MM = (4.0, 6.0, 4.0)
ORIGIN_MM = (-150.0, -120.0, -160.0)


@pytest.fixture
def blocks() -> Anatomy:
    """A muscle block with two box-shaped lungs with their lobes and a box-shaped heart between them."""
    shape = (76, 41, 81)
    z, y, x = (o + s * np.arange(n) for o, s, n in zip(ORIGIN_MM, SPACING_MM, shape, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    tissue = np.zeros((*shape, 2), np.float32)
    tissue[..., 0] = (np.abs(y) < 110) & (np.abs(x) < 150)
    structures = np.zeros(shape, np.uint8)
    tall = (np.abs(z) <= 120) & (np.abs(y) <= 80)
    structures[tall & (x <= -40) & (x >= -130) & (z > 0)] = 1
    structures[tall & (x <= -40) & (x >= -130) & (z > 0) & (z < 30) & (y > 0)] = 2
    structures[tall & (x <= -40) & (x >= -130) & (z <= 0)] = 3
    structures[tall & (x >= 40) & (x <= 130) & (z > 0)] = 4
    structures[tall & (x >= 40) & (x <= 130) & (z <= 0)] = 5
    structures[(np.abs(z + 30) <= 40) & (np.abs(y) <= 40) & (np.abs(x) < 36)] = HEART
    lungs = (structures > 0) & (structures < HEART)
    tissue[..., 0][lungs] = 0.2
    inner = np.minimum.reduce(np.broadcast_arrays(120 - np.abs(z), 80 - np.abs(y), 45 - np.abs(np.abs(x) - 85))) + 4
    return Anatomy(
        tissue=tissue,
        structures=structures,
        pleura_mm=np.where(lungs, inner, 0).astype(np.float32),
        spacing_mm=SPACING_MM,
        origin_mm=ORIGIN_MM,
        lungs_mm=(122.0, 83.0, 132.0),
        heart_mm=(-30.0, 0.0, 0.0),
    )
