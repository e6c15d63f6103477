"""Is it the bundle it says it is? Every file against its SHA-256, before a weight is read. No torch here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.bundle import format as layout
from vesalius.errors import BundleChanged, BundleError

MEND = "fetch the bundle again from where it came, or make it again with `vesalius calibrate`"


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle whose every file agrees with its manifest.

    Attributes:
        id: SHA-256 of MANIFEST.json, in hex.
        description: What `bundle.json` says.
        files: Every file, sorted.
        audited: Has `vesalius audit` added its figures?
    """

    path: Path
    id: str
    description: dict[str, Any]
    files: tuple[str, ...]

    @property
    def reference(self) -> str:
        """As every prediction names it."""
        return layout.reference(self.description["name"], self.id)

    @property
    def kind(self) -> str:
        """`classifier`, `image-text`, `zero-shot` or `zero-shot-slides`."""
        return str(self.description["kind"])

    @property
    def audited(self) -> bool:
        """Has `vesalius audit` added its figures?"""
        return f"{layout.AUDIT}/audit.json" in self.files


def verify(path: str | Path) -> VerifiedBundle:
    """Checks every file of a bundle against its manifests.

    Raises:
        BundleChanged: A file was changed, is missing, is extra or is a link; the message names it.
        BundleError: No bundle there, or one of a format that this version does not read.
    """
    path = Path(path)
    manifest = _read_manifest(path / layout.MANIFEST)
    found = dict(_walk(path))
    bundle_id = layout.digest_file(path / layout.MANIFEST)
    _compare(path, manifest["files"], {name for name in found if not layout.belongs_to_audit(name)} - {layout.MANIFEST})
    if layout.AUDIT_MANIFEST not in found:
        raise BundleChanged(f"{layout.AUDIT_MANIFEST} is missing from {path}; {MEND}")
    audit = _read_manifest(path / layout.AUDIT_MANIFEST)
    if audit.get("bundle") != bundle_id:
        raise BundleChanged(f"the audit and card in {path} speak of another bundle; run `vesalius audit` on this one, or {MEND}")
    _compare(path, audit["files"], {name for name in found if layout.belongs_to_audit(name)} - {layout.AUDIT_MANIFEST})
    return VerifiedBundle(path, bundle_id, _read_description(path), tuple(sorted(found)))


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Yields every file by its name in the manifest; refuses anything that is neither a plain file nor a folder."""
    for folder, folders, files in os.walk(path):
        for name in sorted([*folders, *files]):
            full = Path(folder) / name
            relative = full.relative_to(path).as_posix()
            mode = full.lstat().st_mode
            if stat.S_ISREG(mode):
                yield relative, full
            elif not stat.S_ISDIR(mode):
                raise BundleChanged(f"{relative} in {path} is a link or a special file; a bundle holds plain files only; {MEND}")


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = layout.from_file(path)
    layout.check_format(manifest, path)
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise BundleChanged(f"{path} lists no files; {MEND}")
    layout.check_names(files)
    return manifest


def _compare(path: Path, listed: dict[str, str], there: set[str]) -> None:
    for name in sorted(set(listed) - there):
        raise BundleChanged(f"{name} is missing from {path}; {MEND}")
    for name in sorted(there - set(listed)):
        raise BundleChanged(f"{name} in {path} is not in its manifest; remove that file, or {MEND}")
    for name, expected in sorted(listed.items()):
        got = layout.digest_file(path / name)
        if got != expected:
            raise BundleChanged(f"{name} in {path} was changed: SHA-256 {got[:12]} where the manifest says {expected[:12]}; {MEND}")


def _read_description(path: Path) -> dict[str, Any]:
    description = layout.from_file(path / layout.DESCRIPTION)
    layout.check_format(description, path / layout.DESCRIPTION)
    kind = description.get("kind")
    if kind not in layout.REQUIRED_OF:
        known = ", ".join(layout.REQUIRED_OF)
        raise BundleError(f"{path} is a bundle of kind {kind!r}; this version reads: {known}; update vesalius")
    missing = [key for key in layout.REQUIRED_OF[kind] if key not in description]
    if missing:
        raise BundleError(f"{layout.DESCRIPTION} of {path} lacks: {', '.join(missing)}; make the bundle again")
    return description
