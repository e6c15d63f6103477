"""Dice and the scores of segmentations against MONAI, scipy's distance transform and counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from scipy import stats
from scipy.ndimage import distance_transform_edt, gaussian_filter

import vesalius.metrics as vm
import vesalius.uncertainty as vu

RANDOM = np.random.default_rng(11)


def monai_dice(truth: np.ndarray, called: np.ndarray, *, ignore_empty: bool) -> float:
    tensors = [torch.from_numpy(array.astype(np.float32))[None, None] for array in (called, truth)]
    return float(compute_dice(*tensors, ignore_empty=ignore_empty)[0, 0])


def blob(shape: tuple[int, ...], level: float, smooth: float = 1.5) -> np.ndarray:
    return gaussian_filter(RANDOM.normal(size=shape), smooth) > level * 0.1


@pytest.mark.parametrize("trial", range(6))
def test_dice_equals_monai(trial: int) -> None:
    truth, called = blob((9, 8, 7), trial - 2), blob((9, 8, 7), 0)
    if truth.any() or called.any():
        assert vm.dice(truth, called) == pytest.approx(monai_dice(truth, called, ignore_empty=False), abs=1e-6)


def test_empty_masks_by_both_rules() -> None:
    none, some = np.zeros((4, 4), dtype=bool), np.eye(4, dtype=bool)
    for truth, called, expected in ((none, none, 1.0), (none, some, 0.0), (some, none, 0.0)):
        assert vm.dice(truth, called) == expected == monai_dice(truth, called, ignore_empty=False)
    # MONAI's default leaves out every case with an empty truth, and with it the false lesion in a healthy patient.
    assert np.isnan(monai_dice(none, some, ignore_empty=True))
    assert np.isnan(monai_dice(none, none, ignore_empty=True))
    assert np.isnan(vm.dice(none, none, both_empty=np.nan))
    assert vm.dice(none, some, both_empty=np.nan) == 0.0


def test_dice_per_class_equals_monai() -> None:
    truth, called = RANDOM.integers(0, 4, (2, 6, 6, 6))
    one_hot = [torch.from_numpy(np.stack([array == c for c in (1, 2, 3)])[None].astype(np.float32)) for array in (called, truth)]
    assert vm.dice_per_class(truth, called, (1, 2, 3)) == pytest.approx(compute_dice(*one_hot)[0].numpy(), abs=1e-6)


def test_case_scores_equal_monai_pair_by_pair() -> None:
    members = np.stack([gaussian_filter(RANDOM.normal(size=(12, 11, 10)) + 0.4, 1) > 0.3 for _ in range(5)])
    scores = vu.case_scores(members)[1]
    consensus = members.sum(axis=0) > 2
    pairs = [monai_dice(a, b, ignore_empty=False) for a, b in itertools.combinations(members, 2)]
    assert scores.pairwise_disagreement == pytest.approx(1 - np.mean(pairs), abs=1e-6)
    assert vu.pairwise_dice(members) == pytest.approx(np.mean(pairs), abs=1e-6)
    to_consensus = [monai_dice(member, consensus, ignore_empty=False) for member in members]
    assert scores.consensus_disagreement == pytest.approx(1 - np.mean(to_consensus), abs=1e-6)
    volumes = members.reshape(5, -1).sum(axis=1)
    assert scores.volume_variation == pytest.approx(stats.variation(volumes), rel=1e-12)
    assert scores.union_disagreement == pytest.approx(1 - members.all(axis=0).sum() / members.any(axis=0).sum(), rel=1e-12)
    assert scores.consensus_voxels == consensus.sum()


@pytest.mark.parametrize("trial", range(40))
def test_boundary_band_equals_the_distance_transform(trial: int) -> None:
    random = np.random.default_rng(trial)
    shape = tuple(random.integers(1, 14, size=int(random.integers(1, 4))))
    spacing = random.choice([0.5, 1.0, 1.7, 3.0], len(shape))
    width = float(spacing.min() * random.choice([1.0, 1.5, 2.0, 3.3]))
    mask = gaussian_filter(random.normal(size=shape), random.choice([0.0, 1.0, 2.0])) > random.choice([-0.1, 0.0, 0.3])
    band = vu.boundary_band(mask, width, spacing_mm=spacing.tolist())
    expected = np.zeros(shape, dtype=bool)
    if mask.any() and not mask.all():
        inside = distance_transform_edt(mask, sampling=spacing) <= width + 1e-9
        outside = distance_transform_edt(~mask, sampling=spacing) <= width + 1e-9
        expected = np.where(mask, inside, outside)
    assert np.array_equal(band, expected)
