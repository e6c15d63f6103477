"""Tensors out of a file, and nothing else: no byte of a checkpoint is run as code.

Formats: safetensors; `torch.save` of a state dict, plain or wrapped (`state_dict`, `model`), read with `weights_only=True`; and
TorchScript archives, in which OpenAI publishes CLIP.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import torch
from torch import Tensor

from vesalius.errors import CheckpointUnreadable, ValueOutOfRange, WrongDigest

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Entries in which authors keep the weights beside an epoch or an optimizer."""

PREFIX = "module."
"""What DistributedDataParallel puts in front of every name."""

UNREADABLE = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, OSError, BadZipFile)
"""What a broken file makes its reader raise."""

SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".safetensors"})


@dataclass(frozen=True)
class StateFiles:
    """The tensors of one model.

    Attributes:
        tensors: By the authors' names, without `module.` at the front.
        left: Names of entries that are no tensors.
        sha256: Of each file.
    """

    tensors: dict[str, Tensor]
    left: tuple[str, ...]
    sha256: tuple[str, ...]


def read_state_dict(path: str | Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Returns the tensors of one file, by the authors' names.

    A wrapping entry is opened, and `module.` is taken from the front of the names where every one has it.

    Raises:
        CheckpointUnreadable: No such file, a broken one, or one that holds code.
        WrongDigest: The file is not the one it is said to be.
        ValueOutOfRange: A weight that is no number.
    """
    return read_state_files(path, sha256).tensors


def read_state_files(path: str | Path | Sequence[str | Path], sha256: str | Sequence[str] | None = None) -> StateFiles:
    """Returns the tensors of one model in one or several files, or in all the checkpoint files of a folder.

    Raises:
        CheckpointUnreadable: No such file, a broken one, one that holds code, or two that hold the same name.
        WrongDigest: A file is not the one it is said to be, or there are not as many digests as files.
        ValueOutOfRange: A weight that is no number.
    """
    paths = _find(path)
    expected = [sha256] if isinstance(sha256, str) else list(sha256 or [])
    if expected and len(expected) != len(paths):
        raise WrongDigest(f"{len(expected)} SHA-256 for {len(paths)} checkpoint files; give one a file, in their order")
    tensors: dict[str, Tensor] = {}
    left: list[str] = []
    digests: list[str] = []
    for number, file in enumerate(paths):
        digests.append(_digest(file, expected[number] if expected else None))
        found, spare = split_entries(_load(file))
        if twice := sorted(set(found) & set(tensors)):
            raise CheckpointUnreadable(
                f"{file.name} holds {len(twice)} tensors that another file holds too, {twice[0]} first; pass the files of one model"
            )
        tensors |= found
        left += spare
    _check_finite(tensors)
    return StateFiles(tensors, tuple(left), tuple(digests))


def split_entries(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Returns the tensors of a loaded file, and the names of its other entries.

    Raises:
        CheckpointUnreadable: No tensor by name in it.
    """
    entries = dict(content) if isinstance(content, dict) else {}
    inner = next((name for name in WRAPPERS if _holds_tensors(entries.get(name))), None)
    left: list[str] = []
    if inner is not None:
        left = [str(name) for name in entries if name != inner]
        entries = dict(entries[inner])
    tensors = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    left += [str(name) for name in entries if not isinstance(entries[name], Tensor)]
    if not tensors:
        raise CheckpointUnreadable(
            f"no tensors by name in the checkpoint; expected a state dict, plain or under {', '.join(WRAPPERS)}: "
            "save one with torch.save(model.state_dict(), FILE)"
        )
    if all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    return tensors, left


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, Tensor) for inner in value.values())


def _find(path: str | Path | Sequence[str | Path]) -> list[Path]:
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
        if not paths:
            raise CheckpointUnreadable(f"no checkpoint in {folder.name}; expected files ending in {', '.join(sorted(SUFFIXES))}")
    if not paths:
        raise CheckpointUnreadable("no checkpoint file was given; pass the authors' file")
    for file in paths:
        if not file.is_file():
            raise CheckpointUnreadable(f"no checkpoint at {file}; pass the authors' file")
    return paths


def _digest(path: Path, expected: str | None) -> str:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is not None and got != expected.lower():
        raise WrongDigest(f"{path.name} has SHA-256 {got}; expected {expected.lower()}: another file, or not all of it")
    return got


def _load(path: Path) -> Any:
    """Returns a file's content: tensors, containers and numbers; never an object with code of its own."""
    from vesalius.models.checkpoints.torchscript import is_torchscript, read_torchscript

    try:
        if _is_safetensors(path):
            return _load_safetensors(path)
        if is_torchscript(path):
            return read_torchscript(path)
        # medical_mae's authors keep the command line of training, which is plain words and numbers, beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        raise CheckpointUnreadable(
            f"{path.name} holds Python objects beside tensors and was not opened: unpickling them could run any code; "
            "ask its authors for a state dict or a safetensors file"
        ) from error
    except UNREADABLE as error:
        raise CheckpointUnreadable(
            f"{path.name} cannot be read as a checkpoint ({type(error).__name__}); expected safetensors or a file of torch.save: "
            "fetch it again"
        ) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError("not a whole safetensors file") from error


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _check_finite(tensors: dict[str, Tensor]) -> None:
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueOutOfRange(f"weights that are no numbers in {', '.join(broken)}; fetch the checkpoint again")
