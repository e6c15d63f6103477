"""The order of patches says nothing: films and slides are bags of patches to the head."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.layers.pooling import PatchPooling


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 50), st.sampled_from(["mean", "max", "logsumexp", "attention"]))
def test_shuffled_patches_pool_alike(seed: int, patches: int, rule: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, attention = (torch.randn(2, 3, patches, generator=generator) * 5 for _ in range(2))
    order = torch.randperm(patches, generator=generator)
    pooling = PatchPooling(rule, 3)
    torch.testing.assert_close(pooling(logits, attention), pooling(logits[..., order], attention[..., order]), rtol=1e-4, atol=1e-4)
