"""A small cohort from first to last: same bytes whatever the number of workers, files that a validator accepts."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from vesalius.datasets.simulated_radiographs import CohortOptions, CohortSummary, simulate_cohort

SIZE_PX = 72


def options(out: Path, workers: int, seed: int = 3) -> CohortOptions:
    return CohortOptions(out, patients_a=6, patients_b=6, size_px=SIZE_PX, seed=seed, workers=workers, voxel_mm=4.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    return simulate_cohort(options(tmp_path_factory.mktemp("two"), workers=2))


@pytest.fixture(scope="module")
def rows(cohort: CohortSummary) -> list[dict[str, str]]:
    with cohort.labels.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shown(path: Path) -> np.ndarray:
    """Dense = bright, in [0, 1], by the plainest reading of the standard."""
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array / (2**dataset.BitsStored - 1)
    return 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def test_the_same_seed_writes_the_same_bytes_with_one_worker_as_with_two(cohort: CohortSummary, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    alone = simulate_cohort(options(tmp_path, workers=1), lambda done, total: calls.append((done, total)))
    both = [
        {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        for root in (tmp_path, cohort.labels.parent)
    ]
    assert both[0].keys() == both[1].keys()
    assert [str(name) for name in both[0] if both[0][name] != both[1][name]] == []
    assert calls == [(done, alone.n_films) for done in range(1, alone.n_films + 1)]


def test_nothing_but_films_masks_and_labels_is_left_behind(cohort: CohortSummary, rows: list[dict[str, str]]) -> None:
    out = cohort.labels.parent
    assert sorted(path.name for path in out.iterdir()) == ["cohort", "labels.csv", "masks"]
    assert sorted(path.name for path in cohort.films.iterdir()) == sorted(row["file"] for row in rows)
    assert len({path.read_bytes() for path in cohort.films.iterdir()}) == cohort.n_films == len(rows)


def test_the_table_and_the_files_agree(cohort: CohortSummary, rows: list[dict[str, str]]) -> None:
    assert list(rows[0])[:8] == ["file", "patient_id", "study_id", "site", "view_position", "sex", "age_years", "report"]
    assert list(rows[0])[8:] == ["Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly"]
    for row in rows:
        dataset = pydicom.dcmread(cohort.films / row["file"])
        assert dataset.PatientID == row["patient_id"]
        assert dataset.PatientID.startswith("SIM-")
        assert str(dataset.PatientName).startswith("SIMULATED^")
        assert (dataset.ViewPosition, dataset.PatientSex) == (row["view_position"], row["sex"])
        assert dataset.PatientAge == f"{int(row['age_years']):03d}Y"
        assert dataset.BurnedInAnnotation == "YES"
        assert (dataset.Rows, dataset.Columns) == (SIZE_PX, SIZE_PX)
        assert abs(float(dataset.DistanceSourceToDetector) - (1800 if row["view_position"] == "PA" else 1050)) <= 100
        assert 300 < float(dataset.ImagerPixelSpacing[0]) * SIZE_PX < 400
    assert len({pydicom.dcmread(cohort.films / row["file"]).SOPInstanceUID for row in rows}) == len(rows)


def test_the_sites_store_differently_and_show_alike(cohort: CohortSummary) -> None:
    kinds = set()
    for path in cohort.films.iterdir():
        dataset = pydicom.dcmread(path)
        kinds.add((path.name[0], dataset.PhotometricInterpretation, dataset.BitsStored))
        film = shown(path)
        third = SIZE_PX // 3
        spine = film[third : 2 * third, SIZE_PX // 2 - 4 : SIZE_PX // 2 + 4].mean()
        assert spine > np.quantile(film[third : 2 * third, 12:-12], 0.2) + 0.25, path.name
    assert kinds == {("A", "MONOCHROME2", 12), ("B", "MONOCHROME1", 14), ("B", "MONOCHROME2", 14)}


def test_every_positive_finding_has_a_mask_and_nothing_else_has(cohort: CohortSummary, rows: list[dict[str, str]]) -> None:
    wanted = {(name, Path(row["file"]).stem) for row in rows for name in list(row)[8:] if row[name] == "1"}
    there = {(path.parent.name, path.stem) for path in cohort.masks.rglob("*.png")}
    assert there == wanted
    assert len(wanted) == sum(cohort.n_positive.values()) > 5
    for path in cohort.masks.rglob("*.png"):
        mask = np.asarray(Image.open(path))
        assert set(np.unique(mask)) == {0, 255}, path
        assert 0.0005 < (mask > 0).mean() < 0.5, path


@pytest.mark.dciodvfy
def test_dciodvfy_finds_no_error(cohort: CohortSummary) -> None:
    tool = shutil.which("dciodvfy")
    assert tool is not None
    for path in cohort.films.iterdir():
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr, said.stderr
        assert "DXImageForPresentation" in said.stdout + said.stderr
