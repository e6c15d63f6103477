"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float


class OodGate:
    """OodGate(score="mahalanobis", quantile=0.99, folds=10, seed=0); after fit: .threshold float, .reference_scores Float[case] (cross-fitted)."""

    threshold: float

    def fit(self, features: Float[np.ndarray, "case dim"], logits: Float[np.ndarray, "case finding"], labels: Any = None, patients: Any = None) -> Self:
        """On the calibration split only."""
        raise NotImplementedError

    def score(self, features: Float[np.ndarray, "case dim"], logits: Float[np.ndarray, "case finding"]) -> Float[np.ndarray, "case"]:
        """Higher = more foreign; +inf where a feature or logit is not finite."""
        raise NotImplementedError

    def is_out(self, features: Float[np.ndarray, "case dim"], logits: Float[np.ndarray, "case finding"]) -> Bool[np.ndarray, "case"]:
        """score > threshold."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """float64 arrays for statistics.safetensors."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The rest, for bundle.json."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], json: dict[str, Any]) -> Self:
        """The fitted gate."""
        raise NotImplementedError
