from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.sr.codedict import codes

from tests.films import PLANTED_NAME, film, picture_bytes, ramp, save
from vesalius.dicom.read import read
from vesalius.errors import EmptyInput, FileMissing, NotDicom, NotFitted, VesaliusError
from vesalius.reporting.finding_codes import finding_code
from vesalius.types import Decision, Failure, Finding, Image, OutOfDistribution, Prediction, Reason

FINDINGS = (
    Finding("Effusion", 1.2, 0.712345678, 0.29, Decision.PRESENT),
    Finding("Consolidation", -3.0, 0.02, 0.02, Decision.ABSENT),
    Finding("Enlarged Cardiomediastinum", 0.1, 0.5, 0.5, Decision.ABSTAIN, Reason.UNCERTAIN),
    Finding("Nodule", 0.1, 0.9, 0.1, Decision.ABSTAIN, Reason.OUT_OF_DISTRIBUTION),
)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return read(save(film(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"), tmp_path))


@pytest.fixture
def prediction(image: Image) -> Prediction:
    return Prediction("film.dcm", image.image_id, "cxr@sha256:0123456789ab", FINDINGS, OutOfDistribution(3.1, 5.0, False))


def _saved(prediction: Prediction, image: Image, tmp_path: Path) -> Path:
    path = tmp_path / "result.sr.dcm"
    prediction.to_dicom_sr(image).save_as(path)
    return path


def test_it_reads_back_with_every_finding_as_it_was(prediction: Prediction, image: Image, tmp_path: Path) -> None:
    import highdicom

    document = highdicom.sr.srread(_saved(prediction, image, tmp_path))
    assert isinstance(document, highdicom.sr.ComprehensiveSR)
    groups = document.content.get_image_measurement_groups()
    presence = {codes.DCM.Present: "present", codes.DCM.Absent: "absent", codes.DCM.PresenceUndetermined: "abstain"}
    assert len(groups) == len(FINDINGS)
    for finding, group in zip(FINDINGS, groups, strict=True):
        assert group.finding_type == finding_code(finding.name)
        assert group.tracking_identifier == finding.name
        (evaluation,) = group.get_qualitative_evaluations(name=codes.DCM.PresenceOfProperty)
        assert presence[evaluation.value] == finding.decision
        measurements = group.get_measurements(name=codes.DCM.Probability)
        comments = [item.TextValue for item in group[0].ContentSequence if item.name == codes.DCM.Comment]
        if finding.decision is Decision.ABSTAIN:
            assert measurements == [], "a probability beside an abstention would be read as an answer"
            assert comments[0].startswith(f"{finding.reason}: ")
        else:
            assert measurements[0].value == pytest.approx(finding.probability, abs=1e-6)
            assert measurements[0].unit == codes.UCUM.NoUnits
            assert comments == []
        assert group.source_images[0].referenced_sop_instance_uid == pydicom.dcmread(image.path).SOPInstanceUID


def test_it_is_a_preliminary_report_of_a_device_in_the_study_of_the_film(
    prediction: Prediction, image: Image, tmp_path: Path
) -> None:
    report, source = pydicom.dcmread(_saved(prediction, image, tmp_path)), pydicom.dcmread(image.path)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == ("COMPLETE", "PRELIMINARY", "UNVERIFIED")
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.PatientID == source.PatientID
    assert report.PatientName == "Müller^Jörg"
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    assert report.SOPInstanceUID != source.SOPInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121005"
    ] == ["Device"]


def test_the_algorithm_is_identified_with_its_bundle(prediction: Prediction, image: Image, tmp_path: Path) -> None:
    import highdicom

    document = highdicom.sr.srread(_saved(prediction, image, tmp_path))
    words = [
        item.TextValue for item in document.content.get_image_measurement_groups()[0][0].ContentSequence if "TextValue" in item
    ]
    assert "bundle cxr@sha256:0123456789ab" in words
    assert "out-of-distribution score 3.1, threshold 5: in" in words
    assert any("not for medical use" in word for word in words)


def test_every_report_is_an_object_of_its_own(prediction: Prediction, image: Image) -> None:
    first, second = prediction.to_dicom_sr(image), prediction.to_dicom_sr(image)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    device = [[item.UID for item in report.ContentSequence if "UID" in item] for report in (first, second)]
    assert device[0] == device[1], "the same software with the same bundle is the same device"


@pytest.mark.dciodvfy
def test_dciodvfy_finds_no_error(prediction: Prediction, image: Image, tmp_path: Path) -> None:
    done = subprocess.run(["dciodvfy", str(_saved(prediction, image, tmp_path))], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "ComprehensiveSR" in said
    assert "Error" not in said, said


@pytest.mark.dciodvfy
def test_dciodvfy_finds_no_error_in_the_report_of_a_film_with_a_bare_header(prediction: Prediction, tmp_path: Path) -> None:
    absent = (
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "Manufacturer",
        "PatientAge",
    )
    bare = read(save(film(**dict.fromkeys(absent)), tmp_path))
    done = subprocess.run(["dciodvfy", str(_saved(prediction, bare, tmp_path))], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_an_image_from_a_picture_has_no_study_to_report_into(prediction: Prediction, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(picture_bytes(ramp(bits=8), "PNG"))
    for image in (read(path), replace(read(path), path=None)):
        with pytest.raises(NotDicom, match="JSON line instead"):
            prediction.to_dicom_sr(image)


def test_what_cannot_be_reported_says_why(prediction: Prediction, image: Image, tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="why it failed"):
        replace(prediction, error=Failure("truncated", "x")).to_dicom_sr(image)
    with pytest.raises(NotFitted, match="calibrate"):
        replace(prediction, findings=(Finding("Effusion", 1.0),)).to_dicom_sr(image)
    with pytest.raises(FileMissing, match="put it back"):
        prediction.to_dicom_sr(replace(image, path=tmp_path / "gone.dcm"))
    with pytest.raises(NotDicom, match="SeriesInstanceUID"):
        prediction.to_dicom_sr(read(save(film(SeriesInstanceUID=None), tmp_path, "no_series.dcm")))


def test_a_header_that_no_report_may_carry_is_refused_without_quoting_it(
    prediction: Prediction, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = film(PatientBirthDate="19640102", PatientName=f"{PLANTED_NAME}=a=b")
    path = save(content, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"19640102", PLANTED_NAME.encode()[:8]))
    image = read(path)
    with caplog.at_level(logging.DEBUG), pytest.raises(VesaliusError) as caught:
        prediction.to_dicom_sr(image)
    assert PLANTED_NAME[:8] not in f"{caught.value} {caplog.text}"


@pytest.mark.parametrize(
    ("name", "scheme", "value"),
    [
        ("Effusion", "SCT", "60046008"),
        ("pleural_effusion", "SCT", "60046008"),
        ("Pneumothorax", "SCT", "36118008"),
        ("Consolidation", "99VESALIUS", "CONSOLIDATION"),
        ("Lung Opacity", "99VESALIUS", "LUNG_OPACITY"),
    ],
)
def test_finding_codes(name: str, scheme: str, value: str) -> None:
    code = finding_code(name)
    assert (code.scheme_designator, code.value) == (scheme, value)


def test_long_and_foreign_names_have_short_codes_of_their_own() -> None:
    names = ["Enlarged Cardiomediastinum", "Enlarged Cardiomediastinal silhouette", "胸水", "気胸"]
    values = {finding_code(name).value for name in names}
    assert len(values) == len(names)
    assert all(0 < len(value) <= 16 for value in values)
