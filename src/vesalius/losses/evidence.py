"""Patch logits held to where a finding is, so that the heat map is evidence a reader can check."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

LEAST_PATCHES = 0.02
"""An area below so many patches counts less, in proportion: what augmentation leaves of a finding at the edge is no finding."""


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
    """Mean cross-entropy of patch logits over films whose mask is known: of the covered area, and of the rest.

    For a film with the finding it is half the mean of -log p over the covered area and half the mean of -log(1 - p) over the
    rest; a film without it, a known and empty mask, has only the latter and teaches where nothing is. The halves keep a small
    finding audible. A patch that is covered in part belongs to both by its shares. It is not held to its share: a nodule fills less
    than a patch, and a patch held to a share of 0.2 would be taught that it shows nothing.

    Args:
        patch_logits: What is pooled to the film's logit.
        masks: Share of each small square that the finding covers, in [0, 1], at any size. What is unknown may hold NaN.
        known: Is the mask known?

    Returns:
        0, with a gradient of 0, where no mask is known.

    Checked against: the formula in float64 (tests/reference/losses).
    """
    logits = patch_logits.float()
    covered = evidence_targets(masks.float().masked_fill(~known[..., None, None], 0.0), *logits.shape[2:]).clamp(0.0, 1.0)
    inside, outside = covered.sum(dim=(2, 3)), (1.0 - covered).sum(dim=(2, 3))
    missed = (F.softplus(-logits) * covered).sum(dim=(2, 3)) / inside.clamp_min(LEAST_PATCHES)
    imagined = (F.softplus(logits) * (1.0 - covered)).sum(dim=(2, 3)) / outside.clamp_min(LEAST_PATCHES)
    present = (inside / LEAST_PATCHES).clamp_max(1.0)
    each = 0.5 * missed + (1.0 - 0.5 * present) * imagined
    return each.masked_fill(~known, 0.0).sum() / known.sum().clamp_min(1)
