"""Patch logits to the logit of the whole: formulas, limits, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.layers.pooling import PatchPooling

LOGITS = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (3, 2, 7)))
ATTENTION = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (3, 2, 7)))
RULES = ("mean", "max", "logsumexp", "attention")


def pool(rule: str, logits: torch.Tensor = LOGITS, attention: torch.Tensor = ATTENTION, **options: torch.Tensor) -> np.ndarray:
    return PatchPooling(rule, 2)(logits, attention, **options).detach().numpy()


def test_against_formulas() -> None:
    z, a = LOGITS.numpy(), ATTENTION.numpy()
    weights = np.exp(a) / np.exp(a).sum(axis=2, keepdims=True)
    expected = {
        "mean": z.mean(axis=2),
        "max": z.max(axis=2),
        "logsumexp": np.log(np.exp(z).mean(axis=2)),
        "attention": (weights * z).sum(axis=2),
    }
    for rule in RULES:
        np.testing.assert_allclose(pool(rule), expected[rule], rtol=1e-5, err_msg=rule)


def test_sharpness_goes_from_mean_to_maximum() -> None:
    pooling = PatchPooling("logsumexp", 2)
    with torch.no_grad():
        pooling.log_sharpness.fill_(-6.0)
        np.testing.assert_allclose(pooling(LOGITS).numpy(), pool("mean"), atol=1e-2)
        pooling.log_sharpness.fill_(6.0)
        np.testing.assert_allclose(pooling(LOGITS).numpy(), pool("max"), atol=1e-2)


@pytest.mark.parametrize("rule", RULES)
def test_the_whole_lies_within_its_patches(rule: str) -> None:
    pooled = pool(rule)
    assert (pooled <= LOGITS.amax(dim=2).numpy() + 1e-5).all()
    assert (pooled >= LOGITS.amin(dim=2).numpy() - 1e-5).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_patch_that_does_not_count_is_as_if_it_were_not_there(rule: str) -> None:
    valid = torch.tensor([True, True, False, True, False, True, True]).expand(3, 7)
    kept = valid[0]
    np.testing.assert_allclose(pool(rule, valid=valid), pool(rule, LOGITS[..., kept], ATTENTION[..., kept]), rtol=1e-5)


def test_wrong_use_names_the_mistake() -> None:
    with pytest.raises(ValueError, match="attention"):
        PatchPooling("attention", 2)(LOGITS)
    with pytest.raises(ValueError, match="median"):
        PatchPooling("median", 2)
