"""Bias-corrected and accelerated (BCa) intervals with patients as the unit, and the influence of a patient in closed form.

A percentile interval is off where the draws are not centred on the value (bias) or where their spread changes with the value
(acceleration), as near an AUROC of 1. BCa shifts the percentiles for both. The acceleration is the skewness of what each patient
does to the figure: found by leaving each patient out, and for AUROC and AUPRC from one sort, without another pass over the cases.

Sources: Efron 1987; Efron & Tibshirani 1993, 14.3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from scipy.special import ndtr, ndtri

from vesalius.metrics.classification import known_table
from vesalius.metrics.delong_variance import placements
from vesalius.metrics.intervals import Interval, PatientResamples, interval_of, macro_draws


def bca_interval_of(
    draws: Float64[np.ndarray, " draw"],
    influence: Float64[np.ndarray, " patient"],
    confidence: float = 0.95,
    *,
    positive: Bool[np.ndarray, " patient"] | None = None,
) -> Interval:
    """BCa interval of draws whose first is the sample itself.

    Args:
        draws: The value on the sample, then on each resample; NaN where undefined.
        influence: What each patient adds to the figure, in any unit: minus the figure without the patient will do. NaN (the
            figure is not defined without that patient) gives no interval but a reason.
        confidence: 0.95 for a 95 % interval.
        positive: The strata, if patients were drawn apart; each is centred on its own mean.

    Source: Efron 1987, eq. 2.3 and 4.4; draws equal to the value count half below it, as in scipy.
    Checked against: scipy.stats.bootstrap(method="BCa") (tests/reference/test_bootstrap_against_scipy.py).
    """
    plain = interval_of(draws, confidence, n_patients=len(influence))
    if plain.reason is not None:
        return plain

    def without(reason: str) -> Interval:
        return replace(plain, low=np.nan, high=np.nan, reason=f"not estimable by BCa: {reason}")

    if np.isnan(influence).any():
        return without("the figure is not defined without one of the patients")
    valid = draws[1:][~np.isnan(draws[1:])]
    below = (np.count_nonzero(valid < plain.value) + 0.5 * np.count_nonzero(valid == plain.value)) / valid.size
    if below in (0.0, 1.0):
        return without("every draw lies on one side of the value")
    bias, skew = ndtri(below), acceleration(influence, positive)
    ends = ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))
    stretch = 1 - skew * (bias + ends)
    if (stretch <= 0).any():
        return without("one patient outweighs the others")
    low, high = np.quantile(valid, ndtr(bias + (bias + ends) / stretch))
    return replace(plain, low=float(low), high=float(high))


def acceleration(influence: Float64[np.ndarray, " patient"], positive: Bool[np.ndarray, " patient"] | None = None) -> float:
    """A sixth of the skewness of the influence values; 0 where no patient matters.

    Source: Efron 1987, eq. 6.6; several strata as in Davison & Hinkley 1997, eq. 5.30.
    """
    strata = [influence] if positive is None else [influence[side] for side in (positive, ~positive) if side.any()]
    centred = [(one - one.mean()) / len(one) for one in strata]
    squares = sum(float((one**2).sum()) for one in centred)
    # Rounding alone must not become a skewness: figures of order 1 are exact to 1e-12.
    if squares <= 1e-24 / len(influence):
        return 0.0
    return float(sum((one**3).sum() for one in centred) / (6 * squares**1.5))


def ranking_influence(
    labels: Real[np.ndarray, "case finding"], scores: Real[np.ndarray, "case finding"], plan: PatientResamples
) -> tuple[Float64[np.ndarray, "patient column"], Float64[np.ndarray, "patient column"]]:
    """Influence of each patient on AUROC and on AUPRC: a column for each finding, and the macro figure in the last.

    AUROC: minus its exact value without the patient. AUPRC: its derivative along the patient's weight (the infinitesimal
    jackknife), for which no case has to be left out. Cost: one sort a finding.

    Source: Efron 1982, chapter 6 (both jackknives).
    Checked against: leaving out each patient, and finite differences of weights (tests/unit/metrics/test_bca.py).
    """
    truth, numbers = known_table(labels, scores)
    left_out, slopes = np.empty((plan.n_patients + 1, truth.shape[1])), np.empty((plan.n_patients, truth.shape[1]))
    for index in range(truth.shape[1]):
        known = ~np.isnan(truth[:, index])
        present, values, owner = truth[known, index] > 0.5, numbers[known, index], plan.patient[known]
        left_out[:, index] = _auroc_without(present, values, owner, plan.n_patients)
        slopes[:, index] = _auprc_slope(present, values, owner, plan.n_patients)
    auroc = -np.column_stack([left_out, macro_draws(left_out)])[1:]
    defined = ~np.isnan(left_out[0])
    with_positive = ~np.isnan(slopes[0]) if len(slopes) else defined
    macro = slopes[:, with_positive].mean(axis=1) if with_positive.any() else np.full(len(slopes), np.nan)
    return auroc, np.column_stack([slopes, macro])


def _auroc_without(
    present: Bool[np.ndarray, " known"],
    scores: Float64[np.ndarray, " known"],
    owner: Int64[np.ndarray, " known"],
    n_patients: int,
) -> Float64[np.ndarray, " one_more"]:
    """AUROC of all, then without each patient: all pairs, less those of a case of the patient, plus those counted twice."""
    m = int(np.count_nonzero(present))
    n = len(present) - m
    if not m or not n:
        return np.full(n_patients + 1, np.nan)
    placed = placements(present, scores)
    won = np.bincount(owner, placed.values * np.where(present, n, m), n_patients) - _pairs_within(
        present, scores, owner, n_patients
    )
    m_left = m - np.bincount(owner, present, n_patients)
    n_left = n - np.bincount(owner, ~present, n_patients)
    left = m_left * n_left
    without: Float64[np.ndarray, " patient"] = np.full(n_patients, np.nan)
    np.divide(placed.auroc * (float(m) * n) - won, left, out=without, where=left > 0)
    return np.append(placed.auroc, without)


def _pairs_within(
    present: Bool[np.ndarray, " known"],
    scores: Float64[np.ndarray, " known"],
    owner: Int64[np.ndarray, " known"],
    n_patients: int,
) -> Float64[np.ndarray, " patient"]:
    """Pairs of a patient's own present and absent cases that are in order (a tie counts half)."""
    order = np.lexsort((scores, owner))
    who, value, truth = owner[order], scores[order], present[order]
    new_patient = np.append(True, who[1:] != who[:-1])
    starts = np.flatnonzero(new_patient | np.append(True, value[1:] != value[:-1]))
    positive, negative = (np.add.reduceat(side.astype(np.float64), starts) for side in (truth, ~truth))
    absent_before = np.cumsum(negative) - negative
    first = new_patient[starts]
    absent_before -= np.repeat(absent_before[first], np.diff(np.flatnonzero(first), append=len(starts)))
    return np.bincount(who[starts], positive * (absent_before + 0.5 * negative), n_patients)


def _auprc_slope(
    present: Bool[np.ndarray, " known"],
    scores: Float64[np.ndarray, " known"],
    owner: Int64[np.ndarray, " known"],
    n_patients: int,
) -> Float64[np.ndarray, " patient"]:
    """Derivative of the average precision along each patient's weight, at a weight of one for all."""
    total = np.count_nonzero(present)
    if not total:
        return np.full(n_patients, np.nan)
    _, block = np.unique(-scores, return_inverse=True)
    positive = np.bincount(block, present)
    found, called = np.cumsum(positive), np.cumsum(np.bincount(block))
    precision = found / called
    # A case changes the precision at its own block and at every later one.
    diluted = np.cumsum((positive * precision / called)[::-1])[::-1]
    raised = np.cumsum((positive / called)[::-1])[::-1]
    mean = float((positive * precision).sum() / total)
    slope = np.where(present, precision[block] + raised[block] - mean, 0.0) - diluted[block]
    return np.bincount(owner, slope / total, n_patients)
