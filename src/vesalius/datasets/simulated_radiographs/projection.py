"""Rays through a virtual patient: cone-beam perspective, deformation on a coarse map, one fused resampling and line integral."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy

MAP_NODES = (15, 24, 24)
"""Nodes of the coarse map along the ray, down and across the film; warps are smooth, so 15 to 22 mm apart is enough."""


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
    """Returns the sum of `n_steps` trilinear samples along every pixel's ray, for one or two channels.

    `ray_map` holds voxel coordinates (z, y, x) at nodes whose outermost lie in the film's outermost pixel centres and the ray's two
    ends; between nodes it is linear. Below and beside the volume its
    outermost voxels go on (abdomen, upper arms); above, before and behind it lies nothing.

    Checked against: scipy's `map_coordinates` on the fully expanded map, tests/unit/datasets/simulated/test_projection.py.
    """
    out = np.zeros((size_px, size_px, volume.shape[-1]), np.float32)
    _integrate(volume.reshape(-1), volume.shape[:3], ray_map, n_steps, out)
    return out


def to_voxels(anatomy: Anatomy, points_mm: Float[np.ndarray, "... 3"]) -> Float32[np.ndarray, "... 3"]:
    """Returns voxel coordinates of points in mm."""
    voxels: Float32[np.ndarray, "... 3"] = ((points_mm - np.array(anatomy.origin_mm)) / np.array(anatomy.spacing_mm)).astype(
        np.float32
    )
    return voxels


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _integrate(flat, shape, ray_map, n_steps, out):  # type: ignore[no-untyped-def]
    """Two linear interpolations of the map (row, column), one along the ray, one trilinear sample: all fused, nothing stored."""
    along, down, across, _ = ray_map.shape
    rows, columns, channels = out.shape
    line = np.empty((along, across, 3), np.float32)
    ray = np.empty((along, 3), np.float32)
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
            _along_one_ray(flat, shape, ray, n_steps, channels, out[row, column])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, inline="always")
def _along_one_ray(flat, shape, ray, n_steps, channels, total):  # type: ignore[no-untyped-def]
    depth, height, width = shape
    one = np.float32(1)
    zero = np.float32(0)
    next_x = np.uint64(channels)
    next_y = np.uint64(width * channels)
    next_z = np.uint64(height * width * channels)
    first_sum = zero
    second_sum = zero
    ratio = np.float32((len(ray) - 1) / n_steps)
    for step in range(n_steps):
        at = (np.float32(step) + np.float32(0.5)) * ratio
        node = min(int(at), len(ray) - 2)
        part = at - np.float32(node)
        y = ray[node, 1] + (ray[node + 1, 1] - ray[node, 1]) * part
        z = max(ray[node, 0] + (ray[node + 1, 0] - ray[node, 0]) * part, zero)
        if y < zero or z > np.float32(depth - 1) or y > np.float32(height - 1):
            continue
        x = min(max(ray[node, 2] + (ray[node + 1, 2] - ray[node, 2]) * part, zero), np.float32(width - 1))
        z0 = min(int(z), depth - 2)
        y0 = min(int(y), height - 2)
        x0 = min(int(x), width - 2)
        z -= np.float32(z0)
        y -= np.float32(y0)
        x -= np.float32(x0)
        here = np.uint64((z0 * height + y0) * width + x0) * np.uint64(channels)
        w00 = (one - z) * (one - y)
        w01 = (one - z) * y
        w10 = z * (one - y)
        w11 = z * y
        a, b, c, d = here, here + next_y, here + next_z, here + next_z + next_y
        left = w00 * flat[a] + w01 * flat[b] + w10 * flat[c] + w11 * flat[d]
        right = w00 * flat[a + next_x] + w01 * flat[b + next_x] + w10 * flat[c + next_x] + w11 * flat[d + next_x]
        first_sum += left * (one - x) + right * x
        if channels == 2:
            a, b, c, d = a + np.uint64(1), b + np.uint64(1), c + np.uint64(1), d + np.uint64(1)
            left = w00 * flat[a] + w01 * flat[b] + w10 * flat[c] + w11 * flat[d]
            right = w00 * flat[a + next_x] + w01 * flat[b + next_x] + w10 * flat[c + next_x] + w11 * flat[d + next_x]
            second_sum += left * (one - x) + right * x
    total[0] = first_sum
    if channels == 2:
        total[1] = second_sum
