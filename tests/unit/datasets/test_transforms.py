"""Augmentation: films and masks move together, nothing random but the generator, no mirror unless asked."""

from __future__ import annotations

import pytest
import torch

from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.datasets.transforms import Mixed, augment, mix
from vesalius.errors import ShapeMismatch

STILL = AugmentationOptions(rotate_deg=0, scale=0, shift=0, gamma=0, contrast=0, noise=0, blur=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int = 6, side: int = 48) -> torch.Tensor:
    """Smooth films with a bright spot left of the middle."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    spot = torch.exp(-((rows / 0.3) ** 2) - ((columns + 0.4) / 0.25) ** 2)
    return (0.2 + 0.6 * spot).expand(count, 1, side, side).clone()


def centre(images: torch.Tensor) -> torch.Tensor:
    """Column of the centre of brightness, from -1 (left) to 1."""
    columns = torch.linspace(-1, 1, images.shape[3])
    weight = (images - 0.45).clamp_min(0).sum(dim=(1, 2))
    return (weight * columns).sum(dim=1) / weight.sum(dim=1)


def test_nothing_asked_changes_nothing() -> None:
    images, _ = augment(films(), None, STILL, generator())
    torch.testing.assert_close(images, films(), atol=1e-5, rtol=0)


def test_same_generator_same_films_and_another_seed_others() -> None:
    options = AugmentationOptions()
    first, second, other = (augment(films(), None, options, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.amin() >= 0
    assert first.amax() <= 1


def test_left_stays_left_unless_the_mirror_is_asked_for() -> None:
    many = films(64)
    usual, _ = augment(many, None, AugmentationOptions(noise=0), generator())
    assert (centre(usual) < 0).all()
    mirrored, _ = augment(many, None, AugmentationOptions(noise=0, horizontal_flip=True), generator())
    share = float((centre(mirrored) > 0).float().mean())
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("side", [48, 12])
def test_masks_move_with_their_film(side: int) -> None:
    images = films()
    masks = torch.nn.functional.adaptive_avg_pool2d((images > 0.6).float(), side)
    moved, moved_masks = augment(images, masks, AugmentationOptions(gamma=0, contrast=0, noise=0, blur=0, shift=0.2), generator(3))
    assert moved_masks is not None
    expected = torch.nn.functional.adaptive_avg_pool2d((moved > 0.6).float(), side)
    missed = (moved_masks - expected).abs().sum() / expected.sum()
    missed_if_still = (masks - expected).abs().sum() / expected.sum()
    assert missed < 0.35
    assert missed < 0.6 * missed_if_still


def test_noise_and_blur_do_what_they_say() -> None:
    flat = torch.full((8, 1, 64, 64), 0.5)
    noisy, _ = augment(flat, None, AugmentationOptions(0, 0, 0, 0, 0, noise=0.1, blur=0), generator())
    spread = noisy.std(dim=(1, 2, 3))
    assert (spread <= 0.105).all()
    assert spread.max() > 0.05
    grain = torch.rand(8, 1, 64, 64, generator=generator())
    smooth, _ = augment(grain, None, AugmentationOptions(0, 0, 0, 0, 0, noise=0, blur=3.0), generator())
    assert (smooth.std(dim=(1, 2, 3)) < grain.std(dim=(1, 2, 3)) + 1e-6).all()
    torch.testing.assert_close(smooth.mean(dim=(1, 2, 3)), grain.mean(dim=(1, 2, 3)), atol=0.02, rtol=0)


def batch(count: int = 8) -> Mixed:
    torch.manual_seed(0)
    targets = (torch.rand(count, 3) < 0.5).float()
    known = torch.rand(count, 3) < 0.8
    masks = torch.rand(count, 3, 16, 16)
    return Mixed(torch.rand(count, 1, 32, 32), targets, known, masks, known.clone())


def test_mixup_is_one_weighted_mean_of_films_targets_and_masks() -> None:
    before = batch()
    after = mix(before, AugmentationOptions(mixup=1.0), generator(5))
    # find the partner of film 0 and the share from the films alone, then ask the targets and masks
    found = [
        (share, partner)
        for partner in range(1, 8)
        for share in [float(((after.images[0] - before.images[partner]) * (before.images[0] - before.images[partner])).sum()
                            / ((before.images[0] - before.images[partner]) ** 2).sum())]
        if torch.allclose(share * before.images[0] + (1 - share) * before.images[partner], after.images[0], atol=1e-5)
    ]  # fmt: skip
    assert len(found) == 1
    share, partner = found[0]
    assert torch.equal(after.known[0], before.known[0] & before.known[partner])
    expected = share * before.targets[0] + (1 - share) * before.targets[partner]
    torch.testing.assert_close(after.targets[0][after.known[0]], expected[after.known[0]])
    torch.testing.assert_close(after.masks[0], share * before.masks[0] + (1 - share) * before.masks[partner], atol=1e-4, rtol=0)


def test_cutmix_weighs_targets_by_the_area_that_stayed() -> None:
    before = batch()
    before = before._replace(images=torch.arange(8.0)[:, None, None, None].expand(8, 1, 200, 200) / 8, known=torch.ones(8, 3) > 0)
    after = mix(before, AugmentationOptions(cutmix=1.0), generator(4))
    stayed = (after.images == before.images).float().mean(dim=(1, 2, 3))
    partner = (after.images.amax(dim=(1, 2, 3)) + after.images.amin(dim=(1, 2, 3)) - before.images[:, 0, 0, 0]) * 8
    for index in range(8):
        other = int(partner[index].round())
        if other == index:
            continue
        expected = stayed[index] * before.targets[index] + (1 - stayed[index]) * before.targets[other]
        torch.testing.assert_close(after.targets[index], expected, atol=0.02, rtol=0)


def test_a_batch_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="films"):
        mix(batch()._replace(targets=torch.zeros(3, 3)), AugmentationOptions(mixup=1.0), generator())
