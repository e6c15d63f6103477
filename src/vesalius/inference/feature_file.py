"""One file a slide: the features of its patches and where they lie, in the HDF5 layout that CLAM and TRIDENT read.

    features    (patch, dim) float32    what the vision tower says of each patch, before any projection
    coords      (patch, 2) int64        upper left corners (x, y) in pixels of level 0

Attributes of `coords` bear TRIDENT's names: `patch_size` and `overlap` (pixels of the patch), `patch_size_level0`, `level0_width`,
`level0_height`; beside them `mpp` (micrometres per pixel of level 0) and `patch_mpp`. No magnification is written:
nobody measured one. Attributes of `features` say which encoder, contract and precision made them.

While a slide is under way its rows lie in `NAME.h5.part/`, each batch on disk before the next is made; the file gets its name when
it is whole. A process that is killed at any moment loses the batch it was at, and the next one goes on behind the last whole one.

Sources: Lu et al. 2021, arXiv:2004.09666 (CLAM: `features`, `coords`); the names of TRIDENT's attributes, as its files carry them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float32, Int64

from vesalius.errors import FeaturesError, ShapeMismatch, ValueOutOfRange

FORMAT = "vesalius slide features 1"
CHUNK = 4096
"""Patches that are copied or read at once."""


@dataclass(frozen=True)
class FeatureFacts:
    """All that decides the rows of a feature file: the same facts, the same rows.

    Attributes:
        encoder: Which weights: a bundle's reference, or any other name that changes with them.
        contract: The preprocessing contract, as plain data.
        precision: What weights and activations were held in.
        slide_id: Of the slide's content; says nothing of the patient.
        width: Of the slide, in pixels of level 0.
        height: Of the slide, in pixels of level 0.
        mpp: Micrometres per pixel of level 0.
        patch_px: Side of a patch as it was read, before the contract.
        patch_mpp: Micrometres per pixel of a patch.
        overlap: Share of a side that neighbours have in common.
        least_tissue: Share of a patch that had to be tissue.
    """

    encoder: str
    contract: dict[str, Any]
    precision: str
    slide_id: str
    width: int
    height: int
    mpp: float
    patch_px: int
    patch_mpp: float
    overlap: float = 0.0
    least_tissue: float = 0.25

    @property
    def side_level0(self) -> float:
        """Side of a patch in pixels of level 0."""
        return self.patch_px * self.patch_mpp / self.mpp

    def to_json(self) -> dict[str, Any]:
        """Returns plain data."""
        return asdict(self)


@dataclass(frozen=True)
class SlideFeatures:
    """A whole feature file; its rows stay on disk until they are asked for.

    Attributes:
        path: The file.
        facts: What made it; None for a file that CLAM or TRIDENT wrote.
        coordinates: Upper left corners (x, y), in pixels of level 0.
        dim: Width of a row.
        side_level0: Side of a patch in pixels of level 0; None where the file does not say.
    """

    path: Path
    facts: FeatureFacts | None
    coordinates: Int64[np.ndarray, "patch 2"]
    dim: int
    side_level0: float | None

    def __len__(self) -> int:
        return len(self.coordinates)

    def batches(self, size: int = CHUNK) -> Iterator[Float32[np.ndarray, "patch dim"]]:
        """Yields the rows in order, `size` at a time."""
        import h5py

        with h5py.File(self.path, "r") as file:
            rows = file["features"]
            for start in range(0, len(self), size):
                yield rows[start : start + size].astype(np.float32, copy=False)

    def whole(self) -> Float32[np.ndarray, "patch dim"]:
        """Returns all rows at once."""
        import h5py

        with h5py.File(self.path, "r") as file:
            rows: Float32[np.ndarray, "patch dim"] = file["features"][:].astype(np.float32, copy=False)
        return rows


def read_features(path: str | Path, *, expected: FeatureFacts | None = None) -> SlideFeatures:
    """Opens a feature file, ours or one that CLAM or TRIDENT wrote.

    Args:
        path: `NAME.h5`.
        expected: Refuse a file that anything else made.

    Raises:
        FeaturesError: No such file, one that is not whole, or one that another encoder, slide or cut made; the message says which.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FeaturesError(f"there is no feature file at {path}; make one with `vesalius features`")
    try:
        with h5py.File(path, "r") as file:
            shape = file["features"].shape
            coordinates = file["coords"][:].astype(np.int64)
            attributes = dict(file["coords"].attrs)
            facts = json.loads(file.attrs["facts"]) if file.attrs.get("format") == FORMAT else None
    except (OSError, KeyError, ValueError) as error:
        raise FeaturesError(f"{path.name} is no whole feature file ({type(error).__name__}); extract it again") from error
    if len(shape) != 2 or coordinates.shape != (shape[0], 2):
        raise FeaturesError(f"{path.name} holds features {shape} and coords {coordinates.shape}; expected (N, D) and (N, 2)")
    known = None if facts is None else FeatureFacts(**facts)
    if expected is not None:
        _refuse_others(path, None if known is None else known.to_json(), expected)
    side = known.side_level0 if known is not None else attributes.get("patch_size_level0")
    return SlideFeatures(path, known, coordinates, int(shape[1]), None if side is None else float(side))


class FeatureWriter:
    """Rows of one slide, appended batch by batch until the file is whole; use it as a context manager.

    Attributes:
        done: Patches that are on disk already, always whole batches; go on behind them.

    Args:
        path: `NAME.h5`, to be made.
        facts: What makes it.
        coordinates: Of every patch, in the order in which rows will come.
        dim: Width of a row.
        batch_size: Rows a batch. A run that goes on cuts the same batches as one that was never stopped: the same bits.

    Raises:
        FeaturesError: What lies there was made by another encoder or another cut, or another process is at it.
        ValueOutOfRange: A batch below 1.
    """

    def __init__(
        self, path: str | Path, facts: FeatureFacts, coordinates: Int64[np.ndarray, "patch 2"], *, dim: int, batch_size: int
    ) -> None:
        if batch_size < 1:
            raise ValueOutOfRange(f"batches of {batch_size} patches; expected at least 1 (`--batch-size`)")
        self.path, self.facts, self.dim = Path(path), facts, dim
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._coordinates = coordinates
        self._part.mkdir(parents=True, exist_ok=True)
        self._rows: IO[bytes] = (self._part / "features.f32").open("ab+")
        try:
            _lock(self._rows, self.path)
            self.done = self._take_up(batch_size)
        except BaseException:
            self._rows.close()
            raise

    def _take_up(self, batch_size: int) -> int:
        """Returns how many rows of an earlier run hold; what is behind the last whole batch is cut off."""
        told = self._part / "facts.json"
        places = self._part / "coords.npy"
        about = json.loads(json.dumps({**self.facts.to_json(), "batch_size": batch_size, "dim": self.dim}))
        same = False
        try:
            earlier, lay = json.loads(told.read_text()), np.load(places)
        except (FileNotFoundError, ValueError, EOFError):  # killed while it wrote them
            pass
        else:
            _refuse_others(self._part, earlier, self.facts)
            same = earlier == about and np.array_equal(lay, self._coordinates)
        whole = self._rows.seek(0, os.SEEK_END) // (4 * self.dim) // batch_size * batch_size if same else 0
        if not same:
            told.unlink(missing_ok=True)  # the facts come last: where they are, the coordinates are whole
            with places.open("wb") as file:
                np.save(file, self._coordinates)
            told.write_text(json.dumps(about))
        self._rows.truncate(whole * 4 * self.dim)
        return whole

    def append(self, features: Float32[np.ndarray, "patch dim"]) -> None:
        """Adds the next rows; they are on disk when this returns.

        Raises:
            ShapeMismatch: Rows of another width, or more than there are patches.
        """
        if features.ndim != 2 or features.shape[1] != self.dim or self.done + len(features) > len(self._coordinates):
            raise ShapeMismatch(
                f"features {features.shape} behind {self.done} rows; expected {self.dim} wide and {len(self._coordinates)} in all"
            )
        self._rows.write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self.done += len(features)

    def finish(self) -> SlideFeatures:
        """Makes the HDF5 file of the rows, gives it its name, and removes what was on the way.

        Raises:
            FeaturesError: Rows are missing.
        """
        if self.done != len(self._coordinates):
            raise FeaturesError(f"{self.done} of {len(self._coordinates)} patches have features; extract the rest first")
        whole = self._part / "whole.h5"
        rows = np.memmap(self._part / "features.f32", dtype="<f4", mode="r", shape=(self.done, self.dim))
        _write(whole, rows, self._coordinates, self.facts)
        del rows
        whole.replace(self.path)
        self.close()
        shutil.rmtree(self._part)
        return read_features(self.path)

    def close(self) -> None:
        """Lets go of the file; what was appended stays, and the next writer goes on behind it."""
        self._rows.close()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write(
    path: Path, rows: Float32[np.ndarray, "patch dim"], coordinates: Int64[np.ndarray, "patch 2"], facts: FeatureFacts
) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["facts"] = json.dumps(facts.to_json())
        features = file.create_dataset("features", shape=rows.shape, dtype="<f4")
        for start in range(0, len(rows), CHUNK):
            features[start : start + CHUNK] = rows[start : start + CHUNK]
        features.attrs.update({"encoder": facts.encoder, "precision": facts.precision, "contract": json.dumps(facts.contract)})
        places = file.create_dataset("coords", data=coordinates)
        places.attrs.update(
            {
                "patch_size": facts.patch_px,
                "patch_size_level0": round(facts.side_level0),
                "overlap": round(facts.overlap * facts.patch_px),
                "level0_width": facts.width,
                "level0_height": facts.height,
                "mpp": facts.mpp,
                "patch_mpp": facts.patch_mpp,
                "slide_id": facts.slide_id,
            }
        )
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _refuse_others(path: Path, found: dict[str, Any] | None, expected: FeatureFacts) -> None:
    """Names the first thing that differs.

    Raises:
        FeaturesError: Something does.
    """
    if found is None:
        raise FeaturesError(f"{path.name} does not say what made it; choose another --out, or remove it")
    for name, wanted in json.loads(json.dumps(expected.to_json())).items():
        if found.get(name) != wanted:
            shown = "" if name == "contract" else f" ({found.get(name)} there, {wanted} asked for)"
            raise FeaturesError(
                f"{path.name} was made with another {name.replace('_', ' ')}{shown}; choose another --out, or remove it"
            )


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows: there, do not extract one slide twice at a time
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise FeaturesError(f"another process is extracting {path.name}; let it finish, or choose another --out") from None
