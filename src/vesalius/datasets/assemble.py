"""From finished parts to a store: rows in order, nothing twice, the manifest last.

Only this process writes the store. Whenever it is killed, the old store or the new one is there, never a mixture: the manifest
is replaced last, and until then the rows it names are the first images of the new pixel file too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from vesalius.datasets.images import ImagesReader, ImagesWriter, publish
from vesalius.datasets.join import LabelJoin, as_manifest, no_line_fits
from vesalius.datasets.manifest import LABEL_PREFIX, complete, write_manifest
from vesalius.datasets.parts import Part, PartOptions, Record, read_records
from vesalius.datasets.splits import assign_splits
from vesalius.datasets.store import IMAGES_FILE, MANIFEST_FILE, Store
from vesalius.errors import DuplicateImage, DuplicatePath

REJECTS_FILE = "rejects.csv"


@dataclass
class Intake:
    """What the parts gave.

    Attributes:
        rows: Manifest rows of the films taken, in order.
        taken: For each part, which of its images these are.
        rejects: Path, code, message of the films refused, in order.
        n_with_line: Films taken that the labels table speaks of.
        lines_used: Lines of the table that speak of a film.
        n_own_patient: Films taken of which nobody says whose they are.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    taken: list[list[int]] = field(default_factory=list)
    rejects: list[tuple[str, str, str]] = field(default_factory=list)
    n_with_line: int = 0
    lines_used: set[int] = field(default_factory=set)
    n_own_patient: int = 0


def take_in(parts: Sequence[Part], join: LabelJoin, old: Store | None) -> Intake:
    """Reads what the parts say and gives every film its row, or its reason for having none.

    Of films with the same pixels the first stays, of files with the same site and path too.

    Raises:
        LabelsError: The labels are joined by UID and no line fits any film.
    """
    intake = Intake()
    seen: dict[str, str] = {} if old is None else dict(zip(old.manifest["image_id"], old.manifest["path"], strict=True))
    places = set() if old is None else set(zip(old.manifest["site"], old.manifest["path"], strict=True))
    for part in parts:
        with ImagesReader(part.file) as images:
            records = read_records(images)
        taken, image = [], 0
        for record in records:
            if "code" in record:
                intake.rejects.append((record["path"], record["code"], record["message"]))
                continue
            if _take(record, join, intake, seen, places):
                taken.append(image)
            image += 1
        intake.taken.append(taken)
    if join.table is not None and intake.rows and not intake.n_with_line:
        raise no_line_fits(join.table.key, len(intake.rows))
    return intake


def _take(record: Record, join: LabelJoin, intake: Intake, seen: dict[str, str], places: set[tuple[str, str]]) -> bool:
    line = join.row(record)
    if line is not None:
        intake.lines_used.add(line.line)
    row, is_known = join.manifest_row(record)
    path, image_id = record["path"], record["image_id"]
    if image_id in seen:
        message = f"the same pixels as image {image_id}, which came from {seen[image_id]}; the first one stays"
        intake.rejects.append((path, DuplicateImage.code, message))
        return False
    if (row["site"], path) in places:
        message = "another film of this path and site is in the store; ingest it with another --site, or from the folder above"
        intake.rejects.append((path, DuplicatePath.code, message))
        return False
    seen[image_id] = path
    places.add((str(row["site"]), path))
    intake.rows.append(row)
    intake.n_with_line += line is not None
    intake.n_own_patient += not is_known
    return True


def new_manifest(intake: Intake, join: LabelJoin, old: Store | None, fractions: Mapping[str, float], seed: int) -> pd.DataFrame:
    """Returns the manifest of old rows and new ones, every row with a split.

    Raises:
        LabelsError: The table's splits tear a patient in two.
    """
    new = complete(as_manifest(intake.rows, join.findings))
    manifest = complete(new if old is None else pd.concat([old.manifest, new], ignore_index=True))
    manifest["row"] = np.arange(len(manifest))
    manifest["split"] = assign_splits(manifest, fractions, seed)
    return manifest


def write_assembled(
    out: Path, manifest: pd.DataFrame, parts: Sequence[Part], intake: Intake, old: Store | None, options: PartOptions
) -> None:
    """Writes the pixels of the old rows and the new ones, then the manifest."""
    n_old = 0 if old is None else len(old)
    structures = tuple(dict.fromkeys((*(old.structures if old else ()), *options.structures)))
    known = _known_empty(manifest, structures)
    with ImagesWriter(out / IMAGES_FILE, options.size_px, structures, patient_key_check=options.patient_key_check) as images:
        if old is not None:
            with ImagesReader(old.path / IMAGES_FILE) as source:
                images.copy(source, range(n_old), known[:n_old])
        for part, taken in zip(parts, intake.taken, strict=True):
            with ImagesReader(part.file) as source:
                images.copy(source, taken, known[len(images) : len(images) + len(taken)])
    write_manifest(out / MANIFEST_FILE, manifest)


def _known_empty(manifest: pd.DataFrame, structures: Sequence[str]) -> Bool[np.ndarray, "case structure"]:
    """Where the finding of the same name is absent, its mask is known to be empty even if nobody drew one."""
    absent = np.zeros((len(manifest), len(structures)), dtype=bool)
    for index, name in enumerate(structures):
        if LABEL_PREFIX + name in manifest:
            absent[:, index] = (manifest[LABEL_PREFIX + name] == 0).to_numpy(dtype=bool)
    return absent


def write_rejects(out: Path, rejects: Sequence[tuple[str, str, str]], paths: Sequence[str]) -> None:
    """Writes `rejects.csv`: what this ingest refused, after what earlier ones did and this one did not try again."""
    file = out / REJECTS_FILE
    again = set(paths)
    earlier: list[list[str]] = []
    if file.exists():
        with file.open(encoding="utf-8", newline="") as lines:
            earlier = [line for line in list(csv.reader(lines))[1:] if line and line[0] not in again]
    unfinished = out / f"{REJECTS_FILE}.tmp"
    with unfinished.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([("path", "code", "message"), *earlier, *rejects])
    publish(unfinished, file)
