"""The tensors of a TorchScript archive, without running its program.

`torch.jit.load` would build the archive's program to reach its weights. Here its pickle is read by an unpickler that knows tensors
and containers and turns every class of the program into an empty shell with named parts.

Source: the archive's layout, as `torch.jit.save` writes it: `NAME/data.pkl` with a tree of modules, `NAME/data/N` with the numbers.
Checked against: torch.jit.load of the same file (tests/unit/models/checkpoints/test_torchscript.py).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Is the file a TorchScript archive?"""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of an archive by name, as `torch.jit.load(path).state_dict()` would.

    Raises:
        pickle.UnpicklingError: It holds something other than modules, tensors, containers and numbers.
        KeyError: It lacks a file of its own.
    """
    with zipfile.ZipFile(path) as archive:
        data = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if data is None:
            raise KeyError("data.pkl")
        folder = data.removesuffix("data.pkl") + "data/"
        root = _TensorUnpickler(archive, folder, data).load()
    return dict(_walk(root, ""))


class _Shell:
    """Stands for any class of the program; keeps the parts and has no behaviour."""

    parts: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.parts = dict(state) if isinstance(state, dict) else {}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str, data: str) -> None:
        super().__init__(io.BytesIO(archive.read(data)))
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Shell
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module == "torch.jit._pickle":  # lists and dictionaries, each with the name of its type
            return _as_it_is
        raise pickle.UnpicklingError(f"the archive holds {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        """Returns the numbers of one storage."""
        _, dtype, key, _, count = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(self._folder + str(key)))
            numbers = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            if numbers.numel() != int(count):
                raise KeyError(f"{self._folder}{key}")
            self._storages[key] = numbers
        return self._storages[key]


def _as_it_is(value: Any, *_: object) -> Any:
    return value


def _view(numbers: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    return numbers.as_strided(tuple(size), tuple(stride), offset)


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, part in getattr(module, "parts", {}).items():
        if isinstance(part, Tensor):
            yield prefix + name, part
        elif isinstance(part, _Shell):
            yield from _walk(part, f"{prefix}{name}.")
