"""The example of docs/lesion-shape.md runs, and its labels are what it says they are."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def data() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("lesion_data")
    sys.path.remove(str(EXAMPLES))


def ellipse(height: float, width: float, turn_deg: float = 0.0) -> np.ndarray:
    y, x = np.indices((96, 96)) - 47.5
    angle = np.deg2rad(turn_deg)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / width) ** 2 + (across / height) ** 2 <= 1


@pytest.mark.parametrize("turn_deg", [0, 30, 77])
def test_an_ellipse_is_its_own_ellipse(data: ModuleType, turn_deg: float) -> None:
    assert data.ellipse_dice(ellipse(12, 26, turn_deg)) > 0.985


def test_a_cross_is_not_round(data: ModuleType) -> None:
    cross = ellipse(5, 40) | ellipse(40, 5)
    assert data.ellipse_dice(cross) < 0.8
    # Moments by hand: both bars of half-axes 40 and 5 share x^2 + y^2; the ellipse of equal axes has a^2 / 4 = mean of x^2.
    points = np.argwhere(cross) - np.argwhere(cross).mean(axis=0)
    radius = 2 * np.sqrt((points**2).mean())
    disc = np.hypot(*(np.indices((96, 96)) - 47.5)) <= radius
    by_hand = 2 * (disc & cross).sum() / (disc.sum() + cross.sum())
    assert data.ellipse_dice(cross) == pytest.approx(by_hand, abs=0.02)


def test_too_small_to_judge(data: ModuleType) -> None:
    assert np.isnan(data.ellipse_dice(ellipse(2, 2)))


def test_irregular_lesions_give_irregular_pictures_and_seeds_repeat(data: ModuleType) -> None:
    def dice(irregular: bool) -> float:
        random = np.random.default_rng(0)
        solids = [data.lesion(random, irregular) for _ in range(4)]
        return float(np.nanmean([data.ellipse_dice(solid[solid.shape[0] // 2]) for solid in solids]))

    assert dice(True) < dice(False) - 0.1
    first, again = (data.cohort(2, data.HOME, seed=5, turns=1) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)


def test_the_whole_example(data: ModuleType, tmp_path: Path) -> None:
    example = importlib.import_module("lesion_shape")
    study, sets = example.run(quick=True)
    assert list(study["answers"]) == ["at home", "another scanner"]
    assert {row["measure"] for row in study["failures"]} == {
        "softmax distance", "ensemble spread", "all views: spread", "policy: softmax distance", "latent distance", "all together",
    }  # fmt: skip
    patients = [set(part.patients) for part in sets.values()]
    assert not patients[0] & patients[1]
    for name, part in sets.items():
        row = study["answers"][name]
        assert row["n"] + row["ambiguous"] == len(part)
        wrong = [each["n_failures"] for each in study["failures"] if each["cases"] == name]
        assert wrong == [round(row["error"] * row["n"])] * 6
    example.draw(study, tmp_path / "failures.png")
    example.draw_examples(sets, tmp_path / "lesions.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("failures.png", "lesions.png"))
