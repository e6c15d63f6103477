from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.films import picture_bytes, ramp
from vesalius.dicom.read import read
from vesalius.types import Image


def _read(tmp_path: Path, content: bytes) -> Image:
    path = tmp_path / "film"
    path.write_bytes(content)
    return read(path)


def test_8_bit_grey_is_scaled_by_255(tmp_path: Path) -> None:
    stored = ramp(bits=8)
    image = _read(tmp_path, picture_bytes(stored, "PNG"))
    np.testing.assert_allclose(image.pixels, stored / 255, atol=1e-7)
    assert (image.bits_stored, image.spacing_mm, image.view_position) == (8, None, None)


def test_16_bit_grey_keeps_its_depth(tmp_path: Path) -> None:
    stored = ramp(bits=16)
    image = _read(tmp_path, picture_bytes(stored, "PNG"))
    np.testing.assert_allclose(image.pixels, stored / 65535, atol=1e-7)
    assert image.bits_stored == 16


def test_jpeg_is_close_to_what_was_saved(tmp_path: Path) -> None:
    stored = ramp(bits=8)
    image = _read(tmp_path, picture_bytes(stored, "JPEG", quality=98))
    assert np.abs(image.pixels - stored / 255).mean() < 0.01


def test_grey_saved_as_colour_is_still_grey(tmp_path: Path) -> None:
    stored = ramp(bits=8)
    image = _read(tmp_path, picture_bytes(np.repeat(stored[..., None], 3, axis=-1), "PNG"))
    np.testing.assert_allclose(image.pixels, stored / 255, atol=1e-7)
    assert image.warnings == ()


def test_colour_becomes_luma_with_a_warning(tmp_path: Path) -> None:
    colour = np.zeros((70, 70, 3), np.uint8)
    colour[:35, :, 1] = 200
    image = _read(tmp_path, picture_bytes(colour, "PNG"))
    assert image.pixels[0, 0] == np.float32(117 / 255)  # 0.587 x 200 = 117.4
    assert "a colour picture, read as grey" in image.warnings


def test_a_palette_is_applied(tmp_path: Path) -> None:
    stored = ramp(bits=8) // 32 * 32
    picture = PIL.Image.fromarray(stored).convert("P")
    path = tmp_path / "film.png"
    picture.save(path)
    np.testing.assert_allclose(read(path).pixels, stored / 255, atol=1e-7)


@pytest.mark.parametrize("opacity", [255, 0])
def test_what_is_transparent_is_black(tmp_path: Path, opacity: int) -> None:
    stored = ramp(bits=8)
    alpha = np.full_like(stored, 255)
    alpha[:10] = opacity
    image = _read(tmp_path, picture_bytes(np.dstack([stored, stored, stored, alpha]), "PNG"))
    np.testing.assert_allclose(image.pixels, np.where(alpha == 255, stored, 0) / 255, atol=1e-7)
    assert bool(image.warnings) is (opacity == 0)


def test_the_exif_orientation_is_followed(tmp_path: Path) -> None:
    stored = ramp(bits=8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: to be shown turned clockwise
    image = _read(tmp_path, picture_bytes(stored, "PNG", exif=exif))
    np.testing.assert_allclose(image.pixels, np.rot90(stored, -1) / 255, atol=1e-7)
    assert "turned as its EXIF orientation says" in image.provenance


def test_16_bit_colour_is_read_at_8_bits_and_says_so(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    stored = ramp(bits=16)
    rows = np.repeat(stored[..., None], 3, axis=-1).astype(">u2").reshape(72, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">2I5B", 80, 72, 16, 2, 0, 0, 0)
    image = _read(tmp_path, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    np.testing.assert_allclose(image.pixels, stored / 65535, atol=1 / 255)
    assert "16-bit colour was read at 8 bits" in image.warnings
