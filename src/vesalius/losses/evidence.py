"""Patch logits held to where a finding is, so that the heat map is evidence a reader can check."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def evidence_targets(
    masks: Float[Tensor, "case finding rows columns"], height: int, width: int
) -> Float[Tensor, "case finding height width"]:
    """Returns the share of each patch that the finding covers, in [0, 1]."""
    if masks.shape[2:] == (height, width):
        return masks
    return F.adaptive_avg_pool2d(masks, (height, width))


def evidence_loss(
    patch_logits: Float[Tensor, "case finding height width"],
    masks: Float[Tensor, "case finding rows columns"],
    known: Bool[Tensor, "case finding"],
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of patch logits against the covered share of each patch, over films whose mask is known.

    An absent finding is a known, empty mask: it teaches where nothing is. A small finding fills few patches of many, so each
    film and finding weighs the patches it covers as much as those it does not.

    Args:
        patch_logits: What is pooled to the film's logit.
        masks: Share of each small square that the finding covers, in [0, 1], at any size.
        known: Is the mask known?

    Checked against: the formula in float64 (tests/reference/losses).
    """
    covered = evidence_targets(masks.float(), *patch_logits.shape[2:]).clamp(0.0, 1.0)
    losses = F.binary_cross_entropy_with_logits(patch_logits.float(), covered, reduction="none")
    inside, outside = covered, 1.0 - covered
    mean_inside = (losses * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp_min(1e-6)
    mean_outside = (losses * outside).sum(dim=(2, 3)) / outside.sum(dim=(2, 3)).clamp_min(1e-6)
    present = (inside.sum(dim=(2, 3)) > 0).float()
    each = torch.where(present > 0, 0.5 * (mean_inside + mean_outside), mean_outside)
    kept = each.masked_fill(~known, 0.0)
    return kept.sum() / known.sum().clamp_min(1)
