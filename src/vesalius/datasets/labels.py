"""What to do with an uncertain label (-1): six policies, one function.

Source:
    U-Ones, U-Zeros, U-Ignore: Irvin et al. 2019, CheXpert, arXiv:1901.07031, section 3.
    Label smoothing of uncertain labels, U(0.55, 0.85) for ones and U(0, 0.3) for zeros: Pham et al. 2019, arXiv:1911.06475,
    section 3.3. Only uncertain labels are smoothed, as there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from vesalius.errors import LabelsError, ShapeMismatch

UncertainPolicy = Literal["ones", "zeros", "ignore", "lsr", "lsr-zeros", "marginalise"]

SMOOTHED: dict[str, tuple[float, float]] = {"lsr": (0.55, 0.85), "lsr-zeros": (0.0, 0.3)}
"""Bounds between which the target of an uncertain label is drawn."""


class ResolvedLabels(NamedTuple):
    """Labels that a loss can use.

    Attributes:
        targets: In [0, 1]; 0 where not known.
        known: Whether the loss may look at this label.
        uncertain: Where the label was -1 and the policy is `marginalise`: there the target is q, the probability that the
            finding is present, and the loss is -log of the sum over y of q(y) p(y), not a cross-entropy with a soft target.
    """

    targets: Float32[np.ndarray, "case finding"]
    known: Bool[np.ndarray, "case finding"]
    uncertain: Bool[np.ndarray, "case finding"]


def resolve(
    labels: Float[np.ndarray, "case finding"],
    policy: UncertainPolicy,
    seed: int = 0,
    prior: Float64[np.ndarray, " finding"] | None = None,
) -> ResolvedLabels:
    """Turns labels 1, 0, -1, NaN into targets, which of them are known, and which of them are uncertain.

    Args:
        labels: All rows that are learned from, at once: smoothed targets are drawn for the whole table.
        policy: `ones` and `zeros` take -1 for 1 and for 0; `ignore` masks it; `lsr` draws its target from U(0.55, 0.85),
            `lsr-zeros` from U(0, 0.3); `marginalise` leaves it open with the prior q.
        seed: Of the draws; the same seed and table give the same targets.
        prior: q of each finding, for `marginalise`; by default the share of present among the finding's certain labels
            in this table, (present + 1) / (certain + 2).

    Raises:
        LabelsError: A label other than 1, 0, -1 and NaN, an unknown policy, or a prior outside [0, 1].
        ShapeMismatch: The prior has another number of findings.
    """
    if policy not in get_args(UncertainPolicy):
        raise LabelsError(f"unknown policy {policy!r} for uncertain labels; choose one of {', '.join(get_args(UncertainPolicy))}")
    known, uncertain = ~np.isnan(labels), labels == -1
    wrong = int((known & ~np.isin(labels, (1.0, 0.0, -1.0))).sum())
    if wrong:
        raise LabelsError(f"{wrong} labels are neither 1, 0, -1 nor unknown (NaN); mend them before training")
    targets = np.where(labels == 1, np.float32(1), np.float32(0))
    marginal = np.zeros_like(uncertain)
    if policy == "ones":
        targets[uncertain] = 1
    elif policy == "ignore":
        known &= ~uncertain
    elif policy in SMOOTHED:
        drawn = np.random.default_rng(seed).uniform(*SMOOTHED[policy], size=labels.shape).astype(np.float32)
        targets[uncertain] = drawn[uncertain]
    elif policy == "marginalise":
        marginal = uncertain
        q = uncertain_prior(labels) if prior is None else _checked_prior(prior, labels.shape[1])
        targets = np.where(uncertain, q.astype(np.float32), targets)
    return ResolvedLabels(targets, known, marginal)


def uncertain_prior(labels: Float[np.ndarray, "case finding"]) -> Float64[np.ndarray, " finding"]:
    """Returns the share of present among each finding's certain labels, (present + 1) / (certain + 2)."""
    present, absent = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    return np.asarray((present + 1) / (present + absent + 2), dtype=np.float64)


def _checked_prior(prior: Float64[np.ndarray, " finding"], count: int) -> Float64[np.ndarray, " finding"]:
    if prior.shape != (count,):
        raise ShapeMismatch(f"the prior has shape {prior.shape}; expected one number for each of {count} findings")
    if not ((prior >= 0) & (prior <= 1)).all():
        raise LabelsError("a prior is outside [0, 1]; it is the probability that an uncertain finding is present")
    return prior
