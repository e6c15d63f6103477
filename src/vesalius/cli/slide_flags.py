"""How slides are cut and pooled, asked for alike by every verb that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vesalius.bundle.slide import SlideOptions
    from vesalius.inference.slide import ExtractOptions
    from vesalius.models.contracts import Contract
    from vesalius.slides.patches import PatchGrid
    from vesalius.zeroshot.heads import Average


@dataclass(frozen=True)
class CutFlags:
    """Which patches are cut from a slide."""

    mpp: float | None = None
    """micrometres per pixel of the finest level, for files that do not say it, or say it wrongly"""
    patch_px: int | None = None
    """side of a patch in pixels; unless given as the checkpoint's authors cut, else what the network sees"""
    patch_mpp: float = 0.5
    """micrometres per pixel of a patch, those that the checkpoint was trained at; 0.5 is what many call 20x"""
    overlap: float = 0.0
    """share of a patch's side that it has in common with its neighbour"""
    least_tissue: float = 0.25
    """share of a patch that must be tissue"""

    def grid_for(self, contract: Contract) -> PatchGrid:
        """Returns the cut for an encoder's contract.

        Raises:
            ValueOutOfRange: A size, scale, overlap or share of tissue that cannot be.
        """
        from vesalius.inference.slide import grid_for

        return grid_for(contract, self.patch_px, self.patch_mpp, overlap=self.overlap, least_tissue=self.least_tissue)


@dataclass(frozen=True)
class PoolFlags:
    """How the scores of patches become the slide's."""

    pooling: str = "top-50"
    """top-1, top-5, top-10, top-50, top-100 (the mean of so many greatest), or mean"""
    smoothing: Literal["none", "scores", "features"] = "none"
    """before pooling, average each patch's scores, or its features, over its 8 nearest patches"""


def slide_options(contract: Contract, cut: CutFlags, pool: PoolFlags, *, average: Average, extract: ExtractOptions) -> SlideOptions:
    """Returns how slides are read by words.

    Raises:
        ValueOutOfRange: A cut that cannot be.
    """
    from vesalius.bundle.slide import SlideOptions
    from vesalius.zeroshot.slide_scores import PoolOptions

    return SlideOptions(cut.grid_for(contract), cut.mpp, PoolOptions(smoothing=pool.smoothing), average, pool.pooling, extract)


def as_plain(cut: CutFlags, pool: PoolFlags) -> dict[str, Any]:
    """Returns all that decides a slide's score beside weights and words."""
    from dataclasses import asdict

    return asdict(pool) | asdict(cut)
