from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.films import ramp
from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.reporting.heatmap import overlay, save_overlays
from vesalius.types import Decision, Finding, Image, Prediction, Reason

FILM = Image(pixels=(ramp(200, 100) / 4095).astype(np.float32), image_id="x")


def _tint(picture: np.ndarray) -> np.ndarray:
    """How far each pixel is from grey."""
    return np.ptp(picture.astype(int), axis=-1)


def test_without_evidence_the_film_is_shown_as_it_is() -> None:
    picture = overlay(FILM, np.full((8, 8), -3.0), side_px=200)
    assert picture.shape == (200, 100, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 0], np.rint(255 * FILM.pixels))
    assert not _tint(picture).any()


def test_colour_lies_where_the_evidence_is_once_the_padding_is_cut_off() -> None:
    """The film fills columns 50 to 150 of the square of 200; patch (6, 3) of 8 covers rows 150-175 and columns 75-100 of it."""
    evidence = np.full((8, 8), -8.0)
    evidence[6, 3] = 8.0
    tint = _tint(overlay(FILM, evidence, side_px=200))
    rows, columns = np.nonzero(tint > 40)
    assert 145 <= rows.min() <= rows.max() <= 180
    assert 20 <= columns.min() <= columns.max() <= 55
    assert tint[162, 37] > 60


def test_evidence_on_the_padding_is_not_shown() -> None:
    evidence = np.full((8, 8), -8.0)
    evidence[:, 0] = 8.0
    assert not _tint(overlay(FILM, evidence, side_px=200)).any()


def test_more_evidence_is_brighter_so_that_no_hue_need_be_told_apart() -> None:
    dark = Image(pixels=np.zeros((64, 64), np.float32), image_id="x")
    weak, strong = (overlay(dark, np.full((4, 4), logit), side_px=64).mean() for logit in (1.5, 4.0))
    assert strong > weak + 20


def test_the_film_stays_visible_under_the_layer() -> None:
    checkered = Image(pixels=(np.indices((64, 64)).sum(0) // 8 % 2).astype(np.float32), image_id="x")
    picture = overlay(checkered, np.full((4, 4), 9.0), side_px=64).mean(-1)
    assert picture[checkered.pixels > 0].mean() - picture[checkered.pixels == 0].mean() > 100


def test_evidence_that_is_not_over_a_square_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="square"):
        overlay(FILM, np.zeros((4, 5)))


def test_one_captioned_picture_a_finding(tmp_path: Path) -> None:
    findings = (
        Finding("Pleural Effusion", 1.0, 0.7, 0.3, Decision.PRESENT),
        Finding("Nodule", 0.0, 0.5, 0.5, Decision.ABSTAIN, Reason.UNCERTAIN),
    )
    prediction = Prediction("study/IM1.dcm", "x", "cxr@sha256:0", findings, evidence=np.zeros((2, 8, 8), np.float32))
    paths = save_overlays(prediction, FILM, tmp_path / "maps")
    assert [path.name for path in paths] == ["IM1.dcm.Pleural_Effusion.png", "IM1.dcm.Nodule.png"]
    first, second = (np.asarray(PIL.Image.open(path)) for path in paths)
    assert first.shape == second.shape
    assert (first[:90] != second[:90]).any(), "the captions differ"
    np.testing.assert_array_equal(first[100:900, 30:400], second[100:900, 30:400])


def test_a_prediction_without_evidence_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="evidence=True"):
        save_overlays(Prediction("a", "b", "c"), FILM, tmp_path)
