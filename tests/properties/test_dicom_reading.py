from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.films import dicom_bytes, film, picture_bytes, ramp, save
from vesalius.dicom.read import read
from vesalius.dicom.resample import dequantise, quantise, resize_to_square
from vesalius.errors import UnreadableImage

FAST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _read(dataset: pydicom.Dataset) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        return read(save(dataset, Path(folder))).pixels


@FAST
@given(
    stored=hnp.arrays(np.uint16, (8, 9), elements=st.integers(0, 4095)).filter(lambda values: values.min() < values.max()),
    window=st.none() | st.tuples(st.integers(-100, 4200), st.integers(2, 5000)),
)
def test_monochrome1_is_inverted_monochrome2(stored: np.ndarray, window: tuple[int, int] | None) -> None:
    """Storing 4095 - x and calling it MONOCHROME1 shows the same film."""
    # a LINEAR window is symmetric about center - 0.5, so its mirror image in 0..4095 has its center at 4096 - center
    tags = {} if window is None else {"WindowCenter": window[0], "WindowWidth": window[1]}
    mirrored = {} if window is None else {"WindowCenter": 4096 - window[0], "WindowWidth": window[1]}
    upright = _read(film(stored, **tags))
    inverted = _read(film((4095 - stored).astype(np.uint16), photometric="MONOCHROME1", **mirrored))
    np.testing.assert_allclose(upright, inverted, atol=1e-5)


@FAST
@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 80), seed=st.integers(0, 9))
def test_resizing_to_a_square_twice_is_resizing_once(height: int, width: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    once = resize_to_square(pixels, size)
    np.testing.assert_array_equal(resize_to_square(once, size), once)
    assert once.min() >= 0
    assert once.max() <= 1


@FAST
@given(bits=st.integers(1, 16), seed=st.integers(0, 99))
def test_levels_survive_dequantise_and_quantise(bits: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**bits, (20, 20)).astype(np.uint16)
    np.testing.assert_array_equal(quantise(dequantise(levels, bits), bits), levels)


def _small_files() -> dict[str, bytes]:
    files = {
        "native": dicom_bytes(film(WindowCenter=2000, WindowWidth=4000, PatientOrientation=["R", "H"], PixelSpacing=[0.1, 0.1]))
    }
    for name, syntax in (("RLE", RLELossless), ("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        dataset = film()
        dataset.compress(syntax)
        files[name] = dicom_bytes(dataset)
    files["PNG"] = picture_bytes(ramp(bits=8), "PNG")
    files["JPEG"] = picture_bytes(ramp(bits=8), "JPEG")
    return files


SMALL_FILES = _small_files()


@pytest.mark.parametrize("kind", SMALL_FILES)
@FUZZ
@given(data=st.data())
def test_a_damaged_file_is_an_image_or_a_typed_error_and_never_a_hang(kind: str, data: st.DataObject) -> None:
    content = bytearray(SMALL_FILES[kind])
    if data.draw(st.booleans(), label="truncated"):
        content = content[: data.draw(st.integers(0, len(content)), label="length")]
    else:
        places = st.integers(0, min(len(content), 1600) - 1) | st.integers(0, len(content) - 1)
        for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6), label="bytes"):
            content[place] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        path.write_bytes(content)
        started = time.perf_counter()
        try:
            pixels = read(path).pixels
        except UnreadableImage:
            pass
        else:
            assert np.isfinite(pixels).all()
            assert 0 <= pixels.min() <= pixels.max() <= 1
        assert time.perf_counter() - started < 5
