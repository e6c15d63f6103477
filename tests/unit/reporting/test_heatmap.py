from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from tests.films import ramp
from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.reporting.heatmap import PAPER, captioned, overlay, save_overlays
from vesalius.types import Decision, Finding, Image, Prediction, Reason

FILM = Image(pixels=(ramp(200, 100) / 4095).astype(np.float32), image_id="x")


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn from now on."""
    said: list[str] = []
    write = PIL.ImageDraw.ImageDraw.text

    def note(draw: PIL.ImageDraw.ImageDraw, place: tuple[int, int], text: str, **more: Any) -> None:
        said.append(text)
        write(draw, place, text, **more)

    monkeypatch.setattr(PIL.ImageDraw.ImageDraw, "text", note)
    return said


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


LONG = "opacity of the left lower lobe behind the heart that was not there in the film of the week before and may be pneumonia"


@pytest.mark.parametrize("name", ["Nodule", LONG])
@pytest.mark.parametrize(
    "bundle", ["cxr@sha256:0123456789ab", "a-bundle-with-a-very-long-name-that-somebody-gave-it-in-good-faith@sha256:0123456789ab"]
)
def test_no_word_is_cut_off_at_the_edge_of_a_narrow_film(name: str, bundle: str) -> None:
    """The foot ends in "not for medical use": it must be there on every film."""
    finding = Finding(name, 0.01)
    picture = np.asarray(captioned(FILM, finding, np.zeros((8, 8), np.float32), bundle, "contrasts"))
    assert (picture[:, -12:] == PAPER).all()
    assert (picture[:, :12] == PAPER).all()


def test_a_film_far_wider_than_high_has_its_picture(tmp_path: Path) -> None:
    strip = Image(pixels=(ramp(50, 900) / 4095).astype(np.float32), image_id="x")
    prediction = Prediction("a.png", "x", "cxr@sha256:0", (Finding("Nodule", 0.0),), evidence=np.zeros((1, 8, 8), np.float32))
    (path,) = save_overlays(prediction, strip, tmp_path)
    assert PIL.Image.open(path).size[0] > 900


def test_findings_in_any_script_have_a_picture_each(tmp_path: Path) -> None:
    findings = (
        Finding("胸水", 0.0),
        Finding("气胸", 0.0),
        Finding("effusion?", 0.0),
        Finding("effusion!", 0.0),
        Finding(LONG * 3, 0.0),
    )
    prediction = Prediction("a.png", "x", "cxr@sha256:0", findings, evidence=np.zeros((5, 8, 8), np.float32))
    assert len({path for path in save_overlays(prediction, FILM, tmp_path) if path.is_file()}) == 5


@pytest.mark.parametrize("finding", [Finding("Nodule", 0.1), Finding("Nodule", 0.1, 0.7, 0.3, Decision.PRESENT)])
def test_the_foot_says_what_the_evidence_is_and_a_contrast_is_no_logit(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    said = recorded(monkeypatch)
    captioned(FILM, finding, np.zeros((8, 8), np.float32), "cxr@sha256:0", "contrasts")
    words = " ".join(said)
    assert "contrasts with the words" in words
    assert "logit" not in words
    said.clear()
    captioned(FILM, finding, np.zeros((8, 8), np.float32), "cxr@sha256:0")
    assert "patch logits" in " ".join(said)


def test_however_long_the_name_the_decision_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recorded(monkeypatch)
    captioned(FILM, Finding(LONG, 0.1, 0.7, 0.3, Decision.PRESENT), np.zeros((8, 8), np.float32), "cxr@sha256:0")
    assert said[0].startswith("opacity of the left")
    assert said[0].endswith("…: present")
