"""The plainest measure of doubt: how far calibrated probabilities are from a hard answer.

Source: Hendrycks & Gimpel 2017, arXiv:1610.02136 (greatest softmax probability, here as doubt). Calibrate first: an overconfident
model is sure of everything.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Real

from vesalius.errors import ShapeMismatch, ValueOutOfRange

ProbabilityForm = Literal["binary", "softmax"]


def softmax_distance(
    probabilities: Real[np.ndarray, "*axes"], *, form: ProbabilityForm = "binary"
) -> Float64[np.ndarray, "*shorter"]:
    """Distance of probabilities to the nearest hard label; 0 is sure, higher = less sure, NaN stays NaN.

    "binary": min(p, 1 - p) of each probability, in [0, 1/2], the shape as given (several findings stay apart). "softmax": 1 minus
    the greatest probability over the last axis, in [0, 1 - 1/K]. Both are half the L1 distance of the class probabilities to the
    nearest one-hot answer.

    Raises:
        ShapeMismatch: A softmax without a class axis.
        ValueOutOfRange: A probability outside [0, 1] (calibrate logits first), classes that do not add up to 1, or another form.

    Source: Hendrycks & Gimpel 2017, section 3.
    Checked against: the L1 distance to every hard label, written out (tests/unit).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if form not in get_args(ProbabilityForm):
        raise ValueOutOfRange(f"form {form!r}; expected binary or softmax")
    if ((p < 0) | (p > 1)).any():
        raise ValueOutOfRange("a probability lies outside [0, 1]; calibrate logits first")
    if form == "binary":
        doubt: Float64[np.ndarray, "*shorter"] = np.minimum(p, 1 - p)
        return doubt
    if not p.ndim:
        raise ShapeMismatch("one number is no softmax; expected classes along the last axis")
    if (np.abs(p.sum(axis=-1) - 1) > 1e-5).any():
        raise ValueOutOfRange("probabilities of the classes do not add up to 1; for findings by themselves use form='binary'")
    rest: Float64[np.ndarray, "*shorter"] = 1 - p.max(axis=-1)
    return rest
