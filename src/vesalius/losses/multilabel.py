"""Binary cross-entropy per finding, over known labels only."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def mean_over_known(losses: Float[Tensor, "case finding"], known: Bool[Tensor, "case finding"]) -> Float[Tensor, ""]:
    """Returns the mean of the known entries; 0, with a gradient of 0, where nothing is known.

    Unknown entries may hold NaN: they are cut out, not multiplied by 0.
    """
    kept = losses.masked_fill(~known, 0.0)
    return kept.sum() / known.sum().clamp_min(1)


def masked_targets(targets: Float[Tensor, "case finding"], known: Bool[Tensor, "case finding"]) -> Float[Tensor, "case finding"]:
    """Puts 0 where a target is unknown, so that a NaN there cannot reach a gradient."""
    return targets.masked_fill(~known, 0.0)


def binary_cross_entropy(
    logits: Float[Tensor, "case finding"],
    targets: Float[Tensor, "case finding"],
    known: Bool[Tensor, "case finding"],
    positive_weight: Float[Tensor, " finding"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over known labels of -w y log p - (1 - y) log(1 - p), linear in the target.

    Args:
        logits: Uncalibrated.
        targets: In [0, 1]; soft labels are fine.
        known: Does the label count?
        positive_weight: w, one a finding; 1 unless given.

    Checked against: the formula in float64 (tests/reference/losses).
    """
    losses = F.binary_cross_entropy_with_logits(
        logits.float(), masked_targets(targets.float(), known), reduction="none", pos_weight=positive_weight
    )
    return mean_over_known(losses, known)
