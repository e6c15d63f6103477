"""How sure a model may be: calibration, abstention and out-of-distribution scores, for any model's arrays; numpy only.

Each name below is fetched from its module when it is first used, so importing this room costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.uncertainty.augmentation_policy import GreedyPolicySearch, PolicyScore
    from vesalius.uncertainty.calibration import Calibrator, Platt, Temperature, Vector, calibrator_from_json
    from vesalius.uncertainty.calibration_curves import Beta, Isotonic, VennAbers
    from vesalius.uncertainty.calibration_multiclass import BiasCorrectedTemperature, MulticlassTemperature, MulticlassVector
    from vesalius.uncertainty.calibrator_selection import SelectedCalibrator
    from vesalius.uncertainty.combination import Combination
    from vesalius.uncertainty.conformal import APS, LAC, ClassConditional, GroupConditional
    from vesalius.uncertainty.conformal_findings import FindingSets, MultiLabelRiskControl
    from vesalius.uncertainty.conformal_regression import ConformalisedQuantileRegression, SplitConformalRegression
    from vesalius.uncertainty.curves import RiskCoverage, achievable_aurc, augrc, aurc, e_aurc, risk_coverage
    from vesalius.uncertainty.ensembles import (
        Spread,
        expected_entropy,
        mean_of,
        mutual_information,
        pairwise_disagreement,
        predictive_entropy,
        spread_of,
        std_of_probabilities,
        variation_ratio,
    )
    from vesalius.uncertainty.evaluation import Evaluation, EvaluationOptions, evaluate
    from vesalius.uncertainty.failure_detection import (
        FailureCases,
        FailureDetection,
        RocCurve,
        failure_detection_over_sets,
        failure_detection_table,
    )
    from vesalius.uncertainty.grey_values import Brightness, Gamma, Noise
    from vesalius.uncertainty.hard_answers import softmax_distance
    from vesalius.uncertainty.mahalanobis import Mahalanobis
    from vesalius.uncertainty.odin import OdinOptions, odin_score
    from vesalius.uncertainty.ood import OodGate, detector_from_state
    from vesalius.uncertainty.ood_evaluation import OodMetrics, OodRow, OodTable, fpr_at_tpr, ood_metrics, ood_table
    from vesalius.uncertainty.ood_neighbours import KNearest, ViM
    from vesalius.uncertainty.ood_scores import Energy, MaxLogit, MaxProbability
    from vesalius.uncertainty.prevalence import PrevalenceShift, estimate_prevalence, shift_prevalence
    from vesalius.uncertainty.regression import QuantileRow, evaluate_gaussian, evaluate_intervals, quantile_calibration_table
    from vesalius.uncertainty.risk_bounds import clopper_pearson_upper
    from vesalius.uncertainty.risk_control import RiskControl, rate_controlled_threshold, risk_controlled_threshold, sgr_threshold
    from vesalius.uncertainty.seeds import SeedSpread, seed_spread
    from vesalius.uncertainty.segmentation import (
        SegmentationScores,
        boundary_band,
        case_scores,
        entropy_map,
        mean_inside,
        pairwise_dice,
        stack_scores,
        volume_variation,
    )
    from vesalius.uncertainty.selective import DecisionPolicy
    from vesalius.uncertainty.std_recalibration import QuantileRecalibration, StdRecalibration
    from vesalius.uncertainty.study import label_risk_coverage, study_residuals, study_risk_coverage, study_uncertainty
    from vesalius.uncertainty.survival import (
        KaplanMeier,
        censored_coverage_bounds,
        censored_coverage_ipcw,
        evaluate_event_times,
        event_time_interval,
        kaplan_meier,
    )
    from vesalius.uncertainty.survival_bound import SurvivalLowerBound
    from vesalius.uncertainty.transforms import Flip, Identity, Rotate, Rotate90, Scale, Shift, Transform
    from vesalius.uncertainty.tta import TtaAnswer, predict_pool, tta_predict
    from vesalius.uncertainty.views import FILM_VIEWS, Chain, mirror_views, random_chains, transform_from_json

_HOME = {
    "Beta": "calibration_curves",
    "Isotonic": "calibration_curves",
    "VennAbers": "calibration_curves",
    "BiasCorrectedTemperature": "calibration_multiclass",
    "MulticlassTemperature": "calibration_multiclass",
    "MulticlassVector": "calibration_multiclass",
    "Vector": "calibration",
    "PrevalenceShift": "prevalence",
    "estimate_prevalence": "prevalence",
    "shift_prevalence": "prevalence",
    "GreedyPolicySearch": "augmentation_policy",
    "PolicyScore": "augmentation_policy",
    "TtaAnswer": "tta",
    "tta_predict": "tta",
    "predict_pool": "tta",
    "FILM_VIEWS": "views",
    "Chain": "views",
    "mirror_views": "views",
    "random_chains": "views",
    "transform_from_json": "views",
    "Gamma": "grey_values",
    "Brightness": "grey_values",
    "Noise": "grey_values",
    "Transform": "transforms",
    "Identity": "transforms",
    "Flip": "transforms",
    "Rotate90": "transforms",
    "Rotate": "transforms",
    "Scale": "transforms",
    "Shift": "transforms",
    "SeedSpread": "seeds",
    "seed_spread": "seeds",
    "Spread": "ensembles",
    "mean_of": "ensembles",
    "std_of_probabilities": "ensembles",
    "predictive_entropy": "ensembles",
    "expected_entropy": "ensembles",
    "mutual_information": "ensembles",
    "variation_ratio": "ensembles",
    "pairwise_disagreement": "ensembles",
    "spread_of": "ensembles",
    "Calibrator": "calibration",
    "Platt": "calibration",
    "SelectedCalibrator": "calibrator_selection",
    "Temperature": "calibration",
    "calibrator_from_json": "calibration",
    "Evaluation": "evaluation",
    "EvaluationOptions": "evaluation",
    "evaluate": "evaluation",
    "Energy": "ood_scores",
    "MaxLogit": "ood_scores",
    "MaxProbability": "ood_scores",
    "Mahalanobis": "mahalanobis",
    "KNearest": "ood_neighbours",
    "ViM": "ood_neighbours",
    "OdinOptions": "odin",
    "odin_score": "odin",
    "OodMetrics": "ood_evaluation",
    "OodRow": "ood_evaluation",
    "OodTable": "ood_evaluation",
    "fpr_at_tpr": "ood_evaluation",
    "ood_metrics": "ood_evaluation",
    "ood_table": "ood_evaluation",
    "OodGate": "ood",
    "detector_from_state": "ood",
    "DecisionPolicy": "selective",
    "RiskCoverage": "curves",
    "augrc": "curves",
    "aurc": "curves",
    "e_aurc": "curves",
    "risk_coverage": "curves",
    "LAC": "conformal",
    "APS": "conformal",
    "ClassConditional": "conformal",
    "GroupConditional": "conformal",
    "FindingSets": "conformal_findings",
    "MultiLabelRiskControl": "conformal_findings",
    "SplitConformalRegression": "conformal_regression",
    "ConformalisedQuantileRegression": "conformal_regression",
    "achievable_aurc": "curves",
    "RiskControl": "risk_control",
    "risk_controlled_threshold": "risk_control",
    "rate_controlled_threshold": "risk_control",
    "sgr_threshold": "risk_control",
    "clopper_pearson_upper": "risk_bounds",
    "label_risk_coverage": "study",
    "study_residuals": "study",
    "study_risk_coverage": "study",
    "study_uncertainty": "study",
    "Combination": "combination",
    "softmax_distance": "hard_answers",
    "FailureCases": "failure_detection",
    "FailureDetection": "failure_detection",
    "failure_detection_table": "failure_detection",
    "failure_detection_over_sets": "failure_detection",
    "RocCurve": "failure_detection",
    "SegmentationScores": "segmentation",
    "boundary_band": "segmentation",
    "case_scores": "segmentation",
    "entropy_map": "segmentation",
    "mean_inside": "segmentation",
    "pairwise_dice": "segmentation",
    "stack_scores": "segmentation",
    "volume_variation": "segmentation",
    "StdRecalibration": "std_recalibration",
    "QuantileRecalibration": "std_recalibration",
    "evaluate_gaussian": "regression",
    "evaluate_intervals": "regression",
    "quantile_calibration_table": "regression",
    "QuantileRow": "regression",
    "KaplanMeier": "survival",
    "kaplan_meier": "survival",
    "event_time_interval": "survival",
    "censored_coverage_bounds": "survival",
    "censored_coverage_ipcw": "survival",
    "evaluate_event_times": "survival",
    "SurvivalLowerBound": "survival_bound",
}

__all__ = [
    "APS",
    "FILM_VIEWS",
    "LAC",
    "Beta",
    "BiasCorrectedTemperature",
    "Brightness",
    "Calibrator",
    "Chain",
    "ClassConditional",
    "Combination",
    "ConformalisedQuantileRegression",
    "DecisionPolicy",
    "Energy",
    "Evaluation",
    "EvaluationOptions",
    "FailureCases",
    "FailureDetection",
    "FindingSets",
    "Flip",
    "Gamma",
    "GreedyPolicySearch",
    "GroupConditional",
    "Identity",
    "Isotonic",
    "KNearest",
    "KaplanMeier",
    "Mahalanobis",
    "MaxLogit",
    "MaxProbability",
    "MultiLabelRiskControl",
    "MulticlassTemperature",
    "MulticlassVector",
    "Noise",
    "OdinOptions",
    "OodGate",
    "OodMetrics",
    "OodRow",
    "OodTable",
    "Platt",
    "PolicyScore",
    "PrevalenceShift",
    "QuantileRecalibration",
    "QuantileRow",
    "RiskControl",
    "RiskCoverage",
    "RocCurve",
    "Rotate",
    "Rotate90",
    "Scale",
    "SeedSpread",
    "SegmentationScores",
    "SelectedCalibrator",
    "Shift",
    "SplitConformalRegression",
    "Spread",
    "StdRecalibration",
    "SurvivalLowerBound",
    "Temperature",
    "Transform",
    "TtaAnswer",
    "Vector",
    "VennAbers",
    "ViM",
    "achievable_aurc",
    "augrc",
    "aurc",
    "boundary_band",
    "calibrator_from_json",
    "case_scores",
    "censored_coverage_bounds",
    "censored_coverage_ipcw",
    "clopper_pearson_upper",
    "detector_from_state",
    "e_aurc",
    "entropy_map",
    "estimate_prevalence",
    "evaluate",
    "evaluate_event_times",
    "evaluate_gaussian",
    "evaluate_intervals",
    "event_time_interval",
    "expected_entropy",
    "failure_detection_over_sets",
    "failure_detection_table",
    "fpr_at_tpr",
    "kaplan_meier",
    "label_risk_coverage",
    "mean_inside",
    "mean_of",
    "mirror_views",
    "mutual_information",
    "odin_score",
    "ood_metrics",
    "ood_table",
    "pairwise_dice",
    "pairwise_disagreement",
    "predict_pool",
    "predictive_entropy",
    "quantile_calibration_table",
    "random_chains",
    "rate_controlled_threshold",
    "risk_controlled_threshold",
    "risk_coverage",
    "seed_spread",
    "sgr_threshold",
    "shift_prevalence",
    "softmax_distance",
    "spread_of",
    "stack_scores",
    "std_of_probabilities",
    "study_residuals",
    "study_risk_coverage",
    "study_uncertainty",
    "transform_from_json",
    "tta_predict",
    "variation_ratio",
    "volume_variation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vesalius.uncertainty' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(f"vesalius.uncertainty.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
