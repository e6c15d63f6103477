"""Tiled DICOM: whatever order its tiles are in, the picture that was cut comes back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.slides import tiles_of, tissue_picture, write_dicom_slide
from vesalius.errors import MissingSpacing, NoPixelData, TruncatedFile, UnsupportedEncoding
from vesalius.slides.dicom_tiles import DicomSlide
from vesalius.slides.read import open_slide

SIDE = 64
BY_COLUMNS = sorted(tiles_of(np.zeros((300, 400, 3), np.uint8), SIDE), key=lambda place: place[::-1])


@pytest.fixture
def picture() -> np.ndarray:
    return tissue_picture(400, 300, box=(20, 20, 390, 290))  # 7 x 5 tiles, the last ones padded


def whole(slide: DicomSlide) -> np.ndarray:
    return slide.read_level(0, 0, 0, slide.width, slide.height)


def test_tiled_full_is_row_by_row(tmp_path: Path, picture: np.ndarray) -> None:
    with DicomSlide(write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL"), None) as slide:
        assert (slide.width, slide.height, slide.mpp, slide.warnings) == (400, 300, 0.5, ())
        np.testing.assert_array_equal(whole(slide), picture)
        np.testing.assert_array_equal(slide.read(50, 40, 100, 100, 0.5), picture[40:140, 50:150])
        region = slide.read(350, 250, 100, 100, 0.5)
        np.testing.assert_array_equal(region[:50, :50], picture[250:, 350:])
        assert (region[50:] == 255).all(), "padding of the last tile is not shown"
        assert (slide.read(-30, -30, 20, 20, 0.5) == 255).all()


def test_positions_of_frames_overrule_their_order(tmp_path: Path, picture: np.ndarray) -> None:
    order = [tuple(place) for place in np.random.default_rng(0).permutation(BY_COLUMNS)]
    path = write_dicom_slide(tmp_path / "a.dcm", picture, order=order, positions=True, organization="TILED_SPARSE")
    with DicomSlide(path, None) as slide:
        np.testing.assert_array_equal(whole(slide), picture)


def test_tiles_that_were_not_scanned_are_white(tmp_path: Path, picture: np.ndarray) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, order=BY_COLUMNS[3:], positions=True)
    with DicomSlide(path, None) as slide:
        left_out = np.zeros((300, 400), dtype=bool)
        for row, column in BY_COLUMNS[:3]:
            left_out[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = True
        np.testing.assert_array_equal(whole(slide)[~left_out], picture[~left_out])
        assert (whole(slide)[left_out] == 255).all()


@pytest.mark.parametrize("order", [None, BY_COLUMNS])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_order_that_is_not_said_is_told_by_the_seams(
    tmp_path: Path, picture: np.ndarray, order: list[tuple[int, int]] | None, compressed: bool
) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, order=order, compressed=compressed)
    with DicomSlide(path, None) as slide:
        assert np.abs(whole(slide).astype(int) - picture).mean() < (4 if compressed else 1e-9)
        assert ("column by column" if order else "row by row") in slide.warnings[0]


def test_an_order_that_nothing_tells_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    with pytest.raises(UnsupportedEncoding, match="do not tell"):
        DicomSlide(write_dicom_slide(tmp_path / "a.dcm", noise), None)
    with pytest.raises(UnsupportedEncoding, match="do not tell"):
        DicomSlide(write_dicom_slide(tmp_path / "b.dcm", np.zeros((300, 400, 3), np.uint8)), None)


def test_a_wrong_number_of_tiles_is_refused(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(UnsupportedEncoding, match="34 tiles for a grid of 7 by 5"):
        DicomSlide(write_dicom_slide(tmp_path / "a.dcm", picture, order=list(tiles_of(picture, SIDE))[:34]), None)


@pytest.mark.parametrize("table", [True, False])
def test_jpeg_tiles_are_found_with_and_without_a_table(tmp_path: Path, picture: np.ndarray, table: bool) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, compressed=True, table=table, organization="TILED_FULL")
    with DicomSlide(path, None) as slide:
        assert np.abs(whole(slide).astype(int) - picture).mean() < 4


@pytest.mark.parametrize("compressed", [False, True])
def test_threads_that_decode_at_once_get_their_own_tiles(
    tmp_path: Path, picture: np.ndarray, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pydicom.pixels

    decode = pydicom.pixels.pixel_array
    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL", compressed=compressed)
    with DicomSlide(path, None) as slide:
        expected = whole(slide)
    # a decoder that takes its time: the others begin theirs meanwhile
    monkeypatch.setattr(pydicom.pixels, "pixel_array", lambda one: (time.sleep(0.005), decode(one))[1])
    with DicomSlide(path, None) as slide, ThreadPoolExecutor(6) as pool:
        tiles = list(pool.map(lambda place: slide.read(place[1] * SIDE, place[0] * SIDE, 8, 8, 0.5), BY_COLUMNS))
    for (row, column), tile in zip(BY_COLUMNS, tiles, strict=True):
        within = expected[row * SIDE : row * SIDE + 8, column * SIDE : column * SIDE + 8]
        np.testing.assert_array_equal(tile[: len(within), : within.shape[1]], within)


def test_a_tile_is_one_read_of_the_file(tmp_path: Path, picture: np.ndarray) -> None:
    with DicomSlide(write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL"), None) as slide:
        asked = []
        own = slide._frames.read
        slide._frames.read = lambda frame: asked.append(frame) or own(frame)  # type: ignore[method-assign, func-returns-value]
        slide.read(70, 70, 20, 20, 0.5)
        slide.read(90, 90, 20, 20, 0.5)
        assert asked == [8], "one tile, read once"


@pytest.mark.parametrize(
    ("spacing", "more"),
    [
        (None, {}),
        ((0.0005, 0.0006), {}),
        ((0.0, 0.0), {}),
        (None, {"ImagedVolumeWidth": 15.0, "ImagedVolumeHeight": 15.0}),  # what a converter wrote into a real file: not square
    ],
)
def test_no_scale_or_pixels_that_are_not_square(
    tmp_path: Path, picture: np.ndarray, spacing: tuple[float, float] | None, more: dict[str, float]
) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL", spacing_mm=spacing, **more)
    with pytest.raises(MissingSpacing, match="--mpp"):
        open_slide(path)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


def test_the_size_of_what_was_imaged_says_the_scale(tmp_path: Path, picture: np.ndarray) -> None:
    size = {"ImagedVolumeWidth": 0.1, "ImagedVolumeHeight": 0.075}
    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL", spacing_mm=None, **size)
    with DicomSlide(path, None) as slide:
        assert slide.mpp == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "label"),
        ({"SamplesPerPixel": 1}, "colour"),
        ({"BitsAllocated": 16}, "16 bits"),
    ],
)
def test_what_is_no_slide_in_colour_is_refused(tmp_path: Path, picture: np.ndarray, more: dict[str, object], words: str) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL", **more)
    with pytest.raises(UnsupportedEncoding, match=words) as error:
        DicomSlide(path, None)
    assert "Somebody" not in str(error.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_was_cut_off(tmp_path: Path, picture: np.ndarray, compressed: bool) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL", compressed=compressed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with DicomSlide(path, None) as slide:
        slide.read_level(0, 0, 0, 10, 10)
        with pytest.raises(TruncatedFile, match="fetch"):
            slide.read_level(0, 390, 290, 10, 10)


def test_a_header_alone(tmp_path: Path, picture: np.ndarray) -> None:
    import pydicom

    path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL")
    header = pydicom.dcmread(path)
    del header.PixelData
    header.save_as(path)
    with pytest.raises(NoPixelData):
        DicomSlide(path, None)


def test_several_focal_planes_are_refused(tmp_path: Path, picture: np.ndarray) -> None:
    """Of two tiles at one place one would hide the other."""
    path = write_dicom_slide(tmp_path / "a.dcm", picture, order=[*BY_COLUMNS, *BY_COLUMNS], positions=True)
    with pytest.raises(UnsupportedEncoding, match="focal planes or optical paths"):
        DicomSlide(path, None)


def test_tiles_beside_the_grid_are_refused(tmp_path: Path, picture: np.ndarray) -> None:
    import pydicom

    path = write_dicom_slide(tmp_path / "a.dcm", picture, positions=True)
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSlideSequence[0].ColumnPositionInTotalImagePixelMatrix += 20
    dataset.save_as(path)
    with pytest.raises(UnsupportedEncoding, match="tile 4 lies beside the grid"):
        DicomSlide(path, None)


def test_a_part_of_a_slide_is_not_taken_for_the_whole(tmp_path: Path, picture: np.ndarray) -> None:
    """A concatenation: one level in several files. The tiles of the others would be white, as if they had not been scanned."""
    more = {"ConcatenationUID": "1.2.3", "InConcatenationNumber": 1, "InConcatenationTotalNumber": 2}
    path = write_dicom_slide(tmp_path / "a.dcm", picture, order=BY_COLUMNS[:20], positions=True, **more)
    with pytest.raises(UnsupportedEncoding, match="part 1 of 2") as error:
        DicomSlide(path, None)
    assert "join" in str(error.value)
    whole_in_one = {**more, "InConcatenationTotalNumber": 1}
    with DicomSlide(write_dicom_slide(tmp_path / "b.dcm", picture, positions=True, **whole_in_one), None) as slide:
        np.testing.assert_array_equal(whole(slide), picture)
