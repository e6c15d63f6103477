"""The slide with the score of each patch laid over it: one picture, and a pyramid that any slide viewer opens.

What is shown are the cosines of patches with the words (or the contrast of two), the very numbers that were pooled into the slide's
score. They are not probabilities, and the colour bar says so. The tissue is shown in grey, so that colour means score and nothing
else; where there is no patch there is no colour. Without a range of yours the colours span this slide's own 2nd to 98th
percentile, and two pictures cannot be compared by colour: pass the same `limits` to both.

Colours: viridis (van der Walt and Smith, CC0).
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Float, Float32, Int64, UInt8

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.slides.read import Slide

VIRIDIS = np.array(
    [
        *((68, 1, 84), (72, 23, 105), (71, 42, 122), (67, 61, 132), (61, 78, 138), (53, 94, 141)),
        *((46, 109, 142), (41, 123, 142), (35, 137, 142), (31, 151, 139), (33, 165, 133), (46, 179, 124)),
        *((70, 192, 111), (101, 203, 94), (137, 213, 72), (176, 221, 47), (216, 226, 25), (253, 231, 37)),
    ],
    dtype=np.float32,
)
OPACITY = 0.55
INK, PALE, PAPER = (240, 240, 236), (164, 168, 172), (20, 22, 26)
TILE = 256
JPEG_QUALITY = 85

_MARGIN, _BAND, _FOOT, _BAR = 20, 92, 74, 150
_LEAST_WIDTH = 760

Picture = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True)
class PatchScores:
    """Scores of one class on one slide.

    Attributes:
        name: Of the class, or the finding.
        coordinates: Upper left corners (x, y), in pixels of level 0.
        side: Of a patch, in pixels of level 0.
        scores: One a patch.
        limits: Scores of the first and the last colour; None: this slide's own 2nd and 98th percentile.
    """

    name: str
    coordinates: Int64[np.ndarray, "patch 2"]
    side: float
    scores: Float[np.ndarray, " patch"]
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.coordinates.shape != (len(self.scores), 2) or self.scores.ndim != 1:
            raise ShapeMismatch(f"scores {self.scores.shape} and coordinates {self.coordinates.shape}; expected one each a patch")
        if not len(self.scores):
            raise EmptyInput("no patch to show")
        if not np.isfinite(self.scores).all():
            raise ValueOutOfRange("a patch score is not finite; look at the features of that slide")

    @property
    def range(self) -> tuple[float, float]:
        """Scores of the first and the last colour, never equal."""
        low, high = self.limits or tuple(map(float, np.percentile(self.scores, [2, 98])))
        return (low, high) if high > low else (low - 0.5, low + 0.5)


def paint(grey: Float32[np.ndarray, "rows columns"], layer: Float32[np.ndarray, "rows columns"], map_: PatchScores) -> Picture:
    """Returns a grey picture under the coloured scores; NaN in `layer` is no patch, and stays grey."""
    low, high = map_.range
    there = np.isfinite(layer)[..., None]
    strength = np.clip((np.nan_to_num(layer, nan=low) - low) / (high - low), 0, 1)
    opacity = OPACITY * there
    mixed = (1 - opacity) * grey[..., None] + opacity * colours_of(strength)
    picture: Picture = np.rint(mixed).astype(np.uint8)
    return picture


def paint_overview(overview: Picture, downsample: float, map_: PatchScores) -> Picture:
    """Returns what `Slide.overview` gave, in grey under the scores of the patches."""
    height, width = overview.shape[:2]
    return paint(_grey(overview), layer_of(map_, 0, 0, (height, width), downsample), map_)


def colours_of(strength: Float32[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes 3"]:
    """Viridis from 0 to 1."""
    stops = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(strength, stops, VIRIDIS[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def layer_of(
    map_: PatchScores, left: float, top: float, shape: tuple[int, int], downsample: float
) -> Float32[np.ndarray, "rows columns"]:
    """Returns the scores over one region; the mean where patches overlap, NaN where there is none.

    Args:
        map_: The scores.
        left: Of the region, in pixels of level 0.
        top: Of the region, in pixels of level 0.
        shape: Rows and columns of the result.
        downsample: Pixels of level 0 that one of its pixels is wide.
    """
    rows, columns = shape
    begins = (map_.coordinates - (left, top)) / downsample
    ends = begins + map_.side / downsample
    near = (ends > 0).all(axis=1) & (begins < (columns, rows)).all(axis=1)
    total, count = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    corners = np.clip(np.rint(np.hstack([begins[near], ends[near]])).astype(int), 0, (columns, rows, columns, rows))
    for (x, y, right, bottom), score in zip(corners, map_.scores[near], strict=True):
        total[y:bottom, x:right] += score
        count[y:bottom, x:right] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def draw_map(slide: Slide, map_: PatchScores, *, heading: str, foot: str, longest_px: int = 1200) -> PIL.Image.Image:
    """Returns the whole slide under its scores, with heading, colour bar and a scale bar in micrometres.

    Args:
        slide: Open.
        map_: The scores of one class.
        heading: What the slide's own score is, in words.
        foot: What else must stand beside it, such as the bundle.
        longest_px: Longest side of the slide in the picture.
    """
    overview, downsample = slide.overview(longest_px)
    height, width = overview.shape[:2]
    painted = PIL.Image.fromarray(paint_overview(overview, downsample, map_))
    foot = f"patches' contrasts with the words, not probabilities · {foot}"
    least = max(_LEAST_WIDTH, math.ceil(max(_font(15).getlength(foot), _font(19).getlength(heading))) + 2 * _MARGIN)
    size = (max(width + 2 * _MARGIN + _BAR, least), max(height, 320) + _BAND + _FOOT)
    canvas = PIL.Image.new("RGB", size, PAPER)
    canvas.paste(painted, (_MARGIN, _BAND))
    draw = PIL.ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 16), map_.name, font=_font(30), fill=INK)
    draw.text((_MARGIN, 56), heading, font=_font(19), fill=PALE)
    draw.text((_MARGIN, size[1] - 30), foot, font=_font(15), fill=PALE)
    _draw_scale(draw, _MARGIN, size[1] - _FOOT + 8, width, slide.mpp * downsample)
    _draw_bar(canvas, draw, (_MARGIN + width + 22, _BAND), map_.range, own=map_.limits is None)
    return canvas


def write_pyramid(path: str | Path, slide: Slide, map_: PatchScores, *, mpp: float = 2.0) -> Path:
    """Writes the slide under its scores as a tiled BigTIFF that OpenSlide and slide viewers open; memory is that of a tile.

    Levels lie as pages one after the other, each half the one before, tiles of 256 pixels in JPEG; the scale is in the file.

    Args:
        path: `NAME.tif`; gets its name when it is whole.
        slide: Open.
        map_: The scores of one class.
        mpp: Micrometres per pixel of the finest level; never finer than the slide.
    """
    import imagecodecs  # noqa: F401  # tifffile asks for it when tiles are JPEG
    import tifffile

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    mpp = max(mpp, slide.mpp)
    with tifffile.TiffWriter(part, bigtiff=True) as file:
        level = 0
        while True:
            scale = mpp * 2**level / slide.mpp
            rows, columns = (max(round(side / scale), 1) for side in (slide.height, slide.width))
            file.write(
                _tiles(slide, map_, rows, columns, scale),
                shape=(rows, columns, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=min(level, 1),
                resolution=(1e4 / (mpp * 2**level),) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
                description="",
                software="vesalius",
            )
            level += 1
            if max(rows, columns) <= 2 * TILE:
                break
    part.replace(path)
    return path


def _tiles(slide: Slide, map_: PatchScores, rows: int, columns: int, scale: float) -> Iterator[bytes]:
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            region = slide.read(round(left * scale), round(top * scale), TILE, TILE, slide.mpp * scale)
            layer = layer_of(map_, left * scale, top * scale, (TILE, TILE), scale)
            file = io.BytesIO()
            tile = PIL.Image.fromarray(paint(_grey(region), layer, map_))
            tile.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
            yield file.getvalue()


def _grey(picture: Picture) -> Float32[np.ndarray, "rows columns"]:
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return picture.astype(np.float32) @ weights


def scale_bar_um(width_px: int, mpp: float) -> float:
    """The roundest length (1, 2 or 5 times a power of ten) that is at most a quarter of the picture, micrometres."""
    most = width_px * mpp / 4
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)


def _draw_scale(draw: PIL.ImageDraw.ImageDraw, left: int, top: int, width: int, mpp: float) -> None:
    length_um = scale_bar_um(width, mpp)
    right = left + round(length_um / mpp)
    words = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} micrometres"
    draw.line([(left, top + 10), (right, top + 10)], fill=INK, width=3)
    for end in (left, right):
        draw.line([(end, top + 4), (end, top + 16)], fill=INK, width=3)
    draw.text((right + 10, top), words, font=_font(16), fill=INK)


def ticks(span: tuple[float, float]) -> list[str]:
    """Returns the scores of the first, the middle and the last colour, in as many decimals as tell them apart; 3 at least."""
    low, high = span
    places = max(3, 1 - math.floor(math.log10(high - low)))
    return [f"{score:+.{places}f}" for score in (low, (low + high) / 2, high)]


def _draw_bar(canvas: PIL.Image.Image, draw: Any, corner: tuple[int, int], span: tuple[float, float], *, own: bool) -> None:
    left, top = corner
    height, width = 200, 20
    strength = np.repeat(np.linspace(1, 0, height, dtype=np.float32)[:, None], width, axis=1)
    canvas.paste(PIL.Image.fromarray(np.rint(colours_of(strength)).astype(np.uint8)), (left, top + 36))
    draw.rectangle((left - 1, top + 35, left + width, top + 36 + height), outline=PALE)
    draw.text((left, top), "patch score", font=_font(16), fill=PALE)
    for share, words in zip((0, 0.5, 1), ticks(span), strict=True):
        y = top + 36 + round((1 - share) * (height - 1))
        draw.text((left + width + 8, y - 9), words, font=_font(15), fill=INK)
    if own:
        draw.text((left, top + height + 50), "this slide's own\n2nd to 98th\npercentile", font=_font(13), fill=PALE)


def _font(size_px: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    return PIL.ImageFont.load_default(size=size_px)
