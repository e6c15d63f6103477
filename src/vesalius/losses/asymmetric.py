"""The asymmetric loss: easy negatives count less, hard positives stay."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from vesalius.losses.multilabel import masked_targets, mean_over_known

SMALLEST = 1e-8


def asymmetric_loss(
    logits: Float[Tensor, "case finding"],
    targets: Float[Tensor, "case finding"],
    known: Bool[Tensor, "case finding"],
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    margin: float = 0.05,
) -> Float[Tensor, ""]:
    """Mean over known labels of -y (1-p)^g+ log p - (1-y) q^g- log(1-q), with q = max(p - margin, 0).

    Linear in the target, so soft labels keep their meaning. Its outputs are far from calibrated by design: calibrate after.

    Source: Ridnik et al. 2021, arXiv:2009.14119, equations 5-7; official code Alibaba-MIIL/ASL. There the sum over a batch is
        taken, so the learning rate depends on batch and labels, and gradients are switched globally; here it is a masked mean,
        and the focusing weights take part in the gradient, as in the paper.
    Checked against: the formula in float64; gammas and margin of 0 give binary cross-entropy (tests/reference/losses).
    """
    logits = logits.float()
    targets = masked_targets(targets.float(), known)
    probability = logits.sigmoid()
    shifted = (probability - margin).clamp_min(0.0)
    positive = -F.logsigmoid(logits) * (-logits).sigmoid().clamp_min(SMALLEST) ** gamma_positive
    # without a margin log(1 - p) is taken from the logit, which stays exact where p rounds to 1
    log_rest = F.logsigmoid(-logits) if margin == 0.0 else (1.0 - shifted).clamp_min(SMALLEST).log()
    negative = -log_rest * shifted.clamp_min(SMALLEST) ** gamma_negative
    return mean_over_known(targets * positive + (1.0 - targets) * negative, known)
