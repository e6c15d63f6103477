"""Logistic regression on a few columns with a ridge, by damped Newton steps in float64.

Source: Hosmer & Lemeshow 2013; le Cessie & van Houwelingen 1992 (the ridge).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.special import expit

from vesalius.errors import NotEstimable
from vesalius.metrics.proper_scores import case_nll


def fit_ridge(
    design: Float64[np.ndarray, "known column"], labels: Float64[np.ndarray, " known"], penalty: float
) -> tuple[Float64[np.ndarray, " column"], float]:
    """Weights and intercept that minimise the summed log loss plus penalty / 2 times the squared weights; the intercept is free.

    Raises:
        NotEstimable: One class only (the free intercept has no best value), or no convergence.

    Checked against: scikit-learn's LogisticRegression (tests/reference).
    """
    if labels.min() == labels.max():
        raise NotEstimable("all labels are the same; a logistic regression needs both kinds")
    rows = np.column_stack([design, np.ones(len(design))])
    ridge = np.append(np.full(design.shape[1], penalty), 0.0)
    share = labels.mean()
    line = np.append(np.zeros(design.shape[1]), np.log(share / (1 - share)))

    def loss(at: Float64[np.ndarray, " unknown"]) -> float:
        return float(case_nll(labels, rows @ at).sum() + 0.5 * (ridge * at**2).sum())

    current = loss(line)
    for _ in range(100):
        p = expit(rows @ line)
        gradient = rows.T @ (p - labels) + ridge * line
        if np.abs(gradient).max() <= 1e-10 * len(labels):
            break
        hessian = (rows * (p * (1 - p))[:, None]).T @ rows + np.diag(ridge)
        step = np.linalg.lstsq(hessian, gradient)[0]
        length = 1.0
        # Near the optimum a step changes the loss by less than its last digits: that is no reason to shorten it.
        while loss(line - length * step) > current * (1 + 1e-12) and length > 1e-12:
            length /= 2
        line = line - length * step
        current = loss(line)
    if np.abs(gradient).max() <= 1e-6 * len(labels):
        return line[:-1], float(line[-1])
    raise NotEstimable("the logistic regression did not settle; leave out measures that are copies of others, or raise the penalty")
