"""From stored values to grey in [0, 1]: the DICOM grey-scale chain, computed once for each value and not for each pixel.

Stored value -> modality LUT or rescale -> VOI LUT or window -> inversion (MONOCHROME1) -> [0, 1].
A film has at most 65536 different stored values, so pydicom's own functions are applied to those, and the film is one look-up.

Source: DICOM PS3.3 C.7.6.3 (padding), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.11.6 (presentation LUT shape).
Checked against: pydicom.pixels.apply_voi_lut over whole films, and hand-computed values of C.11.2.1.2 (tests/reference).
"""

from __future__ import annotations

import numpy as np
import pydicom
from jaxtyping import Bool, Float32, Float64, Int64, Integer
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing

from vesalius.dicom.dataset import PARSE_ERRORS, integer, items, number, numbers, text
from vesalius.dicom.notes import Notes
from vesalius.dicom.pixels import PixelLayout
from vesalius.errors import UnsupportedEncoding, ZeroSpread

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Where a film without any VOI is cut: wide enough to keep anatomy, narrow enough to ignore markers and dead pixels."""

LUMA = (299, 587, 114)
"""Red, green and blue in thousandths (ITU-R BT.601): integers, so that a grey picture stored as colour keeps its exact values."""

Levels = Int64[np.ndarray, "level"]
Table = Float64[np.ndarray, "level"]


def to_grey(
    stored: Integer[np.ndarray, "rows columns *samples"], dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes
) -> tuple[Float32[np.ndarray, "rows columns"], int]:
    """Returns the film in [0, 1], denser brighter, and its grey depth in bits.

    Raises:
        ZeroSpread: One value only, apart from padding.
        UnsupportedEncoding: A palette that cannot be applied.
    """
    if layout.photometric.startswith("MONOCHROME"):
        return _monochrome(stored, dataset, layout, notes), layout.bits_stored
    bits = layout.bits_stored
    if layout.photometric == "PALETTE COLOR":
        try:
            stored = apply_color_lut(stored, dataset)[..., :3]
        except PARSE_ERRORS:
            raise UnsupportedEncoding("the palette of the file cannot be applied: export the film as MONOCHROME2") from None
        bits = 8 * stored.dtype.itemsize
        notes.step("palette applied")
    notes.warn("a colour picture, read as grey")
    return colour_to_grey(stored, bits, notes), bits


def colour_to_grey(colour: Integer[np.ndarray, "rows columns 3"], bits: int, notes: Notes) -> Float32[np.ndarray, "rows columns"]:
    """Returns the luma of an RGB picture of `bits` bits, in [0, 1]."""
    red, green, blue = (colour[..., channel].astype(np.int64) * share for channel, share in enumerate(LUMA))
    luma = (red + green + blue + 500) // 1000
    notes.step("colour to grey: 0.299 red + 0.587 green + 0.114 blue")
    return full_range(luma, bits, notes)


def full_range(stored: Integer[np.ndarray, "rows columns"], bits: int, notes: Notes) -> Float32[np.ndarray, "rows columns"]:
    """Returns stored values over what `bits` bits can hold: the rule for pictures that carry no window."""
    if stored.min() == stored.max():
        raise ZeroSpread("every pixel has the same value: check the export of this film")
    notes.step(f"scaled by the full range of {bits} bits")
    return (stored / np.float64(2**bits - 1)).astype(np.float32)


def _monochrome(
    stored: Integer[np.ndarray, "rows columns"], dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes
) -> Float32[np.ndarray, "rows columns"]:
    low, high = int(stored.min()), int(stored.max())
    levels = np.arange(low, high + 1, dtype=np.int64)
    padding = _padding(levels, dataset, layout, notes)
    counts = None
    if padding.any():
        counts = np.where(padding, 0, np.bincount((stored.astype(np.int64) - low).ravel(), minlength=len(levels)))
    if low == high or (counts is not None and np.count_nonzero(counts) < 2):
        raise ZeroSpread("every pixel has the same value: check the export of this film")
    modality = _modality(levels, dataset, notes)
    table = _values_of_interest(levels, modality, dataset, notes)
    if table is None or np.ptp(table[~padding]) == 0:
        if table is not None:
            notes.warn("the window or VOI LUT of the file leaves a single grey; it was not used")
        if counts is None:
            counts = np.bincount((stored.astype(np.int64) - low).ravel(), minlength=len(levels))
        table = _robust_range(modality, counts, dataset, layout, notes)
    if _is_inverted(dataset, layout, notes):
        table = 1 - table
    table[padding] = 0
    grey = np.zeros(high - min(low, 0) + 1, dtype=np.float32)
    grey[low - min(low, 0) :] = table
    index = stored if low >= 0 else stored.astype(np.int32) - low
    return np.take(grey, index)


def _padding(levels: Levels, dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes) -> Bool[np.ndarray, " level"]:
    """Which stored values mean "no pixel here" (PS3.3 C.7.5.1.1.2); the limit may lie on either side of the value."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(levels), dtype=bool)
    limit = integer(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, layout) for end in (value, value if limit is None else limit)]
    padding: Bool[np.ndarray, " level"] = (levels >= min(ends)) & (levels <= max(ends))
    if padding.any():
        notes.step("padding left out of the scaling and set to 0")
    return padding


def _as_stored(value: int, layout: PixelLayout) -> int:
    """Reads a padding value written as unsigned where the pixels are signed, as some writers do."""
    return value - (1 << layout.bits_allocated) if layout.signed and value >= 1 << (layout.bits_allocated - 1) else value


def _modality(levels: Levels, dataset: pydicom.Dataset, notes: Notes) -> Table:
    sequence = items(dataset, "ModalityLUTSequence")
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if not sequence and (slope is None or intercept is None or (slope, intercept) == (1, 0)):
        return levels.astype(np.float64)
    if not sequence and slope == 0:
        notes.warn("the rescale slope of the file is 0; it was not used")
        return levels.astype(np.float64)
    try:
        values = np.asarray(apply_modality_lut(levels, dataset), dtype=np.float64)
    except PARSE_ERRORS:
        notes.warn("the modality LUT of the file cannot be read; it was not used")
        return levels.astype(np.float64)
    notes.step("modality LUT applied" if sequence else f"rescaled: {slope:g} x stored value + {intercept:g}")
    return values


def _values_of_interest(levels: Levels, modality: Table, dataset: pydicom.Dataset, notes: Notes) -> Table | None:
    """Returns the VOI LUT's or else the window's output in [0, 1]; None where the file has neither, or none that works."""
    tables = items(dataset, "VOILUTSequence")
    if tables:
        try:
            looked_up = _voi_lut(modality, tables[0])
        except PARSE_ERRORS:
            notes.warn("the VOI LUT of the file cannot be read; it was not used")
        else:
            notes.step(f"VOI LUT applied{_first_of(len(tables))}")
            return looked_up
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centers or not widths:
        return None
    function = (text(dataset, "VOILUTFunction") or "LINEAR").upper()
    if function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        notes.warn("the VOI LUT function of the file is unknown; taken as LINEAR")
        function = "LINEAR"
    if widths[0] < 1 and (function == "LINEAR" or widths[0] <= 0):
        notes.warn("the window of the file is too narrow to be one; it was not used")
        return None
    notes.step(f"window {function} {centers[0]:g} / {widths[0]:g} applied{_first_of(min(len(centers), len(widths)))}")
    return _window(modality, centers[0], widths[0], function)


def _first_of(count: int) -> str:
    return f" (the first of {count})" if count > 1 else ""


def _voi_lut(modality: Table, item: pydicom.Dataset) -> Table:
    """Applies one VOI LUT with pydicom; 1 is what its declared depth can hold, or its highest entry if that is more."""
    alone = pydicom.Dataset()
    alone.VOILUTSequence = [item]
    alone.PixelRepresentation = 0
    looked_up = np.asarray(apply_voi(np.rint(modality).astype(np.int64), alone, 0), dtype=np.float64)
    full = float((1 << int(item.LUTDescriptor[2])) - 1)
    scaled: Table = looked_up / max(full, float(looked_up.max()))
    return scaled


def _window(modality: Table, center: float, width: float, function: str) -> Table:
    """Applies one window with pydicom; told of 16 unsigned bits and of no rescale, it answers in [0, 65535]."""
    alone = pydicom.Dataset()
    alone.PhotometricInterpretation = "MONOCHROME2"
    alone.BitsStored, alone.PixelRepresentation = 16, 0
    alone.WindowCenter, alone.WindowWidth, alone.VOILUTFunction = f"{center:.10g}", f"{width:.10g}", function
    windowed: Table = np.clip(np.asarray(apply_windowing(modality, alone), dtype=np.float64) / 65535, 0, 1)
    return windowed


def _robust_range(
    modality: Table, counts: Int64[np.ndarray, " level"], dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes
) -> Table:
    """Scales a film that has no window: 8 bits by their full range (they are for display), deeper ones between two percentiles."""
    if layout.bits_stored <= 8:
        first = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
        ends = _modality(np.array([first, first + (1 << layout.bits_stored) - 1]), dataset, Notes())
        low, high = float(ends.min()), float(ends.max())
        notes.step(f"no window: scaled by the full range of {layout.bits_stored} bits")
    else:
        order = np.argsort(modality, kind="stable")
        values, cases = modality[order], counts[order].astype(np.float64)
        total = cases.sum()
        low = float(values[np.searchsorted(np.cumsum(cases), total * LOW_PERCENT / 100, side="right")])
        tail = np.cumsum(cases[::-1])
        high = float(values[::-1][np.searchsorted(tail, total * (100 - HIGH_PERCENT) / 100, side="right")])
        notes.step(f"no window: scaled between the {LOW_PERCENT:g} and {HIGH_PERCENT:g} percentile of the pixel values")
    if high <= low:
        seen = modality[counts > 0]
        low, high = float(seen.min()), float(seen.max())
        notes.step("these coincide: scaled between the lowest and the highest value")
    scaled: Table = np.clip((modality - low) / (high - low), 0, 1)
    return scaled


def _is_inverted(dataset: pydicom.Dataset, layout: PixelLayout, notes: Notes) -> bool:
    """MONOCHROME1 is inverted once, whatever the presentation LUT shape says; MONOCHROME2 only if the shape is INVERSE."""
    shape = (text(dataset, "PresentationLUTShape") or "").upper()
    inverted = layout.photometric == "MONOCHROME1"
    if inverted:
        notes.step("inverted: MONOCHROME1")
        if shape == "IDENTITY":
            notes.warn("MONOCHROME1 with an IDENTITY presentation LUT contradict each other; read as MONOCHROME1")
    elif shape == "INVERSE":
        notes.step("inverted: presentation LUT shape INVERSE")
        notes.warn(
            "MONOCHROME2 with an INVERSE presentation LUT contradict each other; read as inverted, as a viewer would show it"
        )
        inverted = True
    if (text(dataset, "PresentationIntentType") or "").upper() == "FOR PROCESSING":
        notes.warn("a film FOR PROCESSING, not meant for reading: its contrast, and even its polarity, may not be a reader's")
    return inverted
