"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.bundle import format as layout
from vesalius.bundle.card import write_card
from vesalius.bundle.verify import verify
from vesalius.errors import BundleError


def save_bundle(
    path: str | Path,
    description: dict[str, Any],
    *,
    weights: Sequence[bytes | Path],
    statistics: Mapping[str, np.ndarray] | None,
    extra: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> str:
    """Writes a bundle with a card that says it was not audited yet, and returns its id.

    The same content gives the same bytes. A stop half way leaves what was there before.

    Args:
        path: Its folder, to be made.
        description: All of `bundle.json`; see `describe.describe`.
        weights: One safetensors file a member, in order: what it holds, or where it lies (it is copied).
        statistics: Arrays of the out-of-distribution gate; None for a bundle without one.
        extra: Other files of its kind: `tokenizer.json`, `text.safetensors`; the manifest covers them like the weights.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: Something is there already (pass `overwrite`), or is there and no bundle (choose another folder).
    """
    from safetensors.numpy import save

    path = Path(path)
    check_free(path, overwrite=overwrite)
    layout.check_names(extra or {})
    files: dict[str, bytes | Path] = dict(zip(layout.weights_names(len(weights)), weights, strict=True)) | dict(extra or {})
    files[layout.DESCRIPTION] = layout.to_bytes(description)
    if statistics is not None:
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(statistics.items())}
        files[layout.STATISTICS] = save(arrays)
    manifest = layout.manifest_bytes({name: _digest(content) for name, content in files.items()})
    files[layout.MANIFEST], bundle_id = manifest, layout.digest(manifest)
    files |= _with_manifest({layout.CARD: write_card(description, bundle_id).encode()}, bundle_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        _write(fresh, files)
        _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return bundle_id


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuses a folder that must not be written over, before the work that would fill it.

    Raises:
        BundleError: Something is there; the message has the next step.
    """
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        return
    if path.is_symlink() or not (path / layout.MANIFEST).is_file():
        raise BundleError(f"{path} is there and is no bundle; choose another folder for --out")
    if not overwrite:
        raise BundleError(f"there is a bundle at {path} already; choose another folder, or add --overwrite to replace it")


def attach_audit(bundle: str | Path, files: Mapping[str, bytes]) -> None:
    """Puts an audit and its card into a bundle, in place of what was there; what answers, and so the id, stays as it is.

    Args:
        bundle: Its folder; verified first.
        files: `card.md` and any number of `audit/NAME`; the manifest over both is made here.

    Raises:
        BundleChanged: The bundle is not what its manifest says.
        BundleError: `files` lacks the card, or has a name that belongs to what answers.
    """
    verified = verify(bundle)
    strangers = [name for name in files if not layout.belongs_to_audit(name) or name == layout.AUDIT_MANIFEST]
    if strangers or layout.CARD not in files:
        raise BundleError(f"an audit brings {layout.CARD} and {layout.AUDIT}/NAME; got: {', '.join(sorted(files)) or 'nothing'}")
    layout.check_names(files)
    path = verified.path.resolve()  # a link that names the current bundle stays a link
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name in verified.files:
            if not layout.belongs_to_audit(name):
                _copy(path / name, fresh / name)
        _write(fresh, _with_manifest(files, verified.id))
        _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _with_manifest(files: Mapping[str, bytes], bundle_id: str) -> dict[str, bytes]:
    digests = {name: layout.digest(content) for name, content in files.items()}
    return {**files, layout.AUDIT_MANIFEST: layout.manifest_bytes(digests, bundle_id=bundle_id)}


def _digest(content: bytes | Path) -> str:
    return layout.digest_file(content) if isinstance(content, Path) else layout.digest(content)


def _write(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # weights are large, and never written to in place
    except OSError:
        shutil.copyfile(source, target)


def _swap(fresh: Path, path: Path) -> None:
    """Puts `fresh` where `path` is; the old one is removed only when the new one stands."""
    fresh.chmod(0o777 & ~_umask())  # mkdtemp makes it private; a bundle is as readable as any folder
    if not path.exists():
        fresh.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
