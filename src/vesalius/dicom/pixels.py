"""From a DICOM data set to its stored pixel values, with every guard before the decoder.

What a header or a compressed stream claims is checked before anything is allocated for it: a few bytes can claim 65535 x 65535.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass

import numpy as np
import pydicom
from jaxtyping import Integer
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    UID_dictionary,
)

from vesalius.dicom.dataset import PARSE_ERRORS, integer, text, words
from vesalius.dicom.gdcm_apart import decode_apart
from vesalius.dicom.notes import Notes
from vesalius.errors import (
    CorruptStream,
    MultiFrame,
    NoPixelData,
    NotAnImage,
    TooLarge,
    TruncatedFile,
    UnsupportedEncoding,
    UnsupportedModality,
    WrongPixelLength,
)

PLAIN_FILM = frozenset({"CR", "DX", "RG"})
OTHER_PROJECTION = frozenset({"SC", "OT", "XC", "RF", "XA", "MG", "PX", "IO"})
PHOTOMETRIC = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"},
)
DECODE_ERRORS = (*PARSE_ERRORS, RuntimeError, MemoryError, OSError)
"""What pydicom, gdcm, openjpeg, CharLS and Pillow raise on a stream they cannot decode."""

DECODERS = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    RLELossless: "pydicom",
}
"""One decoder for each encoding, the one that survives damaged streams; pydicom would try them all, gdcm first."""

ONLY_GDCM = frozenset({JPEGLossless, JPEGLosslessSV1})
END_OF_STREAM = b"\xff\xd9"
UNDEFINED_LENGTH = 0xFFFFFFFF

_HEADROOM_BYTES = 4 << 20
"""What a compressed frame may carry beyond its pixels: colour profiles and comments."""


@dataclass(frozen=True)
class PixelLayout:
    """How the pixel values are stored: checked, and within what this package reads."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    transfer_syntax: UID

    @property
    def name(self) -> str:
        """The transfer syntax in the standard's words."""
        return str(self.transfer_syntax.name)

    @property
    def bytes_uncompressed(self) -> int:
        """What the pixels take without compression."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def check_layout(dataset: pydicom.Dataset, max_pixels: int, notes: Notes) -> PixelLayout:
    """Returns how the pixels are stored, after every check that needs no decoding.

    Raises:
        NotAnImage, NoPixelData, TruncatedFile, UnsupportedModality, MultiFrame, TooLarge, WrongPixelLength, UnsupportedEncoding:
            Each says what to do.
    """
    _check_pixels_are_there(dataset)
    _check_modality(dataset, notes)
    frames = integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise MultiFrame(f"the object holds {frames} frames where one film is expected: export the film as a single image")
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        raise WrongPixelLength("the header gives no rows or no columns: export the film from its source again")
    if rows * columns > max_pixels:
        raise TooLarge(
            f"the header claims {rows} x {columns} pixels, more than the {max_pixels:,} that are read: no radiograph is so large"
        )
    layout = _layout(dataset, rows, columns)
    try:
        if layout.transfer_syntax.is_encapsulated:
            _check_stream(dataset, layout)
        else:
            _check_length(dataset, layout, notes)
    except PARSE_ERRORS:
        raise TruncatedFile("the pixel data is damaged or ends too early: copy the file from its source again") from None
    return layout


def decode(dataset: pydicom.Dataset, layout: PixelLayout) -> Integer[np.ndarray, "rows columns *samples"]:
    """Returns the stored values, before any look-up table; colour comes as RGB.

    Raises:
        CorruptStream: The decoder does not accept the compressed pixels.
        WrongPixelLength: The values do not fill rows x columns.
    """
    compressed = layout.transfer_syntax.is_encapsulated
    try:
        if layout.transfer_syntax in ONLY_GDCM or (layout.transfer_syntax == JPEGExtended12Bit and layout.bits_stored > 8):
            dataset = _uncompressed_by_gdcm(dataset, layout)
        stored = np.asarray(pixel_array(dataset, decoding_plugin=DECODERS.get(layout.transfer_syntax, "")))
    except DECODE_ERRORS as error:
        if compressed:
            raise CorruptStream(f"the compressed pixels ({layout.name}) cannot be decoded: export the film again") from error
        raise WrongPixelLength("the pixel data cannot be unpacked as the header describes it: export the film again") from error
    if stored.shape[:2] != (layout.rows, layout.columns) or stored.shape[2:] not in {(), (3,)} or stored.dtype.kind not in "iu":
        raise WrongPixelLength("the decoded pixels do not have the shape the header names: export the film again")
    return np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))


def _uncompressed_by_gdcm(dataset: pydicom.Dataset, layout: PixelLayout) -> pydicom.Dataset:
    """Returns a data set with the decoded frame in place, so that pydicom unpacks it like any uncompressed one."""
    task = {name: value for name, value in asdict(layout).items() if name != "transfer_syntax"}
    decoded = decode_apart(_frame(dataset), {**task, "transfer_syntax": str(layout.transfer_syntax)})
    native = pydicom.Dataset()
    native.file_meta = pydicom.dataset.FileMetaDataset()
    native.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    native.Rows, native.Columns, native.SamplesPerPixel = layout.rows, layout.columns, layout.samples
    native.BitsAllocated, native.BitsStored, native.HighBit = layout.bits_allocated, layout.bits_stored, layout.bits_stored - 1
    native.PixelRepresentation, native.PhotometricInterpretation = int(layout.signed), layout.photometric
    if layout.samples > 1:
        native.PlanarConfiguration = 0
    native.PixelData = decoded
    return native


def _check_pixels_are_there(dataset: pydicom.Dataset) -> None:
    if "PixelData" in dataset:
        return
    sop_class = text(dataset, "SOPClassUID")
    if not len(dataset) or (sop_class is None and "Rows" not in dataset and "DirectoryRecordSequence" not in dataset):
        if getattr(dataset, "file_meta", None):
            raise TruncatedFile("the file ends in its header: copy it from its source again")
        raise NotAnImage("the file is neither DICOM, PNG nor JPEG: pass radiographs")
    if "DirectoryRecordSequence" in dataset:
        raise NoPixelData("the file is a DICOMDIR, a table of contents: pass the folder of its images instead")
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnsupportedEncoding("the pixels are floating-point numbers, which no radiograph has: pass the original film")
    if sop_class is not None and "Image Storage" in UID(sop_class).name:
        raise TruncatedFile("the header announces an image but the file ends before its pixels: copy it from its source again")
    raise NoPixelData("the object has no pixels (a report or the like): pass radiographs only")


def _check_modality(dataset: pydicom.Dataset, notes: Notes) -> None:
    modality = (text(dataset, "Modality") or "").upper()
    if modality in PLAIN_FILM:
        return
    if not modality:
        notes.warn("the file names no modality; read as a radiograph")
    elif modality in OTHER_PROJECTION:
        notes.warn("the modality is not that of a plain radiograph (CR, DX, RG); read as one all the same")
    else:
        raise UnsupportedModality("the modality is not that of a projection radiograph (CR, DX, RG): pass radiographs only")


def _layout(dataset: pydicom.Dataset, rows: int, columns: int) -> PixelLayout:
    photometric = " ".join(words(dataset, "PhotometricInterpretation")).upper()
    if photometric not in PHOTOMETRIC:
        raise UnsupportedEncoding("the photometric interpretation is missing or not one that is read: export as MONOCHROME2")
    samples = integer(dataset, "SamplesPerPixel") or 1
    grey = photometric.startswith(("MONOCHROME", "PALETTE"))
    if samples != (1 if grey else 3):
        raise UnsupportedEncoding(f"{samples} samples a pixel do not go with the photometric interpretation: export as MONOCHROME2")
    allocated, stored = integer(dataset, "BitsAllocated") or 0, integer(dataset, "BitsStored") or 0
    if allocated not in {8, 16} or not 1 <= stored <= allocated:
        raise UnsupportedEncoding(
            f"{stored} bits stored in {allocated} allocated; 1 to 16 bits in 8 or 16 are read: export the film again"
        )
    if integer(dataset, "HighBit") not in {None, stored - 1}:
        raise UnsupportedEncoding(
            "the high bit is not the last of the bits stored, which DICOM no longer allows: export the film again"
        )
    signed = integer(dataset, "PixelRepresentation") == 1
    return PixelLayout(rows, columns, samples, allocated, stored, signed, photometric, _transfer_syntax(dataset))


def _transfer_syntax(dataset: pydicom.Dataset) -> UID:
    """Returns the transfer syntax, set from how the data set was parsed where the file does not name it."""
    meta = dataset.file_meta
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        implicit, little_endian = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        meta.TransferSyntaxUID = syntax
    syntax = UID(str(syntax))
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = syntax.name if syntax in UID_dictionary else "a private one"
        raise UnsupportedEncoding(
            f"the transfer syntax ({name}) cannot be decoded here: export the film uncompressed or as JPEG 2000"
        )
    return syntax


def _check_length(dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes) -> None:
    """Compares the bytes of uncompressed pixels with what the geometry needs."""
    raw = dataset.get_item("PixelData")
    actual, declared = len(raw.value or b""), getattr(raw, "length", 0)
    if declared != UNDEFINED_LENGTH and actual < declared:
        raise TruncatedFile(f"the file ends after {actual:,} of its {declared:,} bytes of pixels: copy it from its source again")
    expected = layout.bytes_uncompressed
    if layout.photometric == "YBR_FULL_422":
        expected = expected // 3 * 2
    if actual < expected:
        raise WrongPixelLength(f"{actual:,} bytes of pixels where the header asks for {expected:,}: export the film again")
    if actual >= expected + max(expected // layout.rows, 2):
        # as likely a wrong width as some padding; the former would shear the film unseen
        raise WrongPixelLength(f"{actual:,} bytes of pixels where the header asks for {expected:,}: export the film again")
    if actual > expected + expected % 2:
        notes.warn("the pixel data has a few bytes too many; they were ignored")


def _check_stream(dataset: pydicom.Dataset, layout: PixelLayout) -> None:
    """Compares what the compressed stream says of its size with the header, before a decoder believes either."""
    frames = len(parse_basic_offsets(dataset["PixelData"].value))
    frame = _frame(dataset)
    if frames > 1:
        raise MultiFrame(f"the pixel data holds {frames} frames where one film is expected: export the film as a single image")
    if len(frame) > 2 * layout.bytes_uncompressed + _HEADROOM_BYTES:
        raise WrongPixelLength("the compressed pixels are longer than the film uncompressed: export the film again")
    if layout.transfer_syntax == RLELossless:
        return
    size = codestream_size(frame)
    if size is None:
        raise CorruptStream(f"the compressed pixels do not start as {layout.name} does: export the film again")
    if size != (layout.rows, layout.columns):
        raise WrongPixelLength("the compressed pixels and the header disagree on rows and columns: export the film again")
    if END_OF_STREAM not in frame[-64:]:
        raise TruncatedFile("the compressed pixels end without their end mark: copy the file from its source again")


def _frame(dataset: pydicom.Dataset) -> bytes:
    """Returns the one compressed frame, joined from its fragments; the first item is the offset table."""
    return b"".join(list(generate_fragments(dataset["PixelData"].value))[1:])


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Returns (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream claims in its own header; None if it is none of these.

    Source: ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (SOF55), T.800 A.5.1 (image and tile size).
    """
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(stream) >= start + 24:
        width, height, left, top = struct.unpack_from(">4I", stream, start + 8)
        return height - top, width - left
    if not stream.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            rows, columns = struct.unpack_from(">2H", stream, position + 5)
            return rows, columns
        position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    return None
