"""What a DICOM header says of a film, apart from its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

import pydicom

from vesalius.dicom.dataset import text
from vesalius.dicom.pixels import PixelLayout

DAYS_PER_YEAR = 365.25
_AGE_UNIT_YEARS = {"D": 1 / DAYS_PER_YEAR, "W": 7 / DAYS_PER_YEAR, "M": 1 / 12, "Y": 1.0}
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription", "StudyDescription")
_PORTABLE = re.compile(r"\b(port|portable|mobile|bedside|bett)\b", re.IGNORECASE)
_FIXED = re.compile(r"\b(wall|upright|erect|bucky|wandstativ)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """The header fields that ingest needs; identities are raw, stay in memory and never show in a `repr`.

    Attributes:
        sex: M, F or O; None otherwise.
        age_years: From the patient's age, else from birth and study dates; None where neither is there.
        portable: True for a mobile unit, False for a fixed one, by a description or the kind of positioner; else None.
    """

    patient_id: str | None = field(default=None, repr=False)
    study_instance_uid: str | None = field(default=None, repr=False)
    series_instance_uid: str | None = field(default=None, repr=False)
    sop_instance_uid: str | None = field(default=None, repr=False)
    sex: str | None = None
    age_years: float | None = None
    modality: str | None = None
    manufacturer: str | None = field(default=None, repr=False)
    device: str | None = field(default=None, repr=False)
    portable: bool | None = None
    rows: int = 0
    columns: int = 0
    bits_stored: int = 8


def take_header(dataset: pydicom.Dataset, layout: PixelLayout) -> Header:
    """Returns the header fields of a parsed data set; what is absent or unreadable is None."""
    sex = (text(dataset, "PatientSex") or "").upper()
    return Header(
        patient_id=text(dataset, "PatientID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        sex=sex if sex in {"M", "F", "O"} else None,
        age_years=_age_years(dataset),
        modality=text(dataset, "Modality"),
        manufacturer=text(dataset, "Manufacturer"),
        device=text(dataset, "ManufacturerModelName"),
        portable=_portable(dataset),
        rows=layout.rows,
        columns=layout.columns,
        bits_stored=layout.bits_stored,
    )


def _age_years(dataset: pydicom.Dataset) -> float | None:
    said = re.fullmatch(r"(\d{1,3})([DWMY])", (text(dataset, "PatientAge") or "").upper())
    if said:
        return round(int(said[1]) * _AGE_UNIT_YEARS[said[2]], 2)
    born, studied = _day(text(dataset, "PatientBirthDate")), _day(text(dataset, "StudyDate"))
    if born is None or studied is None or studied < born:
        return None
    return round((studied - born).days / DAYS_PER_YEAR, 2)


def _day(value: str | None) -> date | None:
    digits = (value or "").replace(".", "").replace("-", "")
    if not re.fullmatch(r"\d{8}", digits):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def _portable(dataset: pydicom.Dataset) -> bool | None:
    said = " ".join(text(dataset, keyword) or "" for keyword in _DESCRIPTIONS).replace("_", " ")
    if _PORTABLE.search(said):
        return True
    on_a_column = (text(dataset, "PositionerType") or "").upper() == "COLUMN"
    return False if on_a_column or _FIXED.search(said) else None
