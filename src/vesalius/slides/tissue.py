"""Where on the glass is tissue? A mask at low resolution, by colour: glass is bright and grey, tissue is stained.

Pen strokes are coloured too: strongly saturated green and blue is left out, and red or black ink cannot be told from tissue.

Source: Otsu 1979 (threshold between two heaps of values); saturation as the value: Lu et al. 2021, arXiv:2004.09666 (CLAM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from vesalius.errors import EmptyInput, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.slides.read import Slide


@dataclass(frozen=True)
class TissueOptions:
    """How tissue is told from glass.

    Attributes:
        mpp: Micrometres per pixel of the mask, at most; slides of few pixels are taken finer.
        least_saturation: Below this share no pixel is tissue, however little colour the slide has.
        least_area_um2: Smaller pieces are dust.
        largest_hole_um2: Smaller holes in tissue are filled.
    """

    mpp: float = 8.0
    least_saturation: float = 0.05
    least_area_um2: float = 20_000.0
    largest_hole_um2: float = 20_000.0

    def __post_init__(self) -> None:
        if not self.mpp > 0 or not 0 <= self.least_saturation <= 1:
            raise ValueOutOfRange(f"a mask of {self.mpp} micrometres per pixel and saturation of {self.least_saturation}")


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

    def share_within(self, x: int, y: int, side: float) -> float:
        """Share of a square of level 0 that is tissue; outside the slide there is none."""
        top, left = int(y / self.downsample), int(x / self.downsample)
        bottom = max(int(np.ceil((y + side) / self.downsample)), top + 1)
        right = max(int(np.ceil((x + side) / self.downsample)), left + 1)
        return float(self.mask[top:bottom, left:right].sum()) / ((bottom - top) * (right - left))


def find_tissue(slide: Slide, options: TissueOptions = TissueOptions()) -> TissueMask:
    """Returns where the tissue is.

    Raises:
        EmptyInput: No tissue; the slide is empty, or not stained.
    """
    longest = max(slide.width, slide.height) * slide.mpp / options.mpp
    picture, downsample = slide.overview(int(min(max(longest, 256), 8192)))
    saturation = saturation_of(picture)
    threshold = max(otsu(saturation), options.least_saturation)
    stained = ndimage.median_filter((saturation > threshold).astype(np.uint8), 5).astype(bool) & ~is_ink(picture)
    pixel_um2 = (slide.mpp * downsample) ** 2
    mask = remove_small(stained, options.least_area_um2 / pixel_um2)
    mask = ~remove_small(~mask, options.largest_hole_um2 / pixel_um2)
    if not mask.any():
        raise EmptyInput("no tissue on this slide: nothing on it is coloured more than glass is")
    return TissueMask(mask, downsample, threshold)


def saturation_of(picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
    """Greatest minus least of the three colours, as a share of 255: 0 for glass of any brightness.

    HSV's saturation divides by the brightness, so that dark dust and black ink look stained; this does not.
    """
    colours = picture.astype(np.float32)
    spread: Float32[np.ndarray, "height width"] = (colours.max(axis=-1) - colours.min(axis=-1)) / np.float32(255)
    return spread


def is_ink(picture: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """True for green and blue pen: no stain in use has more green than red, or blue far above red."""
    red, green, blue = (picture[..., place].astype(np.int16) for place in range(3))
    pen: Bool[np.ndarray, "height width"] = (green > red + 10) | (blue > red + 60)
    widened: Bool[np.ndarray, "height width"] = ndimage.binary_dilation(pen, iterations=2) if pen.any() else pen
    return widened


def otsu(values: Float32[np.ndarray, "height width"], bins: int = 256) -> float:
    """The threshold between two heaps of values in [0, 1] that are each as narrow as can be.

    Source: Otsu 1979, eq. 12. Checked against: trying every threshold (tests/unit).
    """
    counts = np.bincount(np.minimum((values.ravel() * bins).astype(np.int64), bins - 1), minlength=bins).astype(np.float64)
    middles = (np.arange(bins) + 0.5) / bins
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * middles)[:-1]
    above, rest = counts.sum() - below, (counts * middles).sum() - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where((below > 0) & (above > 0), below * above * (sums / below - rest / above) ** 2, -1.0)
    best = np.flatnonzero(between == between.max())
    return float((best[len(best) // 2] + 1) / bins)


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
