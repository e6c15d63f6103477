from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest

from vesalius.dicom.read import read
from vesalius.types import Decision, Finding, Prediction, Reason


@pytest.mark.real
@pytest.mark.dciodvfy
@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG2_J2KI.dcm"])
def test_a_report_into_the_study_of_a_real_film(real_data: Path, tmp_path: Path, name: str) -> None:
    image = read(real_data / "dicom" / name)
    findings = (
        Finding("Effusion", 1.0, 0.7, 0.3, Decision.PRESENT),
        Finding("Nodule", 0.0, 0.5, 0.5, Decision.ABSTAIN, Reason.UNCERTAIN),
    )
    path = tmp_path / "result.dcm"
    Prediction(name, image.image_id, "cxr@sha256:0", findings).to_dicom_sr(image).save_as(path)
    assert pydicom.dcmread(path).StudyInstanceUID == pydicom.dcmread(image.path).StudyInstanceUID
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    assert "Error" not in said, said
