"""`images.h5`: the pixels of a store, one chunk an image, readable from any language.

Datasets, all with the image first: `images` (uint16 levels, 0 .. 2**bits_stored - 1), `image_id`, `file_bytes` (size of the
file it came from), and where there are masks `masks` (uint8, 0 .. 255 = the fraction of a pixel that is the structure) and
`masks_known`. Attributes: `format_version`, `size_px`, `structures` and, where patients were hashed, `patient_key_check`.

Finished images move from file to file as compressed chunks, byte for byte, and are never compressed twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from vesalius.errors import StoreError

FORMAT_VERSION = 1
ID_KIND = "S16"
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Every HDF5 library reads it. Beside lzf on real films: as fast to read, a fifth smaller, 2 to 4 ms a film slower to write."""


class ImagesWriter:
    """Writes a pixel file, image by image; use as a context manager.

    The file appears under its name only when all went well, and is on the disk by then.

    Attributes:
        note: Any text to keep beside the images.
    """

    def __init__(self, path: Path, size_px: int, structures: Sequence[str] = (), *, patient_key_check: str = "") -> None:
        self.path, self.size_px, self.structures = path, size_px, tuple(structures)
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        self._key_check = patient_key_check
        self.note = ""
        self._ids: list[bytes] = []
        self._file_bytes: list[int] = []
        self._known: list[np.ndarray[Any, Any]] = []
        self._masks: h5py.Dataset | None = None

    def __enter__(self) -> ImagesWriter:
        self._file = h5py.File(self._unfinished, "w")
        side = self.size_px
        self._images = self._create("images", (side, side), np.uint16, (1, side, side))
        if self.structures:
            self._masks = self._create("masks", (len(self.structures), side, side), np.uint8, (1, 1, side, side))
        return self

    def _create(self, name: str, shape: tuple[int, ...], kind: Any, chunk: tuple[int, ...]) -> h5py.Dataset:
        return self._file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=chunk, **COMPRESSION)

    def __len__(self) -> int:
        return len(self._ids)

    def append(
        self,
        image_id: str,
        levels: UInt16[np.ndarray, "height width"],
        masks: UInt8[np.ndarray, "structure height width"] | None = None,
        masks_known: Bool[np.ndarray, " structure"] | None = None,
        file_bytes: int = 0,
    ) -> None:
        """Adds one image; an empty mask takes no space."""
        row = self._grow(1)
        self._images[row] = levels
        if self._masks is not None and masks is not None:
            for index in np.flatnonzero(masks.any(axis=(1, 2))):
                self._masks[row, index] = masks[index]
        known = np.zeros(len(self.structures), dtype=bool) if masks_known is None else masks_known
        self._note(image_id, file_bytes, known)

    def copy(
        self, source: ImagesReader, rows: Sequence[int], known_empty: Bool[np.ndarray, "case structure"] | None = None
    ) -> None:
        """Adds images of another pixel file as they stand there.

        Args:
            source: Its structures may be fewer or in another order; those it lacks stay unknown.
            rows: Which images, in the order they are added.
            known_empty: Masks that are known to be empty though the source does not know them; columns in this file's order.
        """
        start = self._grow(len(rows))
        for row, old in enumerate(rows, start):
            self._images.id.write_direct_chunk((row, 0, 0), *_swap(source.file["images"].id.read_direct_chunk((old, 0, 0))))
        known = np.zeros((len(rows), len(self.structures)), dtype=bool)
        for index, name in enumerate(source.structures):
            column = self.structures.index(name)
            known[:, column] = source.masks_known[list(rows), index]
            self._copy_masks(source, rows, start, index, column)
        if known_empty is not None:
            known |= known_empty
        for old, said in zip(rows, known, strict=True):
            self._note(source.image_ids[old], int(source.file_bytes[old]), said)

    def _copy_masks(self, source: ImagesReader, rows: Sequence[int], start: int, index: int, column: int) -> None:
        if self._masks is None:
            return
        for row, old in enumerate(rows, start):
            if (old, index) in source.drawn_masks:
                chunk = source.file["masks"].id.read_direct_chunk((old, index, 0, 0))
                self._masks.id.write_direct_chunk((row, column, 0, 0), *_swap(chunk))

    def _grow(self, count: int) -> int:
        start: int = self._images.shape[0]
        self._images.resize(start + count, axis=0)
        if self._masks is not None:
            self._masks.resize(start + count, axis=0)
        return start

    def _note(self, image_id: str, file_bytes: int, known: Bool[np.ndarray, " structure"]) -> None:
        self._ids.append(image_id.encode("ascii"))
        self._file_bytes.append(file_bytes)
        self._known.append(known)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._file["image_id"] = np.array(self._ids, dtype=ID_KIND)
            self._file["note"] = np.frombuffer(self.note.encode(), dtype=np.uint8)
            self._file["file_bytes"] = np.array(self._file_bytes, dtype=np.int64)
            if self.structures:
                self._file["masks_known"] = np.array(self._known, dtype=bool).reshape(-1, len(self.structures))
            self._file.attrs.update(
                format_version=FORMAT_VERSION,
                size_px=self.size_px,
                structures="\n".join(self.structures),
                patient_key_check=self._key_check,
            )
        self._file.close()
        if kind is None:
            publish(self._unfinished, self.path)
        else:
            self._unfinished.unlink(missing_ok=True)


class ImagesReader:
    """Reads a pixel file.

    Raises:
        StoreError: No such file, or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.file = h5py.File(path, "r")
            version = int(self.file.attrs["format_version"])
        except (OSError, KeyError) as error:
            raise StoreError(f"{path} is not a pixel file of a store; run `vesalius ingest` again") from error
        if version > FORMAT_VERSION:
            raise StoreError(f"{path} has format {version}, this program reads up to {FORMAT_VERSION}; upgrade vesalius")
        self.size_px = int(self.file.attrs["size_px"])
        self.structures = tuple(name for name in str(self.file.attrs["structures"]).split("\n") if name)
        self.patient_key_check = str(self.file.attrs["patient_key_check"])
        self.image_ids = [value.decode("ascii") for value in self.file["image_id"][:]]
        self.note = self.file["note"][:].tobytes().decode()
        self.file_bytes = self.file["file_bytes"][:]
        self.masks_known = self.file["masks_known"][:] if self.structures else np.zeros((len(self), 0), dtype=bool)
        self._drawn: set[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def drawn_masks(self) -> set[tuple[int, int]]:
        """(image, structure) of every mask with a chunk of its own: the others are all zeros."""
        if self._drawn is None:
            drawn: set[tuple[int, int]] = set()
            if self.structures:
                self.file["masks"].id.chunk_iter(lambda chunk: drawn.add((int(chunk.chunk_offset[0]), int(chunk.chunk_offset[1]))))
            self._drawn = drawn
        return self._drawn

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def __enter__(self) -> ImagesReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _swap(chunk: tuple[int, bytes]) -> tuple[bytes, int]:
    """What reading a chunk gives, in the order that writing takes."""
    filter_mask, data = chunk
    return data, filter_mask


def publish(unfinished: Path, path: Path) -> None:
    """Gives a file that is fully on the disk its name, in one step."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
