"""The manifest: one row an image, one Parquet file a store.

Columns are those of `COLUMNS`, then one `label:NAME` column a finding: 1 present, 0 absent, -1 uncertain, NaN unknown.
Row i describes image i of `images.h5`. No column can hold a patient's name; `report` is the user's own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from vesalius.datasets.images import publish
from vesalius.datasets.splits import SPLITS
from vesalius.errors import LabelsError, StoreError

LABEL_PREFIX = "label:"
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
    "portable": "bool",
    "rows": "int64",
    "columns": "int64",
    "bits_stored": "int64",
    "spacing_mm_row": "float64",
    "spacing_mm_col": "float64",
    "report": "string",
    "split": "string",
}
"""Name and kind of every column that each manifest has; all but the int64 ones may be null."""


def findings(manifest: pd.DataFrame) -> tuple[str, ...]:
    """Returns the names of the findings, in the manifest's order."""
    return tuple(name.removeprefix(LABEL_PREFIX) for name in manifest.columns if name.startswith(LABEL_PREFIX))


def label_matrix(manifest: pd.DataFrame, names: Sequence[str] | None = None) -> Float64[np.ndarray, "case finding"]:
    """Returns the labels of every row: 1, 0, -1, NaN where unknown; all findings unless some are named.

    Raises:
        LabelsError: A finding that the manifest lacks; the message lists those it has.
    """
    known = findings(manifest)
    chosen = known if names is None else tuple(names)
    absent = [name for name in chosen if name not in known]
    if absent:
        raise LabelsError(f"no labels for {', '.join(absent)}; this store has: {', '.join(known) or 'none'}. Choose among these")
    if not chosen:
        return np.zeros((len(manifest), 0))
    columns = [pd.to_numeric(manifest[LABEL_PREFIX + name]).to_numpy(np.float64, na_value=np.nan) for name in chosen]
    return np.stack(columns, axis=1)


def complete(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest with every column of `COLUMNS`, in order and of its kind; absent ones are null.

    Text columns hold str or None, `portable` is pandas' nullable boolean, labels are float64 with NaN.
    """
    columns: dict[str, pd.Series] = {}
    for name, kind in COLUMNS.items():
        values = manifest[name] if name in manifest else pd.Series([None] * len(manifest), index=manifest.index, dtype=object)
        if kind == "string":
            columns[name] = values.astype(object).where(values.notna(), None)
        elif kind == "bool":
            columns[name] = values.astype("boolean")
        elif kind == "int64":
            columns[name] = values.fillna(0).astype(np.int64)
        else:
            columns[name] = pd.to_numeric(values).astype(np.float64)
    for finding in findings(manifest):
        columns[LABEL_PREFIX + finding] = pd.to_numeric(manifest[LABEL_PREFIX + finding]).astype(np.float64)
    return pd.DataFrame(columns).reset_index(drop=True)


def validate(manifest: pd.DataFrame) -> None:
    """Checks what every reader relies on.

    Raises:
        StoreError: A column is missing, rows are not 0..n-1, an image stands twice, a split has no known name or a patient
            is in two splits; the store must be ingested again.
        LabelsError: A label other than 1, 0, -1 and null.
    """
    again = "ingest the films again into a new store"
    absent = [name for name in COLUMNS if name not in manifest]
    if absent:
        raise StoreError(f"the manifest lacks the columns {', '.join(absent)}; {again}")
    if not np.array_equal(manifest["row"].to_numpy(), np.arange(len(manifest))):
        raise StoreError(f"the manifest's rows are not 0 to {len(manifest) - 1} in order; {again}")
    twice = int(manifest["image_id"].duplicated().sum())
    if twice:
        raise StoreError(f"{twice} images stand twice in the manifest; {again}")
    strange = set(manifest["split"].dropna()) - set(SPLITS)
    if strange:
        raise StoreError(f"{len(strange)} unknown split names in the manifest; expected {', '.join(SPLITS)}. {again.capitalize()}")
    leaking = int((manifest.dropna(subset=["patient_id", "split"]).groupby("patient_id")["split"].nunique() > 1).sum())
    if leaking:
        raise StoreError(f"{leaking} patients are in more than one split; give each patient one split and {again}")
    labels = label_matrix(manifest)
    wrong = int((~np.isnan(labels) & ~np.isin(labels, LABEL_VALUES)).sum())
    if wrong:
        raise LabelsError(f"{wrong} labels are neither 1, 0, -1 nor blank; mend the labels CSV and {again}")


def write_manifest(path: Path, manifest: pd.DataFrame) -> None:
    """Validates and writes a manifest; the file appears whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    manifest = complete(manifest)
    validate(manifest)
    kinds = {"string": pyarrow.string(), "float64": pyarrow.float64(), "int64": pyarrow.int64(), "bool": pyarrow.bool_()}
    fields = [pyarrow.field(name, kinds[kind]) for name, kind in COLUMNS.items()]
    fields += [pyarrow.field(LABEL_PREFIX + name, pyarrow.int8()) for name in findings(manifest)]
    arrays = [pyarrow.array(manifest[field.name], type=field.type, from_pandas=True, safe=False) for field in fields]
    unfinished = path.with_name(path.name + ".tmp")
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields)), unfinished)
    publish(unfinished, path)


def read_manifest(path: Path) -> pd.DataFrame:
    """Reads a manifest; its kinds are those of `complete`.

    Raises:
        StoreError: No file there, or not a manifest.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is not there: the store is missing or its ingest has not finished; run `vesalius ingest`"
        ) from error
    except (OSError, pyarrow.ArrowException) as error:
        raise StoreError(f"{path} is not a Parquet file; ingest the films again into a new store") from error
    manifest = pd.DataFrame({name: column.to_pandas() for name, column in zip(table.column_names, table.columns, strict=True)})
    absent = [name for name in COLUMNS if name not in manifest]
    if absent:
        raise StoreError(f"{path} lacks the columns {', '.join(absent)}; it is no manifest of a store")
    return complete(manifest)
