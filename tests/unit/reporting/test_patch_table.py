"""A row a patch, as pandas reads it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.reporting.patch_table import write_patch_table

PLACES = np.array([[0, 256], [512, 768]])
SCORES = np.array([[0.25, -0.5], [0.125, 1.0]], np.float32)


@pytest.mark.parametrize("name", ["deep/a.svs.parquet", "a.csv"])
def test_read_back(tmp_path: Path, name: str) -> None:
    path = write_patch_table(tmp_path / name, PLACES, SCORES, ["tumour", "a, b"])
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    assert list(table) == ["x", "y", "score:tumour", "score:a, b"]
    np.testing.assert_array_equal(table[["x", "y"]], PLACES)
    np.testing.assert_array_equal(table.iloc[:, 2:], SCORES)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ShapeMismatch):
        write_patch_table(tmp_path / "a.csv", PLACES, SCORES, ["one"])
    with pytest.raises(ValueOutOfRange, match="ends in"):
        write_patch_table(tmp_path / "a.xlsx", PLACES, SCORES, ["one", "two"])
