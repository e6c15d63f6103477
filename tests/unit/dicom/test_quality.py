from __future__ import annotations

import numpy as np
import pytest

from tests.films import ramp
from vesalius.dicom.quality import quality_problem
from vesalius.types import Image


def _problem(pixels: np.ndarray) -> str | None:
    return quality_problem(Image(pixels=pixels.astype(np.float32), image_id="x"))


def test_an_ordinary_film_is_good_enough() -> None:
    assert _problem(ramp(600, 500) / 4095) is None


GOOD = ramp(200, 200) / 4095


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (GOOD[:63], "at least 64"),
        (np.tile(GOOD, (1, 5)), "strip"),
        (np.rint(GOOD * 7) / 7, "8 grey levels"),
        (np.where(GOOD > 0.9, GOOD, 0), "black or white"),
        (0.5 + 0.07 * (GOOD - 0.5), "contrast"),
    ],
)
def test_each_defect_has_its_sentence(pixels: np.ndarray, word: str) -> None:
    problem = _problem(pixels)
    assert problem is not None
    assert word in problem
