"""How well a model does, in numbers that respect unknown labels and patients; numpy only.

Each name below is fetched from its module when it is first used, so importing this room costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.metrics.calibration import ReliabilityBin, brier, ece, ece_null_distribution, nll, reliability_table
    from vesalius.metrics.classification import (
        Confusion,
        auprc,
        auroc,
        confusion,
        known_labels,
        prevalence,
        sensitivity_specificity,
    )
    from vesalius.metrics.intervals import (
        Difference,
        Interval,
        PatientResamples,
        bootstrap,
        bootstrap_difference,
        bootstrap_many,
        bootstrap_ranking,
        bootstrap_ranking_difference,
        wilson_interval,
    )
    from vesalius.metrics.subgroups import SubgroupRow, subgroup_table

_HOME = {
    "ReliabilityBin": "calibration",
    "brier": "calibration",
    "ece": "calibration",
    "ece_null_distribution": "calibration",
    "nll": "calibration",
    "reliability_table": "calibration",
    "Confusion": "classification",
    "auprc": "classification",
    "auroc": "classification",
    "confusion": "classification",
    "known_labels": "classification",
    "prevalence": "classification",
    "sensitivity_specificity": "classification",
    "Difference": "intervals",
    "Interval": "intervals",
    "PatientResamples": "intervals",
    "bootstrap": "intervals",
    "bootstrap_difference": "intervals",
    "bootstrap_many": "intervals",
    "bootstrap_ranking": "intervals",
    "bootstrap_ranking_difference": "intervals",
    "wilson_interval": "intervals",
    "SubgroupRow": "subgroups",
    "subgroup_table": "subgroups",
}

__all__ = [
    "Confusion",
    "Difference",
    "Interval",
    "PatientResamples",
    "ReliabilityBin",
    "SubgroupRow",
    "auprc",
    "auroc",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_many",
    "bootstrap_ranking",
    "bootstrap_ranking_difference",
    "brier",
    "confusion",
    "ece",
    "ece_null_distribution",
    "known_labels",
    "nll",
    "prevalence",
    "reliability_table",
    "sensitivity_specificity",
    "subgroup_table",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vesalius.metrics' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(f"vesalius.metrics.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
