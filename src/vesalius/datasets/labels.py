"""What to do with an uncertain label (-1): five policies, one function."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

UncertainPolicy = Literal["ones", "zeros", "ignore", "lsr", "lsr-zeros", "marginalise"]


class ResolvedLabels(NamedTuple):
    """Labels a loss can use.

    Attributes:
        targets: In [0, 1]; 0 where not known.
        known: Whether the loss may look at this label.
        uncertain: Where the label was -1 and the policy is `marginalise`: the target is the prior q of the loss.
    """

    targets: Float32[np.ndarray, "case finding"]
    known: Bool[np.ndarray, "case finding"]
    uncertain: Bool[np.ndarray, "case finding"]


def resolve(
    labels: Float[np.ndarray, "case finding"],
    policy: UncertainPolicy,
    seed: int = 0,
    prior: Float64[np.ndarray, "finding"] | None = None,
) -> ResolvedLabels:
    """Turns 1, 0, -1, NaN into targets, a mask of known labels, and a mask of uncertain ones."""
    raise NotImplementedError
