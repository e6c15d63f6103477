from __future__ import annotations

import hashlib
import io
import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from tests.films import PLANTED_NAME, dicom_bytes, film, picture_bytes, ramp, save
from vesalius.dicom.read import read, read_with_header
from vesalius.errors import UnreadableImage
from vesalius.types import View


def test_a_plain_film_becomes_grey_in_0_1_with_its_provenance(tmp_path: Path) -> None:
    stored = ramp()
    image = read(save(film(stored, WindowCenter=2048, WindowWidth=4096), tmp_path))
    assert image.pixels.dtype == np.float32
    assert image.pixels.shape == stored.shape
    assert (image.pixels.min(), image.pixels.max()) == (0.0, 1.0)
    assert image.bits_stored == 12
    assert image.view_position is View.PA
    assert image.provenance == (
        "decoded Explicit VR Little Endian, 72 x 80, 12 bits, MONOCHROME2",
        "window LINEAR 2048 / 4096 applied",
        "orientation as stored: the file names none",
    )
    assert image.warnings == ()


def test_the_id_is_the_hash_of_the_stored_values_whatever_the_header_and_the_encoding(tmp_path: Path) -> None:
    stored = ramp()
    expected = hashlib.sha256(b"72x80:uint16;" + stored.astype("<u2").tobytes()).hexdigest()[:16]
    plain, windowed, packed = film(stored), film(stored, photometric="MONOCHROME1", WindowCenter=9, WindowWidth=20), film(stored)
    packed.compress(RLELossless)
    for number, dataset in enumerate((plain, windowed, packed)):
        assert read(save(dataset, tmp_path, f"{number}.dcm")).image_id == expected
    png = tmp_path / "same.png"
    png.write_bytes(picture_bytes(stored, "PNG"))
    assert read(png).image_id == expected


def test_content_and_not_the_name_decides(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(picture_bytes(ramp(bits=8), "PNG"))
    assert read(path).provenance[0] == "decoded PNG, 72 x 80, mode L"
    assert read(save(film(), tmp_path, "film.png")).bits_stored == 12


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_transfer_syntaxes_give_the_same_film(tmp_path: Path, syntax: str) -> None:
    stored = ramp()
    expected = read(save(film(stored), tmp_path)).pixels
    dataset = film(stored)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "other.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    np.testing.assert_array_equal(read(path).pixels, expected)


def test_a_bare_data_set_without_preamble_is_read(tmp_path: Path) -> None:
    stored = ramp()
    dataset = film(stored)
    expected = read(save(dataset, tmp_path)).pixels
    bare = tmp_path / "bare"
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in dataset})
    plain.save_as(bare, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(read(bare).pixels, expected)


def test_the_header_has_what_ingest_needs_and_hides_identities(tmp_path: Path) -> None:
    dataset = film(ManufacturerModelName="Model", SeriesDescription="CHEST PORTABLE")
    image, header = read_with_header(save(dataset, tmp_path))
    assert header is not None
    assert (header.patient_id, header.study_instance_uid) == (PLANTED_NAME, dataset.StudyInstanceUID)
    assert (header.series_instance_uid, header.sop_instance_uid) == (dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    assert (header.sex, header.age_years, header.modality, header.portable) == ("F", 61.0, "DX", True)
    assert (header.manufacturer, header.device, header.rows, header.columns, header.bits_stored) == ("Maker", "Model", 72, 80, 12)
    assert PLANTED_NAME not in repr(header)
    assert PLANTED_NAME not in repr(image)


def test_a_picture_has_no_header(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(picture_bytes(ramp(bits=8), "PNG"))
    assert read_with_header(path)[1] is None


# What a bad file is called. Each entry makes the bytes of one bad file.


def _truncated_native() -> bytes:
    return dicom_bytes(film())[:-100]


def _truncated_compressed() -> bytes:
    dataset = film()
    dataset.compress(JPEG2000Lossless)
    return dicom_bytes(dataset)[:-100]


def _codestream_cut_but_file_whole() -> bytes:
    dataset = film()
    dataset.compress(JPEG2000Lossless)
    (_, frame) = list(pydicom.encaps.generate_fragments(dataset.PixelData))
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    return dicom_bytes(dataset)


def _truncated_header() -> bytes:
    return dicom_bytes(film())[:400]


def _no_pixels() -> bytes:
    dataset = film(PixelData=None, Rows=None, Columns=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR")
    return dicom_bytes(dataset)


def _directory() -> bytes:
    dataset = film(PixelData=None, SOPClassUID="1.2.840.10008.1.3.10")
    dataset.DirectoryRecordSequence = []
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dicom_bytes(dataset)


def _too_short() -> bytes:
    return dicom_bytes(film(Rows=100))


def _too_long() -> bytes:
    return dicom_bytes(film(Columns=40))


def _compressed_to_another_size() -> bytes:
    dataset = film(bits=8)
    dataset.PixelData = encapsulate([picture_bytes(ramp(300, 300, 8), "JPEG")])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return dicom_bytes(dataset)


def _corrupt_jpeg() -> bytes:
    dataset = film(bits=8)
    frame = bytearray(picture_bytes(ramp(bits=8), "JPEG"))
    huffman_table = frame.index(b"\xff\xc4")
    frame[huffman_table + 5 : huffman_table + 21] = b"\xff" * 16  # more codes than a table can hold
    dataset.PixelData = encapsulate([bytes(frame)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return dicom_bytes(dataset)


def _gdcm_would_end_the_process() -> bytes:
    """On garbage behind a valid frame header gdcm throws out of a destructor."""
    dataset = film(bits=8)
    frame = (
        b"\xff\xd8\xff\xc3\x00\x0b\x08"
        + struct.pack(">2H", 72, 80)
        + b"\x01\x01\x11\x00"
        + b"\xff\xda\x00\x08"
        + b"\x07" * 64
        + b"\xff\xd9"
    )
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    return dicom_bytes(dataset)


def _bomb_of_a_few_bytes() -> bytes:
    dataset = film()
    dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 65535
    return dicom_bytes(dataset)


def _deflated_bomb() -> bytes:
    dataset = film(ImageComments="x")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = dicom_bytes(dataset)
    (meta_length,) = struct.unpack("<I", head[140:144])
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(70))
    return head[: 144 + meta_length] + zeros + squeezer.flush()


def _png_bomb() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">2I5B", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _several_frames() -> bytes:
    return dicom_bytes(film(np.stack([ramp(), ramp()]).reshape(144, 80), Rows=72, NumberOfFrames=2))


def _animated_png() -> bytes:
    frames = [PIL.Image.fromarray(ramp(bits=8, seed=seed)) for seed in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _blank() -> bytes:
    return dicom_bytes(film(np.full((72, 80), 7, np.uint16)))


def _blank_but_for_padding() -> bytes:
    stored = np.full((72, 80), 7, np.uint16)
    stored[:10] = 0
    return dicom_bytes(film(stored, PixelPaddingValue=0))


BAD_FILES = {
    "empty": (lambda: b"", "truncated"),
    "text": (lambda: b"not a film at all " * 40, "not_an_image"),
    "group 8, then noise": (lambda: b"\x08\x00" + bytes(range(256)) * 2, "not_an_image"),
    "truncated pixels": (_truncated_native, "truncated"),
    "truncated fragments": (_truncated_compressed, "truncated"),
    "codestream cut, file whole": (_codestream_cut_but_file_whole, "truncated"),
    "truncated header": (_truncated_header, "truncated"),
    "truncated PNG": (lambda: picture_bytes(ramp(bits=8), "PNG")[:-200], "truncated"),
    "truncated JPEG": (lambda: picture_bytes(ramp(bits=8), "JPEG")[:-200], "truncated"),
    "no pixels": (_no_pixels, "no_pixel_data"),
    "DICOMDIR": (_directory, "no_pixel_data"),
    "too few bytes": (_too_short, "wrong_pixel_length"),
    "a width too small": (_too_long, "wrong_pixel_length"),
    "compressed to another size": (_compressed_to_another_size, "wrong_pixel_length"),
    "corrupt JPEG": (_corrupt_jpeg, "corrupt_stream"),
    "corrupt lossless JPEG": (_gdcm_would_end_the_process, "corrupt_stream"),
    "bomb": (_bomb_of_a_few_bytes, "too_large"),
    "PNG bomb": (_png_bomb, "too_large"),
    "several frames": (_several_frames, "multi_frame"),
    "animation": (_animated_png, "multi_frame"),
    "blank": (_blank, "zero_spread"),
    "blank but for padding": (_blank_but_for_padding, "zero_spread"),
    "blank PNG": (lambda: picture_bytes(np.full((72, 80), 7, np.uint8), "PNG"), "zero_spread"),
    "CT": (lambda: dicom_bytes(film(Modality="CT")), "unsupported_modality"),
    "unknown transfer syntax": (
        lambda: dicom_bytes(film()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"),
        "unsupported_encoding",
    ),
    "32 bits": (lambda: dicom_bytes(film(BitsAllocated=32, BitsStored=32, HighBit=31)), "unsupported_encoding"),
    "high bit": (lambda: dicom_bytes(film(HighBit=15)), "unsupported_encoding"),
    "unknown photometric interpretation": (lambda: dicom_bytes(film(photometric="HSV")), "unsupported_encoding"),
    "no rows": (lambda: dicom_bytes(film(Rows=None)), "wrong_pixel_length"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_a_typed_error_with_a_next_step_and_no_patient(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, code = BAD_FILES[what]
    path = tmp_path / "bad"
    path.write_bytes(make())
    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(UnreadableImage) as caught:
            read(path)
    assert caught.value.code == code
    assert ": " in str(caught.value), "a message says what to do after its colon"
    assert PLANTED_NAME not in f"{caught.value} {caplog.text} {[str(warning.message) for warning in heard]}"


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(_deflated_bomb())
    assert path.stat().st_size < 200_000
    with pytest.raises(UnreadableImage) as caught:
        read(path, max_pixels=100_000)
    assert caught.value.code == "too_large"


def test_a_missing_file_and_a_folder_are_named_as_such(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nothing.dcm", "file_missing"), (tmp_path, "not_an_image")):
        with pytest.raises(UnreadableImage) as caught:
            read(path)
        assert caught.value.code == code


def test_the_limit_on_pixels_is_the_callers(tmp_path: Path) -> None:
    path = save(film(), tmp_path)
    assert read(path, max_pixels=72 * 80).pixels.shape == (72, 80)
    with pytest.raises(UnreadableImage) as caught:
        read(path, max_pixels=72 * 80 - 1)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("modality", ["OT", "RF", None])
def test_a_doubtful_modality_is_read_with_a_warning(tmp_path: Path, modality: str | None) -> None:
    assert "modality" in read(save(film(Modality=modality), tmp_path)).warnings[0]


def test_names_in_places_of_numbers_are_neither_believed_nor_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A writer may put anything anywhere; pydicom would quote it in a warning."""
    tags = {"WindowCenter": "1", "WindowWidth": "2", "PixelSpacing": ["1", "1"], "PatientAge": "061Y", "SeriesDescription": "x"}
    content = dicom_bytes(film(**tags, ImageComments=PLANTED_NAME))
    for keyword in ("WindowCenter", "WindowWidth"):
        tag = struct.pack("<2H", *divmod(pydicom.datadict.tag_for_keyword(keyword), 65536))
        at = content.index(tag)
        name = PLANTED_NAME.encode()
        content = content[: at + 6] + struct.pack("<H", len(name)) + name + content[at + 10 :]
    path = tmp_path / "film.dcm"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        image = read(path)
    assert "no window" in " ".join(image.provenance)
    assert not heard
    assert PLANTED_NAME not in caplog.text + repr(image)
