"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int


class DecisionPolicy:
    """DecisionPolicy(rule="f1"|"youden"|"sensitivity", coverage=0.9, target_sensitivity=0.9, target_risk=None).

    After fit: .thresholds, .low, .high Float[finding]; .rules list[str] (rule used), .notes list[str|None], all per finding.
    """

    def fit(self, probabilities: Float[np.ndarray, "case finding"], labels: Float[np.ndarray, "case finding"]) -> Self:
        """On the calibration split; labels 1, 0, NaN unknown."""
        raise NotImplementedError

    def decide(self, probabilities: Float[np.ndarray, "case finding"]) -> Int[np.ndarray, "case finding"]:
        """1 present, 0 absent, -1 abstain."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """The fitted policy."""
        raise NotImplementedError
