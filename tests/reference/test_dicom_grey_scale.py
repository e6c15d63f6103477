"""The grey-scale chain against pydicom over whole films, and against values worked out by hand from PS3.3 C.11.2.1.2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

from tests.films import film, ramp, save
from vesalius.dicom.read import read

FIVE = np.array([[0, 1000, 2048, 3000, 4095]], np.uint16)


@pytest.mark.parametrize(
    ("function", "center", "width", "expected"),
    [
        # LINEAR: ((x - (c - 0.5)) / (w - 1) + 0.5), black below c - 0.5 - (w-1)/2, white above c - 0.5 + (w-1)/2
        ("LINEAR", 2048, 4096, [0, 1000 / 4095, 2048 / 4095, 3000 / 4095, 1]),
        ("LINEAR", 2048, 1, [0, 0, 1, 1, 1]),
        ("LINEAR", 2000.5, 1001, [0, 0, 548 / 1000, 1, 1]),
        # LINEAR_EXACT: (x - c) / w + 0.5
        ("LINEAR_EXACT", 2048, 4096, [0, 1000 / 4096, 0.5, 3000 / 4096, 4095 / 4096]),
        ("LINEAR_EXACT", 2048, 400, [0, 0, 0.5, 1, 1]),
        # SIGMOID: 1 / (1 + exp(-4 (x - c) / w))
        ("SIGMOID", 2048, 1000, [1 / (1 + np.exp(-4 * (x - 2048) / 1000)) for x in (0, 1000, 2048, 3000, 4095)]),
    ],
)
def test_windows_by_hand(tmp_path: Path, function: str, center: float, width: float, expected: list[float]) -> None:
    image = read(save(film(FIVE, WindowCenter=center, WindowWidth=width, VOILUTFunction=function), tmp_path))
    np.testing.assert_allclose(image.pixels[0], expected, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_against_pydicom_over_the_film(tmp_path: Path, function: str, signed: bool) -> None:
    stored = ramp().astype(np.int16) - 1500 if signed else ramp()
    dataset = film(
        stored, bits=16, RescaleSlope=1.7, RescaleIntercept=-20, WindowCenter=1400, WindowWidth=2300, VOILUTFunction=function
    )
    expected = apply_windowing(apply_modality_lut(stored, dataset), dataset)
    first = -32768 if signed else 0
    black, white = 1.7 * first - 20, 1.7 * (first + 65535) - 20  # pydicom answers in the range of the rescaled values
    np.testing.assert_allclose(read(save(dataset, tmp_path)).pixels, (expected - black) / (white - black), atol=1e-6)


def test_a_voi_lut_against_pydicom_over_the_film(tmp_path: Path) -> None:
    stored = ramp()
    item = pydicom.Dataset()
    entries = np.rint(1023 * np.linspace(0, 1, 3000) ** 2).astype(int)
    item.add_new("LUTDescriptor", "US", [3000, 500, 10])
    item.add_new("LUTData", "US", entries.tolist())
    dataset = film(stored, RescaleSlope=1, RescaleIntercept=100, VOILUTSequence=[item], WindowCenter=1, WindowWidth=2)
    expected = apply_voi_lut(apply_modality_lut(stored, dataset).astype(int), dataset, prefer_lut=True)
    np.testing.assert_allclose(read(save(dataset, tmp_path)).pixels, expected / 1023, atol=1e-6)
