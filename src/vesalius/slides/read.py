"""Opens a whole slide: every format of OpenSlide, and tiled DICOM that OpenSlide does not take.

    with open_slide("slide.svs") as slide:
        region = slide.read(x=0, y=0, width=512, height=512, mpp=0.5)      # (512, 512, 3), uint8

A slide's scale is micrometres per pixel (`mpp`). A magnification is not used: what "20x" means differs between makers. Where the
file does not say its scale, the caller must.

Sources: DICOM PS3.3 C.8.12.4 (whole slide microscopy image), C.7.6.17 (TILED_FULL order of frames).
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8

from vesalius.errors import FileMissing, MissingSpacing, NotAnImage, TooLarge, UnsupportedEncoding, ValueOutOfRange

Pixels = UInt8[np.ndarray, "height width 3"]

WHITE = 255
MAXIMUM_REGION = 100_000_000  # pixels read at once: 300 MB
PLAUSIBLE_MPP = (0.05, 20.0)


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: its size in pixels, and how many pixels of level 0 one of its pixels is wide."""

    width: int
    height: int
    downsample: float


class Slide(ABC):
    """An open slide; use it as a context manager.

    Attributes:
        path: Its file.
        mpp: Micrometres per pixel of level 0.
        levels: From the finest on.
        warnings: What a user should know of this file.
        slide_id: First 16 hex digits of the SHA-256 of its size, scale and coarsest level; says nothing of the patient.
    """

    path: Path
    mpp: float
    levels: tuple[Level, ...]
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Pixels of level 0."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Pixels of level 0."""
        return self.levels[0].height

    @abstractmethod
    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """Pixels of one level, from (x, y) of that level on; what lies outside the slide or was not scanned is white."""

    @abstractmethod
    def close(self) -> None:
        """Gives the file back."""

    def read(self, x: int, y: int, width: int, height: int, mpp: float) -> Pixels:
        """Reads a region at any scale.

        Args:
            x: Left edge, in pixels of level 0.
            y: Upper edge, in pixels of level 0.
            width: Of the result, in pixels of `mpp`.
            height: Of the result, in pixels of `mpp`.
            mpp: Micrometres per pixel of the result. The next finer level is read and reduced by area (Pillow's BOX).

        Raises:
            TooLarge: More than 100 million pixels would be read; ask for less at once.
        """
        import PIL.Image

        level = self.level_for(mpp)
        scale = mpp / (self.mpp * self.levels[level].downsample)
        read_width, read_height = max(round(width * scale), 1), max(round(height * scale), 1)
        if read_width * read_height > MAXIMUM_REGION:
            raise TooLarge(f"{read_width} x {read_height} pixels at once; read at most {MAXIMUM_REGION:,}, or at a coarser scale")
        downsample = self.levels[level].downsample
        pixels = self.read_level(level, round(x / downsample), round(y / downsample), read_width, read_height)
        if (read_width, read_height) == (width, height):
            return pixels
        way = PIL.Image.Resampling.BOX if scale > 1 else PIL.Image.Resampling.BILINEAR
        return np.asarray(PIL.Image.fromarray(pixels).resize((width, height), way))

    def level_for(self, mpp: float) -> int:
        """Number of the coarsest level that is at least as fine as `mpp`, within one part in a hundred; 0 if none is."""
        fine = [number for number, level in enumerate(self.levels) if self.mpp * level.downsample <= mpp * 1.01]
        return fine[-1] if fine else 0

    def overview(self, longest_px: int = 1024) -> tuple[Pixels, float]:
        """The whole slide as one picture, and how many pixels of level 0 one of its pixels is wide."""
        factor = max(self.width, self.height) / longest_px
        if factor <= 1:
            return self.read_level(0, 0, 0, self.width, self.height), 1.0
        width, height = max(round(self.width / factor), 1), max(round(self.height / factor), 1)
        return self._reduced(width, height, factor), factor

    def _reduced(self, width: int, height: int, factor: float) -> Pixels:
        """Reads strip by strip, so that a slide of one level fits into memory too."""
        level = self.levels[self.level_for(self.mpp * factor)]
        strip = max(int(MAXIMUM_REGION / 4 / (level.width * factor / level.downsample)), 1)
        rows = []
        for top in range(0, height, strip):
            few = min(strip, height - top)
            rows.append(self.read(0, round(top * factor), width, few, self.mpp * factor))
        return np.concatenate(rows)

    @cached_property
    def slide_id(self) -> str:
        """Names the slide by its content."""
        picture, _ = self.overview(256)
        content = f"{self.width}x{self.height}@{self.mpp:.6g};".encode() + picture.tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_slide(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Opens a slide of any format that can be read.

    Args:
        path: SVS, NDPI, MRXS, SCN, BIF, tiled TIFF, DICOM (any one file of a slide's folder) ...
        mpp: Micrometres per pixel of level 0, where the file does not say or says it wrongly.

    Raises:
        FileMissing: No such file.
        MissingSpacing: The file does not say its scale; pass `mpp` (`--mpp` on the command line).
        NotAnImage: Neither OpenSlide nor the DICOM reader takes it.
        UnsupportedEncoding: A DICOM slide that is not tiled, or not in colour.
        ValueOutOfRange: An `mpp` that no slide has.
    """
    path = Path(path)
    if not path.exists():
        raise FileMissing("there is no slide at that path")
    if mpp is not None and not PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]:
        raise ValueOutOfRange(f"{mpp} micrometres per pixel; a slide has {PLAUSIBLE_MPP[0]} to {PLAUSIBLE_MPP[1]}")
    import openslide

    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        if _is_dicom(path):
            return DicomSlide(path, mpp)
        raise NotAnImage("neither OpenSlide nor the DICOM reader takes this file as a slide; is it whole?") from None
    try:
        return OpenSlideSlide(path, handle, mpp)
    except BaseException:
        handle.close()
        raise


class OpenSlideSlide(Slide):
    """A slide that OpenSlide opened."""

    def __init__(self, path: Path, handle: Any, mpp: float | None) -> None:
        self.path, self._handle = path, handle
        sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, float(downsample)) for (width, height), downsample in sizes)
        self.mpp = mpp if mpp is not None else self._own_mpp()

    def _own_mpp(self) -> float:
        sides = [self._handle.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        numbers = [float(side) for side in sides if side is not None]
        if len(numbers) != 2 or not all(PLAUSIBLE_MPP[0] <= number <= PLAUSIBLE_MPP[1] for number in numbers):
            raise MissingSpacing("this slide does not say how many micrometres a pixel is; pass it with `--mpp` (mpp=...)")
        if abs(numbers[0] - numbers[1]) > 0.02 * numbers[0]:
            raise MissingSpacing(
                f"pixels of {numbers[0]:g} by {numbers[1]:g} micrometres are not square; pass the scale with `--mpp`"
            )
        return (numbers[0] + numbers[1]) / 2

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `Slide`."""
        downsample = self.levels[level].downsample
        region = np.asarray(self._handle.read_region((round(x * downsample), round(y * downsample)), level, (width, height)))
        opacity = region[..., 3:].astype(np.uint16)
        # OpenSlide's colours are premultiplied: what was not scanned is clear, and clear glass is white.
        return (region[..., :3] + (WHITE - opacity)).clip(0, WHITE).astype(np.uint8)

    def close(self) -> None:
        """See `Slide`."""
        self._handle.close()


class DicomSlide(Slide):
    """One tiled DICOM instance as a slide of one level, its tiles decoded as they are asked for."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        import pydicom

        self.path = path
        dataset = pydicom.dcmread(path, defer_size="1 MB")
        if "TotalPixelMatrixColumns" not in dataset or "NumberOfFrames" not in dataset or dataset.get("SamplesPerPixel") != 3:
            raise UnsupportedEncoding("this DICOM file is no tiled slide in colour")
        self._dataset = dataset
        self._tile = (int(dataset.Rows), int(dataset.Columns))
        width, height = int(dataset.TotalPixelMatrixColumns), int(dataset.TotalPixelMatrixRows)
        self.levels = (Level(width, height, 1.0),)
        self.mpp = mpp if mpp is not None else self._own_mpp(width)
        self._decoded = lru_cache(maxsize=32)(self._decode)
        self._frame_at = self._places(width, height)

    def _own_mpp(self, width: int) -> float:
        """From the pixel spacing, or from the width of what was imaged."""
        found = _find(self._dataset, "PixelSpacing")
        wide_mm = self._dataset.get("ImagedVolumeWidth")
        number = float(found[0]) * 1000 if found else float(wide_mm) * 1000 / width if wide_mm else math.nan
        if not PLAUSIBLE_MPP[0] <= number <= PLAUSIBLE_MPP[1]:
            raise MissingSpacing("this DICOM slide does not say how many micrometres a pixel is; pass it with `--mpp` (mpp=...)")
        return number

    def _places(self, width: int, height: int) -> dict[tuple[int, int], int]:
        """From (row, column) of a tile to its frame: as each frame says, else row by row (TILED_FULL)."""
        rows, columns = self._tile
        across = math.ceil(width / columns)
        count = int(self._dataset.NumberOfFrames)
        groups = self._dataset.get("PerFrameFunctionalGroupsSequence")
        if groups and "PlanePositionSlideSequence" in groups[0]:
            positions = [group.PlanePositionSlideSequence[0] for group in groups]
            tops = [int(p.RowPositionInTotalImagePixelMatrix) - 1 for p in positions]
            lefts = [int(p.ColumnPositionInTotalImagePixelMatrix) - 1 for p in positions]
            return {(top // rows, left // columns): frame for frame, (top, left) in enumerate(zip(tops, lefts, strict=True))}
        down = math.ceil(height / rows)
        if count != across * down:
            raise UnsupportedEncoding(f"{count} tiles for a grid of {across} by {down}, and no word where they lie")
        by_rows = {divmod(frame, across): frame for frame in range(count)}
        if self._dataset.get("DimensionOrganizationType") == "TILED_FULL" or min(across, down) == 1:
            return by_rows
        return self._by_seams(by_rows, {divmod(frame, down)[::-1]: frame for frame in range(count)})

    def _by_seams(self, by_rows: dict[tuple[int, int], int], by_columns: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """Of two orders the one whose neighbouring tiles go on into each other; some writers leave the order unsaid."""
        worth = [self._roughness(order) for order in (by_rows, by_columns)]
        if max(worth) < 1.3 * min(worth):
            raise UnsupportedEncoding("the file does not say in which order its tiles lie, and their edges do not tell")
        way = ("row by row", "column by column")[int(np.argmin(worth))]
        self.warnings = (f"the file does not say in which order its tiles lie; their edges fit {way}",)
        return (by_rows, by_columns)[int(np.argmin(worth))]

    def _roughness(self, order: dict[tuple[int, int], int]) -> float:
        """Mean step of brightness across the vertical seams, of at most 40 of them."""
        rows = max(row for row, _ in order)  # the last row and column may be padded
        pairs = [(place, (place[0], place[1] + 1)) for place in order if place[0] < rows and (place[0], place[1] + 1) in order]
        steps = []
        for left, right in pairs[:: max(len(pairs) // 40, 1)]:
            edges = [self._decoded(order[left])[:, -1].astype(float), self._decoded(order[right])[:, 0].astype(float)]
            steps.append(np.abs(edges[0] - edges[1]).mean())
        return float(np.mean(steps))

    def _decode(self, frame: int) -> Pixels:
        import warnings

        from pydicom.pixels import pixel_array

        with warnings.catch_warnings():
            # Some writers call JPEG's YBR colours RGB; pydicom looks into the stream, decodes them rightly and warns.
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(pixel_array(self._dataset, index=frame))

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `Slide`."""
        region = np.full((height, width, 3), WHITE, dtype=np.uint8)
        rows, columns = self._tile
        for row in range(max(y, 0) // rows, (min(y + height, self.height) - 1) // rows + 1):
            for column in range(max(x, 0) // columns, (min(x + width, self.width) - 1) // columns + 1):
                frame = self._frame_at.get((row, column))
                if frame is None:
                    continue
                top, left = row * rows - y, column * columns - x
                bottom = min(top + rows, height, self.height - y)
                right = min(left + columns, width, self.width - x)
                tile = self._decoded(frame)
                region[max(top, 0) : bottom, max(left, 0) : right] = tile[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
        return region

    def close(self) -> None:
        """See `Slide`."""
        self._decoded.cache_clear()


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _find(dataset: Any, keyword: str) -> Any:
    """The first value of that name, in the shared functional groups or on top."""
    for group in dataset.get("SharedFunctionalGroupsSequence") or ():
        for measures in group.get("PixelMeasuresSequence") or ():
            if keyword in measures:
                return measures[keyword].value
    return dataset.get(keyword)
