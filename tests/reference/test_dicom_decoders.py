"""Each encoding against the uncompressed pixels, and pydicom's own small files against the values its tests state.

Source of the stated values: pydicom 3.0, tests/pixels/pixels_reference.py (commit 054b4242), where several decoders agree on them.
pydicom.data.get_testdata_file is not used: it downloads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.films import dicom_bytes, film, picture_bytes, ramp, save
from vesalius.dicom.dataset import open_dataset, quiet
from vesalius.dicom.notes import Notes
from vesalius.dicom.pixels import check_layout, decode
from vesalius.dicom.read import read

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
GDCM_SYNTAXES = {JPEGLossless: "JPEGLosslessProcess14", JPEGLosslessSV1: "JPEGLosslessProcess14_1"}


def _compressed_by_gdcm(dataset: pydicom.Dataset, syntax: UID, tmp_path: Path) -> Path:
    gdcm = pytest.importorskip("gdcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(save(dataset, tmp_path, "uncompressed.dcm")))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, GDCM_SYNTAXES[syntax])))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "compressed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return tmp_path / "compressed.dcm"


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1], ids=lambda uid: uid.name
)
def test_lossless_encodings_give_the_uncompressed_pixels(tmp_path: Path, syntax: UID, bits: int) -> None:
    dataset = film(ramp(bits=bits), bits=bits)
    expected = read(save(dataset, tmp_path))
    if syntax in GDCM_SYNTAXES:
        path = _compressed_by_gdcm(dataset, syntax, tmp_path)
    else:
        dataset.compress(syntax)
        path = save(dataset, tmp_path, "compressed.dcm")
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    image = read(path)
    assert image.image_id == expected.image_id
    np.testing.assert_array_equal(image.pixels, expected.pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1], ids=lambda uid: uid.name)
def test_signed_pixels_survive_lossless_encodings(tmp_path: Path, syntax: UID) -> None:
    dataset = film(ramp().astype(np.int16) - 2000, bits=16)
    expected = read(save(dataset, tmp_path))
    if syntax in GDCM_SYNTAXES:
        path = _compressed_by_gdcm(dataset, syntax, tmp_path)
    else:
        dataset.compress(syntax)
        path = save(dataset, tmp_path, "compressed.dcm")
    assert read(path).image_id == expected.image_id


def test_lossy_encodings_come_close(tmp_path: Path) -> None:
    stored = ramp(bits=8)
    expected = read(save(film(stored, bits=8), tmp_path)).pixels
    baseline = film(stored, bits=8)
    baseline.PixelData = encapsulate([picture_bytes(stored, "JPEG", quality=98)])
    baseline["PixelData"].is_undefined_length = True
    baseline.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    lossy_2000 = film(stored, bits=8)
    lossy_2000.compress(JPEG2000, j2k_psnr=[50])
    near = film(stored, bits=8)
    near.compress(JPEGLSNearLossless, jls_error=2)
    for number, dataset in enumerate((baseline, lossy_2000, near)):
        decoded = read(save(dataset, tmp_path, f"{number}.dcm")).pixels
        assert 0 < np.abs(decoded - expected).mean() < 0.01


def test_several_fragments_of_one_frame_are_joined(tmp_path: Path) -> None:
    dataset = film()
    expected = read(save(dataset, tmp_path)).image_id
    dataset.compress(JPEG2000Lossless)
    frame = b"".join(list(pydicom.encaps.generate_fragments(dataset.PixelData))[1:])
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    path = tmp_path / "fragments.dcm"
    path.write_bytes(dicom_bytes(dataset))
    assert read(path).image_id == expected


def _stored(name: str) -> np.ndarray:
    """Stored pixels of one of pydicom's files; most are CT, MR or photographs, so the modality is set aside."""
    with quiet():
        dataset = open_dataset(FILES / name, 10**8)
        dataset.Modality = "DX"
        return decode(dataset, check_layout(dataset, 10**8, Notes()))


MR = (((0, slice(31, 34)), [422, 319, 361]), ((31, slice(0, 3)), [366, 363, 322]), ((-1, slice(-3, None)), [1369, 1129, 862]))
BARS = (((5, 50), [255, 0, 0]), ((15, 50), [255, 128, 128]), ((45, 50), [0, 0, 255]), ((75, 50), [64, 64, 64]))
WHOLE_BODY = (((420, 140), 244), ((230, 120), 95))
STATED = {
    "MR_small.dcm": MR,
    "MR_small_implicit.dcm": MR,
    "MR_small_bigendian.dcm": MR,
    "MR_small_RLE.dcm": MR,
    "MR_small_jp2klossless.dcm": MR,
    "MR_small_jpeg_ls_lossless.dcm": MR,
    "image_dfl.dcm": (((300, slice(255, 263)), [138, 65, 65, 65, 65, 35, 35, 35]),),
    "JPGExtended.dcm": WHOLE_BODY,
    "JPEG-lossy.dcm": WHOLE_BODY,
    "J2K_pixelrep_mismatch.dcm": (
        ((0, 0), -2000),
        ((slice(47, 57), 279), [621, 412, 138, -193, -520, -767, -907, -966, -988, -995]),
    ),
    "GDCMJ2K_TextGBR.dcm": (((45, 140), [223, 32, 32]), ((46, 140), [255, 0, 0]), ((350, 195), [128, 128, 128])),
    "SC_rgb_rle.dcm": BARS,
    "SC_rgb_dcmtk_+eb+cr.dcm": BARS,
    "SC_rgb_small_odd.dcm": (((0, 0), [166, 141, 52]), ((1, 1), [63, 87, 176]), ((2, 2), [158, 158, 158])),
}


@pytest.mark.parametrize("name", STATED)
def test_pydicoms_files_have_the_values_its_tests_state(name: str) -> None:
    stored = _stored(name)
    for place, values in STATED[name]:
        assert stored[place].tolist() == values


def test_every_file_of_pydicom_becomes_an_image_or_a_typed_error() -> None:
    from vesalius.errors import UnreadableImage

    outcomes = {"image": 0, "refused": 0}
    for path in sorted(FILES.glob("*.dcm")):
        try:
            read(path)
            outcomes["image"] += 1
        except UnreadableImage:
            outcomes["refused"] += 1
    assert outcomes["image"] > 10
    assert outcomes["refused"] > 10


def test_high_throughput_jpeg_2000_has_a_decoder() -> None:
    from pydicom.pixels import get_decoder

    assert "pylibjpeg" in get_decoder(HTJ2KLossless).available_plugins
