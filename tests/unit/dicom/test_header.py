from __future__ import annotations

from pathlib import Path

import pytest

from tests.films import film, save
from vesalius.dicom.read import Header, read_with_header


def _header(tmp_path: Path, **tags: object) -> Header:
    header = read_with_header(save(film(**tags), tmp_path))[1]
    assert header is not None
    return header


@pytest.mark.parametrize(
    ("tags", "years"),
    [
        ({"PatientAge": "061Y"}, 61),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "010D"}, 0.03),
        ({"PatientAge": "", "PatientBirthDate": "19640102"}, 60),
        ({"PatientAge": "", "PatientBirthDate": "20300102"}, None),
        ({"PatientAge": "", "PatientBirthDate": ""}, None),
    ],
)
def test_age(tmp_path: Path, tags: dict[str, str], years: float | None) -> None:
    assert _header(tmp_path, **tags).age_years == (None if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(
    ("words", "portable"),
    [("CHEST PORTABLE", True), ("chest_bedside", True), ("CHEST UPRIGHT", False), ("TRANSPORT", None), ("", None)],
)
def test_portable_is_taken_from_words_and_only_from_whole_ones(tmp_path: Path, words: str, portable: bool | None) -> None:
    assert _header(tmp_path, SeriesDescription=words).portable is portable


def test_a_positioner_on_a_column_is_fixed_unless_words_say_otherwise(tmp_path: Path) -> None:
    assert _header(tmp_path, PositionerType="COLUMN").portable is False
    assert _header(tmp_path, PositionerType="COLUMN", SeriesDescription="MOBILE").portable is True
    assert _header(tmp_path, PositionerType="NONE").portable is None


@pytest.mark.parametrize(("said", "sex"), [("F", "F"), ("M", "M"), ("O", "O"), ("", None), ("X", None)])
def test_sex(tmp_path: Path, said: str, sex: str | None) -> None:
    assert _header(tmp_path, PatientSex=said).sex == sex
