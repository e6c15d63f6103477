"""Small slides to read: pyramids that OpenSlide opens, and tiled DICOM that it does not."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

GLASS = (243, 243, 243)
TISSUE = (200, 120, 170)


def tissue_picture(
    width: int = 640, height: int = 480, *, seed: int = 0, box: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """Bright glass with one piece of stained tissue whose colour drifts smoothly; `box` is its (left, top, right, bottom)."""
    random = np.random.default_rng(seed)
    left, top, right, bottom = box or (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    picture = np.empty((height, width, 3), dtype=np.float64)
    picture[:] = GLASS
    y, x = np.mgrid[top:bottom, left:right]
    drift = 20 * np.sin(x / 37 + seed)[..., None] + 20 * np.cos(y / 53)[..., None]
    picture[top:bottom, left:right] = np.array(TISSUE) + drift
    return np.clip(picture + random.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def write_pyramid(
    path: Path, picture: np.ndarray, *, mpp: float | tuple[float, float] | None = 0.5, levels: int = 2, factor: int = 4
) -> Path:
    """A tiled TIFF of flat pages, uncompressed, each level the mean of squares of the one before; no `mpp`, no scale in it."""
    import tifffile

    sides = (mpp, mpp) if isinstance(mpp, int | float) else mpp
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            scale = {} if sides is None else {"resolution": tuple(1e4 / (side * factor**level) for side in sides)}
            unit = {} if sides is None else {"resolutionunit": "CENTIMETER"}
            file.write(
                picture,
                tile=(128, 128),
                photometric="rgb",
                subfiletype=min(level, 1),
                metadata=None,
                description="",
                **scale,
                **unit,
            )
            height, width = (side // factor for side in picture.shape[:2])
            squares = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
            picture = np.rint(squares.mean(axis=(1, 3))).astype(np.uint8)
    return path


def tiles_of(picture: np.ndarray, side: int) -> dict[tuple[int, int], np.ndarray]:
    """From (row, column) to tile; what lies beyond the picture is black."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = np.zeros((rows * side, columns * side, 3), dtype=np.uint8)
    padded[:height, :width] = picture
    return {
        (row, column): padded[row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(rows)
        for column in range(columns)
    }


def write_dicom_slide(
    path: Path,
    picture: np.ndarray,
    *,
    side: int = 64,
    order: Sequence[tuple[int, int]] | None = None,
    positions: bool = False,
    organization: str | None = None,
    compressed: bool = False,
    table: bool = True,
    spacing_mm: tuple[float, float] | None = (0.0005, 0.0005),
    **more: Any,
) -> Path:
    """A tiled DICOM instance whose frames come in `order` (row by row unless given)."""
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

    tiles = tiles_of(picture, side)
    order = list(order or tiles)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.ImageType, dataset.PatientID = "SM", ["DERIVED", "PRIMARY", "VOLUME", "NONE"], "Somebody^Known"
    dataset.Rows = dataset.Columns = side
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = picture.shape[:2]
    dataset.NumberOfFrames = len(order)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PixelRepresentation = 3, 0, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422" if compressed else "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    if organization is not None:
        dataset.DimensionOrganizationType = organization
    if spacing_mm is not None:
        measures = pydicom.Dataset()
        measures.PixelSpacing = list(spacing_mm)
        shared = pydicom.Dataset()
        shared.PixelMeasuresSequence = [measures]
        dataset.SharedFunctionalGroupsSequence = [shared]
    if positions:
        dataset.PerFrameFunctionalGroupsSequence = [_position(int(row) * side + 1, int(column) * side + 1) for row, column in order]
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    if compressed:
        dataset.PixelData = encapsulate([_jpeg(tiles[place]) for place in order], has_bot=table)
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = b"".join(tiles[place].tobytes() for place in order)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _position(row: int, column: int) -> Any:
    import pydicom

    position = pydicom.Dataset()
    position.RowPositionInTotalImagePixelMatrix, position.ColumnPositionInTotalImagePixelMatrix = row, column
    group = pydicom.Dataset()
    group.PlanePositionSlideSequence = [position]
    return group


def _jpeg(tile: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(tile).save(file, "JPEG", quality=95)
    return file.getvalue()
