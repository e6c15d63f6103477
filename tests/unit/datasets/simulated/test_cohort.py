from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.datasets.simulated_radiographs import CohortOptions, cohort, simulate_cohort
from vesalius.datasets.simulated_radiographs.anatomy import Anatomy


def test_a_second_run_replaces_the_first(blocks: Anatomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "prepare_anatomy", lambda spacing_mm: blocks)
    for patients in (4, 2):
        summary = simulate_cohort(CohortOptions(tmp_path, patients, 0, size_px=64, workers=1))
        assert {path.name.split("-")[1] for path in summary.films.iterdir()} == {f"{n + 1:04d}" for n in range(patients)}
        assert {path.stem.split("-")[1] for path in summary.masks.rglob("*.png")} <= {f"{n + 1:04d}" for n in range(patients)}
        assert summary.n_patients == patients
        assert len(summary.labels.read_text().splitlines()) == summary.n_films + 1


def test_the_grid_follows_the_option(blocks: Anatomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(cohort, "prepare_anatomy", lambda spacing_mm: asked.append(spacing_mm) or blocks)
    simulate_cohort(CohortOptions(tmp_path, 1, 0, size_px=64, workers=1, voxel_mm=3.0))
    assert asked == [(3.0, 4.5, 3.0)]
