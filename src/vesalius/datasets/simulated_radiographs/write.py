"""The cohort on disk: DX DICOM files, masks, the labels table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from vesalius.datasets.simulated_radiographs.film import Film
from vesalius.datasets.simulated_radiographs.findings import FINDINGS
from vesalius.datasets.simulated_radiographs.plan import FilmPlan, generator_of
from vesalius.datasets.simulated_radiographs.reports import write_report
from vesalius.datasets.simulated_radiographs.sites import SITES

COLUMNS = ("file", "patient_id", "study_id", "site", "view_position", "sex", "age_years", "report", *FINDINGS)
"""Header of labels.csv."""
FIRST_DAY = date(2020, 1, 6)


def write_film(film: Film, plan: FilmPlan, seed: int, films: Path, masks: Path) -> dict[str, str | int]:
    """Writes one DICOM file and the masks of its positive findings; returns its row of the labels table."""
    dataset = to_dicom(film, plan, seed)
    dataset.save_as(films / f"{plan.stem}.dcm", enforce_file_format=True)
    for finding, label in plan.labels.items():
        if label == 1:
            folder = masks / finding
            folder.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(film.masks[finding].astype(np.uint8) * np.uint8(255)).save(folder / f"{plan.stem}.png")
    row: dict[str, str | int] = {
        "file": f"{plan.stem}.dcm",
        "patient_id": plan.patient_id,
        "study_id": dataset.StudyID,
        "site": plan.site,
        "view_position": plan.view,
        "sex": film.patient.sex,
        "age_years": film.patient.age_years,
        "report": write_report(plan, generator_of(seed, plan.site, plan.patient, 100 + plan.film)),
    }
    return row | plan.labels


def write_labels(path: Path, rows: Sequence[dict[str, str | int]]) -> None:
    """Writes the labels table that `vesalius ingest --labels` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def to_dicom(film: Film, plan: FilmPlan, seed: int) -> FileDataset:
    """Returns a Digital X-Ray Image (for presentation) whose every value is made up and follows from the seed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _uid(seed, plan.stem)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_patient_and_study(dataset, film, plan, seed)
    _add_series_and_equipment(dataset, film, plan, seed)
    _add_acquisition(dataset, film, plan)
    _add_pixels(dataset, film, plan, seed)
    return dataset


def _uid(seed: int, *words: str) -> str:
    return str(generate_uid(entropy_srcs=["vesalius simulated radiographs", str(seed), *words]))


def _add_patient_and_study(dataset: Dataset, film: Film, plan: FilmPlan, seed: int) -> None:
    day = FIRST_DAY + timedelta(days=plan.day + 7 * (plan.patient % 104))
    dataset.PatientName = f"SIMULATED^{plan.site}{plan.patient:04d}"
    dataset.PatientID = plan.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = film.patient.sex
    dataset.PatientAge = f"{film.patient.age_years:03d}Y"
    dataset.StudyInstanceUID = _uid(seed, plan.patient_id, f"study {plan.study}")
    dataset.StudyID = f"{plan.site}{plan.patient:04d}S{plan.study}"
    dataset.AccessionNumber = dataset.StudyID
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Simulated chest radiograph"
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{name}Date", day.strftime("%Y%m%d"))
        setattr(dataset, f"{name}Time", f"{8 + plan.patient % 10:02d}{plan.film:02d}00")


def _add_series_and_equipment(dataset: Dataset, film: Film, plan: FilmPlan, seed: int) -> None:
    site = SITES[plan.site]
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.SeriesInstanceUID = _uid(seed, plan.stem, "series")
    dataset.SeriesNumber = plan.film
    dataset.InstanceNumber = 1
    dataset.Manufacturer = site.manufacturer
    dataset.InstitutionName = f"Simulated site {site.name}"
    dataset.StationName = site.station[0 if plan.view == "PA" else 1]
    dataset.ManufacturerModelName = "One-CT simulator"
    dataset.SoftwareVersions = "1"
    dataset.BodyPartExamined = "CHEST"


def _add_acquisition(dataset: Dataset, film: Film, plan: FilmPlan) -> None:
    site = SITES[plan.site]
    portable = plan.view == "AP"
    dataset.ViewPosition = plan.view
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageLaterality = "U"
    dataset.ViewCodeSequence = _code(
        "399348003" if portable else "272479007", "SCT", "antero-posterior" if portable else "postero-anterior"
    )
    dataset.AnatomicRegionSequence = _code("51185008", "SCT", "Chest")
    dataset.AcquisitionContextSequence = DicomSequence([])
    dataset.KVP = site.kvp[1 if portable else 0]
    dataset.DistanceSourceToDetector = f"{film.source_to_detector_mm:.1f}"
    dataset.ImagerPixelSpacing = [f"{film.spacing_mm:.6f}"] * 2
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = "NONE" if portable else "COLUMN"


def _code(value: str, scheme: str, meaning: str) -> DicomSequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return DicomSequence([code])


def _add_pixels(dataset: Dataset, film: Film, plan: FilmPlan, seed: int) -> None:
    site = SITES[plan.site]
    inverted = generator_of(seed, plan.site, plan.patient, 200 + plan.film).random() < site.share_inverted
    levels = _levels(film, site.bits, inverted)
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.DerivationDescription = "Simulated from a CT; no person was exposed"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = levels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, site.bits, site.bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (site.bits - 1), 2**site.bits
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "YES"
    dataset.PixelData = levels.tobytes()


def _levels(film: Film, bits: int, inverted: bool) -> UInt16[np.ndarray, "size_px size_px"]:
    top = 2**bits - 1
    shown = 1 - film.pixels if inverted else film.pixels
    levels: UInt16[np.ndarray, "size_px size_px"] = np.rint(np.clip(shown, 0, 1) * top).astype("<u2")
    return levels
