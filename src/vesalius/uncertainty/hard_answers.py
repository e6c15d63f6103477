"""The plainest measure of doubt: how far calibrated probabilities are from a hard answer.

Source: Hendrycks & Gimpel 2017, arXiv:1610.02136 (greatest softmax probability, here as doubt). Calibrate first: an overconfident
model is sure of everything.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from jaxtyping import Float64, Real

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.ensembles import Task


def softmax_distance(probabilities: Real[np.ndarray, "*axes"], *, task: Task = "multilabel") -> Float64[np.ndarray, "*shorter"]:
    """Distance of probabilities to the nearest hard label; 0 is sure, higher = less sure, NaN stays NaN.

    "multilabel": min(p, 1 - p) of each probability, in [0, 1/2], the shape as given (several findings stay apart). "multiclass": 1
    minus the greatest probability over the last axis, in [0, 1 - 1/K]. Both are half the L1 distance of the class probabilities to
    the nearest one-hot answer.

    Raises:
        ShapeMismatch: Classes without an axis.
        ValueOutOfRange: A probability outside [0, 1] (calibrate logits first), classes that do not add up to 1, or another task.

    Source: Hendrycks & Gimpel 2017, section 3.
    Checked against: the L1 distance to every hard label, written out (tests/unit).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if task not in get_args(Task):
        raise ValueOutOfRange(f"task {task!r}; expected one of {', '.join(get_args(Task))}")
    if ((p < 0) | (p > 1)).any():
        raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
    if task == "multilabel":
        doubt: Float64[np.ndarray, "*shorter"] = np.minimum(p, 1 - p)
        return doubt
    if not p.ndim:
        raise ShapeMismatch("one number has no classes; expected classes along the last axis")
    if (np.abs(p.sum(axis=-1) - 1) > 1e-3).any():
        raise ValueOutOfRange("probabilities of the classes do not add up to 1; for findings by themselves use task='multilabel'")
    rest: Float64[np.ndarray, "*shorter"] = 1 - p.max(axis=-1)
    return rest
