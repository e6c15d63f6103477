"""Opens a whole slide: every format of OpenSlide, and tiled DICOM that OpenSlide does not take.

    with open_slide("slide.svs") as slide:
        region = slide.read(x=0, y=0, width=512, height=512, mpp=0.5)      # (512, 512, 3), uint8

A slide's scale is micrometres per pixel (`mpp`). A magnification is not used: what "20x" means differs between makers. Where the
file does not say its scale, the caller must.

Source: OpenSlide 4 (Goode et al. 2013, J Pathol Inform 4:27) for formats, levels and premultiplied colours.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8

from vesalius.errors import CorruptStream, FileMissing, MissingDependency, MissingSpacing, NotAnImage, TooLarge, ValueOutOfRange

Pixels = UInt8[np.ndarray, "height width 3"]

WHITE = 255
MAXIMUM_REGION = 100_000_000  # pixels of one answer: 300 MB
AT_ONCE = 4_000_000  # pixels of a level that are decoded at once, where the answer has fewer
PLAUSIBLE_MPP = (0.05, 20.0)
SLIDE_ENDINGS = frozenset((".svs", ".svslide", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".bif"))
"""Of makers' own formats; .tif and .dcm hold other things too."""
HOW_TO_SAY = (
    "look up what the scanner's maker says of this scan, and give it, micrometres per pixel of the finest level: `--mpp 0.25`, say "
    "(mpp=0.25); do so for this slide by itself, for it holds for every slide of a command"
)


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: its size in pixels, and how many pixels of level 0 one of its pixels is wide."""

    width: int
    height: int
    downsample: float


class Slide(ABC):
    """An open slide; use it as a context manager.

    Safe to read from several threads at once.

    Attributes:
        path: Its file.
        mpp: Micrometres per pixel of level 0.
        levels: From the finest on.
        warnings: What a user should know of this file.
        slide_id: First 16 hex digits of the SHA-256 of its size and a small picture of it; says nothing of the patient.
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
            mpp: Micrometres per pixel of the result. The next finer level is read and reduced by area (Pillow's BOX); a large
                region of it block by block, so that a slide of one level needs no more memory than another. Blocks are square:
                strips flatter than the file's tiles would decode each tile again and again.

        Raises:
            TooLarge: More than 100 million pixels are asked for; ask for less at once.
        """
        level = self.level_for(mpp)
        scale = mpp / (self.mpp * self.levels[level].downsample)
        if width * height > MAXIMUM_REGION:
            raise TooLarge(f"{width} x {height} pixels at once; read at most {MAXIMUM_REGION:,}, or at a coarser scale")
        if width * height * scale**2 <= AT_ONCE or scale <= 1:
            return self._read_block(level, x, y, width, height, mpp)
        region = np.empty((height, width, 3), dtype=np.uint8)
        side = max(int(AT_ONCE**0.5 / scale), 1)
        for top in range(0, height, side):
            for left in range(0, width, side):
                corner = (x + round(left * mpp / self.mpp), y + round(top * mpp / self.mpp))
                size = (min(side, width - left), min(side, height - top))
                region[top : top + size[1], left : left + size[0]] = self._read_block(level, *corner, *size, mpp)
        return region

    def _read_block(self, level: int, x: int, y: int, width: int, height: int, mpp: float) -> Pixels:
        import PIL.Image

        downsample = self.levels[level].downsample
        scale = mpp / (self.mpp * downsample)
        read_width, read_height = max(round(width * scale), 1), max(round(height * scale), 1)
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
        return self.read(0, 0, width, height, self.mpp * factor), factor

    @cached_property
    def slide_id(self) -> str:
        """Names the slide by its content."""
        picture, _ = self.overview(256)
        content = f"{self.width}x{self.height};".encode() + picture.tobytes()
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
        MissingDependency: OpenSlide is not installed; the message has the command.
        MissingSpacing: The file does not say its scale; pass `mpp` (`--mpp` on the command line).
        NotAnImage: Neither OpenSlide nor the DICOM reader takes it.
        UnsupportedEncoding: A DICOM slide that is not tiled, or not in colour.
        ValueOutOfRange: An `mpp` that no slide has.
    """
    path = Path(path)
    if not path.exists():
        raise FileMissing("there is no slide at that path")
    if path.is_dir():
        raise NotAnImage("this is a folder; name a file in it (any one of a DICOM slide, the .mrxs beside a folder)")
    if mpp is not None and not PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]:
        raise ValueOutOfRange(f"{mpp} micrometres per pixel; a slide has {PLAUSIBLE_MPP[0]} to {PLAUSIBLE_MPP[1]}")
    try:
        import openslide
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "reading a slide") or error from error
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        if _is_dicom(path):
            from vesalius.slides.dicom_tiles import DicomSlide

            return DicomSlide(path, mpp)
        raise NotAnImage("neither OpenSlide nor the DICOM reader takes this file as a slide; is it whole?") from None
    try:
        return OpenSlideSlide(path, handle, mpp)
    except BaseException:
        handle.close()
        raise


def is_slide(path: str | Path) -> bool:
    """Says, without opening it whole, whether a file is a slide: a format of OpenSlide, or DICOM of slide microscopy.

    So is a file with an ending that only slides have, whatever it holds: one that was cut off on its way is to be found and named.
    False where OpenSlide is not installed and neither ending nor header say it.
    """
    path = Path(path)
    if not path.is_file():
        return False
    if path.suffix.lower() in SLIDE_ENDINGS:
        return True
    try:
        dicom = _is_dicom(path)
    except OSError:
        return True  # who opens it meets the reason, and names it
    if dicom:
        told = dicom_words(path, "Modality", "TotalPixelMatrixColumns")
        return told is not None and ("TotalPixelMatrixColumns" in told or told.get("Modality") == "SM")
    try:
        import openslide
    except ModuleNotFoundError:
        return False
    return openslide.OpenSlide.detect_format(path) is not None


def dicom_words(path: Path, *keywords: str) -> dict[str, Any] | None:
    """Returns some values of a DICOM header by keyword, those that are there; None where the header cannot be read.

    What pydicom warns of may quote the header, so nothing of it is passed on.
    """
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
            return {word: header[word].value for word in keywords if word in header}
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, AttributeError, KeyError, EOFError):
            return None


class OpenSlideSlide(Slide):
    """A slide that OpenSlide opened."""

    def __init__(self, path: Path, handle: Any, mpp: float | None) -> None:
        self.path, self._handle = path, handle
        sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, float(downsample)) for (width, height), downsample in sizes)
        sides = [handle.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        own = [float(side) for side in sides if side is not None]
        self.mpp = mpp if mpp is not None else square_mpp(own)
        self.warnings = scale_warnings(own, mpp)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `Slide`."""
        downsample = self.levels[level].downsample
        import openslide

        try:
            region = np.asarray(self._handle.read_region((round(x * downsample), round(y * downsample)), level, (width, height)))
        except openslide.OpenSlideError:
            raise CorruptStream("a tile of this slide cannot be decoded; is the file whole? fetch it again") from None
        if (region[..., 3] == WHITE).all():
            return np.ascontiguousarray(region[..., :3])
        opacity = region[..., 3:].astype(np.uint16)
        # OpenSlide's colours are premultiplied: what was not scanned is clear, and clear glass is white.
        return (region[..., :3] + (WHITE - opacity)).clip(0, WHITE).astype(np.uint8)

    def close(self) -> None:
        """See `Slide`."""
        self._handle.close()


def square_mpp(sides: Sequence[float]) -> float:
    """Returns the one scale of pixels of these two sides, micrometres.

    Raises:
        MissingSpacing: They are not known, not plausible, or not equal within two parts in a hundred.
    """
    if len(sides) != 2 or not all(PLAUSIBLE_MPP[0] <= side <= PLAUSIBLE_MPP[1] for side in sides):
        raise MissingSpacing(f"this slide does not say how many micrometres a pixel is; {HOW_TO_SAY}")
    if abs(sides[0] - sides[1]) > 0.02 * sides[0]:
        raise MissingSpacing(
            f"pixels of {sides[0]:g} by {sides[1]:g} micrometres are not square, so the file's word cannot be taken; {HOW_TO_SAY}"
        )
    return (sides[0] + sides[1]) / 2


def scale_warnings(own: Sequence[float], given: float | None) -> tuple[str, ...]:
    """Returns what to say where a scale was given that is not the file's own."""
    if given is None or len(own) != 2 or max(abs(side - given) for side in own) <= 0.02 * given:
        return ()
    return (f"the file says {own[0]:g} by {own[1]:g} micrometres per pixel; {given:g} was given, and is used",)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
