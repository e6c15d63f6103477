"""CMU-1 (Aperio SVS, CC0) and a tiled DICOM slide of TCGA that OpenSlide does not open, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vesalius
from tests.image_text import make_image_text_bundle
from vesalius.bundle.slide import SideFiles, SlideOptions, SlideWords
from vesalius.errors import MissingSpacing
from vesalius.inference.feature_file import read_features
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import open_slide
from vesalius.slides.tissue import TissueOptions, find_tissue
from vesalius.zeroshot.prompts import prompts_for

pytestmark = pytest.mark.real


def test_the_svs(real_data: Path) -> None:
    with open_slide(real_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        assert (slide.width, slide.height, slide.mpp, len(slide.levels)) == (2220, 2967, 0.499, 1)
        tissue = find_tissue(slide)
        assert 0.25 < tissue.share < 0.4
        patches = PatchGrid(224, 0.5).places(slide, tissue)
        # a strand of skin: there is tissue in the middle, and none in the upper left corner nor on the right
        assert tissue.shares_within(np.array([[1000, 1600], [0, 300], [1900, 100]]), 224).round(1).tolist() == [1.0, 0.0, 0.0]
        assert 40 < len(patches) < 90


def test_pixels_are_those_of_the_file(real_data: Path) -> None:
    import tifffile

    with tifffile.TiffFile(real_data / "wsi" / "CMU-1-Small-Region.svs") as file:
        whole = file.pages[0].asarray()
    with open_slide(real_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        region = slide.read(1000, 1500, 300, 200, slide.mpp)
    assert np.abs(region.astype(int) - whole[1500:1700, 1000:1300]).max() <= 3, "two decoders of one JPEG"


def test_the_dicom_slide_does_not_say_its_scale(real_data: Path) -> None:
    path = real_data / "wsi" / "small_dicom_wsi.dcm"
    with pytest.raises(MissingSpacing, match=r"4\.63535 by 5\.68613 micrometres are not square"):
        open_slide(path)
    with open_slide(path, mpp=8.0) as slide:
        assert (slide.width, slide.height) == (3236, 2638)
        assert "4.63535 by 5.68613" in slide.warnings[0]
        assert "column by column" in slide.warnings[1]
        tissue = find_tissue(slide, TissueOptions(mpp=16.0))
        # a section of prostate: glass in the middle below, tissue left of it, green pen far left
        places = np.array([[1700, 1750], [1150, 900], [0, 340]])
        assert (tissue.shares_within(places, 150) > 0.8).tolist() == [False, True, False]


def test_neighbouring_tiles_of_the_dicom_slide_go_on_into_each_other(real_data: Path) -> None:
    with open_slide(real_data / "wsi" / "small_dicom_wsi.dcm", mpp=8.0) as slide:
        picture = slide.read_level(0, 0, 0, slide.width, slide.height).astype(float).mean(axis=-1)
    for axis in (0, 1):
        steps = np.abs(np.diff(picture, axis=axis)).mean(axis=1 - axis)
        for seam in range(499, len(steps), 500):
            around = np.median(steps[seam - 20 : seam + 20])
            assert steps[seam] < 1.5 * around, "a seam is about as rough as the tissue around it"


@pytest.mark.parametrize(("name", "mpp", "patch_mpp"), [("CMU-1-Small-Region.svs", None, 1.0), ("small_dicom_wsi.dcm", 8.0, 16.0)])
def test_end_to_end(tmp_path: Path, real_data: Path, name: str, mpp: float | None, patch_mpp: float) -> None:
    make_image_text_bundle(tmp_path / "bundle")
    options = SlideOptions(grid=PatchGrid(64, patch_mpp), mpp=mpp)
    reader = SlideWords(vesalius.load(tmp_path / "bundle"), [prompts_for(["nodule", "effusion"])], options)
    files = SideFiles(tmp_path / "maps", tmp_path / "maps", tmp_path / "maps")
    answer = reader.answer(real_data / "wsi" / name, features=tmp_path, case=name, files=files)
    assert answer.prediction.error is None
    assert len(answer.prediction.findings) == 2
    assert all(np.isfinite(finding.logit) for finding in answer.prediction.findings)
    assert len(read_features(tmp_path / f"{name}.h5")) == len(answer.scores.patches) > 50
    with open_slide(tmp_path / "maps" / f"{name}.nodule.tif") as pyramid, open_slide(real_data / "wsi" / name, mpp=mpp) as slide:
        assert pyramid.width * pyramid.mpp == pytest.approx(slide.width * slide.mpp, rel=0.01)
