"""A prediction as a DICOM Structured Report: Comprehensive SR, TID 1500, one measurement group a finding.

Abstention is said with standard codes: Presence of property = Presence Undetermined. A probability stands only beside a decision
that was made from it. The report is preliminary and unverified, in the study of the film it speaks of.

Source: DICOM PS3.16 TID 1500, 1501, 1002, 1004, 4019; highdicom 0.28 builds the tree.
Checked against: dciodvfy, and reading back with highdicom (tests/unit/reporting).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from vesalius.dicom.dataset import PARSE_ERRORS, quiet, text
from vesalius.errors import EmptyInput, FileMissing, NotDicom, NotFitted, UnreadableImage
from vesalius.reporting.finding_codes import PRIVATE_SCHEME, finding_code
from vesalius.types import Decision, Finding, Image, Prediction, Reason

if TYPE_CHECKING:
    from highdicom.sr import ComprehensiveSR, MeasurementsAndQualitativeEvaluations, ObservationContext

SERIES_NUMBER = 9001
"""Beyond the series numbers of a modality, so that the report sorts behind the films."""

TEXT_LENGTH = 64
"""What a DICOM Long String holds."""

PRESENCE = {
    Decision.PRESENT: codes.DCM.Present,
    Decision.ABSENT: codes.DCM.Absent,
    Decision.ABSTAIN: codes.DCM.PresenceUndetermined,
}
REASONS = {
    Reason.UNCERTAIN: "the probability is too near the threshold to decide",
    Reason.OUT_OF_DISTRIBUTION: "the film is unlike those the model was calibrated on",
    Reason.POOR_QUALITY: "the film is too poor to answer",
    Reason.NOT_ASSESSABLE: "the model does not read this view",
}
_TYPE_2 = (
    ("PatientID", ""),
    ("PatientName", ""),
    ("PatientBirthDate", ""),
    ("PatientSex", ""),
    ("StudyID", ""),
    ("AccessionNumber", ""),
    ("StudyDate", ""),
    ("StudyTime", ""),
    ("ReferringPhysicianName", ""),
)


def to_dicom_sr(prediction: Prediction, image: Image) -> ComprehensiveSR:
    """Returns a Comprehensive SR in the study of the DICOM file `image` was read from; patient and study are copied from that file.

    Raises:
        NotDicom: `image` came from no DICOM file, or from one without the UIDs a report must refer to; use the JSON line instead.
        FileMissing: The file is gone; put it back.
        EmptyInput: The case failed or has no finding; there is nothing to report.
        NotFitted: A finding has no decision; `vesalius calibrate` makes the bundle that decides.
    """
    _check_answered(prediction)
    with quiet():  # highdicom logs a patient's name that it finds odd
        source = _source(image)
        try:
            return _document(prediction, source)
        except PARSE_ERRORS:
            # "from None": the message, which a traceback would print, quotes the value
            raise UnreadableImage("the film's header holds a value that no report may carry: correct the header first") from None


def _document(prediction: Prediction, source: Dataset) -> ComprehensiveSR:
    import highdicom

    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(prediction),
        procedure_reported=codes.LN.XRUnspecifiedBodyRegion,
        imaging_measurements=[_group(finding, prediction, source) for finding in prediction.findings],
    )
    document = highdicom.sr.ComprehensiveSR(
        evidence=[source],
        content=report,
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="vesalius",
        manufacturer_model_name=_bundle_name(prediction),
        software_versions=version("vesalius"),
        series_description="Findings by software, preliminary",
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set="ISO_IR 192",
    )
    document.CodingSchemeIdentificationSequence = [_private_scheme()]
    return document


def _check_answered(prediction: Prediction) -> None:
    if prediction.error is not None or not prediction.findings:
        raise EmptyInput("the case has no finding to report: its JSON line says why it failed")
    if any(finding.decision is None for finding in prediction.findings):
        raise NotFitted("a finding has no decision yet: calibrate the model (`vesalius calibrate`) and predict with the bundle")


def _source(image: Image) -> Dataset:
    """Returns the header of the film, with the empty values that a report must at least have, without its pixels."""
    if image.path is None:
        raise NotDicom("the image did not come from a file, so it has no study to report into: use the JSON line instead")
    try:
        source = pydicom.dcmread(Path(image.path), stop_before_pixels=True)
    except FileNotFoundError:
        raise FileMissing("the film is no longer where it was read from: put it back, or read it again") from None
    except OSError as error:
        raise UnreadableImage("the system could not read the film again: check its permissions and the disk") from error
    except PARSE_ERRORS:
        raise NotDicom("the film is not a DICOM file, so it has no study to report into: use the JSON line instead") from None
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if text(source, keyword) is None:
            raise NotDicom(f"the film has no {keyword}, which a report must refer to: use the JSON line instead")
    for keyword, empty in _TYPE_2:
        if keyword not in source:
            setattr(source, keyword, empty)
    if (text(source, "PatientSex") or "") not in {"", "M", "F", "O"}:
        source.PatientSex = ""
    return source


def _bundle_name(prediction: Prediction) -> str:
    return prediction.bundle.split("@", 1)[0][:TEXT_LENGTH]


def _observer(prediction: Prediction) -> ObservationContext:
    """The device that observed: this software with this bundle; the same pair has the same UID always."""
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext

    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["vesalius", version("vesalius"), prediction.bundle]),
        name="vesalius",
        manufacturer_name="vesalius",
        model_name=_bundle_name(prediction),
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _group(finding: Finding, prediction: Prediction, source: Dataset) -> MeasurementsAndQualitativeEvaluations:
    """One finding: its code, its presence, its probability if that decided, and the reason if it was not decided."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    assert finding.decision is not None, "_check_answered has seen to it"
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(), identifier=finding.name),
        finding_type=finding_code(finding.name),
        algorithm_id=_algorithm(prediction),
        measurements=_probability(finding),
        qualitative_evaluations=[QualitativeEvaluation(codes.DCM.PresenceOfProperty, PRESENCE[finding.decision])],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )
    if finding.reason is not None:
        group[0].ContentSequence.append(_comment(f"{finding.reason}: {REASONS[finding.reason]}"))
    return group


def _algorithm(prediction: Prediction) -> Any:
    from highdicom.sr import AlgorithmIdentification

    parameters = [
        f"bundle {prediction.bundle}",
        "probability calibrated on held-out patients",
        "research software; not for medical use",
    ]
    if prediction.ood is not None:
        verdict = "out" if prediction.ood.out else "in"
        parameters.append(
            f"out-of-distribution score {prediction.ood.score:.6g}, threshold {prediction.ood.threshold:.6g}: {verdict}"
        )
    return AlgorithmIdentification(name=f"vesalius {_bundle_name(prediction)}", version=version("vesalius"), parameters=parameters)


def _probability(finding: Finding) -> list[Any]:
    """A probability beside an abstention would be read as an answer."""
    from highdicom.sr import Measurement

    if finding.decision is Decision.ABSTAIN or finding.probability is None:
        return []
    return [Measurement(name=codes.DCM.Probability, value=float(f"{finding.probability:.6g}"), unit=codes.UCUM.NoUnits)]


def _comment(words: str) -> Any:
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(name=codes.DCM.Comment, value=words, relationship_type=RelationshipTypeValues.CONTAINS)


def _private_scheme() -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE_SCHEME
    scheme.CodingSchemeName = "Findings of vesalius bundles, by name"
    scheme.CodingSchemeResponsibleOrganization = "vesalius"
    return scheme
