from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vesalius.datasets.sources import find_films, stem
from vesalius.errors import EmptyInput, FileMissing, StoreError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def paths(*sources: Path, leave_out: tuple[Path, ...] = ()) -> list[str]:
    return [film.path for film in find_films(sources, leave_out)[0]]


def test_films_come_in_the_order_of_their_names_whatever_else_lies_there(tmp_path: Path) -> None:
    films = ["IM1", "a/1.2.840.10008.5", "a/z.DCM", "b.png", "b/c/d.jpeg", "x.dcm"]
    others = ["notes.txt", "labels.csv", "a.json", ".hidden.dcm", ".git/x.dcm", "DICOMDIR", "README", "scan.nii.gz", "a/b.pdf"]
    touch(tmp_path, *reversed(films), *others)
    found, n_ignored = find_films([tmp_path])
    assert sorted(film.path for film in found) == sorted(films)
    assert [film.path for film in found] == ["IM1", "b.png", "x.dcm", "a/1.2.840.10008.5", "a/z.DCM", "b/c/d.jpeg"]
    assert n_ignored == len(others) - 1, "what is in a hidden folder is not even counted"
    assert all(film.bytes == len(film.path) and film.changed_ns for film in found)


def test_a_file_named_outright_is_always_taken_and_nothing_twice(tmp_path: Path) -> None:
    touch(tmp_path, "film.txt", "a/1.png")
    assert paths(tmp_path / "film.txt", tmp_path / "a", tmp_path / "a" / "1.png") == ["film.txt", "1.png"]


def test_the_store_itself_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "store/2.png", "masks/Nodule/1.png")
    assert paths(tmp_path, leave_out=(tmp_path / "store", tmp_path / "masks")) == ["1.png"]


def test_each_film_of_a_chexzero_file_is_one_film(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cxr.h5", "w") as file:
        file["cxr"] = np.zeros((3, 4, 4), np.float32)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["something"] = np.zeros(3)
    found, _ = find_films([tmp_path])
    assert [(film.path, film.row) for film in found] == [("cxr.h5#0", 0), ("cxr.h5#1", 1), ("cxr.h5#2", 2), ("other.h5#0", 0)]


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="no such file or folder"):
        find_films([tmp_path / "none"])
    touch(tmp_path, "notes.txt")
    with pytest.raises(EmptyInput, match="1 other files"):
        find_films([tmp_path])


def test_two_films_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    assert paths(tmp_path) == ["a/1.png", "b/1.png"]
    with pytest.raises(StoreError, match=r"1 films .* folder above them"):
        find_films([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(("path", "expected"), [("a/1.DCM", "a/1"), ("1.2.840", "1.2.840"), ("IM1", "IM1"), ("c.h5#2", "c.h5#2")])
def test_a_stem_has_lost_only_the_ending_of_a_film(path: str, expected: str) -> None:
    assert stem(path) == expected
