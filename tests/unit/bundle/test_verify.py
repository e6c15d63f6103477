"""Whatever is changed, missing, extra or a link is refused before a weight is read, and named."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from vesalius.bundle.load import load
from vesalius.bundle.verify import verify
from vesalius.errors import BundleChanged, BundleError

FILES = ("bundle.json", "weights.safetensors", "statistics.safetensors", "card.md")


def test_an_intact_bundle(locked: Path) -> None:
    verified = verify(locked)
    assert verified.id == hashlib.sha256((locked / "MANIFEST.json").read_bytes()).hexdigest()
    assert set(verified.files) == {*FILES, "MANIFEST.json", "audit/MANIFEST.json"}
    assert verified.reference == f"tiny@sha256:{verified.id[:12]}"
    assert not verified.audited


def test_the_manifest_holds_what_sha256sum_says(locked: Path) -> None:
    manifest = json.loads((locked / "MANIFEST.json").read_bytes())["files"]
    assert set(manifest) == {"bundle.json", "weights.safetensors", "statistics.safetensors"}
    for name, digest in manifest.items():
        assert digest == hashlib.sha256((locked / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(BundleChanged, match=rf"{name} .* was changed"):
        load(copied)


@pytest.mark.parametrize("name", [*FILES, "audit/MANIFEST.json"])
def test_one_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleChanged, match=f"{name} is missing"):
        load(copied)


@pytest.mark.parametrize("name", ["notes.txt", "audit/extra.json", ".hidden", "deep/er/weights.safetensors"])
def test_one_extra_file(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(parents=True, exist_ok=True)
    (copied / name).write_text("?")
    with pytest.raises(BundleChanged, match=f"{name} in .* is not in its manifest"):
        load(copied)


def test_a_link_is_refused_even_if_its_target_agrees(copied: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (copied / "weights.safetensors").rename(elsewhere)
    (copied / "weights.safetensors").symlink_to(elsewhere)
    with pytest.raises(BundleChanged, match=r"weights\.safetensors .* is a link"):
        verify(copied)


def test_a_linked_folder_inside_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "more").symlink_to(tmp_path)
    with pytest.raises(BundleChanged, match=r"more .* is a link"):
        verify(copied)


def test_a_pipe_is_refused_and_not_read(copied: Path) -> None:
    os.mkfifo(copied / "pipe")
    with pytest.raises(BundleChanged, match=r"pipe .* special file"):
        verify(copied)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_names_that_point_outside_are_refused(copied: Path, name: str) -> None:
    manifest = json.loads((copied / "MANIFEST.json").read_bytes())
    manifest["files"][name] = "0" * 64
    (copied / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="stay inside the folder"):
        verify(copied)


@pytest.mark.parametrize("file", ["MANIFEST.json", "bundle.json"])
def test_another_format_version_says_what_to_do(copied: Path, file: str) -> None:
    _rewrite(copied, file, format=99)
    with pytest.raises(BundleError, match=r"format 99.*reads 1.*install the version"):
        load(copied)


def test_another_kind_and_a_missing_part(copied: Path) -> None:
    _rewrite(copied, "bundle.json", kind="segmenter")
    with pytest.raises(BundleError, match="kind 'segmenter'"):
        load(copied)
    _rewrite(copied, "bundle.json", kind="classifier", gate=None)
    with pytest.raises(BundleError, match="lacks: gate"):
        load(copied)


def test_an_audit_of_another_bundle_is_refused(copied: Path) -> None:
    _rewrite(copied, "audit/MANIFEST.json", bundle="0" * 64)
    with pytest.raises(BundleChanged, match="speak of another bundle"):
        verify(copied)


def test_what_is_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*vesalius calibrate.*vesalius bundle import"):
        load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="no bundle at"):
        load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="is a file"):
        load(tmp_path / "file")
    (tmp_path / "MANIFEST.json").write_text("[]")
    with pytest.raises(BundleError, match="not a JSON object"):
        load(tmp_path)
    (tmp_path / "MANIFEST.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        load(tmp_path)
    (tmp_path / "MANIFEST.json").write_text('{"format": 1}')
    with pytest.raises(BundleChanged, match="lists no files"):
        load(tmp_path)


def test_a_bundle_may_be_reached_through_a_link(locked: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(locked)
    assert verify(tmp_path / "current").id == verify(locked).id


def test_parts_that_do_not_fit_together(copied: Path) -> None:
    encoder = json.loads((copied / "bundle.json").read_bytes())["encoder"]
    _rewrite(copied, "bundle.json", encoder={**encoder, "encoder": "vit-tiny-16"})
    with pytest.raises(BundleError, match="does not fit together"):
        load(copied)


def _rewrite(bundle: Path, file: str, /, **changes: object) -> None:
    """Changes a file as one could who also mends the manifests: only what the file says can give it away."""
    document = json.loads((bundle / file).read_bytes()) | changes
    document = {name: value for name, value in document.items() if value is not None}
    (bundle / file).write_text(json.dumps(document))
    if file == "bundle.json":
        manifest = json.loads((bundle / "MANIFEST.json").read_bytes())
        manifest["files"][file] = hashlib.sha256((bundle / file).read_bytes()).hexdigest()
        (bundle / "MANIFEST.json").write_text(json.dumps(manifest))
        audit = json.loads((bundle / "audit/MANIFEST.json").read_bytes())
        audit["bundle"] = hashlib.sha256((bundle / "MANIFEST.json").read_bytes()).hexdigest()
        (bundle / "audit/MANIFEST.json").write_text(json.dumps(audit))
