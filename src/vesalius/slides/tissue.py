"""Where on the glass is tissue? A mask at low resolution, by colour: glass is bright and grey, tissue is stained.

Pen strokes are coloured too: strongly saturated green and blue is left out, and red or black ink cannot be told from tissue.

Source: Otsu 1979 (threshold between two heaps of values); saturation as the value: Lu et al. 2021, arXiv:2004.09666 (CLAM).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy import ndimage

from vesalius.errors import EmptyInput, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.slides.read import Slide

LONGEST_PX = 8192
"""Longest side of a mask: 75 millimetres of glass at 9 micrometres. Its memory is the only thing that grows with the slide."""


@dataclass(frozen=True)
class TissueOptions:
    """How tissue is told from glass.

    Attributes:
        mpp: Micrometres per pixel of the mask, at most; slides of few pixels are taken finer.
        least_saturation: Below this share no pixel is tissue, however little colour the slide has.
        surely_stained: Above this share every pixel is tissue: where a slide has no glass, the two heaps are two kinds of tissue.
        least_area_um2: Smaller pieces are dust.
        largest_hole_um2: Smaller holes in tissue are filled.
    """

    mpp: float = 8.0
    least_saturation: float = 0.05
    surely_stained: float = 0.15
    least_area_um2: float = 20_000.0
    largest_hole_um2: float = 20_000.0

    def __post_init__(self) -> None:
        if not self.mpp > 0 or not 0 <= self.least_saturation <= self.surely_stained <= 1:
            raise ValueOutOfRange(
                f"a mask of {self.mpp} micrometres per pixel, saturation of {self.least_saturation} to {self.surely_stained}; "
                "expected a positive scale and two shares, the lower first"
            )


@dataclass(frozen=True)
class TissueMask:
    """Tissue at low resolution.

    Attributes:
        mask: True where there is tissue.
        downsample: Pixels of level 0 that one of its pixels is wide.
        saturation_threshold: What was found between glass and tissue, a share.
    """

    mask: Bool[np.ndarray, "height width"]
    downsample: float
    saturation_threshold: float

    @property
    def share(self) -> float:
        """Of the slide that is tissue."""
        return float(self.mask.mean())

    def shares_within(self, corners: Int64[np.ndarray, "patch 2"], side: float) -> Float64[np.ndarray, " patch"]:
        """Share of each square of level 0 that is tissue; outside the slide there is none.

        Args:
            corners: Upper left corners (x, y), in pixels of level 0.
            side: Of the squares, in pixels of level 0.
        """
        sums = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1), dtype=np.int32)
        sums[1:, 1:] = self.mask.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
        begins = np.floor(corners / self.downsample).astype(np.int64)
        ends = np.maximum(np.ceil((corners + side) / self.downsample).astype(np.int64), begins + 1)
        area = (ends - begins).prod(axis=1)
        size = np.array(self.mask.shape[::-1])
        (left, top), (right, bottom) = np.clip(begins, 0, size).T, np.clip(ends, 0, size).T
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        shares: Float64[np.ndarray, " patch"] = inside / area
        return shares


def find_tissue(slide: Slide, options: TissueOptions = TissueOptions()) -> TissueMask:
    """Returns where the tissue is.

    Raises:
        EmptyInput: No tissue; the slide is empty, or not stained.
    """
    longest = max(slide.width, slide.height) * slide.mpp / options.mpp
    picture, downsample = slide.overview(int(min(max(longest, 256), LONGEST_PX)))
    saturation = _by_strips(saturation_of, picture)
    threshold = min(max(otsu(saturation), options.least_saturation), options.surely_stained)
    stained = majority(saturation > threshold * 255)
    ink = _by_strips(is_ink, picture)
    stained &= ~(ndimage.binary_dilation(ink, iterations=2) if ink.any() else ink)
    del picture, saturation, ink
    pixel_um2 = (slide.mpp * downsample) ** 2
    mask = remove_small(stained, options.least_area_um2 / pixel_um2)
    mask = ~remove_small(~mask, options.largest_hole_um2 / pixel_um2)
    if not mask.any():
        raise EmptyInput("no tissue on this slide: nothing on it is coloured more than glass is")
    return TissueMask(mask, downsample, threshold)


def saturation_of(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
    """Greatest minus least of the three colours: 0 for glass of any brightness.

    HSV's saturation divides by the brightness, so that dark dust and black ink look stained; this does not.
    """
    spread: UInt8[np.ndarray, "height width"] = picture.max(axis=-1) - picture.min(axis=-1)
    return spread


def majority(mask: Bool[np.ndarray, "height width"], side: int = 5) -> Bool[np.ndarray, "height width"]:
    """What most pixels of a square about each pixel are: the median of a mask, by two running sums."""
    mean = ndimage.uniform_filter(mask.astype(np.float32), side)
    most: Bool[np.ndarray, "height width"] = mean > 0.5
    return most


def _by_strips(
    function: Callable[[UInt8[np.ndarray, "height width 3"]], Any], picture: UInt8[np.ndarray, "height width 3"], rows: int = 256
) -> Any:
    """Does the same to a few rows at a time, so that what is made on the way stays small."""
    return np.concatenate([function(picture[start : start + rows]) for start in range(0, len(picture), rows)])


def is_ink(picture: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """True for green and blue pen: no stain in use has more green than red, or blue far above red."""
    red, green, blue = (picture[..., place].astype(np.int16) for place in range(3))
    pen: Bool[np.ndarray, "height width"] = (green > red + 10) | (blue > red + 60)
    return pen


def otsu(values: UInt8[np.ndarray, "height width"]) -> float:
    """The threshold between two heaps of values that are each as narrow as can be, as a share of 255.

    Values above it are the upper heap; where several thresholds part them alike, the middle one. Of one value alone, that value.

    Source: Otsu 1979, eq. 12. Checked against: trying every threshold (tests/unit).
    """
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    level = np.arange(256)
    if np.count_nonzero(counts) < 2:
        return float(counts.argmax() / 255)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * level)[:-1]
    above, rest = counts.sum() - below, (counts * level).sum() - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where((below > 0) & (above > 0), below * above * (sums / below - rest / above) ** 2, -1.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(best[len(best) // 2] / 255)


def remove_small(mask: Bool[np.ndarray, "height width"], least_px: float) -> Bool[np.ndarray, "height width"]:
    """The connected parts of at least so many pixels."""
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept: Bool[np.ndarray, "height width"] = (sizes >= least_px)[parts]
    kept &= mask
    return kept
