"""A store: `manifest.parquet` and `images.h5`, written by `vesalius ingest`, read by everything after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64, UInt8, UInt16

from vesalius.types import Image

MANIFEST_FILE = "manifest.parquet"
IMAGES_FILE = "images.h5"


class Store:
    """A finished store, open for reading.

    Safe to pickle and to fork: the pixel file is opened in the process that first reads from it.

    Attributes:
        path: The store's folder.
        manifest: One row an image; row i is image i.
        size_px: Side of the square every film was brought to.
        structures: Names of the masks' channels; empty if there are no masks.
        findings: Names of the labelled findings.
    """

    path: Path
    manifest: pd.DataFrame
    size_px: int
    structures: tuple[str, ...]
    findings: tuple[str, ...]

    def __init__(self, path: str | Path) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest file: two stores with the same rows, labels and splits have the same."""
        raise NotImplementedError

    def pixels(self, rows: Sequence[int] | Int64[np.ndarray, "case"]) -> Float32[np.ndarray, "case height width"]:
        """Returns films as float32 in [0, 1], in the order asked for."""
        raise NotImplementedError

    def image(self, row: int) -> Image:
        """Returns one film as an Image, as it would come out of `dicom.read` and the store's resizing."""
        raise NotImplementedError

    def labels(self, findings: Sequence[str] | None = None) -> Float64[np.ndarray, "case finding"]:
        """Returns the labels of every row: 1, 0, -1, NaN where unknown; all findings unless some are named."""
        raise NotImplementedError

    def masks(
        self, rows: Sequence[int] | Int64[np.ndarray, "case"]
    ) -> tuple[Float32[np.ndarray, "case structure height width"], Bool[np.ndarray, "case structure"]]:
        """Returns how much of each pixel the structure fills, in [0, 1], and whether that is known; zeros where it is not."""
        raise NotImplementedError

    def rows(self, *, split: str | None = None, sites: Sequence[str] | None = None) -> Int64[np.ndarray, "case"]:
        """Returns the row numbers of a split and of some sites, in the manifest's order."""
        raise NotImplementedError


def write_store(
    path: str | Path,
    pixels: UInt16[np.ndarray, "case height width"],
    manifest: pd.DataFrame,
    *,
    masks: UInt8[np.ndarray, "case structure height width"] | None = None,
    masks_known: Bool[np.ndarray, "case structure"] | None = None,
    structures: Sequence[str] = (),
) -> Store:
    """Writes a store from arrays, without any file to read films from.

    Args:
        path: A folder that holds no store yet.
        pixels: Levels 0 .. 2**bits_stored - 1.
        manifest: Any of the manifest's columns; what is missing is filled: `row`, `image_id` (from the pixels), `path`,
            `patient_id` (each image its own), `site` "A", `bits_stored` 8, and null elsewhere.
        masks: 0..255, the fraction of a pixel that the structure fills.
        masks_known: All known if not given.
        structures: Names of the masks' channels.
    """
    raise NotImplementedError
