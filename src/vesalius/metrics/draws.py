"""Metrics that are functions of sums, on every resample of a plan: what `evaluate` and the subgroup table are made of.

Each function returns one value for the sample (first) and one for each resample, ready for `interval_of` and `difference_of`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from vesalius.metrics.bins import bin_of
from vesalius.metrics.intervals import PatientResamples, summed_draws
from vesalius.metrics.proper_scores import case_nll

Draws = Float64[np.ndarray, "draw"]


def proper_draws(
    labels: Float64[np.ndarray, " case"], probabilities: Float64[np.ndarray, " case"], plan: PatientResamples, bins: int = 15
) -> dict[str, Draws]:
    """`brier`, `ece` (equal width), `overprediction` (mean probability minus share present) of one finding; labels may be NaN."""
    known = ~np.isnan(labels)
    truth, p = np.where(known, labels, 0.0), np.where(known, probabilities, 0.0)
    gaps = np.zeros((len(labels), bins))
    gaps[np.flatnonzero(known), bin_of(p[known], bins)] = (p - truth)[known]
    sums = summed_draws(np.column_stack([known, (p - truth) ** 2, gaps]), plan)
    n = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
    gap = sums[:, 2:]
    return {"brier": sums[:, 1] / n, "ece": np.abs(gap).sum(axis=1) / n, "overprediction": gap.sum(axis=1) / n}


def nll_draws(labels: Float64[np.ndarray, " case"], logits: Float64[np.ndarray, " case"], plan: PatientResamples) -> Draws:
    """Mean negative log likelihood of one finding, in nats; labels may be NaN."""
    known = ~np.isnan(labels)
    loss = np.where(known, case_nll(np.where(known, labels, 0.0), np.where(known, logits, 0.0)), 0.0)
    sums = summed_draws(np.column_stack([known, loss]), plan)
    return sums[:, 1] / np.where(sums[:, 0] > 0, sums[:, 0], np.nan)


def rate_draws(labels: Float64[np.ndarray, " case"], called: Bool[np.ndarray, " case"], plan: PatientResamples) -> dict[str, Draws]:
    """`sensitivity specificity ppv npv f1 mcc` of fixed calls on one finding; NaN where a denominator is 0."""
    positive, negative = labels == 1, labels == 0
    cells = np.column_stack([positive & called, negative & called, negative & ~called, positive & ~called])
    return rates_of(*summed_draws(cells.astype(np.float64), plan).T)


def rates_of(tp: Draws, fp: Draws, tn: Draws, fn: Draws) -> dict[str, Draws]:
    """`sensitivity specificity ppv npv f1 mcc` of counted calls; NaN where a denominator is 0."""

    def share(part: Draws, whole: Draws) -> Draws:
        return part / np.where(whole > 0, whole, np.nan)

    return {
        "sensitivity": share(tp, tp + fn),
        "specificity": share(tn, tn + fp),
        "ppv": share(tp, tp + fp),
        "npv": share(tn, tn + fn),
        "f1": share(2 * tp, 2 * tp + fp + fn),
        "mcc": share(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
    }
