"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A value with its interval; low and high are NaN, and reason is set, where it cannot be estimated."""

    value: float
    low: float
    high: float
    n_resamples: int = 0
    n_undefined: int = 0
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """{"value", "low", "high"} (+ "reason" if any); NaN -> None."""
        raise NotImplementedError


def bootstrap(metric: Any, patients: Any, *, resamples: int = 1000, seed: int = 0, confidence: float = 0.95) -> Interval:
    """metric(weights: Int64[case]) -> float, patient-clustered."""
    raise NotImplementedError
