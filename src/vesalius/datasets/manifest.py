"""The manifest: one row an image, one Parquet file a store.

Columns are those of `COLUMNS`, then one `label:NAME` column a finding: 1 present, 0 absent, -1 uncertain, NaN unknown.
Row i describes image i of `images.h5`. No column can hold a patient's name; `report` is the user's own text.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from vesalius.errors import LabelsError, StoreError

LABEL_PREFIX = "label:"
SPLITS = ("train", "validation", "calibration", "test")
LABEL_VALUES = (1.0, 0.0, -1.0)

COLUMNS: dict[str, str] = {
    "row": "int64",
    "image_id": "string",
    "path": "string",
    "patient_id": "string",
    "study_id": "string",
    "series_id": "string",
    "site": "string",
    "modality": "string",
    "view_position": "string",
    "laterality": "string",
    "sex": "string",
    "age_years": "float64",
    "manufacturer": "string",
    "device": "string",
    "portable": "boolean",
    "rows": "int64",
    "columns": "int64",
    "bits_stored": "int64",
    "spacing_mm_row": "float64",
    "spacing_mm_col": "float64",
    "report": "string",
    "split": "string",
}
"""Name and kind of every column that each manifest has; every kind but int64 may be null."""


def findings(manifest: pd.DataFrame) -> tuple[str, ...]:
    """Returns the names of the findings, in the manifest's order."""
    return tuple(name.removeprefix(LABEL_PREFIX) for name in manifest.columns if name.startswith(LABEL_PREFIX))


def label_matrix(manifest: pd.DataFrame, names: tuple[str, ...] | None = None) -> Float64[np.ndarray, "case finding"]:
    """Returns the labels of every row: 1, 0, -1, NaN where unknown.

    Raises:
        LabelsError: A finding that the manifest lacks; the message lists those it has.
    """
    raise NotImplementedError


def complete(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest with every column of `COLUMNS`, in order and of its kind; absent ones are null."""
    raise NotImplementedError


def validate(manifest: pd.DataFrame) -> None:
    """Checks what every reader relies on.

    Raises:
        StoreError: A column is missing, rows are not 0..n-1, an image stands twice, or a patient is in two splits.
        LabelsError: A label other than 1, 0, -1 and null.
    """
    raise NotImplementedError


def write_manifest(path: Path, manifest: pd.DataFrame) -> None:
    """Validates and writes a manifest; the file appears whole or not at all."""
    raise NotImplementedError


def read_manifest(path: Path) -> pd.DataFrame:
    """Reads a manifest; labels are float64 with NaN, whatever the file's nulls.

    Raises:
        StoreError: No file there, or not a manifest.
    """
    raise NotImplementedError
