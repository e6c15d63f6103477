"""From paths on a command line to cases with names: files as they are, folders with everything in them, in one fixed order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import EmptyInput

NEVER_FILMS = (
    *(".csv", ".tsv", ".txt", ".md", ".json", ".jsonl", ".xml", ".html", ".htm", ".pdf", ".log", ".toml", ".yaml", ".yml"),
    *(".parquet", ".h5", ".hdf5", ".npz", ".npy", ".zip", ".tar", ".gz", ".tgz"),
)
"""Endings that are passed over inside a folder; all else is told apart by its content. A file that is named is always read."""
DICOM_INDEX = "DICOMDIR"


@dataclass(frozen=True)
class Case:
    """One film to answer: the name it has in the answers, and where it lies."""

    name: str
    path: Path


def list_cases(paths: Sequence[Path], *, leave_out: Collection[Path] = ()) -> list[Case]:
    """Returns the films that `paths` name, folders searched in sorted order, each file once.

    A film in a folder is called by the folder's own name and the path inside it (`study/IM1.dcm`), so that the same folder
    gives the same names wherever it lies; a film that is named itself is called as it was named.

    Args:
        paths: Files and folders.
        leave_out: Files or folders that a folder may hold and that are no input (what the command itself writes).

    Raises:
        EmptyInput: There is no file at all.
    """
    alike = Counter(path.resolve().name for path in paths if path.is_dir())
    outputs = {path.resolve() for path in leave_out}
    cases: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            own = path.resolve().name
            label = own if own and alike[own] == 1 else path.as_posix()
            found = [(f"{label}/{file.relative_to(path).as_posix()}", file) for file in _films(path, outputs)]
        else:
            found = [(path.as_posix(), path)]
        for name, file in found:
            taken = name in cases and cases[name].resolve() != file.resolve()
            cases.setdefault(file.as_posix() if taken else name, file)
    if not cases:
        where = f"in {', '.join(map(str, paths))}" if paths else "given"
        raise EmptyInput(f"no film {where}; name DICOM, PNG or JPEG files, or folders that hold them")
    return [Case(name, path) for name, path in cases.items()]


def _films(folder: Path, outputs: Collection[Path]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() not in outputs)
        for name in sorted(files):
            path = here / name
            if not (name.startswith(".") or name == DICOM_INDEX or path.suffix.lower() in NEVER_FILMS or path.resolve() in outputs):
                yield path
