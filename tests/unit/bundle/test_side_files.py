"""Where files beside an answer go, and that one that fails is a warning without a word from the header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.bundles import make_film
from tests.films import PLANTED_NAME, film, save
from vesalius.bundle.side_files import place_in, write_report
from vesalius.dicom.read import read
from vesalius.types import Decision, Finding, Image, Prediction


def answer(case: str) -> Prediction:
    findings = (Finding("Pleural effusion", 1.0, 0.9, 0.1, Decision.PRESENT),)
    return Prediction(case, "0" * 16, "tiny@sha256:0123456789ab", findings, seconds=0.1)


@pytest.mark.parametrize("case", ["study/IM1.dcm", "IM1", "../../etc/passwd", "/abs/IM1", "a/../../b", "..", "/", "", "./x"])
def test_a_name_can_never_lead_out_of_the_folder(tmp_path: Path, case: str) -> None:
    place = place_in(tmp_path, case)
    assert place.resolve().is_relative_to(tmp_path.resolve())
    assert place != tmp_path


def test_cases_keep_their_folders_and_never_share_a_place(tmp_path: Path) -> None:
    assert place_in(tmp_path, "study/IM1.dcm") == tmp_path / "study" / "IM1.dcm"
    assert place_in(tmp_path, "1.2.840.1") != place_in(tmp_path, "1.2.840.2")
    assert place_in(tmp_path, "IM1.dcm") != place_in(tmp_path, "IM1.png")


def test_a_report_is_written_beside_its_case(tmp_path: Path) -> None:
    image = read(save(film(), tmp_path))
    written = write_report(answer("study/film.dcm"), image, tmp_path / "sr")
    assert written.warnings == ()
    report = pydicom.dcmread(tmp_path / "sr" / "study" / "film.dcm.sr.dcm")
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == pydicom.dcmread(tmp_path / "film.dcm").StudyInstanceUID


def test_a_film_without_a_study_gets_a_warning(tmp_path: Path) -> None:
    written = write_report(answer("a.png"), make_film(1), tmp_path / "sr")
    assert written.warnings[0].startswith("no DICOM report: ")
    assert not list(tmp_path.rglob("*.sr.dcm"))


@pytest.mark.parametrize("wrong", [ValueError, TypeError, AttributeError, KeyError])
def test_a_header_that_cannot_carry_a_report_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: type) -> None:
    def refuse(self: Prediction, image: Image) -> Any:
        raise wrong(f"bad value {PLANTED_NAME}")

    monkeypatch.setattr(Prediction, "to_dicom_sr", refuse)
    written = write_report(answer("a.dcm"), make_film(1), tmp_path / "sr")
    assert PLANTED_NAME not in str(written.warnings)
    assert wrong.__name__ in written.warnings[0]


def test_a_disk_that_refuses_is_a_warning(tmp_path: Path) -> None:
    image = read(save(film(), tmp_path))
    (tmp_path / "sr").write_text("a file where the folder should be")
    written = write_report(answer("film.dcm"), image, tmp_path / "sr")
    assert "check the folder and the disk" in written.warnings[0]
    assert str(tmp_path) not in written.warnings[0]
