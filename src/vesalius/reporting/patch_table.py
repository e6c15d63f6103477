"""One row a patch: where it lies and what each class scored there; Parquet or CSV, by the ending of the file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from vesalius.errors import ShapeMismatch, ValueOutOfRange


def write_patch_table(
    path: str | Path, coordinates: Int64[np.ndarray, "patch 2"], scores: Float[np.ndarray, "patch name"], names: Sequence[str]
) -> Path:
    """Writes `x`, `y` (upper left corner, pixels of level 0) and one column `score:NAME` a class.

    Args:
        path: Ends in `.parquet` or `.csv`.
        coordinates: Of the patches.
        scores: Of patches and classes; cosines or contrasts, no probabilities.
        names: Of the classes.

    Raises:
        ShapeMismatch: Not one row of scores a patch, or one name a column.
        ValueOutOfRange: Another ending.
    """
    path = Path(path)
    if coordinates.shape != (len(scores), 2) or scores.shape != (len(coordinates), len(names)):
        raise ShapeMismatch(f"scores {scores.shape}, coordinates {coordinates.shape}, {len(names)} names; they do not fit together")
    columns = {"x": coordinates[:, 0], "y": coordinates[:, 1]}
    columns |= {f"score:{name}": scores[:, place] for place, name in enumerate(names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), part)
    elif path.suffix == ".csv":
        with part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    else:
        raise ValueOutOfRange(f"a patch table ends in .parquet or .csv, not {path.suffix or 'without an ending'}")
    part.replace(path)
    return path
