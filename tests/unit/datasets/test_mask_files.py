from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from vesalius.datasets.mask_files import MaskFile, find_masks, read_masks
from vesalius.datasets.sources import FilmFile
from vesalius.errors import FileMissing, LabelsError, MaskMismatch

BOX = np.zeros((40, 20), np.uint8)
BOX[10:20, 5:15] = 1


def films(*paths: str) -> list[FilmFile]:
    return [FilmFile(Path("/nowhere") / path, path, 0, 0) for path in paths]


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def test_a_folder_a_structure(tmp_path: Path) -> None:
    for name in ("Nodule/a.png", "Effusion/a.png", "Effusion/sub/b.png"):
        save(tmp_path / name, BOX)
    (tmp_path / "notes.txt").write_text("no folder")
    masks = find_masks(tmp_path)
    assert masks.structures == ("Effusion", "Nodule")
    of = masks.of(films("a.dcm", "sub/b.dcm", "c.dcm"))
    assert [[(mask.file.relative_to(tmp_path).as_posix(), mask.structure) for mask in files] for files in of] == [
        [("Effusion/a.png", 0), ("Nodule/a.png", 1)],
        [("Effusion/sub/b.png", 0)],
        [],
    ]


def test_a_name_alone_is_enough_only_where_it_is_one_films(tmp_path: Path) -> None:
    save(tmp_path / "Nodule" / "1.png", BOX)
    masks = find_masks(tmp_path)
    assert len(masks.of(films("x/1.dcm", "x/2.dcm"))[0]) == 1
    assert masks.of(films("x/1.dcm", "y/1.dcm")) == [(), ()]


@pytest.mark.parametrize(
    ("scale", "mode"),
    [(1, None), (255, None), (1, "1"), (255, "LA"), (7, "I;16")],
    ids=["0 and 1", "0 and 255", "bits", "grey+alpha", "16 bit"],
)
def test_every_way_to_write_a_mask_means_the_same(scale: int, mode: str | None, tmp_path: Path) -> None:
    pixels = (BOX * 255).astype(np.uint8) if mode == "1" else BOX * np.uint8(scale)
    if mode == "I;16":
        file = save(tmp_path / "m.png", BOX.astype(np.uint16) * np.uint16(300))
    else:
        file = save(tmp_path / "m.png", pixels, mode)
    drawn, known = read_masks([MaskFile(file, None, 1)], 2, (40, 20), 40)
    expected = np.zeros((2, 40, 40), np.uint8)
    expected[1, 10:20, 15:25] = 255
    np.testing.assert_array_equal(drawn, expected)
    assert known.tolist() == [False, True]


def test_a_label_map_makes_all_its_structures_known(tmp_path: Path) -> None:
    labels = BOX.copy()
    labels[30:, :] = 3
    save(tmp_path / "a.png", labels)
    nibabel.save(nibabel.Nifti1Image(labels.T[:, :, None].astype(np.int16), np.eye(4)), tmp_path / "b.nii.gz")
    masks = find_masks(tmp_path, {3: "Effusion", 1: "Nodule", 9: "Mass"})
    assert masks.structures == ("Effusion", "Nodule", "Mass")
    for files in masks.of(films("a.dcm", "b.dcm")):
        drawn, known = read_masks(files, 3, (40, 20), 40)
        assert known.all()
        np.testing.assert_array_equal(drawn[0, 30:, 10:30], 255)
        np.testing.assert_array_equal(drawn[1, 10:20, 15:25], 255)
        assert (drawn > 0).sum() == 10 * 20 + 10 * 10


def test_a_smaller_mask_of_the_same_proportions_fits(tmp_path: Path) -> None:
    drawn, _ = read_masks([MaskFile(save(tmp_path / "m.png", BOX[::2, ::2] * 255))], 1, (40, 20), 40)
    assert drawn[0, 15, 20] == 255
    assert drawn[0].mean() == pytest.approx(255 * BOX.sum() / 1600, rel=0.02)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(MaskMismatch, match="40 x 20 pixels, the film 40 x 40"):
        read_masks([MaskFile(save(tmp_path / "m.png", BOX))], 1, (40, 40), 40)
    with pytest.raises(MaskMismatch, match="grey PNG"):
        read_masks([MaskFile(save(tmp_path / "c.png", np.zeros((4, 4, 3), np.uint8)))], 1, (4, 4), 4)
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(MaskMismatch, match="cannot be read"):
        read_masks([MaskFile(tmp_path / "broken.png")], 1, (4, 4), 4)
    (tmp_path / "broken.nii.gz").write_text("no volume")
    with pytest.raises(MaskMismatch, match="cannot be read"):
        read_masks([MaskFile(tmp_path / "broken.nii.gz")], 1, (4, 4), 4)


def test_a_folder_that_fits_no_layout_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        find_masks(tmp_path / "none")
    with pytest.raises(LabelsError, match="--structures 1=NAME"):
        find_masks(tmp_path)
    with pytest.raises(LabelsError, match="give both or neither"):
        find_masks(None, {1: "X"})
    with pytest.raises(LabelsError, match="same name"):
        find_masks(tmp_path, {1: "X", 2: "X"})
    assert find_masks(None).structures == ()
