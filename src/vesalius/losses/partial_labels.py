"""Uncertain labels summed out instead of guessed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from vesalius.losses.multilabel import masked_targets, mean_over_known


def marginal_likelihood_loss(
    logits: Float[Tensor, "case finding"],
    prior: Float[Tensor, "case finding"],
    known: Bool[Tensor, "case finding"],
) -> Float[Tensor, ""]:
    """Mean over known labels of -log(q p + (1 - q)(1 - p)), the likelihood with the true label summed out.

    `q` is the prior that the label is present. With q = 0 or 1 it is binary cross-entropy; with q = 1/2 the label says nothing and
    the gradient is 0. It is not cross-entropy with a soft label, which would pull p towards q.

    Checked against: the formula in float64, and binary cross-entropy at hard priors (tests/reference/losses).
    """
    logits = logits.float()
    prior = masked_targets(prior.float(), known)
    present = prior.log() + F.logsigmoid(logits)
    absent = torch.log1p(-prior) + F.logsigmoid(-logits)
    # a hard prior makes one of the two -inf, whose gradient logaddexp would turn into NaN: keep the other alone
    both = torch.logaddexp(present.clamp_min(-1e4), absent.clamp_min(-1e4))
    likelihood = torch.where(prior <= 0.0, absent, torch.where(prior >= 1.0, present, both))
    return mean_over_known(-likelihood, known)
