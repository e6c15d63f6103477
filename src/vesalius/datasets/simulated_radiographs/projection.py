"""Rays through a virtual patient: cone-beam perspective, deformation on a coarse map, one fused resampling and line integral."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy

MAP_NODES = (20, 28, 28)
"""Nodes of the coarse map along the ray, down and across the film; warps are smooth, so 13 mm apart is enough."""


@dataclass(frozen=True)
class Geometry:
    """Where tube and detector stand, in mm from the centre of the lungs; y runs back to front.

    Attributes:
        source_mm: The focal spot (z, y, x).
        detector_y_mm: The detector's plane.
        centre_mm: The detector's centre (z, x).
        field_mm: Side of the square film, from the outermost pixel's centre to the opposite one's.
        from_y_mm: Where along y the integral starts.
        to_y_mm: Where it ends.
    """

    source_mm: tuple[float, float, float]
    detector_y_mm: float
    centre_mm: tuple[float, float]
    field_mm: float
    from_y_mm: float
    to_y_mm: float

    @property
    def source_to_detector_mm(self) -> float:
        """Focal spot to detector plane."""
        return abs(self.detector_y_mm - self.source_mm[1])

    def points(self, n_depth: int, n_rows: int, n_columns: int) -> Float[np.ndarray, "depth height width 3"]:
        """Returns points (z, y, x) on a lattice of rays whose outermost lie in the film's outermost pixel centres."""
        rows = self.centre_mm[0] + self.field_mm * np.linspace(0.5, -0.5, n_rows)
        columns = self.centre_mm[1] + self.field_mm * np.linspace(-0.5, 0.5, n_columns)
        along = np.linspace(self.from_y_mm, self.to_y_mm, n_depth)
        reach = ((along - self.source_mm[1]) / (self.detector_y_mm - self.source_mm[1]))[:, None, None]
        z = self.source_mm[0] + (rows[None, :, None] - self.source_mm[0]) * reach
        x = self.source_mm[2] + (columns[None, None, :] - self.source_mm[2]) * reach
        return np.stack(np.broadcast_arrays(z, along[:, None, None], x), axis=-1)

    def step_cm(self, n_steps: int, size_px: int) -> Float[np.ndarray, "height width"]:
        """Returns the length in cm of one of `n_steps` steps along each pixel's ray."""
        ends = self.points(2, size_px, size_px)
        length: Float[np.ndarray, "height width"] = np.linalg.norm(ends[1] - ends[0], axis=-1)
        return length / n_steps / 10


def integrate(
    volume: Float32[np.ndarray, "depth height width channel"],
    ray_map: Float32[np.ndarray, "along down across 3"],
    size_px: int,
    n_steps: int,
) -> Float32[np.ndarray, "size_px size_px channel"]:
    """Returns the sum of `n_steps` trilinear samples along every pixel's ray.

    `ray_map` holds voxel coordinates (z, y, x) at nodes whose outermost lie in the film's outermost pixel centres and the ray's two
    ends; between nodes it is linear. Below the volume its lowest slice goes on (the abdomen); everywhere else outside lies nothing.

    Checked against: scipy's `map_coordinates` on the fully expanded map, tests/unit/datasets/simulated/test_projection.py.
    """
    out = np.zeros((size_px, size_px, volume.shape[-1]), np.float32)
    _integrate(volume, ray_map, n_steps, out)
    return out


def to_voxels(anatomy: Anatomy, points_mm: Float[np.ndarray, "... 3"]) -> Float32[np.ndarray, "... 3"]:
    """Returns voxel coordinates of points in mm."""
    return ((points_mm - np.array(anatomy.origin_mm)) / np.array(anatomy.spacing_mm)).astype(np.float32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _integrate(volume, ray_map, n_steps, out):  # type: ignore[no-untyped-def]  # noqa: C901
    depth, height, width, channels = volume.shape
    along, down, across, _ = ray_map.shape
    rows, columns, _ = out.shape
    line = np.empty((along, across, 3), np.float32)
    ray = np.empty((along, 3), np.float32)
    total = np.empty(channels, np.float32)
    for row in range(rows):
        at = row * (down - 1) / max(rows - 1, 1)
        first = min(int(at), down - 2)
        part = np.float32(at - first)
        for a in range(along):
            for c in range(across):
                for k in range(3):
                    line[a, c, k] = ray_map[a, first, c, k] * (1 - part) + ray_map[a, first + 1, c, k] * part
        for column in range(columns):
            at = column * (across - 1) / max(columns - 1, 1)
            first = min(int(at), across - 2)
            part = np.float32(at - first)
            for a in range(along):
                for k in range(3):
                    ray[a, k] = line[a, first, k] * (1 - part) + line[a, first + 1, k] * part
            total[:] = 0
            for step in range(n_steps):
                at = (step + 0.5) * (along - 1) / n_steps
                first = min(int(at), along - 2)
                part = np.float32(at - first)
                z = ray[first, 0] * (1 - part) + ray[first + 1, 0] * part
                y = ray[first, 1] * (1 - part) + ray[first + 1, 1] * part
                x = ray[first, 2] * (1 - part) + ray[first + 1, 2] * part
                z = max(z, np.float32(0))
                if y < 0 or x < 0 or z > depth - 1 or y > height - 1 or x > width - 1:
                    continue
                z0 = min(int(z), depth - 2)
                y0 = min(int(y), height - 2)
                x0 = min(int(x), width - 2)
                z -= z0
                y -= y0
                x -= x0
                for k in range(channels):
                    low = (volume[z0, y0, x0, k] * (1 - x) + volume[z0, y0, x0 + 1, k] * x) * (1 - y) + (
                        volume[z0, y0 + 1, x0, k] * (1 - x) + volume[z0, y0 + 1, x0 + 1, k] * x
                    ) * y
                    high = (volume[z0 + 1, y0, x0, k] * (1 - x) + volume[z0 + 1, y0, x0 + 1, k] * x) * (1 - y) + (
                        volume[z0 + 1, y0 + 1, x0, k] * (1 - x) + volume[z0 + 1, y0 + 1, x0 + 1, k] * x
                    ) * y
                    total[k] += low * (1 - z) + high * z
            for k in range(channels):
                out[row, column, k] = total[k]
