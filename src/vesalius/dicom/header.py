"""What a DICOM header says of a film, apart from its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Header:
    """The header fields that ingest needs; identities are raw, stay in memory and never show in a `repr`.

    Attributes:
        age_years: From PatientAge, or the difference of birth and study dates; None where neither is there.
        portable: True for a mobile unit, False for a fixed one, None where the file does not say.
    """

    patient_id: str | None = field(default=None, repr=False)
    study_instance_uid: str | None = field(default=None, repr=False)
    series_instance_uid: str | None = field(default=None, repr=False)
    sop_instance_uid: str | None = field(default=None, repr=False)
    sex: str | None = None
    age_years: float | None = None
    modality: str | None = None
    manufacturer: str | None = None
    device: str | None = None
    portable: bool | None = None
    rows: int = 0
    columns: int = 0
    bits_stored: int = 8
