from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vesalius.datasets.images import ImagesReader, ImagesWriter
from vesalius.errors import StoreError

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 65536, (4, 16, 16)).astype(np.uint16)
MASKS = (RNG.random((4, 2, 16, 16)) > 0.8).astype(np.uint8) * np.uint8(255)
MASKS[1] = 0


def write(path: Path, structures: tuple[str, ...] = ("X", "Y")) -> Path:
    with ImagesWriter(path, 16, structures, patient_key_check="check") as images:
        for row in range(4):
            images.append(f"id{row}", LEVELS[row], MASKS[row], np.array([True, row % 2 == 0]), 100 + row)
        images.note = "grüße"
    return path


def test_images_masks_and_notes_come_back(tmp_path: Path) -> None:
    with ImagesReader(write(tmp_path / "a.h5")) as images:
        np.testing.assert_array_equal(images.file["images"][:], LEVELS)
        np.testing.assert_array_equal(images.file["masks"][:], MASKS)
        assert images.image_ids == ["id0", "id1", "id2", "id3"]
        assert images.file_bytes.tolist() == [100, 101, 102, 103]
        assert images.masks_known.tolist() == [[True, True], [True, False], [True, True], [True, False]]
        assert (images.structures, images.size_px, images.note, images.patient_key_check) == (("X", "Y"), 16, "grüße", "check")
        assert images.drawn_masks == {(0, 0), (0, 1), (2, 0), (2, 1), (3, 0), (3, 1)}, "an empty mask takes no chunk"


def test_one_chunk_an_image_in_a_filter_that_every_hdf5_library_has(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5")) as file:
        assert file["images"].chunks == (1, 16, 16)
        assert file["masks"].chunks == (1, 1, 16, 16)
        assert file["images"].compression == "gzip"


def test_chosen_images_move_to_a_file_with_other_structures(tmp_path: Path) -> None:
    with ImagesReader(write(tmp_path / "a.h5")) as source, ImagesWriter(tmp_path / "b.h5", 16, ("Z", "Y", "X")) as target:
        target.append("new", LEVELS[0], np.zeros((3, 16, 16), np.uint8), np.array([True, False, False]))
        target.copy(source, [3, 0], np.array([[True, True, False], [False, False, False]]))
    with ImagesReader(tmp_path / "b.h5") as images:
        np.testing.assert_array_equal(images.file["images"][:], LEVELS[[0, 3, 0]])
        np.testing.assert_array_equal(images.file["masks"][1:, 1:], MASKS[[3, 0]][:, ::-1])
        assert not images.file["masks"][:, 0].any()
        assert images.image_ids == ["new", "id3", "id0"]
        assert images.masks_known.tolist() == [[True, False, False], [True, True, True], [False, True, True]]


def test_a_file_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError), ImagesWriter(tmp_path / "a.h5", 16) as images:
        images.append("id that is no hex: ü", LEVELS[0])
    assert not list(tmp_path.iterdir())


def test_other_files_and_later_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cxr"] = np.zeros(3)
    for name in ("text.h5", "other.h5", "none.h5"):
        with pytest.raises(StoreError, match="not a pixel file"):
            ImagesReader(tmp_path / name)
    with h5py.File(write(tmp_path / "late.h5"), "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(StoreError, match="upgrade"):
        ImagesReader(tmp_path / "late.h5")
