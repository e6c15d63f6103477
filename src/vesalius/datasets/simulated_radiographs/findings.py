"""What is put into a virtual patient, in 3D and where anatomy says, with its extent as ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from vesalius.datasets.simulated_radiographs.anatomy import HEART, LEFT_LUNG, LOBES, RIGHT_LUNG, Anatomy, Box

EFFUSION, PNEUMOTHORAX, CONSOLIDATION = "Pleural Effusion", "Pneumothorax", "Consolidation"
NODULE, CARDIOMEGALY = "Nodule", "Cardiomegaly"
FINDINGS = (EFFUSION, PNEUMOTHORAX, CONSOLIDATION, NODULE, CARDIOMEGALY)
"""In the order of the labels table."""

Side = Literal["right", "left"]


@dataclass(frozen=True)
class Lesion:
    """One thing put in.

    Attributes:
        finding: One of `FINDINGS`.
        severity: 0 (just there) to 1 (extreme).
        side: Which lung; None for the heart.
        lobe: A name of `LOBES` for what lies in one lobe, else None.
        place: Fixes where exactly and in what shape, so that it is found again on the patient's next film.
    """

    finding: str
    severity: float
    side: Side | None = None
    lobe: str | None = None
    place: int = 0


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
        box = self.anatomy.box_of(*values)
        z, y, x = (slice(max(part.start - 3, 0), part.stop + 3) for part in box)
        structures = self.anatomy.structures[z, y, x]
        return (z, y, x), (structures >= values[0]) & (structures <= values[-1])

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


def put_in(chest: Chest, lesion: Lesion, lean_deg: float) -> None:
    """Changes the chest as the lesion says; `lean_deg` is how far the patient leans back, 0 = stands."""
    generator = np.random.default_rng(lesion.place)
    if lesion.finding == EFFUSION:
        _put_effusion(chest, lesion, lean_deg, generator)
    else:
        _PUT[lesion.finding](chest, lesion, generator)


def _put_effusion(chest: Chest, lesion: Lesion, lean_deg: float, generator: np.random.Generator) -> None:
    """Fluid below a level, higher along the wall (the meniscus); a patient who leans back pools it behind the lung."""
    box, lung = chest.lung(_side(lesion))
    z, y, x = chest.axes_mm(box)
    lean = np.radians(lean_deg)
    height = np.cos(lean) * z + np.sin(lean) * y + 0 * x
    level = np.quantile(height[lung], 0.07 + 0.33 * lesion.severity)
    centre = (x.min() + x.max()) / 2
    outward = (x - centre) / (x.max() - centre) * (1 if _side(lesion) == "left" else -1)
    rise = float(generator.uniform(35, 65)) * (1 + 0.4 * lesion.severity)
    near_wall = np.exp(-chest.anatomy.pleura_mm[box] / 12)
    # the surface dips in the middle of the lung and climbs outwards, so that the shadow ends in a curve and not in a line
    surface = level + rise * near_wall * np.clip(0.5 + 0.6 * outward, 0.15, 1) + 16 * outward * np.abs(outward)
    # one voxel beyond the lung's labels the air of its rim would stay behind as a dark line
    rim = ndimage.binary_dilation(lung, iterations=2)
    filled = (np.clip((surface - height) / 8 + 0.5, 0, 1) * rim).astype(np.float32)
    _blend(chest, box, filled, 1.015)
    chest.mark(lesion.finding, box, filled * lung)


def _put_pneumothorax(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """Air around a lung that shrinks towards its root, the more the higher; a thin pleural line at its edge."""
    box, lung = chest.lung(_side(lesion))
    z, y, x = chest.axes_mm(box)
    low, high = float(z.min()), float(z.max())
    # measured from the diaphragm below each voxel: air along the whole base would draw it twice
    above = np.clip((z - _floor_mm(lung, z)) / 55 - 0.15, 0, 1) ** 0.8
    shrink = (0.16 + 0.28 * lesion.severity) * above
    medial = float(x.max() if _side(lesion) == "right" else x.min())
    root = (low + 0.28 * (high - low), float((y.min() + y.max()) / 2) + float(generator.uniform(-15, 5)), medial)
    stretch = 1 / (1 - shrink)  # from the shrunken lung back to the whole one
    index = np.stack(
        [
            (root[k] - axis.flat[0] + (axis - root[k]) * stretch + np.zeros(lung.shape, np.float32)) / step
            for k, (axis, step) in enumerate(zip((z, y, x), chest.anatomy.spacing_mm, strict=True))
        ]
    )
    soft = chest.tissue[(*box, 0)]
    kept = ndimage.map_coordinates(ndimage.gaussian_filter(lung.astype(np.float32), 0.7), index, order=1)
    moved = ndimage.map_coordinates(np.where(lung, soft, np.float32(0.2)), index, order=1, mode="nearest")
    kept = np.clip(1.6 * kept - 0.3, 0, 1)
    line = np.clip(1 - np.abs(kept - 0.5) / 0.45, 0, 1) * np.clip(shrink / 0.06 - 0.5, 0, 1)
    filled = kept * np.minimum(moved * stretch, 1.05) + (1 - kept) * 0.001 + 0.5 * line
    within = np.clip(2 * ndimage.gaussian_filter(lung.astype(np.float32), 0.8) - 0.5, 0, 1)
    soft += within * (np.minimum(filled, np.where(lung, np.inf, soft)) - soft)
    chest.mark(lesion.finding, box, (1 - kept) * lung)


def _floor_mm(lung: Bool[np.ndarray, "d h w"], z: Float32[np.ndarray, "d 1 1"]) -> Float32[np.ndarray, "h w"]:
    """Height of the lung's lower surface in each column, smoothed, and continued beyond its edge."""
    inside = lung.any(0)
    lowest = np.where(inside, z[np.argmax(lung, axis=0), 0, 0], 0).astype(np.float32)
    weight = ndimage.gaussian_filter(inside.astype(np.float32), 4) + 1e-6
    floor: Float32[np.ndarray, "h w"] = ndimage.gaussian_filter(lowest, 4) / weight
    return floor


def _put_consolidation(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """Airspaces of one lobe filled around a centre, with a ragged edge."""
    box, lobe = _lobe(chest, lesion)
    z, y, x = chest.axes_mm(box)
    centre = _inner_point(chest, box, lobe, generator, deep_mm=12.0, lung_mm=60.0)
    radius = 34 + 30 * lesion.severity
    distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / radius
    ragged = 0.28 * _noise(lobe.shape, 6, generator) + 0.16 * _noise(lobe.shape, 14, generator)
    share = (0.6 + 0.35 * lesion.severity) * np.clip((1 - distance + ragged) / 0.35, 0, 1) * lobe
    _blend(chest, box, share, 1.03)
    chest.mark(lesion.finding, box, share)


def _put_nodule(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """A slightly lobulated ball of 22 to 38 mm, where lung and no heart lies before and behind it."""
    radius = 11 + 8 * lesion.severity
    lobe_box, lobe = _lobe(chest, lesion)
    centre = _inner_point(chest, lobe_box, lobe, generator, deep_mm=min(radius, 14.0), lung_mm=90.0, clear_of_heart=True)
    box, lung = chest.lung(_side(lesion))
    z, y, x = chest.axes_mm(box)
    offset = (z - centre[0], y - centre[1], x - centre[2])
    distance = np.sqrt(sum(part**2 for part in offset))
    waves = generator.normal(0, 0.12, 3)
    lobulated = 1 + sum(
        wave * np.sin(3 * part / radius + phase)
        for wave, part, phase in zip(waves, offset, generator.uniform(0, 6, 3), strict=True)
    )
    share = (np.clip((radius * lobulated - distance) / 2.5 + 0.5, 0, 1) * lung).astype(np.float32)
    _blend(chest, box, share, 1.06)
    chest.mark(lesion.finding, box, share)


def _put_cardiomegaly(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> None:
    """The heart itself is enlarged by the rays' map (`patients.Pose.heart`); here only its place is noted."""
    del generator
    box = chest.anatomy.box_of(HEART)
    chest.mark(lesion.finding, box, (chest.anatomy.structures[box] == HEART).astype(np.float32))


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
    value = LOBES[lesion.lobe or ""]
    box = chest.anatomy.box_of(value)
    return box, chest.anatomy.structures[box] == value


def _blend(chest: Chest, box: Box, share: Float32[np.ndarray, "d h w"], density: float) -> None:
    soft = chest.tissue[(*box, 0)]
    soft += share * (np.maximum(soft, np.float32(density)) - soft)


def _noise(shape: tuple[int, ...], nodes: int, generator: np.random.Generator) -> Float32[np.ndarray, "d h w"]:
    """Smooth noise of unit variance at its nodes."""
    coarse = generator.normal(0, 1, (nodes,) * 3).astype(np.float32)
    axes = [np.linspace(0, nodes - 1, n, dtype=np.float32) for n in shape]
    noise: Float32[np.ndarray, "d h w"] = ndimage.map_coordinates(coarse, np.meshgrid(*axes, indexing="ij"), order=1)
    return noise


def _inner_point(
    chest: Chest,
    box: Box,
    lobe: Bool[np.ndarray, "d h w"],
    generator: np.random.Generator,
    *,
    deep_mm: float,
    lung_mm: float,
    clear_of_heart: bool = False,
) -> tuple[float, float, float]:
    """A random voxel of the lobe that far from the pleura, with that much lung before and behind it, so not hidden."""
    along = chest.anatomy.structures[box[0], :, box[2]]
    seen = ((along > 0) & (along != HEART)).sum(1) * chest.anatomy.spacing_mm[1] > lung_mm
    if clear_of_heart:
        seen &= ~(along == HEART).any(1)
    deep = lobe & (chest.anatomy.pleura_mm[box] >= deep_mm)
    choices = (deep & seen[:, None, :], lobe & seen[:, None, :], lobe)
    where = np.argwhere(next(choice for choice in choices if choice.any()))
    index = where[generator.integers(len(where))]
    axes = chest.axes_mm(box)
    return tuple(float(axis.flat[i]) for axis, i in zip(axes, index, strict=True))  # type: ignore[return-value]
