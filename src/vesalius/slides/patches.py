"""A slide cut into squares of a fixed size on the glass, read in batches: memory is that of one batch, however large the slide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt8

from vesalius.errors import EmptyInput, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.slides.read import Slide
    from vesalius.slides.tissue import TissueMask

Patches = UInt8[np.ndarray, "patch side side 3"]
Coordinates = Int64[np.ndarray, "patch 2"]


@dataclass(frozen=True)
class PatchGrid:
    """How a slide is cut.

    Attributes:
        side_px: Of a patch as the network sees it.
        mpp: Micrometres per pixel of a patch: 0.5 is what is called 20x, 0.25 what is called 40x.
        overlap: Share of a patch's side that it has in common with its neighbour, 0 to below 1.
        least_tissue: Share of a patch that must be tissue.
    """

    side_px: int = 256
    mpp: float = 0.5
    overlap: float = 0.0
    least_tissue: float = 0.25

    def __post_init__(self) -> None:
        if self.side_px < 16 or not self.mpp > 0 or not 0 <= self.overlap < 1 or not 0 <= self.least_tissue <= 1:
            raise ValueOutOfRange(
                f"patches of {self.side_px} px at {self.mpp} micrometres per pixel, overlap {self.overlap}, "
                f"tissue {self.least_tissue}; expected at least 16 px, a positive scale, an overlap in [0, 1) and a share of tissue"
            )

    @property
    def side_um(self) -> float:
        """Side of a patch on the glass, micrometres."""
        return self.side_px * self.mpp

    def side_at(self, mpp: float) -> float:
        """Side of a patch in pixels of another scale."""
        return self.side_um / mpp

    def places(self, slide: Slide, tissue: TissueMask) -> Coordinates:
        """Upper left corners (x, y) of the patches with enough tissue, in pixels of level 0, row by row.

        Patches lie wholly on the slide; a slide smaller than a patch has none.

        Raises:
            EmptyInput: None has enough tissue.
            ValueOutOfRange: The slide is much coarser than the patches ask for: what is not there cannot be read.
        """
        if slide.mpp > 1.5 * self.mpp:
            raise ValueOutOfRange(
                f"this slide has {slide.mpp:g} micrometres per pixel, patches of {self.mpp:g} are asked for: detail that was not "
                "scanned cannot be read; choose a coarser scale (`--patch-mpp`)"
            )
        side = self.side_at(slide.mpp)
        step = side * (1 - self.overlap)
        across, down = (max(math.floor((length - side) / step) + 1, 0) for length in (slide.width, slide.height))
        corners = [(round(column * step), round(row * step)) for row in range(down) for column in range(across)]
        kept = [(x, y) for x, y in corners if tissue.share_within(x, y, side) >= self.least_tissue]
        if not kept:
            raise EmptyInput(
                f"none of {len(corners)} patches of {self.side_um:g} micrometres has {self.least_tissue:.0%} of tissue"
            )
        return np.array(kept, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers."""
        return asdict(self)


def read_patches(slide: Slide, places: Coordinates, grid: PatchGrid, *, batch_size: int = 64) -> Iterator[Patches]:
    """Yields the patches in the order of `places`, a batch at a time.

    Raises:
        ValueOutOfRange: A batch below 1.
    """
    if batch_size < 1:
        raise ValueOutOfRange(f"batches of {batch_size}; expected at least 1")
    for start in range(0, len(places), batch_size):
        few = places[start : start + batch_size]
        yield np.stack([slide.read(int(x), int(y), grid.side_px, grid.side_px, grid.mpp) for x, y in few])
