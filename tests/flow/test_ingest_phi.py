"""Names planted wherever a DICOM file has room for one must not reach the store, its unfinished parts, or any output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.films import film, ramp, save
from vesalius.cli import main
from vesalius.datasets.store import Store

SECRETS = ("PLANTED", "Zuccherino", "19340506", "4711-0815", "1.2.826.0.1.4711")
"""A name as the films of these tests carry it, another name, a birth date, a number, the root of the UIDs."""


def planted(number: int) -> Dataset:
    dataset = film(ramp(seed=number))
    dataset.PatientID = f"4711-0815-{number}"
    dataset.PatientBirthDate = "19340506"
    dataset.OtherPatientNames = dataset.ReferringPhysicianName = dataset.OperatorsName = "Zuccherino^Beate"
    dataset.InstitutionName = dataset.StationName = dataset.StudyDescription = "Haus Zuccherino"
    dataset.PatientComments = dataset.ImageComments = "Frau Zuccherino, 19340506"
    dataset.AccessionNumber = "4711-0815"
    dataset.StudyInstanceUID = f"1.2.826.0.1.4711.{number}"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.4711.{number}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.4711.{number}.1.1"
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = "4711-0815", "TEXT"
    item.ReferringPhysicianName = "Zuccherino^Beate"
    dataset.OtherPatientIDsSequence = Sequence([item])
    nested = Dataset()
    nested.OtherPatientIDsSequence = Sequence([item])
    nested.CodeMeaning = "Zuccherino"
    dataset.RequestAttributesSequence = Sequence([nested])
    block = dataset.private_block(0x0099, "Zuccherino", create=True)
    block.add_new(0x01, "PN", "Zuccherino^Beate")
    block.add_new(0x02, "UN", b"Zuccherino")
    return dataset


def write_films(folder: Path) -> None:
    folder.mkdir()
    for number in range(6):
        dataset = planted(number)
        if number == 1:  # values that make pydicom complain, and quote them
            dataset["PatientAge"]._value = "Zuccherino"
            dataset["PatientSex"]._value = "Zuccherino"
            dataset["Modality"]._value = "DX"
            dataset["Manufacturer"]._value = "Zuccherino^Beate"
            dataset.add_new("PixelAspectRatio", "LO", "Zuccherino")
            dataset.add_new("WindowCenter", "LO", "Zuccherino")
        save(dataset, folder, f"{number}.dcm")
    content = (folder / "5.dcm").read_bytes()
    (folder / "short.dcm").write_bytes(content[:-2000])
    (folder / "shorter.dcm").write_bytes(content[:700])
    (folder / "again.dcm").write_bytes((folder / "0.dcm").read_bytes())
    broken = planted(9)
    broken.BitsAllocated = 12
    broken.save_as(folder / "bits.dcm", enforce_file_format=True)
    rows = planted(10)
    rows["Rows"].VR, rows["Rows"]._value = "LO", "Zuccherino"
    rows.save_as(folder / "rows.dcm", enforce_file_format=True)


def vesalius(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    where = ["--out", tmp_path / "store", "--size", 64, "--patient-key", tmp_path / "key", "--workers", 2]
    command = [sys.executable, "-m", "vesalius", "ingest", tmp_path / "films", *where, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=120)


def everything_in(store: Path) -> bytes:
    """Every byte of every file, and what is compressed in them in the clear."""
    found = []
    for file in store.rglob("*"):
        if not file.is_file():
            continue
        found += [file.name.encode(), file.read_bytes()]
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
            found.append(table.to_csv().encode())
        if file.suffix == ".h5":
            with h5py.File(file) as content:
                found += [np.asarray(content[name][:]).tobytes() for name in content]
                found.append(str(dict(content.attrs)).encode())
    return b"\n".join(found)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    write_films(tmp_path / "films")
    path = tmp_path / "labels.csv"
    lines = [f"1.2.826.0.1.4711.{number},4711-0815-{number},Zuccherino {number},1" for number in range(4)]
    path.write_text("\n".join(["study_instance_uid,patient_id,study_id,Nodule", *lines]) + "\n")
    return path


def test_no_planted_name_leaves_the_films(tmp_path: Path, labels: Path) -> None:
    unfinished = vesalius(tmp_path, "--labels", write_other(tmp_path / "other.csv"))
    assert unfinished.returncode == 2
    assert list((tmp_path / "store").glob(".parts/*.h5")), "the parts are there to be searched"
    said = [unfinished.stdout, unfinished.stderr]
    kept = everything_in(tmp_path / "store")
    done = vesalius(tmp_path, "--labels", labels, "--json")
    assert done.returncode == 3, done.stderr
    said += [done.stdout, done.stderr]
    kept += everything_in(tmp_path / "store")
    assert len(Store(tmp_path / "store")) == 6
    assert Store(tmp_path / "store").manifest["patient_id"].notna().all()
    for secret in SECRETS:
        assert secret.encode() not in kept, secret
        assert secret not in "".join(said), secret


def write_other(path: Path) -> Path:
    path.write_text("sop_instance_uid,patient_id,Nodule\n1.2.826.0.1.4711.99,4711-0815,1\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "file,patient_id,Nodule\n0.dcm,4711-0815,Zuccherino\n",
        "file,sex,Nodule\n0.dcm,Zuccherino,1\n",
        "file,Nodule\nZuccherino.dcm,1\nZuccherino.dcm,1\n",
        "file,split,patient_id\n0.dcm,train,4711-0815\n2.dcm,test,4711-0815\n",
        "file,Nodule\nZuccherino.dcm,1\n",
        'file,report,Nodule\n0.dcm,"Zuccherino\n',
    ],
)
def test_a_complaint_about_labels_names_nobody(text: str, tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels.write_text(text)
    where = ["--out", str(tmp_path / "store"), "--patient-key", str(tmp_path / "key"), "--labels", str(labels), "--json"]
    assert main(["ingest", str(tmp_path / "films"), *where]) == 2
    said = "".join(capfd.readouterr())
    assert '"code": "labels"' in said
    for secret in SECRETS:
        assert secret not in said, secret
