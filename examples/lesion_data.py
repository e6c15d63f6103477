"""Simulated lesions, cut into labelled slices: the data of `lesion_shape.py`.

A lesion is the inside of an ellipsoid whose surface is bent by smooth noise: little for a round one, much, with lobes and spicules,
for an irregular one. Each is turned at random in three dimensions and looked at as slices and as an axial projection. The label of
a picture is not the lesion's: it comes from the picture's own mask, by its Dice with the ellipse of its principal axes.

No breast MRI is to be had here. The shapes are simulated, or, for `hippocampus`, real manual masks of another organ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

SIDE = 48
ENLARGED = 1.3
ROUND, IRREGULAR, AMBIGUOUS = 0, 1, -1


@dataclass(frozen=True)
class Scanner:
    """How a volume becomes pictures.

    Attributes:
        blur: Of the picture, standard deviation in pixels.
        noise: Standard deviation, of a lesion's brightness 1.
        contrast: Brightness of the lesion above what is around it.
        texture: Of the surroundings.
        slice_thickness: Voxels averaged along the line of sight.
    """

    blur: float = 0.7
    noise: float = 0.10
    contrast: float = 0.8
    texture: float = 0.15
    slice_thickness: int = 1


HOME = Scanner(blur=0.9, noise=0.18, contrast=0.65, texture=0.22)
ELSEWHERE = Scanner(blur=1.3, noise=0.28, contrast=0.55, texture=0.3, slice_thickness=4)


@dataclass(frozen=True)
class Pictures:
    """Pictures with what is known of them.

    Attributes:
        images: Grey values, about 0 to 1.
        masks: The lesion in the picture.
        dice: Of the mask with the ellipse of its principal axes.
        patients: Whose.
    """

    images: np.ndarray
    masks: np.ndarray
    dice: np.ndarray
    patients: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """1 irregular (Dice below 0.8), 0 round (above 0.9), NaN in between."""
        return np.where(self.dice > 0.9, float(ROUND), np.where(self.dice < 0.8, float(IRREGULAR), np.nan))

    def __len__(self) -> int:
        return len(self.dice)

    def take(self, keep: np.ndarray) -> Pictures:
        """The rows that are True, or of those numbers."""
        return Pictures(self.images[keep], self.masks[keep], self.dice[keep], self.patients[keep])


def ellipse_dice(mask: np.ndarray) -> float:
    """Dice of a 2-D mask with the filled ellipse that has its centre and its second moments; NaN for a mask below 30 pixels.

    A filled ellipse with semi-axes a, b has the second moments a^2 / 4, b^2 / 4 along its axes.
    """
    points = np.argwhere(mask).astype(np.float64)
    if len(points) < 30:
        return float("nan")
    centre = points.mean(axis=0)
    moments = np.cov((points - centre).T, bias=True) + np.eye(2) / 12  # a pixel is a square, not a point
    grid = np.indices(mask.shape).reshape(2, -1).T - centre
    inside = (np.einsum("ni,ij,nj->n", grid, np.linalg.inv(moments), grid) <= 4).reshape(mask.shape)
    return float(2 * (inside & mask).sum() / (inside.sum() + mask.sum()))


def lesion(random: np.random.Generator, irregular: bool) -> np.ndarray:
    """A solid in a cube of 64 voxels, bool."""
    side = 64
    axes = random.uniform(10, 15) * np.exp(random.normal(0, 0.10, 3))
    grid = (np.indices((side, side, side)) - (side - 1) / 2).astype(np.float32)
    distance = np.sqrt(sum((grid[axis] / axes[axis]) ** 2 for axis in range(3))) - 1
    coarse = field(random, side, 7.0)
    if not irregular:
        return largest(distance + random.uniform(0.02, 0.12) * coarse < 0)
    fine = field(random, side, 2.5)
    for _ in range(random.integers(1, 4)):  # lobes: smaller solids that grow out of the first
        way = random.normal(size=3)
        place = way / np.linalg.norm(way) * random.uniform(0.7, 1.1) * axes
        size = random.uniform(0.35, 0.6) * axes.mean()
        lobe = np.sqrt(sum((grid[axis] - place[axis]) ** 2 for axis in range(3))) / size - 1
        distance = np.minimum(distance, lobe)
    return largest(0.85 * distance + random.uniform(0.15, 0.35) * coarse + random.uniform(0.2, 0.4) * fine < 0)


def field(random: np.random.Generator, side: int, smooth: float) -> np.ndarray:
    """Smooth noise of standard deviation 1."""
    noise = ndimage.gaussian_filter(random.normal(size=(side, side, side)).astype(np.float32), smooth, mode="wrap")
    return noise / noise.std()


def largest(solid: np.ndarray) -> np.ndarray:
    """The largest connected part, holes filled."""
    parts, count = ndimage.label(solid)
    if count == 0:
        return solid
    sizes = np.bincount(parts.ravel())[1:]
    return ndimage.binary_fill_holes(parts == 1 + sizes.argmax())


def turned(solid: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The solid under a random rotation, in a cube that holds it."""
    q = random.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    centre, middle = np.array(ndimage.center_of_mass(solid)), np.full(3, 31.5)
    offset = centre - turn @ middle
    return ndimage.affine_transform(solid.astype(np.float32), turn, offset, output_shape=(64, 64, 64), order=1) > 0.5


def pictures(
    solid: np.ndarray, scanner: Scanner, random: np.random.Generator, turns: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two slices and one axial projection of each of so many rotations: image and mask, both SIDE x SIDE."""
    for _ in range(turns):
        posed = turned(solid, random)
        extent = np.flatnonzero(posed.any(axis=(1, 2)))
        if extent.size < 8:
            continue
        low, high = extent[0] + extent.size // 5, extent[-1] - extent.size // 5
        half = scanner.slice_thickness // 2
        for height in random.integers(low, high + 1, size=2):
            slab = posed[max(height - half, 0) : height + half + 1]
            yield render(slab.mean(axis=0), scanner, random), crop(slab.mean(axis=0) >= 0.5)
        shadow = posed.any(axis=0)
        yield render(shadow.astype(np.float32), scanner, random), crop(shadow)


def crop(plane: np.ndarray) -> np.ndarray:
    """The middle SIDE x SIDE."""
    start = (plane.shape[0] - SIDE) // 2
    return plane[start : start + SIDE, start : start + SIDE]


def render(plane: np.ndarray, scanner: Scanner, random: np.random.Generator) -> np.ndarray:
    """A picture: uneven enhancement, textured surroundings, blur, noise."""
    shape = plane.shape
    around = scanner.texture * unit(ndimage.gaussian_filter(random.normal(size=shape), 4))
    inside = scanner.contrast * (1 + 0.15 * unit(ndimage.gaussian_filter(random.normal(size=shape), 3)))
    image = ndimage.gaussian_filter(plane * inside + around, scanner.blur) + scanner.noise * random.normal(size=shape)
    return crop(image).astype(np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    """Scaled to a standard deviation of 1."""
    return values / values.std()


def cohort(patients: int, scanner: Scanner, *, seed: int, turns: int = 4, name: str = "p") -> Pictures:
    """Pictures of so many patients, one in four with a second lesion; four in five lesions are irregular, as in the clinic."""
    rows: list[tuple[np.ndarray, np.ndarray, str]] = []
    for number in range(patients):
        random = np.random.default_rng([seed, number])
        for _ in range(1 + (random.random() < 0.25)):
            solid = lesion(random, irregular=bool(random.random() < 0.8))
            rows += [(image, mask, f"{name}{number}") for image, mask in pictures(solid, scanner, random, turns)]
    return assemble(rows)


def hippocampus(folder: Path, *, patients: int, seed: int, turns: int = 2) -> Pictures:
    """Real shapes: manual masks of Task04 of the Medical Segmentation Decathlon, enlarged and dressed as lesions."""
    import nibabel

    rows: list[tuple[np.ndarray, np.ndarray, str]] = []
    for number, path in enumerate(sorted((folder / "labels").glob("*.nii*"))[:patients]):
        random = np.random.default_rng([seed, number])
        organ = ndimage.zoom((np.asarray(nibabel.load(path).dataobj) > 0).astype(np.float32), ENLARGED, order=1) > 0.5
        middle = [slice(max((side - 64) // 2, 0), max((side - 64) // 2, 0) + 64) for side in organ.shape]
        organ = largest(organ[tuple(middle)])
        solid = np.pad(organ, [((64 - side) // 2, 64 - side - (64 - side) // 2) for side in organ.shape])
        rows += [(image, mask, f"hippocampus{number}") for image, mask in pictures(solid, HOME, random, turns)]
    return assemble(rows)


def assemble(rows: list[tuple[np.ndarray, np.ndarray, str]]) -> Pictures:
    """Stacks the pictures whose mask is large enough to be judged and lies inside."""
    images, masks, patients = (np.array(column) for column in zip(*rows, strict=True))
    dice = np.array([ellipse_dice(mask) for mask in masks])
    edge = masks[:, [0, -1]].any(axis=(1, 2)) | masks[:, :, [0, -1]].any(axis=(1, 2))
    return Pictures(images, masks, dice, patients).take(~np.isnan(dice) & ~edge)
