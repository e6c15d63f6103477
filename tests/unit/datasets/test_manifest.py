from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from vesalius.datasets.manifest import COLUMNS, complete, findings, label_matrix, read_manifest, validate, write_manifest
from vesalius.errors import LabelsError, StoreError


def two_rows(**columns: object) -> pd.DataFrame:
    rows = {"row": [0, 1], "image_id": ["a", "b"], "patient_id": ["p", "q"], "site": "A", "split": ["train", None]}
    return complete(pd.DataFrame({**rows, **columns}))


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = two_rows(
        sex=["F", None],
        age_years=[61.5, None],
        portable=[True, None],
        report=["a report, with commas\nand lines", None],
        **{"label:Pleural effusion": [1, None], "label:Nodule": [-1, 0]},
    )
    write_manifest(tmp_path / "manifest.parquet", manifest)
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "manifest.parquet"), manifest)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.parquet"]


def test_the_file_holds_the_contract_and_small_integers_for_labels(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", two_rows(**{"label:X": [1, None]}))
    schema = pyarrow.parquet.read_schema(tmp_path / "m.parquet")
    contract = (
        "image_id path patient_id study_id series_id site modality view_position laterality sex age_years manufacturer device "
        "portable rows columns spacing_mm_row spacing_mm_col report split"
    )
    assert set(contract.split()) <= set(schema.names)
    assert str(schema.field("label:X").type) == "int8"
    assert pyarrow.parquet.read_table(tmp_path / "m.parquet")["label:X"].to_pylist() == [1, None]


def test_labels_are_a_matrix_with_nan_where_unknown() -> None:
    manifest = two_rows(**{"label:X": [1, None], "label:Y": [-1, 0]})
    assert findings(manifest) == ("X", "Y")
    np.testing.assert_array_equal(label_matrix(manifest), [[1, -1], [np.nan, 0]])
    np.testing.assert_array_equal(label_matrix(manifest, ("Y",)), [[-1], [0]])
    assert label_matrix(two_rows()).shape == (2, 0)
    with pytest.raises(LabelsError, match=r"no labels for Z; this store has: X, Y"):
        label_matrix(manifest, ("Z",))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"row": [1, 0]}, "not 0 to 1"),
        ({"image_id": ["a", "a"]}, "stand twice"),
        ({"split": ["train", "held out"]}, "unknown split"),
        ({"patient_id": ["p", "p"], "split": ["train", "test"]}, "more than one split"),
        ({"label:X": [0.5, 1]}, "neither 1, 0, -1"),
    ],
)
def test_what_readers_rely_on_is_checked(change: dict[str, object], word: str, tmp_path: Path) -> None:
    with pytest.raises((StoreError, LabelsError), match=word):
        write_manifest(tmp_path / "m.parquet", two_rows(**change))
    assert not list(tmp_path.iterdir())


def test_a_patient_with_rows_in_one_split_and_rows_without_passes() -> None:
    validate(two_rows(patient_id=["p", "p"]))


def test_what_is_no_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `vesalius ingest`"):
        read_manifest(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(StoreError, match="not a Parquet file"):
        read_manifest(tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(StoreError, match="no manifest"):
        read_manifest(tmp_path / "other.parquet")


def test_every_column_has_a_kind_that_is_written() -> None:
    assert set(COLUMNS.values()) == {"int64", "string", "float64", "bool"}
