"""Which files of a folder are slides, and which DICOM files are one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.films import film, save
from tests.slides import tissue_picture, write_dicom_slide, write_pyramid
from vesalius.bundle.slide_cases import list_slides
from vesalius.errors import EmptyInput


def names(*paths: Path) -> list[str]:
    return [case.name for case in list_slides(paths)]


def test_a_folder_gives_its_slides_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    (folder / "deep").mkdir(parents=True)
    write_pyramid(folder / "deep" / "a.tif", tissue_picture())
    write_dicom_slide(folder / "b.dcm", tissue_picture())
    save(film(), folder)
    (folder / "notes.txt").write_text("x")
    assert names(folder) == ["slides/b.dcm", "slides/deep/a.tif"]
    assert names(folder / "notes.txt") == [(folder / "notes.txt").as_posix()], "a file that is named is answered for"


def test_files_of_one_dicom_series_are_one_slide(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    label = {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}
    write_dicom_slide(folder / "1-label.dcm", tissue_picture(640, 480), SeriesInstanceUID="1.2.3", **label)
    write_dicom_slide(folder / "2-coarse.dcm", tissue_picture(160, 120), SeriesInstanceUID="1.2.3")
    write_dicom_slide(folder / "3-fine.dcm", tissue_picture(640, 480), SeriesInstanceUID="1.2.3")
    write_dicom_slide(folder / "4-other.dcm", tissue_picture(160, 120), SeriesInstanceUID="1.2.4")
    assert names(folder) == ["slides/3-fine.dcm", "slides/4-other.dcm"]
    assert len(names(folder, folder / "2-coarse.dcm")) == 3, "one that is named stays"


def test_no_slide(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_text("x")
    with pytest.raises(EmptyInput, match="no slide in"):
        list_slides([tmp_path])
