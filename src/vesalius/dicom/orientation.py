"""Which view a film shows, which way up it is, and how large its pixels are.

Standard display of a chest film: the patient's right on the left of the picture, the head on top.
Source: DICOM PS3.3 C.7.6.1.1.1 (patient orientation), C.8.11.5 (view position), 10.7.1.3 (pixel spacing of projection radiographs).
"""

from __future__ import annotations

import re

import numpy as np
import pydicom

from vesalius.dicom.dataset import items, number, numbers, text, words
from vesalius.dicom.notes import Notes
from vesalius.types import Pixels, View

OBLIQUE = frozenset({"RLO", "LLO", "RAO", "LAO", "RPO", "LPO"})
VIEW_TERMS = {
    **dict.fromkeys(("PA", "POSTEROANTERIOR", "POSTERIORANTERIOR"), View.PA),
    **dict.fromkeys(("AP", "ANTEROPOSTERIOR", "ANTERIORPOSTERIOR"), View.AP),
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFTLATERAL", "RIGHTLATERAL", "LLD", "RLD"), View.LATERAL),
}
"""Terms of View Position, letters only. Decubitus (LLD, RLD) counts as lateral: a model of upright films cannot answer it."""

VIEW_CODES = {
    ("SCT", "272479007"): View.PA,
    ("SCT", "399348003"): View.AP,
    ("SCT", "399067008"): View.LATERAL,
    ("SCT", "399173006"): View.LATERAL,
    ("SCT", "399198007"): View.LATERAL,
    ("SRT", "R-10214"): View.PA,
    ("SRT", "R-10206"): View.AP,
    ("SRT", "R-10236"): View.LATERAL,
    ("SRT", "R-10232"): View.LATERAL,
}
"""Codes of CID 4010 (projection), in SNOMED CT and in the older SNOMED RT that archives still hold."""

_WORDS = (
    (View.LATERAL, re.compile(r"\b(lat|lateral|ll|rl|decubitus|seitlich|profil)\b")),
    (View.PA, re.compile(r"\b(pa|p\.a\.|postero-?anterior)\b")),
    (View.AP, re.compile(r"\b(ap|a\.p\.|antero-?posterior)\b")),
)
MAGNIFICATION_MOST = 10.0
"""Beyond this a magnification factor is a mistake: the patient would stand a tenth of the way from tube to detector."""


def view_position(dataset: pydicom.Dataset, notes: Notes) -> View | None:
    """Returns the view, from the most to the least reliable tag; None where none of them says."""
    term = re.sub(r"[^A-Z]", "", (text(dataset, "ViewPosition") or "").upper())
    if term in OBLIQUE:
        notes.warn("an oblique projection: a model of frontal films was not made for it")
        return None
    view = VIEW_TERMS.get(term) or _view_from_codes(dataset)
    sideways = _axis_letters(dataset)[0] in {"A", "P"}
    if view is None and sideways:
        notes.step("view taken from the patient orientation")
        return View.LATERAL
    if view is not None:
        if sideways != (view is View.LATERAL) and _axis_letters(dataset)[0] in {"A", "P", "L", "R"} and not term.endswith("LD"):
            notes.warn("view position and patient orientation contradict each other; the view position was believed")
        return view
    return _view_from_words(dataset, notes)


def _view_from_codes(dataset: pydicom.Dataset) -> View | None:
    for item in items(dataset, "ViewCodeSequence"):
        scheme, value = text(item, "CodingSchemeDesignator") or "", text(item, "CodeValue") or ""
        known = VIEW_CODES.get((scheme.replace("SNM3", "SRT").replace("99SDM", "SRT"), value))
        if known is not None:
            return known
    return None


def _view_from_words(dataset: pydicom.Dataset, notes: Notes) -> View | None:
    """The last resort: free text, and only where it speaks of one view alone ("CHEST PA AND LATERAL" is that of a whole study)."""
    said = " ".join(
        text(dataset, keyword) or "" for keyword in ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
    )
    said = said.lower().replace("_", " ")
    found = [view for view, pattern in _WORDS if pattern.search(said)]
    if len(found) != 1:
        return None
    notes.warn(f"view ({found[0]}) taken from the words of a description, for want of a tag")
    return found[0]


def laterality(dataset: pydicom.Dataset) -> str | None:
    """Returns R or L where the film is of one side."""
    for keyword in ("ImageLaterality", "Laterality"):
        side = (text(dataset, keyword) or "").upper()
        if side in {"R", "L"}:
            return side
    return None


def orient(pixels: Pixels, dataset: pydicom.Dataset, notes: Notes) -> tuple[Pixels, bool]:
    """Turns a film to the standard display; also returns whether rows and columns changed places.

    A film whose file names no orientation, or one that is not along the body's axes, stays as it is stored.
    """
    row, column = _axis_letters(dataset)
    if not row or not column:
        notes.step("orientation as stored: the file names none")
        return pixels, False
    transposed = row in {"H", "F"} and column in {"L", "R", "A", "P"}
    if transposed:
        pixels = pixels.T
        row, column = column, row
        notes.step("rows and columns exchanged: the head was at the side")
    if row not in {"L", "R", "A", "P"} or column not in {"H", "F"}:
        notes.warn("the patient orientation of the file is not that of an upright film; left as stored")
        return pixels, False
    if column == "H":
        pixels = pixels[::-1]
        notes.step("turned upside down: the feet were on top")
    if row == "R":
        pixels = pixels[:, ::-1]
        notes.step("mirrored: the patient's right was on the right")
    return np.ascontiguousarray(pixels), transposed


def _axis_letters(dataset: pydicom.Dataset) -> tuple[str, str]:
    """Main direction in which columns (along a row) and rows (down a column) run: L, R, A, P, H, F, or "" where not said."""
    said = words(dataset, "PatientOrientation")
    if len(said) != 2:
        return "", ""
    first, second = ((value.upper() + " ")[0] for value in said)
    return (first, second) if first in "LRAPHF" and second in "LRAPHF" else ("", "")


def spacing_mm(dataset: pydicom.Dataset, notes: Notes) -> tuple[float, float] | None:
    """Returns the (row, column) distance of pixel centres: in the patient where the magnification is known, else at the detector.

    Spacing that is zero, negative or half given is refused with a warning: a length measured with it would be wrong, not missing.
    """
    pixel, imager = _pair(dataset, "PixelSpacing", notes), _pair(dataset, "ImagerPixelSpacing", notes)
    calibrated = pixel is not None and (
        text(dataset, "PixelSpacingCalibrationType") is not None or (imager is not None and pixel != imager)
    )
    if pixel is not None and calibrated:
        notes.step("pixel spacing: calibrated to the patient")
        return pixel
    at_detector = imager or pixel or _pair(dataset, "NominalScannedPixelSpacing", notes)
    if at_detector is None:
        return None
    if not 0.99 < at_detector[0] / at_detector[1] < 1.01:
        notes.warn("the pixels are not square; the film was not stretched to make them so")
    factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor is not None and not 1 <= factor <= MAGNIFICATION_MOST:
        notes.warn("the magnification factor of the file is impossible; it was not used")
        factor = None
    if factor is None:
        notes.step("pixel spacing: as at the detector, not corrected for magnification")
        return at_detector
    notes.step(f"pixel spacing: at the detector, divided by the magnification {factor:g}")
    return at_detector[0] / factor, at_detector[1] / factor


def _pair(dataset: pydicom.Dataset, keyword: str, notes: Notes) -> tuple[float, float] | None:
    values = numbers(dataset, keyword)
    if not words(dataset, keyword):
        return None
    if len(values) != 2 or min(values) <= 0:
        notes.warn("the pixel spacing of the file is zero or not a pair of lengths; the size of a pixel is unknown")
        return None
    return values[0], values[1]
