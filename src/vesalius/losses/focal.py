"""The focal loss: easy cases of both classes count less."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from vesalius.losses.multilabel import masked_targets, mean_over_known

SMALLEST = 1e-8


def focal_loss(
    logits: Float[Tensor, "case finding"],
    targets: Float[Tensor, "case finding"],
    known: Bool[Tensor, "case finding"],
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Float[Tensor, ""]:
    """Mean over known labels of -a y (1-p)^g log p - (1-a) (1-y) p^g log(1-p); without `alpha` both weights are 1.

    Linear in the target. Its outputs are far from calibrated by design: calibrate after.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5.
    Checked against: the formula in float64; gamma 0 gives binary cross-entropy (tests/reference/losses).
    """
    logits = logits.float()
    targets = masked_targets(targets.float(), known)
    probability = logits.sigmoid()
    positive = -F.logsigmoid(logits) * (-logits).sigmoid().clamp_min(SMALLEST) ** gamma
    negative = -F.logsigmoid(-logits) * probability.clamp_min(SMALLEST) ** gamma
    weight_positive, weight_negative = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    return mean_over_known(weight_positive * targets * positive + weight_negative * (1.0 - targets) * negative, known)
