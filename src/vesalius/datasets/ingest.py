"""From films and labels to a store: on all cores, resumable after any kill, in one order whatever the machine did.

The films are cut into parts; worker processes write each part as one file that is whole or not there; when all are there the
store is put together from them, compressed pixels moved as they are. Run again after a kill, it reuses every finished part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.datasets.assemble import Intake, new_manifest, take_in, write_assembled, write_rejects
from vesalius.datasets.identity import PatientKey, load_key
from vesalius.datasets.images import ImagesReader, publish
from vesalius.datasets.join import LabelJoin, join_labels
from vesalius.datasets.labels_table import read_labels
from vesalius.datasets.manifest import LABEL_PREFIX, findings
from vesalius.datasets.mask_files import MaskFolder, find_masks
from vesalius.datasets.parts import FILMS_A_PART, Part, PartOptions
from vesalius.datasets.pool import write_parts
from vesalius.datasets.sources import FilmFile, find_films
from vesalius.datasets.splits import DEFAULT_FRACTIONS, SPLITS, check_fractions
from vesalius.datasets.store import IMAGES_FILE, MANIFEST_FILE, Store
from vesalius.datasets.workers import available_cores, warm_up
from vesalius.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from vesalius.types import ProgressCallback

PARTS_FOLDER, PLAN_FILE, LOCK_FILE = ".parts", "plan.json", ".lock"
CROWDED_FILMS, CROWDED_PATIENT = 10, 0.5
"""One patient with more than this share of ten films or more is a placeholder in the headers, not a person."""


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        size_px: Side of the square every film is brought to.
        site: Of films whose site the labels do not say.
        labels: A labels CSV.
        masks: A folder of masks, see `mask_files.find_masks`.
        structures: Names of the values of label maps.
        fractions: Of patients, by split; None for the default.
        seed: Of the splits.
        workers: Processes that read; None for one a core. The store does not depend on it.
        patient_key: File of the key that patients are hashed with; None for the user's own.
    """

    size_px: int = 512
    site: str = "local"
    labels: Path | None = None
    masks: Path | None = None
    structures: Mapping[int, str] | None = None
    fractions: Mapping[str, float] | None = None
    seed: int = 0
    workers: int | None = None
    patient_key: Path | None = None


@dataclass(frozen=True)
class IngestReport:
    """What became of every film: n_done + n_rejected + n_skipped == n_films.

    Attributes:
        n_films: Films found.
        n_done: Films added to the store.
        n_rejected: Films refused, each with a line in `rejects.csv`.
        n_skipped: Films that were in the store already.
        n_ignored: Files passed over because they are no films.
        n_without_labels: Films added that no line of the labels speaks of; 0 without labels.
        n_lines_without_film: Lines of the labels that fit no film of this ingest.
        n_images: Images in the store now.
        n_patients: Patients in the store now.
        splits: Images by split, in the whole store.
        findings: (present, absent, uncertain) images by finding, in the whole store.
        reject_codes: Films refused, by reason.
        warnings: What a user should know.
        seconds: Wall time.
    """

    n_films: int
    n_done: int
    n_rejected: int
    n_skipped: int
    n_ignored: int
    n_without_labels: int = 0
    n_lines_without_film: int = 0
    n_images: int = 0
    n_patients: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    findings: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    reject_codes: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def ingest(
    sources: Sequence[Path], out: Path, options: IngestOptions | None = None, progress: ProgressCallback | None = None
) -> IngestReport:
    """Reads films, squares them, joins their labels and writes or extends the store `out`.

    Bad films do not stop it: each has a line with a reason in `rejects.csv`. Films that the store has are skipped.
    It starts processes, so a script must call it below `if __name__ == "__main__":`.

    Raises:
        FileMissing, EmptyInput: No such source, or no film in it.
        LabelsError: The labels cannot be used as they are; what was read is kept for the next run.
        StoreError: The store was made with other settings, another ingest is at work on it, or it cannot be written to.
    """
    options, started = options or IngestOptions(), time.monotonic()
    warm_up()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            job = _prepare(sources, out, options)
            _read_films(job, options.workers or available_cores(), progress)
            intake = _put_together(job)
            return _report(job, intake, time.monotonic() - started)
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written to ({error.strerror or type(error).__name__}); "
            "mend that (disk space? permissions?) and run the same command: finished films are kept"
        ) from error


@dataclass(frozen=True)
class _Job:
    """What there is to do."""

    out: Path
    options: IngestOptions
    fractions: Mapping[str, float]
    key: PatientKey
    films: Sequence[FilmFile]
    n_ignored: int
    n_skipped: int
    parts: Sequence[Part]
    part_options: PartOptions
    join: LabelJoin
    old: Store | None


def _prepare(sources: Sequence[Path], out: Path, options: IngestOptions) -> _Job:
    fractions = check_fractions(options.fractions or DEFAULT_FRACTIONS)
    table = None if options.labels is None else read_labels(options.labels)
    masks = find_masks(options.masks, options.structures)
    films, n_ignored = find_films(sources, [out, *([options.masks] if options.masks else [])])
    key = load_key(options.patient_key)
    join = join_labels(table, [film.path for film in films], options.site, key)
    old = _open_old(out, options.size_px, key)
    new = films if old is None else _not_in(old, films, join)
    part_options = PartOptions(options.size_px, masks.structures, masks.values, key.check)
    _plan(out, sources, part_options, bool(new))
    parts = _cut(new, masks, out / PARTS_FOLDER, part_options)
    return _Job(out, options, fractions, key, films, n_ignored, len(films) - len(new), parts, part_options, join, old)


def _open_old(out: Path, size_px: int, key: PatientKey) -> Store | None:
    """Returns the store that is to be extended, if there is one."""
    if not (out / MANIFEST_FILE).exists():
        return None
    old = Store(out)
    if old.size_px != size_px:
        raise StoreError(f"{out} holds films of {old.size_px} pixels, not {size_px}; use --size {old.size_px} or another --out")
    with ImagesReader(out / IMAGES_FILE) as images:
        if images.patient_key_check and images.patient_key_check != key.check:
            raise StoreError(
                f"{out} was made with another patient key: the same patient would count twice; "
                "give the key it was made with (--patient-key), or another --out"
            )
    return old


def _not_in(old: Store, films: Sequence[FilmFile], join: LabelJoin) -> list[FilmFile]:
    """Returns the films that the store does not have: same path, same size, and as far as it is known the same site."""
    with ImagesReader(old.path / IMAGES_FILE) as images:
        held = {
            (path, int(size), site)
            for path, size, site in zip(old.manifest["path"], images.file_bytes, old.manifest["site"], strict=False)
        }
    anywhere = {(path, size) for path, size, _ in held}

    def is_held(film: FilmFile) -> bool:
        site = join.site_before_reading(film.path)
        return (film.path, film.bytes) in anywhere if site is None else (film.path, film.bytes, site) in held

    return [film for film in films if not is_held(film)]


def _plan(out: Path, sources: Sequence[Path], options: PartOptions, has_work: bool) -> None:
    """Leaves a note of what is being done, or compares with the note of an ingest that was interrupted.

    Raises:
        StoreError: The interrupted ingest was of other films, or with other settings.
    """
    folder = out / PARTS_FOLDER
    names = json.dumps([str(source.resolve()) for source in sources])
    plan = json.dumps({"sources": hashlib.sha256(names.encode()).hexdigest(), **asdict(options)}, indent=1)
    file = folder / PLAN_FILE
    if file.exists() and file.read_text() != plan:
        raise StoreError(
            f"{out} holds the unfinished ingest of other films, or with another size, masks or patient key; "
            f"finish it with the command it was started with, or give up what it did: rm -r {folder}"
        )
    if has_work and not file.exists():
        folder.mkdir(exist_ok=True)
        unfinished = folder / f"{PLAN_FILE}.tmp"
        unfinished.write_text(plan)
        publish(unfinished, file)


def _cut(films: Sequence[FilmFile], masks: MaskFolder, folder: Path, options: PartOptions) -> list[Part]:
    drawn = masks.of(films)
    starts = range(0, len(films), FILMS_A_PART)
    return [
        Part(tuple(films[start : start + FILMS_A_PART]), tuple(drawn[start : start + FILMS_A_PART]), folder, options)
        for start in starts
    ]


def _read_films(job: _Job, workers: int, progress: ProgressCallback | None) -> None:
    done = job.n_skipped

    def finished(n_films: int) -> None:
        nonlocal done
        done += n_films
        if progress is not None:
            progress(done, len(job.films))

    finished(0)
    waiting = []
    for part in job.parts:
        if part.file.exists():
            finished(len(part.films))
        else:
            waiting.append(part)
    write_parts(waiting, job.key, workers, finished)


def _put_together(job: _Job) -> Intake:
    """Writes the store, and clears the parts away."""
    intake = take_in(job.parts, job.join, job.old)
    if job.parts:
        write_rejects(job.out, intake.rejects, [film.path for film in job.films])
    if intake.rows or job.old is None:
        manifest = new_manifest(intake, job.join, job.old, job.fractions, job.options.seed)
        write_assembled(job.out, manifest, job.parts, intake, job.old, job.part_options)
    shutil.rmtree(job.out / PARTS_FOLDER, ignore_errors=True)
    for unfinished in job.out.glob("*.tmp"):  # of an ingest that was killed while it put the store together
        unfinished.unlink()
    return intake


def _report(job: _Job, intake: Intake, seconds: float) -> IngestReport:
    manifest = Store(job.out).manifest
    labels = {name: manifest[LABEL_PREFIX + name] for name in findings(manifest)}
    table = job.join.table
    return IngestReport(
        n_films=len(job.films),
        n_done=len(intake.rows),
        n_rejected=len(intake.rejects),
        n_skipped=job.n_skipped,
        n_ignored=job.n_ignored,
        n_without_labels=0 if table is None else len(intake.rows) - intake.n_with_line,
        n_lines_without_film=0 if table is None else len(table.rows) - len(job.join.lines_with_film | intake.lines_used),
        n_images=len(manifest),
        n_patients=int(manifest["patient_id"].nunique()),
        splits={name: int((manifest["split"] == name).sum()) for name in SPLITS},
        findings={
            name: (int((values == 1).sum()), int((values == 0).sum()), int((values == -1).sum())) for name, values in labels.items()
        },
        reject_codes=dict(sorted(Counter(code for _, code, _ in intake.rejects).items())),
        warnings=tuple(_warnings(job, intake, manifest)),
        seconds=round(seconds, 3),
    )


def _warnings(job: _Job, intake: Intake, manifest: pd.DataFrame) -> Iterator[str]:
    if intake.n_own_patient:
        yield (
            f"{intake.n_own_patient} films name no patient, so each film (or study) counts as its own patient; "
            "if some are of the same person, a patient_id column in the labels CSV keeps them in one split"
        )
    for site, films in manifest.groupby("site"):
        share = films["patient_id"].value_counts(normalize=True).iloc[0]
        if len(films) >= CROWDED_FILMS and share > CROWDED_PATIENT:
            yield (
                f"{share:.0%} of the films of site {site} carry one patient id, likely a placeholder; "
                "give a patient_id column in the labels CSV, or they all stand in one split"
            )
    if job.n_skipped and job.join.table is not None:
        yield f"{job.n_skipped} films were in the store before; their labels stay as they were: for other labels make a new store"


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keeps a second ingest away from the store; the system opens the lock when this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: no such lock, and no second ingest either, if the user is careful
        yield
        return
    with (out / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"another `vesalius ingest` is at work on {out}; wait for it to end") from error
        yield
