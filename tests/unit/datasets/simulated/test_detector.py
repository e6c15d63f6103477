from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs.detector import Detector, develop, expose
from vesalius.datasets.simulated_radiographs.sites import SITES

PLAIN = Detector((0.25, 0.25, 0.25, 0.25), 0.0, 1e7, 1e-3, 0.5, 1.0, 6.0, 0.0)


def flat(value: float, size: int = 48) -> np.ndarray:
    return np.full((size, size), value, np.float32)


def seen(water: np.ndarray, bone: np.ndarray, detector: Detector = PLAIN, seed: int = 0) -> np.ndarray:
    return expose(water, bone, detector, 1.0, np.random.default_rng(seed))


def test_ten_grams_of_water_attenuate_as_the_nist_table_says() -> None:
    # mass attenuation of water at 50, 60, 80 and 100 keV: 0.2269, 0.2059, 0.1837, 0.1707 cm²/g (NIST)
    by_hand = sum(np.exp(-10 * mu) for mu in (0.2269, 0.2059, 0.1837, 0.1707)) / 4
    assert seen(flat(10), flat(0)).mean() == pytest.approx(by_hand, rel=0.005)


def test_the_beam_hardens() -> None:
    thin, thick = (-np.log(seen(flat(water), flat(0)).mean()) / water for water in (2, 30))
    assert 0.1707 < thick < thin < 0.2269


def test_a_gram_of_bone_weighs_more_than_one_of_water() -> None:
    assert seen(flat(10), flat(1)).mean() < seen(flat(11), flat(0)).mean()


def test_noise_falls_with_the_square_root_of_the_photons() -> None:
    few, many = (seen(flat(20), flat(0), replace(PLAIN, photons=n)) for n in (1e2, 1e4))
    assert few.std() / few.mean() == pytest.approx(0.1, rel=0.1)
    assert few.std() / many.std() == pytest.approx(10, rel=0.15)


def test_scatter_takes_contrast_away() -> None:
    water = flat(20, 200)
    water[95:105, 95:105] = 24
    contrast = [
        1 - film[100, 100] / film[100, 140] for film in (seen(water, 0 * water, replace(PLAIN, scatter=s)) for s in (0.0, 1.0))
    ]
    assert contrast[1] < 0.7 * contrast[0]


@pytest.mark.parametrize("site", ["A", "B"])
def test_what_is_denser_is_brighter_on_the_film(site: str) -> None:
    water = np.tile(np.linspace(4, 26, 160, dtype=np.float32), (160, 1))
    water[60:80, 60:80] += 3
    bone = np.zeros_like(water)
    bone[60:80, 100:104] = 1.5
    generator = np.random.default_rng(0)
    detector = SITES[site].detector
    film = develop(expose(water, bone, detector, 1.0, generator), detector, 1.0, generator)
    assert film.min() >= 0
    assert film.max() <= 1
    assert film[65:75, 65:75].mean() > film[65:75, 40:50].mean() + 0.03
    assert film[65:75, 101:103].mean() > film[65:75, 90:92].mean() + 0.03
    assert film[:50, 130:].mean() > film[:50, :30].mean() + 0.2
