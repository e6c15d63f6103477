"""The one line of JSON that a case becomes."""

from __future__ import annotations

import math
from typing import Any

from vesalius.types import Finding, Prediction


def to_json(prediction: Prediction) -> dict[str, Any]:
    """Returns the object that `vesalius predict` writes as one line; a number that is not finite becomes null.

    Keys, in order: case, image_id, bundle, seconds, findings, ood, warnings, error (docs/outputs.md).
    """
    ood, error = prediction.ood, prediction.error
    return {
        "case": prediction.case,
        "image_id": prediction.image_id,
        "bundle": prediction.bundle,
        "seconds": _finite(prediction.seconds),
        "findings": [_finding(finding) for finding in prediction.findings],
        "ood": None if ood is None else {"score": _finite(ood.score), "threshold": _finite(ood.threshold), "out": bool(ood.out)},
        "warnings": list(prediction.warnings),
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "logit": _finite(finding.logit),
        "probability": _finite(finding.probability),
        "uncertainty": _finite(finding.uncertainty),
        "decision": None if finding.decision is None else str(finding.decision),
        "reason": None if finding.reason is None else str(finding.reason),
    }


def _finite(value: float | None) -> float | None:
    """JSON has no word for NaN or infinity; null says "no number" to every reader."""
    return float(value) if value is not None and math.isfinite(value) else None
