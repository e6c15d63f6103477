"""Masks beside films: one label map a film, or one folder of pictures a structure, matched by file name.

A mask lies over the film as `dicom.read` shows it (MONOCHROME1 changes nothing here, but a DICOM film whose PatientOrientation
asks to be turned or flipped is turned before its mask is laid on). It may be of another size, if its proportions agree.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32, Integer, UInt8

from vesalius.datasets.sources import FilmFile, stem
from vesalius.dicom.resample import content_box, resize_to_square
from vesalius.errors import FileMissing, LabelsError, MaskMismatch

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MASK_SUFFIXES = (".png", *NIFTI_SUFFIXES)
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, MemoryError, zlib.error)
"""What Pillow and nibabel raise on broken files."""


@dataclass(frozen=True)
class MaskFile:
    """One file, and what of it is which structure.

    Attributes:
        file: PNG or NIfTI.
        values: Structure number by the value in a label map; None where every value above 0 is the one structure.
        structure: Which structure a file without `values` is of.
    """

    file: Path
    values: tuple[tuple[int, int], ...] | None = None
    structure: int = 0

    def state(self) -> tuple[str, int, int]:
        """What changes when the file does."""
        state = self.file.stat()
        return str(self.file.resolve()), state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class MaskFolder:
    """The masks that were given with the films.

    Attributes:
        structures: Names of the masks' channels.
        values: Values of a label map and their structure; None for one folder a structure.
        files: For each structure (one entry for label maps) the files by stem.
    """

    structures: tuple[str, ...] = ()
    values: tuple[tuple[int, int], ...] | None = None
    files: tuple[Mapping[str, Path], ...] = ()

    def of(self, films: Sequence[FilmFile]) -> list[tuple[MaskFile, ...]]:
        """Returns the mask files of every film.

        A mask has its film's path below the source, or only its name where no other film has that name.
        """
        names = Counter(PurePosixPath(stem(film.path)).name for film in films)
        return [tuple(self._of(stem(film.path), names)) for film in films]

    def _of(self, path: str, names: Mapping[str, int]) -> Iterable[MaskFile]:
        name = PurePosixPath(path).name
        for structure, files in enumerate(self.files):
            file = files.get(path) or (files.get(name) if names[name] == 1 else None)
            if file is not None:
                yield MaskFile(file, self.values, structure)


def find_masks(folder: Path | None, structures: Mapping[int, str] | None = None) -> MaskFolder:
    """Looks through a folder of masks.

    Args:
        folder: With `structures`, label maps `FOLDER/STEM.png` or `.nii.gz`; without, `FOLDER/NAME/STEM.png`, NAME the structure.
        structures: Name by value in the label maps.

    Raises:
        FileMissing: No such folder.
        LabelsError: Neither layout fits, or two structures have one name.
    """
    if folder is None:
        if structures:
            raise LabelsError("--structures names the values of label maps, but no --masks folder was given; give both or neither")
        return MaskFolder()
    if not folder.is_dir():
        raise FileMissing(f"no such folder of masks: {folder}; check the spelling")
    if structures:
        names = tuple(structures.values())
        if len(set(names)) < len(names):
            raise LabelsError("two values of --structures have the same name; give each value its own")
        return MaskFolder(names, tuple((value, index) for index, value in enumerate(structures)), (_by_stem(folder),))
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise LabelsError(
            f"{folder} has no folder a structure ({folder.name}/NAME/STEM.png); "
            "for label maps say which value is what: --structures 1=NAME,2=NAME"
        )
    return MaskFolder(tuple(path.name for path in folders), None, tuple(map(_by_stem, folders)))


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        for suffix in MASK_SUFFIXES:
            if file.name.endswith(suffix) and not file.name.startswith("."):
                found[file.relative_to(folder).as_posix().removesuffix(suffix)] = file
                break
    return found


def read_masks(
    files: Sequence[MaskFile], n_structures: int, shape: tuple[int, int], size_px: int
) -> tuple[UInt8[np.ndarray, "structure height width"], Bool[np.ndarray, " structure"]]:
    """Returns masks on the square of a film of `shape`, 0 to 255 = the fraction of a pixel, and which of them are known.

    Raises:
        MaskMismatch: A file cannot be read, or its proportions are not the film's.
    """
    masks = np.zeros((n_structures, size_px, size_px), dtype=np.uint8)
    known = np.zeros(n_structures, dtype=bool)
    for mask in files:
        drawn = _read(mask.file)
        height, width = drawn.shape
        if content_box(height, width, size_px) != content_box(*shape, size_px):
            raise MaskMismatch(
                f"the mask has {height} x {width} pixels, the film {shape[0]} x {shape[1]}; "
                "give a mask of the film's proportions, or take the mask away"
            )
        for structure, share in _fractions(mask, drawn):
            masks[structure] = np.rint(resize_to_square(share, size_px) * 255).astype(np.uint8)
            known[structure] = True
    return masks, known


def _fractions(
    mask: MaskFile, drawn: Integer[np.ndarray, "height width"]
) -> Iterable[tuple[int, Float32[np.ndarray, "height width"]]]:
    if mask.values is None:
        # 0 and 255, greys between them where the mask was smoothed; or 0 and 1
        top = 255 if drawn.max(initial=0) > 1 else 1
        yield mask.structure, (np.minimum(drawn, top) / top).astype(np.float32)
        return
    for value, structure in mask.values:
        yield structure, (drawn == value).astype(np.float32)


def _read(file: Path) -> Integer[np.ndarray, "height width"]:
    try:
        drawn = _read_nifti(file) if file.name.endswith(NIFTI_SUFFIXES) else _read_png(file)
    except (*UNREADABLE, PIL.Image.DecompressionBombError) as error:
        raise MaskMismatch("the film's mask cannot be read; make it a grey PNG or a NIfTI of integers") from error
    if drawn.ndim != 2 or not drawn.size:
        raise MaskMismatch(f"the film's mask has {drawn.ndim} axes; make it a grey PNG or a NIfTI of one slice")
    return drawn


def _read_png(file: Path) -> Integer[np.ndarray, "height width"]:
    with PIL.Image.open(file, formats=("PNG",)) as picture:
        if picture.mode == "1":
            picture.load()
            return np.asarray(picture).astype(np.uint8)
        drawn = np.asarray(picture)  # a palette's indices are its values
        return drawn[..., 0] if picture.mode == "LA" else drawn


def _read_nifti(file: Path) -> Integer[np.ndarray, "height width"]:
    """Reads voxel (i, j) as column i and row j of the film."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        values = np.asarray(nibabel.load(file).dataobj)
    except ImageFileError as error:
        raise ValueError("not a NIfTI") from error
    drawn = values.reshape([side for axis, side in enumerate(values.shape) if axis < 2 or side > 1])
    return np.rint(drawn).astype(np.int64).T
