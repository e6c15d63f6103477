"""What is put into a virtual patient, in 3D and where anatomy says, with its extent as ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from vesalius.datasets.simulated_radiographs.anatomy import HEART, LEFT_LUNG, LOBES, RIGHT_LUNG, Anatomy

EFFUSION, PNEUMOTHORAX, CONSOLIDATION = "Pleural Effusion", "Pneumothorax", "Consolidation"
NODULE, CARDIOMEGALY = "Nodule", "Cardiomegaly"
FINDINGS = (EFFUSION, PNEUMOTHORAX, CONSOLIDATION, NODULE, CARDIOMEGALY)
"""In the order of the labels table."""

Side = Literal["right", "left"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Lesion:
    """One thing put in.

    Attributes:
        finding: One of `FINDINGS`.
        severity: 0 (just there) to 1 (extreme).
        side: Which lung; None for the heart.
        lobe: A name of `LOBES` for what lies in one lobe, else None.
    """

    finding: str
    severity: float
    side: Side | None = None
    lobe: str | None = None


class Chest:
    """A copy of the anatomy that lesions change.

    Attributes:
        anatomy: Where it came from.
        tissue: As `Anatomy.tissue`, changed.
        changed: Per finding how much of each voxel it takes, 0 to 1, with the box of voxels it lies in.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.tissue: Float32[np.ndarray, "depth height width 2"] = np.array(anatomy.tissue)
        self.changed: dict[str, list[tuple[Box, Float32[np.ndarray, "d h w"]]]] = {}

    def lung(self, side: Side) -> tuple[Box, Bool[np.ndarray, "d h w"]]:
        """Returns one lung's box and its voxels inside it."""
        values = RIGHT_LUNG if side == "right" else LEFT_LUNG
        inside = (self.anatomy.structures >= values[0]) & (self.anatomy.structures <= values[-1])
        box = ndimage.find_objects(inside.view(np.uint8))[0]
        return box, inside[box]

    def axes_mm(self, box: Box) -> tuple[Float[np.ndarray, "d 1 1"], Float[np.ndarray, "1 h 1"], Float[np.ndarray, "1 1 w"]]:
        """Returns the coordinates of a box's voxels, ready to broadcast."""
        axes = [
            np.float32(start) + np.float32(step) * np.arange(part.start, part.stop, dtype=np.float32)
            for start, step, part in zip(self.anatomy.origin_mm, self.anatomy.spacing_mm, box, strict=True)
        ]
        return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]

    def mark(self, finding: str, box: Box, share: Float32[np.ndarray, "d h w"]) -> None:
        """Notes the place of a finding."""
        self.changed.setdefault(finding, []).append((box, np.ascontiguousarray(share, dtype=np.float32)))


def put_in(chest: Chest, lesion: Lesion, upright_deg: float, generator: np.random.Generator) -> None:
    """Changes the chest as the lesion says; `upright_deg` is how far the patient leans back, 0 = stands."""
    if lesion.finding == EFFUSION:
        _put_effusion(chest, lesion, upright_deg, generator)
    else:
        _PUT[lesion.finding](chest, lesion, generator)


def _put_effusion(chest: Chest, lesion: Lesion, lean_deg: float, generator: np.random.Generator) -> None:
    """Fluid below a level, higher along the outer wall (the meniscus); a patient who leans back pools it behind the lung."""
    box, lung = chest.lung(_side(lesion))
    z, y, x = chest.axes_mm(box)
    lean = np.radians(lean_deg)
    height = np.cos(lean) * z + np.sin(lean) * y + 0 * x
    level = np.quantile(height[lung], 0.10 + 0.32 * lesion.severity)
    centre = (x.min() + x.max()) / 2
    outward = (x - centre) / (x.max() - centre) * (1 if _side(lesion) == "left" else -1)
    rise = generator.uniform(30, 55) * (1 + 0.3 * lesion.severity)
    near_wall = np.exp(-chest.anatomy.pleura_mm[box] / 11)
    surface = level + rise * near_wall * np.clip(0.45 + 0.7 * outward, 0.1, 1)
    share = np.clip((surface - height) / 4 + 0.5, 0, 1) * lung
    _blend(chest, box, share, 1.015)
    chest.mark(lesion.finding, box, share)


def _put_pneumothorax(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """Air around a lung that shrinks towards its root, the more the higher; a thin pleural line at its edge."""
    box, lung = chest.lung(_side(lesion))
    z, y, x = chest.axes_mm(box)
    low, high = float(z.min()), float(z.max())
    rise = np.clip((z - low) / (high - low), 0, 1)
    shrink = (0.10 + 0.24 * lesion.severity) * np.clip((rise - 0.12) / 0.45, 0, 1) ** 0.7
    medial = float(x.max() if _side(lesion) == "right" else x.min())
    root = (low + 0.30 * (high - low), float((y.min() + y.max()) / 2) + generator.uniform(-15, 5), medial)
    scale = 1 / (1 - shrink)
    at = [root[k] + (axis - root[k]) * scale for k, axis in enumerate((z, y, x))]
    index = np.stack(
        [
            (value + 0 * (z + y + x) - axis.flat[0]) / step
            for value, axis, step in zip(at, (z, y, x), chest.anatomy.spacing_mm, strict=True)
        ]
    )
    soft = chest.tissue[(*box, 0)]
    kept = ndimage.map_coordinates(lung.astype(np.float32), index, order=1) * lung
    moved = ndimage.map_coordinates(np.where(lung, soft, np.float32(0.2)), index, order=1, mode="nearest")
    moved = np.minimum(moved * scale**1.5, 1.05)
    line = np.clip(1 - np.abs(kept - 0.5) / 0.42, 0, 1) * (shrink > 0.02)
    filled = kept * moved + (1 - kept) * 0.001 + 0.55 * line
    chest.tissue[(*box, 0)] = np.where(lung, filled, soft)
    chest.mark(lesion.finding, box, (1 - kept) * lung)


def _put_consolidation(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """Airspaces of one lobe filled around a centre, with a ragged edge."""
    box, lobe = _lobe(chest, lesion)
    z, y, x = chest.axes_mm(box)
    centre = _inner_point(chest, box, lobe, generator, least_mm=12)
    radius = 34 + 30 * lesion.severity
    distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / radius
    ragged = 0.28 * _noise(lobe.shape, 6, generator) + 0.16 * _noise(lobe.shape, 14, generator)
    share = (0.55 + 0.4 * lesion.severity) * np.clip((1 - distance + ragged) / 0.35, 0, 1) * lobe
    _blend(chest, box, share, 1.03)
    chest.mark(lesion.finding, box, share)


def _put_nodule(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """A slightly lobulated ball of 20 to 38 mm, where lung and no heart lies before and behind it."""
    box, lobe = _lobe(chest, lesion)
    radius = 10 + 9 * lesion.severity
    z, y, x = chest.axes_mm(box)
    centre = _inner_point(chest, box, lobe, generator, least_mm=min(radius, 14), free=True)
    offset = (z - centre[0], y - centre[1], x - centre[2])
    distance = np.sqrt(sum(part**2 for part in offset))
    waves = generator.normal(0, 0.12, 3)
    lobulated = 1 + sum(
        wave * np.sin(3 * part / radius + phase)
        for wave, part, phase in zip(waves, offset, generator.uniform(0, 6, 3), strict=True)
    )
    share = np.clip((radius * lobulated - distance) / 2.5 + 0.5, 0, 1) * lobe
    _blend(chest, box, share, 1.045)
    chest.mark(lesion.finding, box, share)


def _put_cardiomegaly(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """The heart itself is enlarged by the rays' map (`patients.Pose.heart`); here only its place is noted."""
    del generator
    heart = chest.anatomy.structures == HEART
    box = ndimage.find_objects(heart.view(np.uint8))[0]
    chest.mark(lesion.finding, box, heart[box].astype(np.float32))


_PUT: dict[str, Callable[[Chest, Lesion, np.random.Generator], None]] = {
    PNEUMOTHORAX: _put_pneumothorax,
    CONSOLIDATION: _put_consolidation,
    NODULE: _put_nodule,
    CARDIOMEGALY: _put_cardiomegaly,
}


def _side(lesion: Lesion) -> Side:
    if lesion.side is None:
        raise ValueError(f"a lesion of {lesion.finding} needs a side; got None")
    return lesion.side


def _lobe(chest: Chest, lesion: Lesion) -> tuple[Box, Bool[np.ndarray, "d h w"]]:
    inside = chest.anatomy.structures == LOBES[lesion.lobe or ""]
    box = ndimage.find_objects(inside.view(np.uint8))[0]
    return box, inside[box]


def _blend(chest: Chest, box: Box, share: Float32[np.ndarray, "d h w"], density: float) -> None:
    soft = chest.tissue[(*box, 0)]
    soft += share * (np.maximum(soft, np.float32(density)) - soft)


def _noise(shape: tuple[int, ...], nodes: int, generator: np.random.Generator) -> Float32[np.ndarray, "d h w"]:
    """Smooth noise of unit variance at its nodes."""
    coarse = generator.normal(0, 1, (nodes,) * 3).astype(np.float32)
    axes = [np.linspace(0, nodes - 1, n, dtype=np.float32) for n in shape]
    return ndimage.map_coordinates(coarse, np.meshgrid(*axes, indexing="ij"), order=1)


def _inner_point(
    chest: Chest, box: Box, lobe: Bool[np.ndarray, "d h w"], generator: np.random.Generator, *, least_mm: float, free: bool = False
) -> tuple[float, float, float]:
    """A random voxel of the lobe that far from the pleura; `free` also keeps heart and diaphragm out of the line of sight."""
    deep = lobe & (chest.anatomy.pleura_mm[box] >= least_mm)
    if free:
        whole = chest.anatomy.structures[box[0], :, box[2]]
        lung_mm = ((whole > 0) & (whole != HEART)).sum(1) * chest.anatomy.spacing_mm[1]
        seen = (lung_mm > 85) & ~(whole == HEART).any(1)
        deep = (deep & seen[:, None, :]) if (deep & seen[:, None, :]).any() else deep
    where = np.argwhere(deep if deep.any() else lobe)
    index = where[generator.integers(len(where))]
    axes = chest.axes_mm(box)
    return tuple(float(axis.flat[i]) for axis, i in zip(axes, index, strict=True))  # type: ignore[return-value]
