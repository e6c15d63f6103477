"""Tiled DICOM that OpenSlide does not take: its tiles found in the file once, read and decoded as they are asked for.

Sources: DICOM PS3.3 C.8.12.4 (whole slide microscopy image), C.7.6.17 (order of TILED_FULL), PS3.5 A.4 (encapsulated frames).
"""

from __future__ import annotations

import copy
import itertools
import math
import threading
import warnings
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from vesalius.errors import NoPixelData, TruncatedFile, UnsupportedEncoding
from vesalius.slides.read import WHITE, Level, Pixels, Slide, scale_warnings, square_mpp

KEPT_TILES = 64
"""Decoded tiles that are kept: neighbouring patches share them."""
SEAMS = 40
OTHER_THAN_SLIDE = {"LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL"}


class DicomSlide(Slide):
    """One tiled DICOM instance as a slide of one level.

    Raises:
        UnsupportedEncoding: Not tiled, not in colour of 8 bits, a label, one file of a level that lies in several, tiles of which
            nothing tells where they lie, or several at one place.
        MissingSpacing: The file does not say its scale, or its pixels are not square.
    """

    def __init__(self, path: Path, mpp: float | None) -> None:
        self.path = path
        self._file = path.open("rb")
        self._lock = threading.Lock()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what pydicom warns of may quote the header
                self._open(mpp)
        except BaseException:
            self._file.close()
            raise

    def _open(self, mpp: float | None) -> None:
        import pydicom

        dataset = pydicom.dcmread(self._file, stop_before_pixels=True)
        _refuse_unfit(dataset)
        self._tile = (int(dataset.Rows), int(dataset.Columns))
        width, height = int(dataset.TotalPixelMatrixColumns), int(dataset.TotalPixelMatrixRows)
        self.levels = (Level(width, height, 1.0),)
        own = _own_sides(dataset, width, height)
        self.mpp = mpp if mpp is not None else square_mpp(own)
        self.warnings = scale_warnings(own, mpp)
        self._frames = FrameTable(self._file, dataset)
        self._template = _single_frame(dataset)
        self._decoded = lru_cache(maxsize=KEPT_TILES)(self._decode)
        self._frame_at = self._places(dataset, width, height)

    def _places(self, dataset: Any, width: int, height: int) -> dict[tuple[int, int], int]:
        """From (row, column) of a tile to its frame: as each frame says, else row by row (TILED_FULL)."""
        rows, columns = self._tile
        across, down = math.ceil(width / columns), math.ceil(height / rows)
        count = int(dataset.NumberOfFrames)
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups and "PlanePositionSlideSequence" in groups[0]:
            positions = [group.PlanePositionSlideSequence[0] for group in groups]
            tops = [int(p.RowPositionInTotalImagePixelMatrix) - 1 for p in positions]
            lefts = [int(p.ColumnPositionInTotalImagePixelMatrix) - 1 for p in positions]
            return self._on_grid(tops, lefts)
        if count != across * down:
            raise UnsupportedEncoding(f"{count} tiles for a grid of {across} by {down}, and no word where they lie")
        by_rows = {divmod(frame, across): frame for frame in range(count)}
        if dataset.get("DimensionOrganizationType") == "TILED_FULL" or min(across, down) == 1:
            return by_rows
        return self._by_seams(by_rows, {divmod(frame, down)[::-1]: frame for frame in range(count)})

    def _on_grid(self, tops: list[int], lefts: list[int]) -> dict[tuple[int, int], int]:
        """From (row, column) to frame, of tiles that say where they lie."""
        rows, columns = self._tile
        places: dict[tuple[int, int], int] = {}
        for frame, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            if top % rows or left % columns:
                raise UnsupportedEncoding(
                    f"tile {frame + 1} lies beside the grid of {columns} by {rows} pixels; convert the slide, to tiled TIFF say"
                )
            if places.setdefault((top // rows, left // columns), frame) != frame:
                raise UnsupportedEncoding(
                    "several tiles lie at one place: focal planes or optical paths; export one plane in colour alone"
                )
        return places

    def _by_seams(self, by_rows: dict[tuple[int, int], int], by_columns: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """Of two orders the one whose neighbouring tiles go on into each other; some writers leave the order unsaid."""
        worth = [self._roughness(order) for order in (by_rows, by_columns)]
        if max(worth) < 1.3 * min(worth) or max(worth) == 0:
            raise UnsupportedEncoding("the file does not say in which order its tiles lie, and their edges do not tell")
        way = ("row by row", "column by column")[int(np.argmin(worth))]
        self.warnings += (f"the file does not say in which order its tiles lie; their edges fit {way}",)
        return (by_rows, by_columns)[int(np.argmin(worth))]

    def _roughness(self, order: dict[tuple[int, int], int]) -> float:
        """Mean step of brightness across the vertical seams, of at most 40 of them."""
        last = max(column for _, column in order)  # the last column may be padded: its inner edge is not
        pairs = [(place, (place[0], place[1] + 1)) for place in order if place[1] < last]
        steps = []
        for left, right in pairs[:: max(len(pairs) // SEAMS, 1)]:
            edges = [self._decoded(order[left])[:, -1].astype(float), self._decoded(order[right])[:, 0].astype(float)]
            steps.append(np.abs(edges[0] - edges[1]).mean())
        return float(np.mean(steps))

    def _decode(self, frame: int) -> Pixels:
        import pydicom
        from pydicom.encaps import encapsulate
        from pydicom.pixels import pixel_array

        with self._lock:
            content = self._frames.read(frame)
        one = pydicom.Dataset()  # of its own: pydicom's copies share their values, and another thread's tile would come out
        one.update(self._template)
        one.file_meta = self._template.file_meta
        one.PixelData = encapsulate([content]) if self._frames.compressed else content
        if self._frames.compressed and one.PhotometricInterpretation == "RGB" and b"JFIF" in content[:32]:
            one.PhotometricInterpretation = "YBR_FULL_422"  # what JFIF is; some writers call it RGB all the same
        return np.asarray(pixel_array(one))

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
        self._file.close()


class FrameTable:
    """Where each frame's bytes lie in the file; found once, so that a tile is one seek and one read however long the file is.

    Attributes:
        compressed: Are frames encapsulated?

    Args:
        file: Positioned at the pixel data element, as `dcmread(..., stop_before_pixels=True)` leaves it.
        dataset: What was read before it.
    """

    def __init__(self, file: IO[bytes], dataset: Any) -> None:
        syntax = dataset.file_meta.TransferSyntaxUID
        self._file, self.compressed = file, bool(syntax.is_compressed)
        count = int(dataset.NumberOfFrames)
        head = file.read(8)
        if len(head) < 8:
            raise NoPixelData("this DICOM slide has no pixels")
        if not syntax.is_implicit_VR:
            file.read(4)
        begin = file.tell()
        self._bytes = int(dataset.Rows) * int(dataset.Columns) * 3
        if self.compressed:
            self._starts = _frame_starts(file, dataset, count)
        else:
            self._starts = [begin + frame * self._bytes for frame in range(count)]
        following = sorted(set(self._starts))
        self._ends: dict[int, int] = dict(itertools.pairwise(following))

    def read(self, frame: int) -> bytes:
        """Returns one frame as it is in the file.

        Raises:
            TruncatedFile: The file ends before it.
        """
        from pydicom.encaps import generate_fragments

        start = self._starts[frame]
        self._file.seek(start)
        if not self.compressed:
            content = self._file.read(self._bytes)
            if len(content) < self._bytes:
                raise TruncatedFile(f"the file ends before tile {frame + 1} does; fetch it again")
            return content
        end = self._ends.get(start)
        try:
            content = b"".join(generate_fragments(self._file if end is None else self._file.read(end - start)))
        except ValueError as error:
            raise TruncatedFile(f"tile {frame + 1} is not whole ({type(error).__name__}); fetch the file again") from error
        if not content:
            raise TruncatedFile(f"the file ends before tile {frame + 1} does; fetch it again")
        return content


def _frame_starts(file: IO[bytes], dataset: Any, count: int) -> list[int]:
    """Places of the frames' first items: from the extended table, the basic one, or by walking over the fragments.

    Raises:
        UnsupportedEncoding: Several fragments a frame and no table.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    basic = parse_basic_offsets(file)
    begin = file.tell()
    if "ExtendedOffsetTable" in dataset:
        return [begin + int(offset) for offset in np.frombuffer(dataset.ExtendedOffsetTable, dtype="<u8")]
    if len(basic) == count:
        return [begin + offset for offset in basic]
    try:
        fragments, starts = parse_fragments(file)
    except ValueError as error:
        raise TruncatedFile(f"the tiles of this slide are not whole ({type(error).__name__}); fetch the file again") from error
    if fragments != count:
        raise UnsupportedEncoding(f"{fragments} pieces for {count} tiles, and no table of which belong together")
    return list(starts)


def _refuse_unfit(dataset: Any) -> None:
    if "TotalPixelMatrixColumns" not in dataset or "NumberOfFrames" not in dataset or dataset.get("SamplesPerPixel") != 3:
        raise UnsupportedEncoding("this DICOM file is no tiled slide in colour")
    if int(dataset.BitsAllocated) != 8:
        raise UnsupportedEncoding(f"colours of {int(dataset.BitsAllocated)} bits; expected 8")
    parts = dataset.get("InConcatenationTotalNumber")
    if "ConcatenationUID" in dataset and parts != 1:
        raise UnsupportedEncoding(
            f"this file is part {dataset.get('InConcatenationNumber', '?')} of {parts or 'several'} of one level of the slide, and "
            "only whole levels are read; join the parts first, or convert the slide, to tiled TIFF say"
        )
    kinds = OTHER_THAN_SLIDE & {str(word).upper() for word in dataset.get("ImageType", ())}
    if kinds:
        raise UnsupportedEncoding(
            f"this file is the slide's {min(kinds).lower()}, not its tissue; name the file of a pyramid level"
        )


def _own_sides(dataset: Any, width: int, height: int) -> list[float]:
    """Sides of a pixel in micrometres: from the pixel spacing, else from the size of what was imaged; empty if neither is said."""
    spacing = _find(dataset, "PixelSpacing")
    if spacing:
        return [1000 * float(side) for side in spacing]
    wide_mm, high_mm = dataset.get("ImagedVolumeWidth"), dataset.get("ImagedVolumeHeight")
    if wide_mm and high_mm:
        return [1000 * float(wide_mm) / width, 1000 * float(high_mm) / height]
    return []


def _single_frame(dataset: Any) -> Any:
    """A dataset of what decodes one tile, and of nothing that names a patient."""
    one = copy.deepcopy(dataset.group_dataset(0x0028))
    one.file_meta = dataset.file_meta
    one.NumberOfFrames = 1
    return one


def _find(dataset: Any, keyword: str) -> Any:
    """The first value of that name, in the shared functional groups or on top."""
    for group in dataset.get("SharedFunctionalGroupsSequence") or ():
        for measures in group.get("PixelMeasuresSequence") or ():
            if keyword in measures:
                return measures[keyword].value
    return dataset.get(keyword)
