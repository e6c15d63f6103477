"""How well a model does, in numbers that respect unknown labels and patients; numpy only.

Each name below is fetched from its module when it is first used, so importing this room costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.metrics.bootstrap_intervals import (
        RankingIntervals,
        bootstrap,
        bootstrap_difference,
        bootstrap_many,
        bootstrap_ranking,
        bootstrap_ranking_difference,
    )
    from vesalius.metrics.calibration import (
        ReliabilityBin,
        classwise_ece,
        debiased_calibration_error,
        ece,
        ece_null_distribution,
        ece_per_finding,
        macro_ece,
        mce,
        reliability_table,
        top_label,
        top_label_ece,
    )
    from vesalius.metrics.classification import (
        Confusion,
        auprc,
        auroc,
        confusion,
        known_labels,
        partial_auroc,
        prevalence,
        sensitivity_specificity,
    )
    from vesalius.metrics.delong_variance import DeLongDifference, DeLongInterval, delong, delong_test, delong_test_unpaired
    from vesalius.metrics.intervals import Difference, Interval, PatientResamples, wilson_interval
    from vesalius.metrics.operating_points import (
        OperatingPoint,
        ReaderComparison,
        compare_with_reader,
        operating_point,
        sensitivity_at_specificity,
        specificity_at_sensitivity,
        threshold_at,
    )
    from vesalius.metrics.paired_tests import PairedOptions, PairedTest, compare_models, holm
    from vesalius.metrics.proper_scores import BrierDecomposition, brier, brier_decomposition, multiclass_brier, multiclass_nll, nll
    from vesalius.metrics.regression import (
        crps_gaussian,
        crps_samples,
        gaussian_nll,
        gaussian_pit,
        interval_coverage,
        interval_score,
        mean_interval_width,
        miscalibration_area,
        pinball_loss,
        quantile_shares,
        sharpness,
    )
    from vesalius.metrics.segmentation import dice, dice_per_class
    from vesalius.metrics.streaming import StreamingCalibration
    from vesalius.metrics.subgroups import SubgroupRow, subgroup_table

_HOME = {
    "PairedOptions": "paired_tests",
    "PairedTest": "paired_tests",
    "compare_models": "paired_tests",
    "holm": "paired_tests",
    "OperatingPoint": "operating_points",
    "ReaderComparison": "operating_points",
    "compare_with_reader": "operating_points",
    "operating_point": "operating_points",
    "sensitivity_at_specificity": "operating_points",
    "specificity_at_sensitivity": "operating_points",
    "threshold_at": "operating_points",
    "partial_auroc": "classification",
    "ReliabilityBin": "calibration",
    "classwise_ece": "calibration",
    "debiased_calibration_error": "calibration",
    "ece": "calibration",
    "ece_null_distribution": "calibration",
    "ece_per_finding": "calibration",
    "macro_ece": "calibration",
    "mce": "calibration",
    "reliability_table": "calibration",
    "top_label": "calibration",
    "top_label_ece": "calibration",
    "Confusion": "classification",
    "auprc": "classification",
    "auroc": "classification",
    "confusion": "classification",
    "known_labels": "classification",
    "prevalence": "classification",
    "sensitivity_specificity": "classification",
    "DeLongDifference": "delong_variance",
    "DeLongInterval": "delong_variance",
    "delong": "delong_variance",
    "delong_test": "delong_variance",
    "delong_test_unpaired": "delong_variance",
    "Difference": "intervals",
    "Interval": "intervals",
    "PatientResamples": "intervals",
    "RankingIntervals": "bootstrap_intervals",
    "bootstrap": "bootstrap_intervals",
    "bootstrap_difference": "bootstrap_intervals",
    "bootstrap_many": "bootstrap_intervals",
    "bootstrap_ranking": "bootstrap_intervals",
    "bootstrap_ranking_difference": "bootstrap_intervals",
    "wilson_interval": "intervals",
    "BrierDecomposition": "proper_scores",
    "brier": "proper_scores",
    "brier_decomposition": "proper_scores",
    "multiclass_brier": "proper_scores",
    "multiclass_nll": "proper_scores",
    "nll": "proper_scores",
    "StreamingCalibration": "streaming",
    "SubgroupRow": "subgroups",
    "subgroup_table": "subgroups",
    "crps_gaussian": "regression",
    "crps_samples": "regression",
    "gaussian_nll": "regression",
    "gaussian_pit": "regression",
    "interval_coverage": "regression",
    "interval_score": "regression",
    "mean_interval_width": "regression",
    "miscalibration_area": "regression",
    "pinball_loss": "regression",
    "quantile_shares": "regression",
    "sharpness": "regression",
    "dice": "segmentation",
    "dice_per_class": "segmentation",
}

__all__ = [
    "BrierDecomposition",
    "Confusion",
    "DeLongDifference",
    "DeLongInterval",
    "Difference",
    "Interval",
    "OperatingPoint",
    "PairedOptions",
    "PairedTest",
    "PatientResamples",
    "RankingIntervals",
    "ReaderComparison",
    "ReliabilityBin",
    "StreamingCalibration",
    "SubgroupRow",
    "auprc",
    "auroc",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_many",
    "bootstrap_ranking",
    "bootstrap_ranking_difference",
    "brier",
    "brier_decomposition",
    "classwise_ece",
    "compare_models",
    "compare_with_reader",
    "confusion",
    "crps_gaussian",
    "crps_samples",
    "debiased_calibration_error",
    "delong",
    "delong_test",
    "delong_test_unpaired",
    "dice",
    "dice_per_class",
    "ece",
    "ece_null_distribution",
    "ece_per_finding",
    "gaussian_nll",
    "gaussian_pit",
    "holm",
    "interval_coverage",
    "interval_score",
    "known_labels",
    "macro_ece",
    "mce",
    "mean_interval_width",
    "miscalibration_area",
    "multiclass_brier",
    "multiclass_nll",
    "nll",
    "operating_point",
    "partial_auroc",
    "pinball_loss",
    "prevalence",
    "quantile_shares",
    "reliability_table",
    "sensitivity_at_specificity",
    "sensitivity_specificity",
    "sharpness",
    "specificity_at_sensitivity",
    "subgroup_table",
    "threshold_at",
    "top_label",
    "top_label_ece",
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
