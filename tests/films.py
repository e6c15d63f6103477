"""Small DICOM films and pictures, made in the test that needs them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

PLANTED_NAME = "PLANTED^NAME"
"""No message, log line or store may ever hold it."""


def ramp(rows: int = 72, columns: int = 80, bits: int = 12, seed: int = 0) -> np.ndarray:
    """A film-like field: smooth, noisy, with both ends of the range in it, and different in every corner."""
    y, x = np.mgrid[:rows, :columns]
    smooth = 0.15 + 0.5 * x / columns + 0.3 * y / rows
    values = smooth * (2**bits - 1) + np.random.default_rng(seed).normal(0, 2**bits / 100, (rows, columns))
    values[0, 0], values[-1, -1] = 0, 2**bits - 1
    return np.clip(np.rint(values), 0, 2**bits - 1).astype(np.uint8 if bits <= 8 else np.uint16)


def film(stored: np.ndarray | None = None, *, bits: int = 12, photometric: str = "MONOCHROME2", **tags: Any) -> FileDataset:
    """A DX film whose identities are planted names; a tag given as None is taken away."""
    stored = ramp(bits=bits) if stored is None else stored
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = PLANTED_NAME, PLANTED_NAME
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "", "F", "061Y"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.ReferringPhysicianName = "20240102", "030405", "", ""
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.Modality, dataset.Manufacturer, dataset.ViewPosition = "DX", "Maker", "PA"
    set_pixels(dataset, stored, bits, photometric)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def set_pixels(dataset: pydicom.Dataset, stored: np.ndarray, bits: int, photometric: str) -> None:
    """Puts an array into a data set, uncompressed."""
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"


def save(dataset: pydicom.Dataset, path: Path, name: str = "film.dcm") -> Path:
    """Writes a film into a folder and returns its path."""
    dataset.save_as(path / name, enforce_file_format=True)
    return path / name


def dicom_bytes(dataset: pydicom.Dataset) -> bytes:
    """A film as the bytes of its file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def picture_bytes(stored: np.ndarray, kind: str, **options: Any) -> bytes:
    """An array as the bytes of a PNG or JPEG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(stored).save(buffer, kind, **options)
    return buffer.getvalue()
