"""Which films are there to ingest: files and folders, DICOM, PNG, JPEG and CheXzero's HDF5, in one fixed order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py

from vesalius.errors import EmptyInput, FileMissing, StoreError

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg"})
HDF5_SUFFIXES = frozenset({".h5", ".hdf5"})
CXR_DATASET = "cxr"
"""Where CheXzero keeps its films: (n, 320, 320), values 0 to 255."""

_NO_IMAGE = frozenset({"DICOMDIR", "README", "LICENSE", "LICENCE", "Makefile", "VERSION"})


@dataclass(frozen=True)
class FilmFile:
    """One film to read.

    Attributes:
        file: Where it is.
        path: Its name in the manifest: relative to the source it was found in, with `#row` for a film in an HDF5 file.
        bytes: Size of the file.
        changed_ns: When it was last written.
        row: Which film of an HDF5 file; None for a file of its own.
    """

    file: Path
    path: str
    bytes: int
    changed_ns: int
    row: int | None = None


def find_films(sources: Sequence[Path], leave_out: Sequence[Path] = ()) -> tuple[list[FilmFile], int]:
    """Returns the films of files and folders (with all below them), and how many other files were passed over.

    The order is that of the sources, within a folder that of the names, and does not depend on the file system. In a folder,
    hidden files and files whose ending is not one of a film are passed over; a file named outright is always taken.

    Args:
        sources: Files and folders.
        leave_out: Folders not to look into, such as the store itself.

    Raises:
        FileMissing: A source does not exist.
        EmptyInput: There is no film at all.
        StoreError: Two different films would have the same name in the manifest.
    """
    films: list[FilmFile] = []
    seen: set[Path] = set()
    n_ignored = 0
    closed = {folder.resolve() for folder in leave_out}
    for source in sources:
        if not source.exists():
            raise FileMissing(f"no such file or folder: {source}; check the spelling")
        for file in [source] if source.is_file() else _walk(source, closed):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            if not source.is_file() and not _may_be_film(file):
                n_ignored += 1
                continue
            films.extend(_films_of(file, file.name if source.is_file() else file.relative_to(source).as_posix()))
    if not films:
        raise EmptyInput(f"no film found; {n_ignored} other files were passed over. Give DICOM, PNG or JPEG files or their folder")
    _check_names(films)
    return films, n_ignored


def _walk(folder: Path, closed: set[Path]) -> Iterator[Path]:
    """Yields every file below a folder, names sorted; hidden folders and closed ones are not entered."""
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(root, name).resolve() not in closed)
        yield from (Path(root, name) for name in sorted(names))


def _refuse(error: OSError) -> None:
    raise StoreError(f"the folder {error.filename} cannot be read; check its permissions, or leave it out") from error


def _may_be_film(file: Path) -> bool:
    if file.name.startswith(".") or file.name in _NO_IMAGE:
        return False
    suffix = file.suffix.lower()
    # DICOM files often have no ending, or are named by a UID, whose last number looks like one
    return suffix in IMAGE_SUFFIXES or suffix in HDF5_SUFFIXES or re.fullmatch(r"(\.\d+)?", suffix) is not None


def _films_of(file: Path, path: str) -> Iterator[FilmFile]:
    state = file.stat()
    if file.suffix.lower() not in HDF5_SUFFIXES:
        yield FilmFile(file, path, state.st_size, state.st_mtime_ns)
        return
    for row in range(_films_in_hdf5(file)):
        yield FilmFile(file, f"{path}#{row}", state.st_size, state.st_mtime_ns, row)


def _films_in_hdf5(file: Path) -> int:
    """How many films an HDF5 file holds; one, to be refused later by name, if it is not such a file."""
    try:
        with h5py.File(file, "r") as content:
            return int(content[CXR_DATASET].shape[0])
    except (OSError, KeyError, AttributeError, IndexError):
        return 1


def _check_names(films: Sequence[FilmFile]) -> None:
    twice = len(films) - len({film.path for film in films})
    if twice:
        raise StoreError(
            f"{twice} films of different sources have the same name in the manifest; "
            "give the folder above them as the one source, or ingest the sources one after another with their own --site"
        )


def stem(path: str) -> str:
    """Returns a film's name without the ending of a film: `a/1.dcm` becomes `a/1`, but `a/1.2.840` stays."""
    name = PurePosixPath(path)
    return str(name.with_suffix("")) if name.suffix.lower() in IMAGE_SUFFIXES else str(name)
