"""From patch logits to the logit of the whole: a film's patches here, a slide's patches later.

The whole is made of its patches: every rule is a weighted mean of patch logits or a soft maximum of them, so a heat map of the
patch logits is the model's own evidence and not a guess made afterwards. With `logsumexp`, `mean` and `max` the patch logits say
all; with `attention` they leave out how much each patch counts.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

MIN_SHARPNESS = 1e-3


class PatchPooling(nn.Module):
    """Pools patch logits to one logit a finding.

    `mean` and `max` are what they say. `logsumexp` is a soft maximum, log(mean(exp(r z))) / r, with a learned sharpness
    r > 0 a finding: the mean for small r, the maximum for large. `attention` is a weighted mean whose weights the network
    gives, one set a finding.

    Source: Pinheiro & Collobert 2015, arXiv:1411.6228 (log-sum-exp); Ilse et al. 2018, arXiv:1802.04712 (attention). Ilse
        attends to features and classifies their mean; here attention weighs logits, so that the whole is a mean of its
        patches' evidence.
    Checked against: direct formulas in float64, and permutation invariance (tests/unit/layers, tests/properties).
    """

    def __init__(self, rule: str, findings: int) -> None:
        super().__init__()
        if rule not in {"mean", "max", "logsumexp", "attention"}:
            raise ValueError(f"unknown pooling {rule!r}; there are: mean, max, logsumexp, attention")
        self.rule = rule
        self.log_sharpness = nn.Parameter(torch.zeros(findings)) if rule == "logsumexp" else None

    def forward(
        self,
        patch_logits: Float[Tensor, "case finding patch"],
        attention: Float[Tensor, "case finding patch"] | None = None,
        valid: Bool[Tensor, "case patch"] | None = None,
    ) -> Float[Tensor, "case finding"]:
        """Returns one logit a finding.

        Args:
            patch_logits: Evidence of each patch.
            attention: Unnormalised log-weights, for the rule `attention` only.
            valid: Patches that count; all unless given. A case needs at least one.

        Raises:
            ValueError: The rule is `attention` and no attention was given.
        """
        logits = patch_logits.float()  # sums over thousands of patches do not belong in 16 bits
        if valid is None:
            valid = torch.ones(logits.shape[0], logits.shape[2], dtype=torch.bool, device=logits.device)
        outside = ~valid[:, None, :]
        if self.rule == "max":
            return logits.masked_fill(outside, -torch.inf).amax(dim=2)
        if self.rule == "attention":
            if attention is None:
                raise ValueError("the pooling rule is `attention`, so pass the patches' attention")
            weights = attention.float().masked_fill(outside, -torch.inf).softmax(dim=2)
            return (weights * logits).sum(dim=2)
        count = valid.sum(dim=1, keepdim=True)
        if self.log_sharpness is None:
            return logits.masked_fill(outside, 0.0).sum(dim=2) / count
        sharpness = self.log_sharpness.exp().clamp_min(MIN_SHARPNESS)[None, :]
        scaled = (logits * sharpness[..., None]).masked_fill(outside, -torch.inf)
        return (scaled.logsumexp(dim=2) - count.log()) / sharpness
