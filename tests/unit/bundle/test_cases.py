"""Which files are films, what they are called, and that the order is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.bundle.cases import list_cases
from vesalius.errors import EmptyInput


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(*paths: Path, **options: object) -> list[str]:
    return [case.name for case in list_cases(paths, **options)]  # type: ignore[arg-type]


def test_a_folder_gives_its_own_name_and_a_sorted_order(tmp_path: Path) -> None:
    study = tmp_path / "deep" / "study"
    touch(study / "b" / "2.dcm", study / "b" / "10", study / "a.png", study / "IM1.dcm")
    assert names(study) == ["study/IM1.dcm", "study/a.png", "study/b/10", "study/b/2.dcm"]


def test_what_is_no_film_is_passed_over_in_a_folder_but_not_when_named(tmp_path: Path) -> None:
    study = tmp_path / "study"
    touch(study / "IM1", study / "labels.csv", study / ".DS_Store", study / ".git" / "x", study / "DICOMDIR", study / "report.TXT")
    assert names(study) == ["study/IM1"]
    assert names(study / "labels.csv") == [str(study / "labels.csv")]


def test_a_file_is_called_as_it_was_named_even_if_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("study/IM1.dcm"))
    assert names(Path("study/IM1.dcm"), Path("nowhere.dcm")) == ["study/IM1.dcm", "nowhere.dcm"]
    assert names(Path("study/IM1.dcm"), Path("study")) == ["study/IM1.dcm"], "each file once"
    monkeypatch.chdir("study")
    assert names(Path()) == ["study/IM1.dcm"]


def test_two_folders_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path / "a/study/1.dcm", tmp_path / "b/study/1.dcm")
    found = list_cases([tmp_path / "a/study", tmp_path / "b/study"])
    assert len({case.name for case in found}) == len({case.path for case in found}) == 2


def test_a_file_whose_name_a_folder_has_taken_stays_its_own_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "one/study/1.dcm", tmp_path / "here/study/1.dcm")
    monkeypatch.chdir(tmp_path / "here")
    found = list_cases([Path("study/1.dcm"), tmp_path / "one/study"])
    assert [case.path.resolve() for case in found] == [tmp_path / "here/study/1.dcm", tmp_path / "one/study/1.dcm"]
    assert len({case.name for case in found}) == 2


def test_what_the_command_writes_is_no_input(tmp_path: Path) -> None:
    study = tmp_path / "study"
    touch(study / "1.dcm", study / "answers", study / "maps/1.png", study / "sr/1.dcm")
    left_out = [study / "answers", study / "maps", study / "sr"]
    assert names(study, leave_out=left_out) == ["study/1.dcm"]


def test_nothing_to_read(tmp_path: Path) -> None:
    touch(tmp_path / "labels.csv")
    with pytest.raises(EmptyInput, match="no film in"):
        list_cases([tmp_path])
    with pytest.raises(EmptyInput, match="no film given"):
        list_cases([])
