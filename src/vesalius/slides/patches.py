"""A slide cut into squares of a fixed size on the glass, read in batches: memory is that of one batch, however large the slide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
            EmptyInput: None has enough tissue, or the slide is smaller than a patch.
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
        if not across * down:
            raise EmptyInput(
                f"the slide has {slide.width * slide.mpp:.0f} by {slide.height * slide.mpp:.0f} micrometres, less than one patch "
                f"of {self.side_um:g}; choose smaller patches (`--patch-px`)"
            )
        top, left = np.meshgrid(np.rint(np.arange(down) * step), np.rint(np.arange(across) * step), indexing="ij")
        corners = np.stack([left, top], axis=-1).reshape(-1, 2).astype(np.int64)
        kept: Coordinates = corners[tissue.shares_within(corners, side) >= self.least_tissue]
        if not len(kept):
            raise EmptyInput(
                f"none of {len(corners)} patches of {self.side_um:g} micrometres has {self.least_tissue:.0%} of tissue; "
                "choose smaller patches (`--patch-px`), or look at the slide"
            )
        return kept

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers."""
        return asdict(self)


def read_patches(
    slide: Slide, places: Coordinates, grid: PatchGrid, *, batch_size: int = 64, workers: int = 1
) -> Iterator[Patches]:
    """Yields the patches in the order of `places`, a batch at a time.

    Args:
        slide: Open.
        places: From `PatchGrid.places`.
        grid: The same grid.
        batch_size: Patches a batch.
        workers: Threads that read and decode.

    Raises:
        ValueOutOfRange: A batch or workers below 1.
    """
    if batch_size < 1 or workers < 1:
        raise ValueOutOfRange(f"batches of {batch_size} by {workers} threads; expected at least 1 of each")

    def read(place: Int64[np.ndarray, "2"]) -> UInt8[np.ndarray, "side side 3"]:
        return slide.read(int(place[0]), int(place[1]), grid.side_px, grid.side_px, grid.mpp)

    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        for start in range(0, len(places), batch_size):
            yield np.stack(list(pool.map(read, places[start : start + batch_size])))
