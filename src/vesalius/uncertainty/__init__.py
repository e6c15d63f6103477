"""How sure a model may be: calibration, abstention and out-of-distribution scores, for any model's arrays; numpy only.

Each name below is fetched from its module when it is first used, so importing this room costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.uncertainty.calibration import Calibrator, Platt, SelectedCalibrator, Temperature, calibrator_from_json
    from vesalius.uncertainty.curves import RiskCoverage, augrc, aurc, e_aurc, risk_coverage
    from vesalius.uncertainty.evaluation import Evaluation, EvaluationOptions, evaluate
    from vesalius.uncertainty.ood import OodGate
    from vesalius.uncertainty.ood_scores import Energy, Mahalanobis
    from vesalius.uncertainty.selective import DecisionPolicy

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
}

__all__ = [
    "Calibrator",
    "DecisionPolicy",
    "Energy",
    "Evaluation",
    "EvaluationOptions",
    "Mahalanobis",
    "OodGate",
    "Platt",
    "RiskCoverage",
    "SelectedCalibrator",
    "Temperature",
    "augrc",
    "aurc",
    "calibrator_from_json",
    "e_aurc",
    "evaluate",
    "risk_coverage",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vesalius.uncertainty' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(f"vesalius.uncertainty.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
