"""How sure a model may be: calibration, abstention and out-of-distribution scores, for any model's arrays; numpy only.

Each name below is fetched from its module when it is first used, so importing this room costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.uncertainty.calibration import Calibrator, Platt, SelectedCalibrator, Temperature, calibrator_from_json
    from vesalius.uncertainty.conformal import APS, LAC, ClassConditional, GroupConditional
    from vesalius.uncertainty.conformal_findings import FindingSets, MultiLabelRiskControl
    from vesalius.uncertainty.conformal_regression import ConformalisedQuantileRegression, SplitConformalRegression
    from vesalius.uncertainty.curves import RiskCoverage, achievable_aurc, augrc, aurc, e_aurc, risk_coverage
    from vesalius.uncertainty.evaluation import Evaluation, EvaluationOptions, evaluate
    from vesalius.uncertainty.ood import OodGate
    from vesalius.uncertainty.ood_scores import Energy, Mahalanobis
    from vesalius.uncertainty.risk_bounds import clopper_pearson_upper
    from vesalius.uncertainty.risk_control import RiskControl, rate_controlled_threshold, risk_controlled_threshold, sgr_threshold
    from vesalius.uncertainty.selective import DecisionPolicy
    from vesalius.uncertainty.study import label_risk_coverage, study_residuals, study_risk_coverage, study_uncertainty

_HOME = {
    "Calibrator": "calibration",
    "Platt": "calibration",
    "SelectedCalibrator": "calibration",
    "Temperature": "calibration",
    "calibrator_from_json": "calibration",
    "Evaluation": "evaluation",
    "EvaluationOptions": "evaluation",
    "evaluate": "evaluation",
    "Energy": "ood_scores",
    "Mahalanobis": "ood_scores",
    "OodGate": "ood",
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
}

__all__ = [
    "APS",
    "LAC",
    "Calibrator",
    "ClassConditional",
    "ConformalisedQuantileRegression",
    "DecisionPolicy",
    "Energy",
    "Evaluation",
    "EvaluationOptions",
    "FindingSets",
    "GroupConditional",
    "Mahalanobis",
    "MultiLabelRiskControl",
    "OodGate",
    "Platt",
    "RiskControl",
    "RiskCoverage",
    "SelectedCalibrator",
    "SplitConformalRegression",
    "Temperature",
    "achievable_aurc",
    "augrc",
    "aurc",
    "calibrator_from_json",
    "clopper_pearson_upper",
    "e_aurc",
    "evaluate",
    "label_risk_coverage",
    "rate_controlled_threshold",
    "risk_controlled_threshold",
    "risk_coverage",
    "sgr_threshold",
    "study_residuals",
    "study_risk_coverage",
    "study_uncertainty",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vesalius.uncertainty' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(f"vesalius.uncertainty.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
