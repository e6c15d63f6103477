"""A .npz of outputs: one array a column, all of one length, and what a CSV cannot hold: features and members."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from vesalius.audit.outputs_source import Source
from vesalius.errors import OutputsError

WIDE = ("features", "member_logits")


def open_arrays(path: Path) -> Source:
    """Reads a .npz that `numpy.savez` wrote; nothing in it is ever unpickled.

    Raises:
        OutputsError: Not a .npz, an array of Python objects, an array that is not of one axis, or arrays of different lengths.
    """
    arrays = _load(path)
    if not arrays:
        raise OutputsError(f"{path.name} is empty; expected arrays label:NAME with logit:NAME or probability:NAME (docs/uq.md)")
    named = arrays.pop("findings", None)
    wide = {name: arrays.pop(name, None) for name in WIDE}
    places = np.arange(_length(arrays, path.name), dtype=np.int64)
    members = None if named is None else tuple(map(str, named.tolist()))
    return Source(path.name, "row", "array", places, arrays, wide["features"], wide["member_logits"], members)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise OutputsError(f"{path.name} holds one bare array; save it with numpy.savez and a name for each array")
        with archive:
            return {name: _array(archive, name, path.name) for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OutputsError):
            raise
        raise OutputsError(f"{path.name} is not a .npz of plain arrays; write it with numpy.savez(FILE, **arrays)") from error


def _array(archive: np.lib.npyio.NpzFile, name: str, file: str) -> np.ndarray:
    try:
        array: np.ndarray = archive[name]
    except ValueError as error:
        raise OutputsError(
            f"{file}: array {name!r} holds Python objects, and nothing is unpickled here, since that can run any code; "
            "save plain numbers, and words as numpy.array(words, dtype=str)"
        ) from error
    if name not in (*WIDE, "findings") and array.ndim != 1:
        raise OutputsError(f"{file}: array {name!r} has shape {array.shape}; expected (case,)")
    return array


def _length(arrays: dict[str, np.ndarray], file: str) -> int:
    lengths: dict[int, list[str]] = {}
    for name, array in arrays.items():
        lengths.setdefault(len(array), []).append(name)
    if len(lengths) > 1:
        said = "; ".join(f"{length}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" for length, names in lengths.items())
        raise OutputsError(f"{file}: arrays of different lengths ({said}); expected one entry a case in each")
    return next(iter(lengths), 0)
