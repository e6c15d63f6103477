"""A store: `manifest.parquet` and `images.h5`, written by `vesalius ingest`, read by everything after it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64, UInt8, UInt16

from vesalius.datasets.images import ImagesReader, ImagesWriter
from vesalius.datasets.manifest import findings as names_of_findings
from vesalius.datasets.manifest import label_matrix, read_manifest, write_manifest
from vesalius.dicom.resample import dequantise
from vesalius.errors import ShapeMismatch, StoreError
from vesalius.types import Image, View

MANIFEST_FILE = "manifest.parquet"
IMAGES_FILE = "images.h5"


class Store:
    """A finished store, open for reading.

    Safe to pickle and to fork: every process opens the pixel file for itself, when it first reads from it.

    Attributes:
        path: The store's folder.
        manifest: One row an image; row i is image i.
        size_px: Side of the square that every film was brought to.
        structures: Names of the masks' channels, not in the order of `findings`: match them by name; empty without masks.
        findings: Names of the labelled findings.

    Raises:
        StoreError: No store there, its ingest has not finished, or its two files do not belong together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path / MANIFEST_FILE)
        self.findings = names_of_findings(self.manifest)
        self._bits = self.manifest["bits_stored"].to_numpy()
        with ImagesReader(self.path / IMAGES_FILE) as images:
            self.size_px, self.structures = images.size_px, images.structures
            # An interrupted second ingest leaves more images than rows; the rows' own images come first and are good.
            if images.image_ids[: len(self)] != list(self.manifest["image_id"]):
                raise StoreError(f"{self.path}: manifest and pixels do not belong together; ingest the films into a new store")
        self._reader: ImagesReader | None = None
        self._reader_of = -1

    def __len__(self) -> int:
        return len(self.manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_reader_of": -1}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest file: stores of the same films, labels and splits have the same."""
        return hashlib.sha256((self.path / MANIFEST_FILE).read_bytes()).hexdigest()

    def pixels(self, rows: Sequence[int] | Int64[np.ndarray, " case"]) -> Float32[np.ndarray, "case height width"]:
        """Returns films as float32 in [0, 1], in the order asked for."""
        chosen, images = self._checked(rows), self._images().file["images"]
        films = np.empty((len(chosen), self.size_px, self.size_px), dtype=np.float32)
        for case, row in enumerate(chosen):
            films[case] = dequantise(images[row], int(self._bits[row]))
        return films

    def image(self, row: int) -> Image:
        """Returns one film as an Image; its spacing is that of the store's square."""
        film = self.manifest.iloc[int(self._checked([row])[0])]
        scale = max(film["rows"], film["columns"]) / self.size_px
        spacing = (float(film["spacing_mm_row"] * scale), float(film["spacing_mm_col"] * scale))
        return Image(
            pixels=self.pixels([row])[0],
            image_id=film["image_id"],
            bits_stored=int(film["bits_stored"]),
            spacing_mm=None if np.isnan(spacing).any() else spacing,
            view_position=None if film["view_position"] is None else View(film["view_position"]),
            laterality=film["laterality"],
            provenance=(f"row {row} of a store", f"square of {self.size_px} pixels"),
        )

    def labels(self, findings: Sequence[str] | None = None) -> Float64[np.ndarray, "case finding"]:
        """Returns the labels of every row: 1, 0, -1, NaN where unknown; all findings unless some are named.

        Raises:
            LabelsError: A finding that this store lacks; the message lists those it has.
        """
        return label_matrix(self.manifest, findings)

    def masks(
        self, rows: Sequence[int] | Int64[np.ndarray, " case"]
    ) -> tuple[Float32[np.ndarray, "case structure height width"], Bool[np.ndarray, "case structure"]]:
        """Returns how much of each pixel the structure fills, in [0, 1], and whether that is known; zeros where it is not."""
        chosen, images = self._checked(rows), self._images()
        shape = (len(chosen), len(self.structures), self.size_px, self.size_px)
        masks = np.zeros(shape, dtype=np.float32)
        for case, row in enumerate(chosen):
            for structure in range(len(self.structures)):
                if (row, structure) in images.drawn_masks:
                    masks[case, structure] = images.file["masks"][row, structure].astype(np.float32) / np.float32(255)
        return masks, images.masks_known[chosen]

    def rows(self, *, split: str | None = None, sites: Sequence[str] | None = None) -> Int64[np.ndarray, " case"]:
        """Returns the row numbers of a split and of some sites, in the manifest's order."""
        chosen = np.ones(len(self), dtype=bool)
        if split is not None:
            chosen &= (self.manifest["split"] == split).to_numpy(dtype=bool)
        if sites is not None:
            chosen &= self.manifest["site"].isin(list(sites)).to_numpy(dtype=bool)
        return np.flatnonzero(chosen).astype(np.int64)

    def _checked(self, rows: Sequence[int] | Int64[np.ndarray, " case"]) -> Int64[np.ndarray, " case"]:
        chosen = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise ShapeMismatch(f"rows {chosen.min()} to {chosen.max()} asked of a store with rows 0 to {len(self) - 1}")
        return chosen

    def _images(self) -> ImagesReader:
        if self._reader is None or self._reader_of != os.getpid():
            self._reader, self._reader_of = ImagesReader(self.path / IMAGES_FILE), os.getpid()
        return self._reader


def write_store(
    path: str | Path,
    pixels: UInt16[np.ndarray, "case height width"],
    manifest: pd.DataFrame,
    *,
    masks: UInt8[np.ndarray, "case structure height width"] | None = None,
    masks_known: Bool[np.ndarray, "case structure"] | None = None,
    structures: Sequence[str] = (),
) -> Store:
    """Writes a store from arrays: for films that are already squares in memory.

    Args:
        path: A folder that holds no store yet.
        pixels: Square levels, 0 .. 2**bits_stored - 1.
        manifest: Any of the manifest's columns. What is missing is filled: `row`, `image_id` (from the pixels), `path`,
            `patient_id` (each image its own), `site` "A", `rows`, `columns`, `bits_stored` 8; null elsewhere.
        masks: 0..255, the fraction of a pixel that the structure fills.
        masks_known: All known if not given.
        structures: Names of the masks' channels.

    Raises:
        ShapeMismatch: Films, manifest rows and masks differ in number, or a film is not square.
        StoreError: There is a store already.
    """
    path, count, side = Path(path), len(pixels), pixels.shape[1]
    if len(manifest) != count or pixels.shape != (count, side, side):
        raise ShapeMismatch(f"{pixels.shape} pixels and {len(manifest)} manifest rows; expected one square film a row")
    if masks is not None and masks.shape != (count, len(structures), side, side):
        raise ShapeMismatch(f"masks are {masks.shape}; expected {(count, len(structures), side, side)}")
    if (path / MANIFEST_FILE).exists():
        raise StoreError(f"{path} holds a store already; choose another folder")
    known = np.full((count, len(structures)), masks is not None) if masks_known is None else masks_known
    manifest = _filled(manifest.reset_index(drop=True), pixels)
    path.mkdir(parents=True, exist_ok=True)
    with ImagesWriter(path / IMAGES_FILE, side, structures) as images:
        for row, film in enumerate(pixels):
            images.append(manifest["image_id"][row], film, None if masks is None else masks[row], known[row])
    write_manifest(path / MANIFEST_FILE, manifest)
    return Store(path)


def _filled(manifest: pd.DataFrame, pixels: UInt16[np.ndarray, "case height width"]) -> pd.DataFrame:
    count, side = len(pixels), pixels.shape[1]
    ids = [hashlib.sha256(f"{side}x{side}:uint16;".encode() + film.tobytes()).hexdigest()[:16] for film in pixels]
    defaults: dict[str, pd.Series | str | int] = {
        "row": pd.Series(range(count)),
        "image_id": pd.Series(ids),
        "path": pd.Series([f"{row:06d}.png" for row in range(count)]),
        "patient_id": pd.Series([hashlib.sha256(f"patient {row}".encode()).hexdigest()[:16] for row in range(count)]),
        "site": "A",
        "rows": side,
        "columns": side,
        "bits_stored": 8,
    }
    filled = manifest.copy()
    for name, value in defaults.items():
        if name not in filled:
            filled[name] = value
    return filled
