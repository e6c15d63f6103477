"""Slides opened, their scale, and what a region of them holds: pixels are held against the array that was written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.films import film, save
from tests.slides import tissue_picture, write_dicom_slide, write_pyramid
from vesalius.errors import CorruptStream, FileMissing, MissingDependency, MissingSpacing, NotAnImage, TooLarge, ValueOutOfRange
from vesalius.slides.read import OpenSlideSlide, is_slide, open_slide


@pytest.fixture
def picture() -> np.ndarray:
    return tissue_picture()


def test_levels_scale_and_pixels(tmp_path: Path, picture: np.ndarray) -> None:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture, levels=3)) as slide:
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [
            (640, 480, 1.0),
            (160, 120, 4.0),
            (40, 30, 16.0),
        ]
        assert (slide.mpp, slide.width, slide.height) == (pytest.approx(0.5, rel=1e-4), 640, 480)
        np.testing.assert_array_equal(slide.read(100, 50, 200, 120, slide.mpp), picture[50:170, 100:300])
        np.testing.assert_array_equal(slide.read_level(0, 0, 0, 640, 480), picture)


def test_a_scale_between_levels_is_the_finer_level_reduced_by_area(tmp_path: Path, picture: np.ndarray) -> None:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture)) as slide:
        assert [slide.level_for(mpp) for mpp in (0.3, 0.5, 1.0, 1.99, 2.0, 9.0)] == [0, 0, 0, 1, 1, 1]
        half = slide.read(100, 60, 100, 80, 1.0)  # level 0 by two
        expected = picture[60:220, 100:300].reshape(80, 2, 100, 2, 3).mean(axis=(1, 3))
        assert np.abs(half - expected).max() <= 1
        eighth = slide.read(0, 0, 80, 60, 4.0)  # level 1 by two
        expected = picture.reshape(60, 8, 80, 8, 3).mean(axis=(1, 3))
        assert np.abs(eighth - expected).max() <= 1.5
        assert slide.read(0, 0, 64, 48, 5.0).shape == (48, 64, 3), "a scale that divides nothing still fills what was asked for"


def test_a_patch_covers_the_same_glass_whatever_the_slides_own_scale(tmp_path: Path) -> None:
    fine = tissue_picture(1280, 960, box=(320, 240, 960, 720))
    coarse = fine.reshape(480, 2, 640, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    with (
        open_slide(write_pyramid(tmp_path / "fine.tif", fine, mpp=0.25)) as forty,
        open_slide(write_pyramid(tmp_path / "coarse.tif", coarse, mpp=0.5)) as twenty,
    ):
        of_fine, of_coarse = forty.read(400, 300, 128, 128, 0.5), twenty.read(200, 150, 128, 128, 0.5)
    assert np.abs(of_fine.astype(int) - of_coarse).max() <= 2


def test_outside_the_slide_is_white(tmp_path: Path, picture: np.ndarray) -> None:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture)) as slide:
        region = slide.read(600, 440, 100, 100, slide.mpp)
        np.testing.assert_array_equal(region[:40, :40], picture[440:, 600:])
        assert (region[40:] == 255).all()
        assert (region[:, 40:] == 255).all()


def test_premultiplied_colours_are_laid_on_white() -> None:
    """OpenSlide gives colour times opacity: half opaque red over white glass is (255, 127, 127), clear is white."""

    class Handle:
        level_dimensions, level_downsamples, properties = ((2, 1),), (1.0,), {}

        def read_region(self, place: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
            return np.array([[[128, 0, 0, 128], [0, 0, 0, 0]]], dtype=np.uint8)

        def close(self) -> None: ...

    slide = OpenSlideSlide(Path("any.svs"), Handle(), 0.5)
    np.testing.assert_array_equal(slide.read_level(0, 0, 0, 2, 1), [[[255, 127, 127], [255, 255, 255]]])


def test_a_slide_without_scale_asks_for_the_flag(tmp_path: Path, picture: np.ndarray) -> None:
    path = write_pyramid(tmp_path / "a.tif", picture, mpp=None)
    with pytest.raises(MissingSpacing, match="--mpp"):
        open_slide(path)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


@pytest.mark.parametrize("kind", ["tiff", "dicom"])
def test_a_given_scale_that_contradicts_the_files_own_is_said(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    """One flag for a folder is taken for every slide of it, those that know better included."""
    if kind == "tiff":
        path = write_pyramid(tmp_path / "a.tif", picture, mpp=0.5)
        mute = write_pyramid(tmp_path / "b.tif", picture, mpp=None)
    else:
        path = write_dicom_slide(tmp_path / "a.dcm", picture, organization="TILED_FULL")
        mute = write_dicom_slide(tmp_path / "b.dcm", picture, organization="TILED_FULL", spacing_mm=None)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25
        assert slide.warnings == ("the file says 0.5 by 0.5 micrometres per pixel; 0.25 was given, and is used",)
    with open_slide(path, mpp=0.502) as same, open_slide(mute, mpp=0.25) as silent:
        assert same.warnings == silent.warnings == ()


def test_what_to_do_without_a_scale_is_said_to_the_end(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(MissingSpacing) as odd:
        open_slide(write_pyramid(tmp_path / "a.tif", picture, mpp=(4.6, 5.7)))
    with pytest.raises(MissingSpacing) as none:
        open_slide(write_pyramid(tmp_path / "b.tif", picture, mpp=None))
    for words in (str(odd.value), str(none.value)):
        assert "scanner" in words, "who knows it"
        assert "`--mpp 0.25`" in words, "how it is given"
        assert "by itself" in words, "the flag holds for every slide of the command"
    assert "4.6 by 5.7 micrometres are not square" in str(odd.value)


@pytest.mark.parametrize("sides", [(0.5, 0.6), (400.0, 400.0)])
def test_pixels_that_are_not_square_or_not_plausible_are_refused(
    tmp_path: Path, picture: np.ndarray, sides: tuple[float, float]
) -> None:
    with pytest.raises(MissingSpacing, match="--mpp"):
        open_slide(write_pyramid(tmp_path / "a.tif", picture, mpp=sides))


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileMissing):
        open_slide(tmp_path / "none.svs")
    (tmp_path / "words.svs").write_text("no slide")
    with pytest.raises(NotAnImage):
        open_slide(tmp_path / "words.svs")
    path = write_pyramid(tmp_path / "a.tif", tissue_picture())
    with pytest.raises(ValueOutOfRange, match="20"):
        open_slide(path, mpp=40.0)
    with open_slide(path) as slide, pytest.raises(TooLarge, match="coarser"):
        slide.read(0, 0, 20_000, 20_000, 0.5)
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(MissingDependency, match=r"vesalius\[slides\]"):
        open_slide(path)


def test_a_damaged_tile_is_an_error_not_a_crash(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        file.write(tissue_picture(), tile=(128, 128), photometric="rgb", compression="jpeg", metadata=None, **scale)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[6], file.pages[0].databytecounts[6]
    content[start : start + length] = b"\0" * length
    path.write_bytes(content)
    with open_slide(path) as slide, pytest.raises(CorruptStream, match="fetch"):
        slide.read_level(0, 0, 0, 640, 480)


def test_overview_covers_the_whole_slide(tmp_path: Path, picture: np.ndarray) -> None:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture)) as slide:
        small, downsample = slide.overview(80)
        assert small.shape == (60, 80, 3)
        assert downsample == 8
        assert np.abs(small - picture.reshape(60, 8, 80, 8, 3).mean(axis=(1, 3))).max() <= 1.5
        whole, downsample = slide.overview(5000)
        assert (whole.shape, downsample) == ((480, 640, 3), 1.0)


def test_the_overview_is_read_in_blocks_and_each_pixel_of_them_once(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(write_pyramid(tmp_path / "a.tif", picture, levels=1)) as slide:
        at_once, _ = slide.overview(160)
        monkeypatch.setattr("vesalius.slides.read.AT_ONCE", 100 * 100)
        asked = np.zeros((480, 640), dtype=int)
        own = slide.read_level

        def counted(level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
            assert max(width, height) <= 100
            asked[y : y + height, x : x + width] += 1
            return own(level, x, y, width, height)

        monkeypatch.setattr(slide, "read_level", counted)
        in_blocks, _ = slide.overview(160)
    np.testing.assert_allclose(in_blocks.astype(int), at_once, atol=1, err_msg="but for how a half is rounded")
    assert (asked == 1).all()


@pytest.mark.parametrize("mpp", [4.0, 4.3])
def test_a_large_region_of_a_slide_without_coarse_levels_is_read_block_by_block(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, mpp: float
) -> None:
    """One row of a small picture of it can be more than may be in memory; so can one tile of a pyramid's coarsest level."""
    with open_slide(write_pyramid(tmp_path / "a.tif", picture, levels=1)) as slide:
        at_once = slide.read(16, 8, 70, 55, mpp)
        sizes = []
        own = slide.read_level
        monkeypatch.setattr("vesalius.slides.read.MAXIMUM_REGION", 640 * 480 - 1)
        monkeypatch.setattr("vesalius.slides.read.AT_ONCE", 32 * 32)
        monkeypatch.setattr(slide, "read_level", lambda *place: sizes.append(place[3] * place[4]) or own(*place))
        in_blocks = slide.read(16, 8, 70, 55, mpp)
        assert max(sizes) <= 32 * 32
        assert len(sizes) > 100
        assert slide.overview(160)[0].shape == (120, 160, 3)
        assert len(slide.slide_id) == 16
    difference = np.abs(in_blocks.astype(int) - at_once)
    assert difference.max() == 0 if mpp == 4.0 else difference.mean() < 0.5, (
        "a block begins at a whole pixel, half a one off at most"
    )


def test_a_file_with_the_ending_of_a_slide_is_one_even_if_it_was_cut_off(tmp_path: Path) -> None:
    """A folder is searched for slides: one that did not arrive whole is to be named, not passed over."""
    for name in ("a.svs", "b.NDPI", "c.mrxs", "d.bif"):
        (tmp_path / name).write_bytes(b"II*\0 and no more")
        assert is_slide(tmp_path / name)
        with pytest.raises(NotAnImage, match="whole"):
            open_slide(tmp_path / name)
    (tmp_path / "e.tif").write_bytes(b"II*\0 and no more")
    assert not is_slide(tmp_path / "e.tif"), "most pictures in TIFF are no slides"


def test_a_file_that_may_not_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.tif").write_bytes(b"x")
    monkeypatch.setattr("vesalius.slides.read._is_dicom", denied)
    assert is_slide(tmp_path / "a.tif"), "so that it is opened, and named with its reason"


def test_a_folder_is_no_slide(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="folder"):
        open_slide(tmp_path)


def test_a_slide_is_named_by_its_pixels_alone(tmp_path: Path, picture: np.ndarray) -> None:
    one = write_pyramid(tmp_path / "a.tif", picture)
    with open_slide(one) as a, open_slide(one, mpp=0.25) as b:
        assert a.slide_id == b.slide_id
        assert len(a.slide_id) == 16
    with open_slide(write_pyramid(tmp_path / "b.tif", tissue_picture(seed=1))) as other:
        assert other.slide_id != a.slide_id


def test_threads_read_what_one_reads(tmp_path: Path, picture: np.ndarray) -> None:
    for path in (
        write_pyramid(tmp_path / "a.tif", picture),
        write_dicom_slide(tmp_path / "b.dcm", picture, organization="TILED_FULL"),
    ):
        with open_slide(path) as slide, ThreadPoolExecutor(8) as pool:
            places = [(x, y) for x in range(0, 560, 40) for y in range(0, 400, 40)]
            for (x, y), region in zip(places, pool.map(lambda p: slide.read(*p, 80, 80, 0.5), places), strict=True):
                np.testing.assert_array_equal(region, picture[y : y + 80, x : x + 80])


def test_which_files_are_slides(tmp_path: Path, picture: np.ndarray) -> None:
    assert is_slide(write_pyramid(tmp_path / "a.tif", picture))
    assert is_slide(write_dicom_slide(tmp_path / "a.dcm", picture))
    save(film(), tmp_path)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("x\n")
    for name in ("film.dcm", "a.png", "a.csv", "none.svs"):
        assert not is_slide(tmp_path / name)
