from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.films import film, ramp, save
from vesalius.dicom.read import read
from vesalius.types import Image


def _read(tmp_path: Path, dataset: pydicom.Dataset) -> Image:
    return read(save(dataset, tmp_path))


def _lut(first: int, entries: list[int], bits: int, kind: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    if kind == "modality":
        item.ModalityLUTType = "US"
    return item


def test_the_first_of_several_windows_is_used_and_the_choice_is_said(tmp_path: Path) -> None:
    several = _read(tmp_path, film(WindowCenter=[1000, 3000], WindowWidth=[500, 100]))
    one = _read(tmp_path, film(WindowCenter=1000, WindowWidth=500))
    np.testing.assert_array_equal(several.pixels, one.pixels)
    assert "window LINEAR 1000 / 500 applied (the first of 2)" in several.provenance


def test_a_window_is_applied_after_the_rescale(tmp_path: Path) -> None:
    stored = ramp()
    image = _read(
        tmp_path,
        film(stored, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=1000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"),
    )
    expected = np.clip((2.0 * stored - 1000 - 1000) / 2000 + 0.5, 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    assert "rescaled: 2 x stored value + -1000" in image.provenance


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    stored = (ramp().astype(np.int32) - 2048).astype(np.int16)
    image = _read(tmp_path, film(stored, WindowCenter=0, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT"))
    np.testing.assert_allclose(image.pixels, np.clip(stored / 4096 + 0.5, 0, 1), atol=1e-6)


def test_a_modality_lut_comes_before_a_voi_lut(tmp_path: Path) -> None:
    stored = np.tile(np.arange(4, dtype=np.uint16), (4, 1))
    modality = _lut(0, [30, 20, 10, 0], 8, "modality")
    voi = _lut(10, [0, *range(5, 105, 5)], 8, "voi")
    image = _read(
        tmp_path, film(stored, bits=2, ModalityLUTSequence=[modality], VOILUTSequence=[voi], WindowCenter=1, WindowWidth=2)
    )
    # stored 0..3 -> 30, 20, 10, 0 -> the VOI LUT starts at 10: entries 20, 10, 0, and 0 below its start
    np.testing.assert_allclose(image.pixels[0] * 255, [100, 50, 0, 0], atol=1e-4)
    assert image.provenance[1:3] == ("modality LUT applied", "VOI LUT applied")


def test_a_voi_lut_that_exceeds_its_declared_depth_stays_in_0_1(tmp_path: Path) -> None:
    image = _read(
        tmp_path, film(np.array([[0, 1], [2, 3]], np.uint16), bits=2, VOILUTSequence=[_lut(0, [0, 1000, 2000, 4000], 10, "voi")])
    )
    np.testing.assert_allclose(image.pixels.ravel(), [0, 0.25, 0.5, 1], atol=1e-6)


def test_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    stored = ramp()
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    upright = _read(tmp_path, film(stored, **window)).pixels
    for shape in ({}, {"PresentationLUTShape": "INVERSE"}):
        image = _read(tmp_path, film(stored, photometric="MONOCHROME1", **window, **shape))
        np.testing.assert_allclose(image.pixels, 1 - upright, atol=1e-6)
        assert "inverted: MONOCHROME1" in image.provenance
        assert image.warnings == ()


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_a_contradiction_of_polarity_is_inverted_with_a_warning(tmp_path: Path, photometric: str, shape: str) -> None:
    stored = ramp()
    image = _read(tmp_path, film(stored, photometric=photometric, PresentationLUTShape=shape, WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_allclose(
        image.pixels, 1 - _read(tmp_path, film(stored, WindowCenter=2048, WindowWidth=4096)).pixels, atol=1e-6
    )
    assert "contradict" in image.warnings[0]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_move_the_scale(tmp_path: Path, photometric: str) -> None:
    stored = ramp().clip(300, 3900)
    padded = stored.copy()
    padded[:, :30] = np.where(np.arange(30) % 2, 4095, 4090)
    image = _read(tmp_path, film(padded, photometric=photometric, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090))
    bare = _read(tmp_path, film(stored[:, 30:], photometric=photometric))
    assert not image.pixels[:, :30].any()
    np.testing.assert_allclose(image.pixels[:, 30:], bare.pixels, atol=1e-6)


def test_padding_written_as_unsigned_in_a_signed_film_is_understood(tmp_path: Path) -> None:
    stored = ramp().astype(np.int16)
    stored[:5] = -2000
    dataset = film(stored, bits=16)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert not _read(tmp_path, dataset).pixels[:5].any()


def test_without_a_window_8_bits_are_scaled_by_their_full_range(tmp_path: Path) -> None:
    stored = ramp(bits=8).clip(20, 200)
    image = _read(tmp_path, film(stored, bits=8))
    np.testing.assert_allclose(image.pixels, stored / 255, atol=1e-6)
    assert "no window: scaled by the full range of 8 bits" in image.provenance


def test_without_a_window_deeper_films_are_scaled_between_percentiles_that_ignore_a_marker(tmp_path: Path) -> None:
    stored = (1000 + np.arange(200 * 200) % 1000).reshape(200, 200).astype(np.uint16)
    stored[:5, :10], stored[-5:, -10:] = 4095, 0  # 50 of 40,000 pixels each: a burned-in marker and a dead corner
    image = _read(tmp_path, film(stored))
    # 0.5 % of 40,000 are 200 pixels: 50 of the outlier, and 40 of each next value
    low, high = 1003, 1996
    np.testing.assert_allclose(image.pixels, np.clip((stored - float(low)) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 60000, "WindowWidth": 10},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
    ],
)
def test_a_header_that_would_blank_the_film_is_not_obeyed(tmp_path: Path, tags: dict[str, float]) -> None:
    stored = ramp()
    image = _read(tmp_path, film(stored, **tags))
    np.testing.assert_array_equal(image.pixels, _read(tmp_path, film(stored)).pixels)
    assert "not used" in image.warnings[0]


def test_colour_becomes_luma_with_a_warning(tmp_path: Path) -> None:
    colour = np.stack([ramp(bits=8, seed=seed) for seed in range(3)], axis=-1)
    colour[0, 0] = 255, 0, 0
    image = _read(tmp_path, film(colour, bits=8, photometric="RGB"))
    assert image.pixels[0, 0] == np.float32(76 / 255)  # 0.299 x 255 = 76.2
    assert "a colour picture, read as grey" in image.warnings


def test_planes_and_pixels_give_the_same_grey(tmp_path: Path) -> None:
    colour = np.stack([ramp(bits=8, seed=seed) for seed in range(3)], axis=-1)
    by_plane = film(colour, bits=8, photometric="RGB", PlanarConfiguration=1)
    by_plane.PixelData = np.ascontiguousarray(colour.transpose(2, 0, 1)).tobytes()
    np.testing.assert_array_equal(_read(tmp_path, by_plane).pixels, _read(tmp_path, film(colour, bits=8, photometric="RGB")).pixels)


def test_grey_stored_as_colour_keeps_its_values(tmp_path: Path) -> None:
    grey = ramp(bits=8)
    image = _read(tmp_path, film(np.repeat(grey[..., None], 3, axis=-1), bits=8, photometric="RGB"))
    np.testing.assert_allclose(image.pixels, grey / 255, atol=1e-7)


def test_a_palette_is_applied(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    dataset = film(indices, bits=8, photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, 16])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.array([0, 65535, 30000, 100], "<u2").tobytes())
    image = _read(tmp_path, dataset)
    np.testing.assert_allclose(image.pixels.ravel(), np.array([0, 65535, 30000, 100]) / 65535, atol=1e-6)
    assert image.bits_stored == 16
