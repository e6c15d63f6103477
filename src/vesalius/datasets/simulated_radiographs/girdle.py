"""Arms down: the CT was taken with raised arms, a radiograph is not.

Clavicle, shoulder blade and upper arm are taken out. The right ones (the scan cuts the left shoulder off) are set back, turned as
in a standing patient, and mirrored; neck and shoulders get the outline that arms at the side give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

if TYPE_CHECKING:
    from vesalius.datasets.simulated_radiographs.anatomy import Ct, Grid

NECK_MM = 60.0
"""How far the volume is continued above the top slice of the CT."""
MIDLINE_X_MM = -13.0
"""The breast bone lies that far to the patient's right of the lungs' centre."""
MUSCLE_G_CM3 = 1.0
CLAVICLE_FACTOR = 2.2
"""An old patient's clavicles in 2.5 mm slices are fainter than on any film."""
GIRDLE = ("clavicula", "scapula", "humerus")

Rotation = Float[np.ndarray, "3 3"]


@dataclass(frozen=True)
class LooseBone:
    """A bone cut from the CT.

    Attributes:
        mineral: g/cm³, on the CT's grid.
        corner_mm: Where its first voxel lies.
    """

    mineral: Float32[np.ndarray, "d h w"]
    corner_mm: Float[np.ndarray, "3"]


def take_out(
    ct: Ct, soft: Float32[np.ndarray, "depth height width"], bone: Float32[np.ndarray, "depth height width"]
) -> dict[str, LooseBone]:
    """Returns the right clavicle and shoulder blade, and leaves muscle where the girdle's bones were."""
    loose = {}
    for name in ("clavicula_right", "scapula_right"):
        of_it = ct.where(name)
        box = tuple(slice(max(part.start - 3, 0), part.stop + 3) for part in ndimage.find_objects(of_it.view(np.uint8))[0])
        mineral = np.where(ndimage.binary_dilation(of_it[box]), bone[box], 0)
        corner = np.array([part.start for part in box]) * ct.spacing_mm
        loose[name.split("_", maxsplit=1)[0]] = LooseBone(mineral, corner)
    gone = ct.where(*GIRDLE)
    top = np.flatnonzero(gone.any(axis=(1, 2)))[0]
    gone[top:] = ndimage.binary_dilation(gone[top:], iterations=max(2, round(2.1 / ct.spacing_mm[2])))
    bone[gone] = 0
    soft[gone] = MUSCLE_G_CM3
    return loose


def let_down(
    tissue: Float32[np.ndarray, "depth height width 2"],
    lungs: Bool[np.ndarray, "depth height width"],
    bones: dict[str, LooseBone],
    grid: Grid,
) -> None:
    """Gives the chest, in place, a neck, sloping shoulders, and the girdle's bones where arms at the side hold them."""
    _shape_shoulders(tissue, lungs, grid)
    joint = np.array([90.0, 62.0, -24.0])  # between breast bone and right clavicle
    reach = np.array([30.0, -66.0, -128.0])  # from there to the shoulder's tip
    clavicle = _towards(np.array([50.0, -115.0, -93.0]), reach)
    bones["clavicula"].mineral[:] *= CLAVICLE_FACTOR
    _set_in(tissue, bones["clavicula"], grid, clavicle, np.array([100.0, 64.0, -34.0]), joint)
    _set_in(
        tissue, bones["scapula"], grid, _about_y(np.radians(14)), np.array([70.0, -40.0, -105.0]), np.array([44.0, -50.0, -132.0])
    )
    _add_upper_arms(tissue, grid)
    tissue[..., 0, 1] = 0  # what lies in the outermost columns goes on sideways for ever
    tissue[..., -1, 1] = 0


def _towards(before: Float[np.ndarray, "3"], after: Float[np.ndarray, "3"]) -> Rotation:
    """The shortest rotation of one direction to another."""
    a, b = before / np.linalg.norm(before), after / np.linalg.norm(after)
    axis = np.cross(a, b)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation: Rotation = np.eye(3) + cross + cross @ cross / (1 + a @ b)
    return rotation


def _about_y(angle: float) -> Rotation:
    """Turns in the picture's plane, in (z, y, x) order."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _set_in(
    tissue: Float32[np.ndarray, "depth height width 2"],
    loose: LooseBone,
    grid: Grid,
    rotation: Rotation,
    pivot_mm: Float[np.ndarray, "3"],
    target_mm: Float[np.ndarray, "3"],
) -> None:
    """Adds a bone, turned about `pivot_mm` and carried to `target_mm`, and its mirror image."""
    spacing, ct_spacing = np.array(grid.spacing_mm), np.array(grid.ct_spacing_mm)
    # along z the slices are thick enough to bead a turned bone
    mineral = ndimage.gaussian_filter(loose.mineral, np.maximum(0.4 * spacing / ct_spacing, (0.6, 0.8, 0.8)))
    for mirrored in (False, True):
        flip = np.array([1.0, 1.0, -1.0 if mirrored else 1.0])
        # grid voxel -> mm -> (mirrored) -> back through the rotation -> CT voxel
        shift = np.array([0, 0, 2 * MIDLINE_X_MM if mirrored else 0.0])
        back = rotation.T
        matrix = (back * (flip * spacing)) / ct_spacing[:, None]
        start = back @ (flip * np.array(grid.origin_mm) + shift - target_mm) + pivot_mm
        offset = (start - (loose.corner_mm + np.array(grid.origin_mm))) / ct_spacing
        placed = ndimage.affine_transform(mineral, matrix, offset, output_shape=tissue.shape[:3], order=1)
        tissue[..., 1] = np.maximum(tissue[..., 1], placed)


def _add_upper_arms(tissue: Float32[np.ndarray, "depth height width 2"], grid: Grid) -> None:
    """A ball and a shaft on each side, hollow as the bone is: 48 mm and 24 mm across."""
    z, y, x = grid.axes_mm()
    across, back = np.abs(x - MIDLINE_X_MM), y + 40
    ball = 24 - np.sqrt((z - 82) ** 2 + back**2 + (across - 158) ** 2)
    shaft = np.where(z < 82, 12 - np.hypot(across - 168 - 0.12 * (82 - z), back), -99)
    depth = np.maximum(ball, shaft)
    mineral = 0.5 * np.exp(-(((depth - 2) / 2.0) ** 2)) + 0.09 * (depth > 2)
    tissue[..., 1] = np.maximum(tissue[..., 1], mineral.astype(np.float32))


def _shape_shoulders(
    tissue: Float32[np.ndarray, "depth height width 2"], lungs: Bool[np.ndarray, "depth height width"], grid: Grid
) -> None:
    z, y, x = grid.axes_mm()
    soft, bone = tissue[..., 0], tissue[..., 1]
    top = int((grid.ct_shape[0] - 1) * grid.ct_spacing_mm[0] / grid.spacing_mm[0]) - 1
    above = len(soft) - top - 1
    soft[top + 1 :] = soft[top - above : top][::-1]
    bone[top + 1 :] = bone[top - above : top][::-1] * (np.abs(x - MIDLINE_X_MM) < 38)
    first = int(np.argmax(z[:, 0, 0] > 60))
    inside = _outline(z[first:], y, x - MIDLINE_X_MM)
    blend = np.clip((z[first:] - 60) / 40, 0, 1)
    airway = (np.abs(x - MIDLINE_X_MM) < 16) & (y > -30) & (y < 60)
    hollow = (soft[first:] < 0.7) & ~ndimage.binary_dilation(lungs[first:], iterations=2) & ~airway
    hollow &= (np.abs(x - MIDLINE_X_MM) > 95) | (z[first:] > 143)  # elsewhere the CT has the skin
    filled = np.where(hollow, np.float32(MUSCLE_G_CM3), soft[first:])
    shaped = np.where(inside, filled, 0)
    soft[first:] = shaped * blend + soft[first:] * (1 - blend)
    bone[first:] *= inside
    neck = (slice(int(np.argmax(z[:, 0, 0] > 138)), None), slice(None), np.abs(x[0, 0] - MIDLINE_X_MM) < 60)
    soft[neck] = ndimage.gaussian_filter1d(soft[neck], 6 / grid.spacing_mm[0], axis=0)  # hides the seam at the CT's top slice
    bone[neck] = ndimage.gaussian_filter1d(bone[neck], 4 / grid.spacing_mm[0], axis=0)


def _outline(
    z: Float32[np.ndarray, "d 1 1"], y: Float32[np.ndarray, "1 h 1"], x: Float32[np.ndarray, "1 1 w"]
) -> Bool[np.ndarray, "d h w"]:
    """Inside a neck that widens along the trapezius into shoulders; x from the midline."""
    across = np.abs(x)
    skin = 112 + 75 * np.clip((200 - across) / 150, 0, 1) ** 2
    middle = -22 - 0.12 * across
    half = 78 - 0.14 * across - 0.1 * np.clip(z - 120, 0, 40)
    roof = skin - 45 * np.abs((y - middle) / half) ** 3
    shoulders = (z < roof) & (np.abs(y - middle) < half + 2 * np.clip(150 - z, 0, 60))
    neck = (across / 56) ** 2 + ((y + 5) / 68) ** 2 < 1
    inside: Bool[np.ndarray, "d h w"] = shoulders | neck
    return inside
