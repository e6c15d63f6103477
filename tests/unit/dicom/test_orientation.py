from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.films import film, ramp, save
from vesalius.dicom.read import read
from vesalius.types import Image, View


def _read(tmp_path: Path, **tags: object) -> Image:
    return read(save(film(**tags), tmp_path))


@pytest.mark.parametrize(
    ("said", "turn"),
    [
        (["L", "F"], lambda a: a),
        (["R", "F"], lambda a: a[:, ::-1]),
        (["L", "H"], lambda a: a[::-1]),
        (["R", "H"], lambda a: a[::-1, ::-1]),
        (["F", "L"], lambda a: a.T),
        (["H", "R"], lambda a: a.T[::-1, ::-1]),
        (["LF", "FP"], lambda a: a),
        (["A", "F"], lambda a: a),
        (["P", "H"], lambda a: a[::-1]),
    ],
)
def test_each_orientation_is_turned_to_the_standard_display(tmp_path: Path, said: list[str], turn: object) -> None:
    """On display row 0 is the head's end and column 0 the patient's right: a film stored along `said` is turned by `turn`."""
    stored = ramp(bits=8)
    image = _read(tmp_path, stored=stored, bits=8, PatientOrientation=said)
    np.testing.assert_allclose(image.pixels, turn(stored) / np.float32(255), atol=1e-6)
    assert image.pixels.flags.c_contiguous


def test_each_turn_is_recorded(tmp_path: Path) -> None:
    steps = " ".join(_read(tmp_path, PatientOrientation=["H", "R"]).provenance)
    assert "exchanged" in steps
    assert "upside down" in steps
    assert "mirrored" in steps


def test_spacing_follows_rows_and_columns_when_they_change_places(tmp_path: Path) -> None:
    assert _read(tmp_path, PatientOrientation=["F", "L"], ImagerPixelSpacing=[0.1, 0.2]).spacing_mm == (0.2, 0.1)


@pytest.mark.parametrize("said", [["L", "P"], ["X", "Y"], ["L"]])
def test_an_orientation_of_no_upright_film_is_left_alone(tmp_path: Path, said: list[str]) -> None:
    stored = ramp(bits=8)
    image = _read(tmp_path, stored=stored, bits=8, PatientOrientation=said)
    np.testing.assert_allclose(image.pixels, stored / np.float32(255), atol=1e-6)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelSpacing": [0.143, 0.143]}, (0.143, 0.143)),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
        ({"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25}, (0.16, 0.16)),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.16, 0.16]}, (0.16, 0.16)),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.16, 0.16], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.16),
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.16),
        ),
        ({"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 0}, (0.2, 0.2)),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({}, None),
    ],
)
def test_pixel_spacing(tmp_path: Path, tags: dict[str, object], expected: tuple[float, float] | None) -> None:
    assert _read(tmp_path, **tags).spacing_mm == pytest.approx(expected)


@pytest.mark.parametrize("spacing", [[0, 0], [0.1, 0], [-0.1, 0.1], [0.1]])
def test_impossible_spacing_is_refused_with_a_warning(tmp_path: Path, spacing: list[float]) -> None:
    image = _read(tmp_path, PixelSpacing=spacing)
    assert image.spacing_mm is None
    assert "spacing" in image.warnings[0]


@pytest.mark.parametrize(
    ("term", "view"),
    [
        ("PA", View.PA),
        ("AP", View.AP),
        ("LL", View.LATERAL),
        ("RL", View.LATERAL),
        ("LATERAL", View.LATERAL),
        ("LLD", View.LATERAL),
        ("L LAT", View.LATERAL),
        ("RLO", None),
        ("", None),
        ("SOMETHING", None),
    ],
)
def test_view_position_terms(tmp_path: Path, term: str, view: View | None) -> None:
    assert _read(tmp_path, ViewPosition=term).view_position is view


@pytest.mark.parametrize(
    ("scheme", "value", "view"),
    [("SCT", "272479007", View.PA), ("SRT", "R-10206", View.AP), ("SCT", "399173006", View.LATERAL), ("99X", "1", None)],
)
def test_view_codes(tmp_path: Path, scheme: str, value: str, view: View | None) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "view"
    assert _read(tmp_path, ViewPosition="", ViewCodeSequence=[code]).view_position is view


def test_a_patient_orientation_to_the_front_or_back_means_a_lateral(tmp_path: Path) -> None:
    assert _read(tmp_path, ViewPosition="", PatientOrientation=["A", "F"]).view_position is View.LATERAL


def test_view_and_orientation_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    assert "contradict" in _read(tmp_path, ViewPosition="PA", PatientOrientation=["A", "F"]).warnings[0]


@pytest.mark.parametrize(
    ("words", "view"),
    [
        ("Chest Lateral", View.LATERAL),
        ("THORAX LAT", View.LATERAL),
        ("CHEST_PA", View.PA),
        ("CHEST PA AND LATERAL", None),
        ("later", None),
    ],
)
def test_words_are_the_last_resort_and_say_so(tmp_path: Path, words: str, view: View | None) -> None:
    image = _read(tmp_path, ViewPosition="", SeriesDescription=words)
    assert image.view_position is view
    assert bool(image.warnings) is (view is not None)


@pytest.mark.parametrize(
    ("tags", "side"), [({"ImageLaterality": "R"}, "R"), ({"Laterality": "L"}, "L"), ({"ImageLaterality": "U"}, None), ({}, None)]
)
def test_laterality(tmp_path: Path, tags: dict[str, str], side: str | None) -> None:
    assert _read(tmp_path, **tags).laterality == side
