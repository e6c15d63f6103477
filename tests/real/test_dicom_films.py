"""The two CR films of the DICOM WG-04 compression set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.dicom.quality import quality_problem
from vesalius.dicom.read import read_with_header
from vesalius.types import View

pytestmark = pytest.mark.real


def test_the_chest_film(real_data: Path) -> None:
    image, header = read_with_header(real_data / "dicom" / "RG1_J2KI.dcm")
    assert header is not None
    assert (header.modality, header.rows, header.columns, header.bits_stored) == ("CR", 1955, 1841, 15)
    assert image.pixels.shape == (1955, 1841)
    assert image.view_position is View.PA
    assert image.spacing_mm is None, "a spacing of 0 must be refused"
    assert any("spacing" in warning for warning in image.warnings)
    assert "inverted: MONOCHROME1" in image.provenance
    assert quality_problem(image) is None
    # as a person sees it: the spine is brighter than the lung beside it
    height, width = image.pixels.shape
    spine = image.pixels[height // 2 :, width // 2 - 40 : width // 2 + 40].mean()
    lung = image.pixels[int(0.35 * height) : int(0.55 * height), int(0.22 * width) : int(0.34 * width)].mean()
    assert spine > lung + 0.05


def test_the_hip_film(real_data: Path) -> None:
    image, header = read_with_header(real_data / "dicom" / "RG2_J2KI.dcm")
    assert header is not None
    assert image.pixels.shape == (2140, 1760)
    assert image.view_position is None
    assert image.spacing_mm == pytest.approx((0.2, 0.2))
    assert image.bits_stored == 10
    assert np.unique(np.rint(image.pixels * 1023)).size > 500
    assert quality_problem(image) is None
