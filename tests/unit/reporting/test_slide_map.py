"""The map over a slide: colours are scores, where there is no patch there is none, the pyramid opens in OpenSlide at its scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import slides
from tests.slides import tissue_picture
from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.reporting.slide_map import (
    OPACITY,
    VIRIDIS,
    PatchScores,
    colours_of,
    draw_map,
    layer_of,
    paint,
    scale_bar_um,
    ticks,
    write_pyramid,
)
from vesalius.slides.read import open_slide

PLACES = np.array([[0, 0], [128, 0], [512, 352]])
MAP = PatchScores("tumour", PLACES, 128.0, np.array([0.0, 0.5, 1.0]), limits=(0.0, 1.0))


def test_a_layer_holds_scores_where_patches_lie() -> None:
    layer = layer_of(MAP, 0, 0, (48, 64), 10.0)
    assert (layer[:13, :13] == 0).all()
    assert (layer[:13, 13:26] == 0.5).all()
    assert (layer[35:48, 51:64] == 1).all()
    assert np.isnan(layer[20:35]).all()
    part = layer_of(MAP, 100, 0, (4, 6), 10.0)
    np.testing.assert_array_equal(part[0], [0, 0, 0, 0.5, 0.5, 0.5])


def test_overlapping_patches_are_averaged() -> None:
    map_ = PatchScores("x", np.array([[0, 0], [10, 0]]), 20.0, np.array([1.0, 3.0]))
    np.testing.assert_array_equal(layer_of(map_, 0, 0, (1, 4), 10.0)[0], [1, 2, 3, np.nan])


def test_paint_by_hand() -> None:
    grey = np.array([[100.0, 100.0, 100.0]], np.float32)
    picture = paint(grey, np.array([[np.nan, 0.0, 2.0]], np.float32), MAP)
    np.testing.assert_array_equal(picture[0, 0], [100, 100, 100])
    np.testing.assert_array_equal(picture[0, 1], np.rint((1 - OPACITY) * 100 + OPACITY * VIRIDIS[0]))
    np.testing.assert_array_equal(picture[0, 2], np.rint((1 - OPACITY) * 100 + OPACITY * VIRIDIS[-1]))


def test_colours_are_those_of_matplotlib() -> None:
    import matplotlib

    stops = np.linspace(0, 1, 50, dtype=np.float32)
    theirs = matplotlib.colormaps["viridis"](stops)[:, :3] * 255
    assert np.abs(colours_of(stops) - theirs).max() < 6


def test_the_range_is_the_slides_own_unless_given() -> None:
    scores = np.linspace(-1, 1, 101)
    own = PatchScores("x", np.zeros((101, 2), np.int64), 1.0, scores)
    assert own.range == pytest.approx((-0.96, 0.96))
    flat = PatchScores("x", np.zeros((2, 2), np.int64), 1.0, np.ones(2))
    assert flat.range == (0.5, 1.5)


def test_scale_bars_are_round() -> None:
    assert [scale_bar_um(1000, mpp) for mpp in (0.5, 1.0, 4.0, 9.0)] == [100, 200, 1000, 2000]
    for mpp in np.geomspace(0.1, 50, 40):
        assert 1000 * mpp / 10 <= scale_bar_um(1000, mpp) <= 1000 * mpp / 4


def test_the_picture_shows_slide_scores_and_scale(tmp_path: Path) -> None:
    with open_slide(slides.write_pyramid(tmp_path / "a.tif", tissue_picture())) as slide:
        picture = np.asarray(draw_map(slide, MAP, heading="top-1 +1.000", foot="tiny", longest_px=640))
    body = picture[92 : 92 + 480, 20 : 20 + 640].astype(int)
    tissue = tissue_picture().astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(body[200:300, 300:400], np.repeat(tissue[200:300, 300:400, None], 3, axis=-1), atol=1)
    last = (1 - OPACITY) * tissue[400, 600] + OPACITY * VIRIDIS[-1]
    np.testing.assert_allclose(body[400, 600], last, atol=1)
    foot = picture[92 + 480 + 8 : 92 + 480 + 26, 20:660].max(axis=-1)
    bar = np.flatnonzero((foot > 200).any(axis=0))
    assert bar[0] in range(3), "the scale bar begins at the picture's left edge"
    assert (foot[10] > 200)[:100].all(), "50 micrometres are 100 pixels at 0.5"


def test_the_pyramid_opens_as_a_slide(tmp_path: Path) -> None:
    with open_slide(slides.write_pyramid(tmp_path / "a.tif", tissue_picture(1600, 1200), mpp=0.5)) as slide:
        places = np.array([[0, 0], [800, 600]])
        map_ = PatchScores("x", places, 400.0, np.array([0.0, 1.0]), (0.0, 1.0))
        write_pyramid(tmp_path / "map.tif", slide, map_, mpp=1.0)
        grey = slide.read(0, 0, 800, 600, 1.0).astype(float) @ (0.299, 0.587, 0.114)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "map.tif"]
    with open_slide(tmp_path / "map.tif") as found:
        assert [(level.width, level.height) for level in found.levels] == [(800, 600), (400, 300)]
        assert found.mpp == pytest.approx(1.0, rel=1e-3)
        whole = found.read_level(0, 0, 0, 800, 600).astype(float)
        small = found.read_level(1, 0, 0, 400, 300).astype(float)
    first, last = ((1 - OPACITY) * grey[..., None] + OPACITY * VIRIDIS[at] for at in (0, -1))
    assert np.abs(whole[20:180, 20:180] - first[20:180, 20:180]).mean() < 4
    assert np.abs(whole[320:480, 420:580] - last[320:480, 420:580]).mean() < 4
    assert np.abs(whole[520:, 620:] - grey[520:, 620:, None]).mean() < 4
    assert np.abs(small[10:90, 10:90] - whole[20:180, 20:180].reshape(80, 2, 80, 2, 3).mean(axis=(1, 3))).mean() < 4


def test_what_cannot_be_shown() -> None:
    with pytest.raises(EmptyInput):
        PatchScores("x", PLACES[:0], 1.0, np.empty(0))
    with pytest.raises(ShapeMismatch):
        PatchScores("x", PLACES, 1.0, np.ones(2))
    with pytest.raises(ValueOutOfRange):
        PatchScores("x", PLACES, 1.0, np.array([0, 1, np.nan]))


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ((0.0, 1.0), ["+0.000", "+0.500", "+1.000"]),
        ((-0.12, 0.34), ["-0.120", "+0.110", "+0.340"]),
        ((0.3012, 0.3018), ["+0.30120", "+0.30150", "+0.30180"]),
    ],
)
def test_the_scores_beside_the_colours_are_told_apart(span: tuple[float, float], said: list[str]) -> None:
    assert ticks(span) == said


def test_a_long_foot_is_not_cut(tmp_path: Path) -> None:
    path = slides.write_pyramid(tmp_path / "a.tif", tissue_picture(box=(64, 64, 620, 440)))
    with open_slide(path) as slide:
        short, long = (draw_map(slide, MAP, heading="h", foot=foot, longest_px=100) for foot in ("b", "b" * 120))
    assert long.width > short.width
    ink = np.asarray(long).max(axis=2)[-40:] > 100
    assert ink.any(), "the foot is there"
    assert not ink[:, -10:].any(), "and ends before the edge"
