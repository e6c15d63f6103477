"""Skeleton: signatures to code against; bodies follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vesalius.metrics.intervals import Interval


@dataclass(frozen=True)
class SubgroupRow:
    """One finding in one group: metrics and their gap to all other cases."""

    attribute: str
    group: str
    finding: str
    n: int
    n_positive: int
    n_patients: int
    metrics: dict[str, Interval]
    """auroc, auprc, brier, ece; with thresholds also sensitivity, specificity; empty if insufficient"""
    gaps: dict[str, Interval]
    """group minus the rest, same keys"""
    reason: str | None = None
    """"insufficient: ..." or None"""


def subgroup_table(
    probabilities: Any, labels: Any, groups: Mapping[str, Sequence[Any]], patients: Any = None, *, findings: Any = None, thresholds: Any = None, options: Any = None
) -> list[SubgroupRow]:
    """groups: attribute -> one value a case (None/NaN unknown)."""
    raise NotImplementedError
