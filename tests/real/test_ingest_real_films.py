"""Ingest of real films: two CR DICOM files, and pictures of two hospitals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from vesalius.datasets.ingest import IngestOptions, ingest
from vesalius.datasets.store import Store
from vesalius.dicom.read import read
from vesalius.dicom.resample import dequantise, standardise

pytestmark = pytest.mark.real
SIZE = 256


def write_labels(real_data: Path, path: Path, folder: str, site: str, limit: int) -> list[Path]:
    with (real_data / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(f"{folder}/")][:limit]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient_id", "site", "view_position", "sex", "age_years", "Effusion"])
        for row in rows:
            label = "" if folder == "cxr_hannover" else int("Effusion" in row["labels"].split("|"))
            writer.writerow([Path(row["path"]).name, row["patient_id"], site, row["view"], row["sex"], row["age"], label])
    return [real_data / row["path"] for row in rows]


def test_two_hospitals_and_two_dicom_films_in_one_store(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    (tmp_path / "key").write_bytes(bytes(range(32)))
    for folder, site, limit in (("cxr_nih", "NIH", 24), ("cxr_hannover", "Hannover", 24)):
        films = write_labels(real_data, tmp_path / f"{site}.csv", folder, site, limit)
        options = IngestOptions(size_px=SIZE, labels=tmp_path / f"{site}.csv", patient_key=tmp_path / "key")
        report = ingest(films, out, options)
        assert (report.n_done, report.n_rejected, report.n_without_labels, report.n_lines_without_film) == (limit, 0, 0, 0)
    report = ingest([real_data / "dicom"], out, IngestOptions(size_px=SIZE, site="CR", patient_key=tmp_path / "key"))
    assert (report.n_done, report.n_rejected) == (2, 0)
    store = Store(out)
    assert store.manifest["site"].value_counts().to_dict() == {"NIH": 24, "Hannover": 24, "CR": 2}
    assert store.manifest.groupby("patient_id")["split"].nunique().max() == 1
    assert store.manifest[store.manifest["site"] == "Hannover"]["patient_id"].nunique() < 24, "some patients have several films"
    assert np.isnan(store.labels()[store.rows(sites=["Hannover"])]).all()
    row = int(store.rows(sites=["CR"])[0])
    image = read(real_data / "dicom" / "RG1_J2KI.dcm")
    np.testing.assert_array_equal(store.pixels([row])[0], dequantise(standardise(image, SIZE), image.bits_stored))
    assert (store.manifest["rows"][row], store.manifest["columns"][row]) == image.pixels.shape == (1955, 1841)
    assert np.isnan(store.manifest["spacing_mm_row"][row]), "a spacing of 0 mm is none"
