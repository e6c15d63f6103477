"""A cohort from first to last: prepare the chest once, take every film in parallel, write the table."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy, prepare_anatomy
from vesalius.datasets.simulated_radiographs.film import take_film
from vesalius.datasets.simulated_radiographs.findings import FINDINGS
from vesalius.datasets.simulated_radiographs.plan import FilmPlan, plan_cohort
from vesalius.datasets.simulated_radiographs.write import write_film, write_labels
from vesalius.types import ProgressCallback

Row = dict[str, str | int]


@dataclass(frozen=True)
class CohortOptions:
    """What to simulate.

    Attributes:
        out: Folder to write; `out/cohort/*.dcm`, `out/masks/FINDING/STEM.png` and `out/labels.csv` come into being.
        patients_a: Virtual patients of site A.
        patients_b: Virtual patients of site B.
        size_px: Rows and columns of a film.
        seed: Same seed, same bytes, whatever `workers` is.
        workers: Processes; each uses one core.
        voxel_mm: Grid of the chest across and along the body; finer for films to look at (1.0), coarser for many (2.0).
    """

    out: Path
    patients_a: int = 220
    patients_b: int = 80
    size_px: int = 224
    seed: int = 0
    workers: int = 2
    voxel_mm: float = 2.0


@dataclass(frozen=True)
class CohortSummary:
    """What was made.

    Attributes:
        films: Folder of the DICOM files; give it to `ingest`.
        labels: The table; give it to `ingest --labels`.
        masks: Folder of the masks; give it to `ingest --masks`.
        n_patients: Virtual patients of both sites.
        n_films: DICOM files.
        n_positive: Films with label 1, per finding.
        seconds: Wall time, the preparation of the CT included.
    """

    films: Path
    labels: Path
    masks: Path
    n_patients: int
    n_films: int
    n_positive: dict[str, int]
    seconds: float


def simulate_cohort(options: CohortOptions, progress: ProgressCallback | None = None) -> CohortSummary:
    """Writes a cohort of simulated radiographs; every virtual patient descends from one CT.

    What an earlier call left in `out/cohort`, `out/masks` and `out/labels.csv` is replaced.

    Raises:
        MissingDependency: The package that carries the CT is absent; the message has the command that installs it.
    """
    start = time.perf_counter()
    films, masks, labels = options.out / "cohort", options.out / "masks", options.out / "labels.csv"
    for folder in (films, masks):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    labels.unlink(missing_ok=True)
    plans = plan_cohort(options.patients_a, options.patients_b, options.seed)
    rows: list[Row] = []
    for row in _take_all(plans, options, films, masks):
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(plans))
    write_labels(labels, rows)
    positive = {name: sum(row[name] == 1 for row in rows) for name in FINDINGS}
    seconds = time.perf_counter() - start
    return CohortSummary(films, labels, masks, options.patients_a + options.patients_b, len(rows), positive, seconds)


def _take_all(plans: list[FilmPlan], options: CohortOptions, films: Path, masks: Path) -> Iterator[Row]:
    anatomy = prepare_anatomy((options.voxel_mm, 1.5 * options.voxel_mm, options.voxel_mm))
    take = partial(_take, size_px=options.size_px, seed=options.seed, films=films, masks=masks)
    if options.workers <= 1:
        yield from (take(plan, anatomy) for plan in plans)
        return
    with tempfile.TemporaryDirectory(prefix=".chest-", dir=options.out) as folder:
        anatomy.save(Path(folder))
        del anatomy
        with ProcessPoolExecutor(
            options.workers, multiprocessing.get_context("spawn"), initializer=_open_chest, initargs=(folder,)
        ) as pool:
            yield from pool.map(partial(_take_in_worker, take), plans, chunksize=2)


def _take(plan: FilmPlan, anatomy: Anatomy, *, size_px: int, seed: int, films: Path, masks: Path) -> Row:
    film = take_film(anatomy, plan, size_px, seed)
    return write_film(film, plan, seed, films, masks)


class _Worker:
    """What a worker process keeps between films."""

    anatomy: Anatomy


def _open_chest(folder: str) -> None:
    _Worker.anatomy = Anatomy.load(Path(folder))


def _take_in_worker(take: partial[Row], plan: FilmPlan) -> Row:
    return take(plan, _Worker.anatomy)
