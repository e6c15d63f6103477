"""`vesalius bundle verify` and `bundle inspect`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import make_bundle
from vesalius.bundle.save import attach_audit
from vesalius.cli import main


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "tiny", notices=["Simulated films only."])
    return tmp_path / "tiny"


def test_verify_says_intact_or_names_the_file(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(bundle)]) == 0
    assert capsys.readouterr().out.startswith("intact: tiny@sha256:")
    (bundle / "statistics.safetensors").write_bytes(b"changed")
    assert main(["bundle", "verify", str(bundle)]) == 2
    assert "statistics.safetensors" in capsys.readouterr().err
    assert main(["bundle", "verify", str(bundle), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bundle_changed"


def test_verify_in_one_object(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["intact"] is True
    assert told["audited"] is False
    assert "weights.safetensors" in told["files"]


def test_inspect_shows_what_was_fitted_and_where_it_comes_from(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "inspect", str(bundle)]) == 0
    said = capsys.readouterr().out
    for words in ("tiny@sha256:", "Simulated films only.", "resnet-small", "Effusion", "Nodule", "mahalanobis", "not audited yet"):
        assert words in said


def test_inspect_shows_the_last_audit(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [{"label": "macro AUROC", "text": "0.91", "range": "0.85 to 0.95"}]
    attach_audit(bundle, {"card.md": b"# tiny\n", "audit/audit.json": json.dumps({"key_figures": figures}).encode()})
    assert main(["bundle", "inspect", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "macro AUROC" in said
    assert "0.85 to 0.95" in said
    assert main(["bundle", "inspect", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["audited"] is True
    assert told["key_figures"] == figures
    assert told["description"]["findings"] == ["Effusion", "Nodule"]


def test_neither_needs_torch(bundle: Path) -> None:
    watch = "import sys; from vesalius.cli import main; code = main({}); sys.exit(code or ('torch' in sys.modules) * 9)"
    for verb in ("verify", "inspect"):
        done = subprocess.run([sys.executable, "-c", watch.format(["bundle", verb, str(bundle)])], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
