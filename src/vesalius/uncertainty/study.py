"""Risk against coverage of many findings at once: finding by finding, or study by study.

A study is handed to a person as a whole: it is set aside if any of its findings is unsure, or any of the critical ones. What it
costs when it is not is the share of its findings that are wrong (Hamming), or whether any is (worst). No definition of this was
found in a public library, so the ones here are written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.curves import RiskCoverage, risk_coverage
from vesalius.uncertainty.units import number_units

StudyLoss = Literal["hamming", "worst"]


def label_risk_coverage(
    uncertainty: Real[np.ndarray, "case finding"],
    residuals: Real[np.ndarray, "case finding"],
    weights: Real[np.ndarray, " case"] | None = None,
) -> list[RiskCoverage | None]:
    """Risk-coverage curve of each finding, each abstaining for itself; None for a finding without a known residual.

    Raises:
        ShapeMismatch: Not two equal (case, finding).
        ValueOutOfRange: An uncertainty is NaN where the residual is known.

    Checked against: `risk_coverage` of each column (tests/unit).
    """
    doubt, loss = _tables(uncertainty, residuals)
    seen = np.ones(len(loss)) if weights is None else np.asarray(weights, dtype=np.float64)
    columns = range(loss.shape[1])
    return [
        risk_coverage(doubt[:, k], loss[:, k], weights) if (~np.isnan(loss[:, k]) & (seen > 0)).any() else None for k in columns
    ]


def study_uncertainty(
    uncertainty: Real[np.ndarray, "case finding"],
    studies: Shaped[np.ndarray, " case"] | None = None,
    *,
    critical: Sequence[int] | None = None,
) -> Float64[np.ndarray, " study"]:
    """Uncertainty of the least sure (critical) finding of each study, so that a cut sets aside every study with one unsure finding.

    The findings must be on one scale: min(p, 1 - p) is, a distance to thresholds of their own in logits is, raw scores of several
    networks are not. All of them count, labelled or not, for a rule cannot look at the labels.

    Args:
        uncertainty: Higher = less sure; one row a film.
        studies: Which study a film belongs to; None takes each film as a study.
        critical: Positions of the findings whose doubt sets a study aside; None means any.

    Returns:
        One number a study, in the order of `np.unique(studies)` (of the rows, without studies).

    Raises:
        ValueOutOfRange: An uncertainty is NaN, or `critical` names no finding or one that is not there.
        ShapeMismatch: Not (case, finding), or another number of studies than rows.
    """
    doubt = np.asarray(uncertainty, dtype=np.float64)
    if doubt.ndim != 2:
        raise ShapeMismatch(f"uncertainty {doubt.shape}; expected (case, finding)")
    chosen = doubt[:, _critical(critical, doubt.shape[1])]
    if np.isnan(chosen).any():
        raise ValueOutOfRange("an uncertainty is NaN; give an unknown one the value that stands for no answer, such as inf")
    group, n_studies = number_units(studies, len(doubt), "studies")
    worst = np.full(n_studies, -np.inf)
    np.maximum.at(worst, group, chosen.max(axis=1, initial=-np.inf))
    return worst


def study_residuals(
    residuals: Real[np.ndarray, "case finding"],
    studies: Shaped[np.ndarray, " case"] | None = None,
    *,
    loss: StudyLoss = "hamming",
    critical: Sequence[int] | None = None,
) -> Float64[np.ndarray, " study"]:
    """What answering each study costs: mean ("hamming") or greatest ("worst") residual of its known findings.

    Args:
        residuals: 0/1 errors or losses; NaN where the label is unknown, which then counts for nothing.
        studies: Which study a film belongs to; None takes each film as a study.
        loss: "hamming", the share of the known findings that are wrong; or "worst", 1 as soon as one is.
        critical: Positions of the findings whose errors count; None means all.

    Returns:
        One number a study, in the order of `np.unique(studies)`; NaN where no label is known.

    Raises:
        ValueOutOfRange: Another loss, or `critical` names no finding or one that is not there.
        ShapeMismatch: Not (case, finding), or another number of studies than rows.

    Checked against: loops over studies and findings; `sklearn.metrics.hamming_loss` and `zero_one_loss` (tests/reference).
    """
    table = np.asarray(residuals, dtype=np.float64)
    if table.ndim != 2:
        raise ShapeMismatch(f"residuals {table.shape}; expected (case, finding)")
    if loss not in get_args(StudyLoss):
        raise ValueOutOfRange(f"loss {loss!r}; expected one of {', '.join(get_args(StudyLoss))}")
    chosen = table[:, _critical(critical, table.shape[1])]
    known = ~np.isnan(chosen)
    group, n_studies = number_units(studies, len(table), "studies")
    count = np.bincount(group, known.sum(axis=1), n_studies)
    if loss == "worst":
        found = np.full(n_studies, -np.inf)
        np.maximum.at(found, group, np.where(known, chosen, -np.inf).max(axis=1, initial=-np.inf))
        return np.where(count > 0, found, np.nan)
    total = np.bincount(group, np.where(known, chosen, 0.0).sum(axis=1), n_studies)
    mean: Float64[np.ndarray, " study"] = np.divide(total, count, out=np.full(n_studies, np.nan), where=count > 0)
    return mean


def study_risk_coverage(
    uncertainty: Real[np.ndarray, "case finding"],
    residuals: Real[np.ndarray, "case finding"],
    studies: Shaped[np.ndarray, " case"] | None = None,
    *,
    loss: StudyLoss = "hamming",
    critical: Sequence[int] | None = None,
) -> RiskCoverage:
    """Risk of the studies that are answered as whole studies are set aside, the one with the least sure finding first.

    `critical` decides whose doubt sets a study aside; errors of every finding count. For errors of the critical ones only, give
    `study_uncertainty` and `study_residuals` to `risk_coverage` yourself.

    Raises:
        EmptyInput: No study with a known label.
        ShapeMismatch: Arrays that do not go together.
        ValueOutOfRange: See `study_uncertainty` and `study_residuals`.

    Checked against: a loop over every cut and every study (tests/reference).
    """
    _tables(uncertainty, residuals)
    return risk_coverage(study_uncertainty(uncertainty, studies, critical=critical), study_residuals(residuals, studies, loss=loss))


def _tables(first: object, second: object) -> tuple[Float64[np.ndarray, "case finding"], Float64[np.ndarray, "case finding"]]:
    doubt, loss = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if doubt.ndim != 2 or doubt.shape != loss.shape:
        raise ShapeMismatch(f"uncertainty {doubt.shape}, residuals {loss.shape}; expected two equal (case, finding)")
    return doubt, loss


def _critical(critical: Sequence[int] | None, n_findings: int) -> list[int]:
    chosen = list(range(n_findings)) if critical is None else list(critical)
    if not chosen or not all(0 <= index < n_findings for index in chosen):
        raise ValueOutOfRange(f"critical findings {chosen}; expected at least one position from 0 to {n_findings - 1}")
    return chosen
