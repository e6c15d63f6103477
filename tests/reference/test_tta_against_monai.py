"""Test-time augmentation against monai.data.TestTimeAugmentation, scipy.ndimage.rotate, and what the two do differently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import TestTimeAugmentation as MonaiTestTimeAugmentation
from monai.transforms import RandFlipd
from scipy import ndimage

from vesalius.uncertainty import Flip, Identity, Rotate, Scale, Shift, tta_predict

IMAGE = np.random.default_rng(0).random((1, 12, 10)).astype(np.float32)
RAMP = np.linspace(0, 1, 10, dtype=np.float32)


def test_flipped_views_are_brought_back_as_monai_does() -> None:
    # The network sees the side: its answer to a flipped image is not the flipped answer.
    monai = MonaiTestTimeAugmentation(
        RandFlipd(keys="image", prob=1.0, spatial_axis=1),
        batch_size=1,
        num_workers=0,
        inferrer_fn=lambda x: x * torch.tensor(RAMP),
        device="cpu",
        image_key="image",
        orig_key="image",
        return_full_data=True,
        progress=False,
    )
    theirs = np.asarray(monai({"image": IMAGE}, num_examples=2))
    ours = tta_predict(lambda x: x * RAMP, IMAGE, [Flip(), Flip()], task="segmentation", allow_laterality_unsafe=True)
    np.testing.assert_allclose(ours.values, theirs, rtol=1e-6)
    np.testing.assert_allclose(ours.mean, (IMAGE[..., ::-1] * RAMP)[..., ::-1], rtol=1e-6)


def monai_of(transform: object, views: int) -> tuple[np.ndarray, np.ndarray, float]:
    monai = MonaiTestTimeAugmentation(
        transform,
        batch_size=1,
        num_workers=0,
        inferrer_fn=lambda x: x * torch.tensor(RAMP),
        device="cpu",
        image_key="image",
        orig_key="image",
        progress=False,
    )
    _, mean, std, vvc = monai({"image": IMAGE}, num_examples=views)
    return np.asarray(mean), np.asarray(std), float(vvc)


def test_std_and_volume_variation_are_other_numbers_than_monais() -> None:
    torch.manual_seed(0)
    transform = RandFlipd(keys="image", prob=0.5, spatial_axis=1)
    transform.set_random_state(3)
    views = 6
    mean, std, vvc = monai_of(transform, views)
    transform.set_random_state(3)
    plain, flipped = IMAGE * RAMP, IMAGE * RAMP[::-1]
    n_flipped = round(float(((mean - plain) / (flipped - plain)).mean()) * views)
    assert 0 < n_flipped < views
    chosen = [Flip()] * n_flipped + [Identity()] * (views - n_flipped)
    ours = tta_predict(lambda x: x * RAMP, IMAGE, chosen, task="segmentation", allow_laterality_unsafe=True)
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-5, atol=1e-6)
    # MONAI divides by one less than the views; ours by the views.
    np.testing.assert_allclose(ours.std * np.sqrt(views / (views - 1)), std, rtol=1e-4, atol=1e-6)
    # Wang 2019: sd over mean of the volumes. MONAI's vvc: sd over mean of all voxels of all views.
    volumes = ours.values.sum(axis=(-1, -2))[:, 0]
    assert ours.volume_variation[0] == pytest.approx(volumes.std() / volumes.mean())
    assert vvc == pytest.approx(ours.values.std(ddof=1) / ours.values.mean(), rel=1e-4)
    assert vvc > 3 * ours.volume_variation[0]


@pytest.mark.parametrize("degrees", [-17.0, 4.0, 30.0])
def test_rotation_of_scipy(degrees: float) -> None:
    theirs = ndimage.rotate(IMAGE[0], degrees, reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(Rotate(degrees).apply(IMAGE[0]), theirs, atol=1e-6)


def test_shift_of_scipy() -> None:
    theirs = ndimage.shift(IMAGE[0], (1.3, -2.6), order=1, mode="nearest")
    np.testing.assert_allclose(Shift((1.3, -2.6)).apply(IMAGE[0]), theirs, atol=1e-6)


def test_scale_about_the_centre() -> None:
    rows, columns = np.meshgrid(np.arange(12) - 5.5, np.arange(10) - 4.5, indexing="ij")
    places = [rows / 1.25 + 5.5, columns / 1.25 + 4.5]
    theirs = ndimage.map_coordinates(IMAGE[0], places, order=1, mode="nearest")
    np.testing.assert_allclose(Scale(1.25).apply(IMAGE[0]), theirs, atol=1e-6)


def test_padded_voxels_are_left_out_by_hand() -> None:
    image = np.arange(1.0, 7.0)[None].repeat(3, axis=0)  # 3 x 6
    answer = tta_predict(lambda x: x, image, [Identity(), Shift((0.0, 2.0)), Shift((0.0, -1.0))], task="segmentation")
    np.testing.assert_array_equal(answer.mean, image)  # every voxel seen comes back as it was
    np.testing.assert_array_equal(answer.n_seen[0], [2, 3, 3, 3, 2, 2])
    constant = tta_predict(lambda x: np.zeros_like(x) + x[0, 0], image, [Identity(), Shift((0.0, 2.0))], task="segmentation")
    np.testing.assert_array_equal(np.isnan(constant.values[1, 0]), [False] * 4 + [True] * 2)
