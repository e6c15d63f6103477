"""The work of one ingest process: a few films read, squared, and written as one part that is either whole or not there.

No torch and no pandas here: a worker starts in a fraction of a second.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from vesalius.datasets.identity import PatientKey
from vesalius.datasets.images import ImagesReader, ImagesWriter
from vesalius.datasets.mask_files import MaskFile, read_masks
from vesalius.datasets.sources import CXR_DATASET, FilmFile
from vesalius.dicom.read import Header, image_id, read_with_header
from vesalius.dicom.resample import standardise
from vesalius.errors import DecoderCrashed, NotAnImage, UnreadableImage, UnsupportedEncoding, ZeroSpread
from vesalius.types import Image

PART_FORMAT = 1
FILMS_A_PART = 8
"""Small enough that a kill loses a second's work and that no worker is left waiting for another's last part."""

OLDEST_YEARS = 90.0
"""Ages above 89 are one age: very old people are few enough to be known by it (45 CFR 164.514(b)(2)(i)(C))."""

Record = dict[str, Any]


@dataclass(frozen=True)
class PartOptions:
    """What decides the content of a part."""

    size_px: int
    structures: tuple[str, ...]
    mask_values: tuple[tuple[int, int], ...] | None
    patient_key_check: str


@dataclass(frozen=True)
class Part:
    """Some films, their masks, and the file they become.

    The file is named by everything that it depends on, so that a finished part is found again and a stale one is not.

    Attributes:
        crashed: Which films are known to kill the process that reads them; they are refused unread.
    """

    films: tuple[FilmFile, ...]
    masks: tuple[tuple[MaskFile, ...], ...]
    folder: Path
    options: PartOptions
    crashed: tuple[int, ...] = ()

    @property
    def file(self) -> Path:
        """Where the part is, once it is finished."""
        films = [(film.path, film.bytes, film.changed_ns, film.row) for film in self.films]
        masks = [[(mask.state(), mask.structure) for mask in files] for files in self.masks]
        content = json.dumps([PART_FORMAT, asdict(self.options), films, masks]).encode()
        return self.folder / f"{hashlib.sha256(content).hexdigest()[:24]}.h5"


def write_part(part: Part, key: PatientKey) -> int:
    """Reads the films of a part and writes it; returns the number of films, those refused included."""
    file = part.file
    if file.exists():
        return len(part.films)
    options, records = part.options, list[Record]()
    with ImagesWriter(file, options.size_px, options.structures) as images:
        for index, (film, masks) in enumerate(zip(part.films, part.masks, strict=True)):
            try:
                if index in part.crashed:
                    raise DecoderCrashed("the decoder crashed or ran out of memory on this file; export it from its source again")
                record, levels, drawn, known = _ingest_film(film, masks, options, key)
            except UnreadableImage as error:
                records.append({"path": film.path, "code": error.code, "message": str(error)})
            except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError, OSError) as error:
                # Not foreseen, so its own message may quote the header: only its kind is told.
                message = f"reading it failed with {type(error).__name__}; export it from its source again"
                records.append({"path": film.path, "code": UnreadableImage.code, "message": message})
            else:
                records.append(record)
                images.append(record["image_id"], levels, drawn, known, film.bytes)
        images.note = json.dumps(records)
    return len(part.films)


def read_records(images: ImagesReader) -> list[Record]:
    """Returns what a part says of its films, in order; one with a `code` was refused and has no image."""
    records: list[Record] = json.loads(images.note)
    return records


def _ingest_film(
    film: FilmFile, masks: Sequence[MaskFile], options: PartOptions, key: PatientKey
) -> tuple[Record, UInt16[np.ndarray, "height width"], UInt8[np.ndarray, "structure height width"], Bool[np.ndarray, " structure"]]:
    image, header = read_with_header(film.file) if film.row is None else (_read_hdf5_film(film.file, film.row), None)
    height, width = image.pixels.shape
    drawn, known = read_masks(masks, len(options.structures), (height, width), options.size_px)
    return _record(film, image, header, key), standardise(image, options.size_px), drawn, known


def _record(film: FilmFile, image: Image, header: Header | None, key: PatientKey) -> Record:
    """One manifest row, as far as the film itself tells; identities are hashed here and never leave this function otherwise."""
    header = header or Header()

    def hashed(kind: str, value: str | None) -> str | None:
        return key.hash(kind, value) if value and value.strip() else None

    height, width = image.pixels.shape
    age = header.age_years
    return {
        "path": film.path,
        "image_id": image.image_id,
        "patient_id": hashed("patient", header.patient_id),
        "study_id": hashed("study", header.study_instance_uid),
        "series_id": hashed("series", header.series_instance_uid),
        "instance_id": hashed("instance", header.sop_instance_uid),
        "modality": header.modality if re.fullmatch("[A-Z]{2}", header.modality or "") else None,
        "view_position": image.view_position and image.view_position.value,
        "laterality": image.laterality,
        "sex": header.sex,
        "age_years": None if age is None else min(age, OLDEST_YEARS),
        "manufacturer": _plain(header.manufacturer),
        "device": _plain(header.device),
        "portable": header.portable,
        "rows": height,
        "columns": width,
        "bits_stored": image.bits_stored,
        "spacing_mm_row": image.spacing_mm and image.spacing_mm[0],
        "spacing_mm_col": image.spacing_mm and image.spacing_mm[1],
    }


def _plain(value: str | None) -> str | None:
    """A maker's or device's name; what does not look like one is dropped."""
    words = " ".join((value or "").split())
    return words if words and len(words) <= 64 and words.isprintable() and "^" not in words else None


def _read_hdf5_film(file: Path, row: int) -> Image:
    """Reads one film of a CheXzero file: values 0 to 255, as float or uint8."""
    try:
        with h5py.File(file, "r") as content:
            values = np.asarray(content[CXR_DATASET][row])
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise NotAnImage(f"an HDF5 file without films: expected a dataset {CXR_DATASET!r} of (n, height, width)") from error
    if values.ndim != 2 or values.dtype.kind not in "fui":
        raise UnsupportedEncoding(f"the dataset {CXR_DATASET!r} has {values.ndim + 1} axes; expected numbers of (n, height, width)")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
        raise UnsupportedEncoding("values outside 0 to 255; write the films as CheXzero does")
    if values.min() == values.max():
        raise ZeroSpread("every pixel has the same value: CheXzero writes such a row for a film that it could not read")
    if values.dtype.kind == "f" and values.max() <= 1:
        raise UnsupportedEncoding("values within 0 to 1; expected 0 to 255 as CheXzero writes them")
    whole = values.astype(np.uint8)
    is_whole = bool((whole == values).all())
    return Image(
        pixels=(values / 255).astype(np.float32),
        image_id=image_id(whole) if is_whole else image_id((values * 256).astype(np.uint16)),
        bits_stored=8 if is_whole else 16,
        provenance=(f"row {row} of an HDF5 file of films",),
    )


def start_worker() -> None:
    """Prepares a worker process: quiet about values, gone without a word at Ctrl-C or when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.simplefilter("ignore")  # pydicom's warnings quote header values
    logging.disable(logging.CRITICAL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
