"""The two compiled loops behind patient-clustered intervals: ranking metrics, and areas under risk-coverage curves.

A resample is a multiplicity for each patient. Scores never change between resamples, so each finding is sorted once; a
resample is then one walk over the sorted cases, adding up whole numbers. One call does a chunk of resamples without the
interpreter's lock, so that plain threads share the work and each draw is the same whatever their number.

Importing this module imports numba; the rest of the room does so only when an interval is asked for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt16


@dataclass(frozen=True)
class SortedFinding:
    """One finding, sorted for the walk: best score first, cut into segments that each end with a block of tied scores.

    A segment has three runs of cases: absent ones above the block, absent ones in it, present ones in it. Every block that
    holds a present case ends a segment; the absent cases below the last block add nothing but their number.

    Attributes:
        patient: Patient number of each case in the order of the walk.
        bounds: Ends of the three runs of each segment, and a last row for the tail.
    """

    patient: Int32[np.ndarray, "known"]
    bounds: Int64[np.ndarray, "segment 3"]


def sort_finding(
    labels: Float64[np.ndarray, "case"], scores: Float64[np.ndarray, "case"], patient: Int64[np.ndarray, "case"]
) -> SortedFinding:
    """Sorts the cases with a known label by falling score; equal scores form one block, so row order never matters."""
    known = ~np.isnan(labels)
    truth, numbers, owner = labels[known] > 0.5, scores[known], patient[known]
    _, block = np.unique(-numbers, return_inverse=True)
    n_present = np.bincount(block, truth)
    # The segment that a case falls in: one for each block that has a present case, counted from the top.
    segment = np.searchsorted(np.flatnonzero(n_present), block)
    run = np.where(truth, 2, np.where(n_present[block] > 0, 1, 0))
    place = 3 * segment + run
    order = np.argsort(place, kind="stable")
    n_segments = int(np.count_nonzero(n_present)) + 1
    bounds = np.cumsum(np.bincount(place, minlength=3 * n_segments)).reshape(n_segments, 3)
    return SortedFinding(owner[order].astype(np.int32), bounds.astype(np.int64))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _rank_walk(counts: Any, patient: Any, bounds: Any, auroc: Any, auprc: Any) -> None:
    for resample in range(counts.shape[0]):
        multiplicity = counts[resample]
        start = 0
        positive = 0
        negative = 0
        pairs = 0.0
        precision = 0.0
        for segment in range(bounds.shape[0]):
            for i in range(start, bounds[segment, 0]):
                negative += multiplicity[patient[i]]
            tied_negative = 0
            for i in range(bounds[segment, 0], bounds[segment, 1]):
                tied_negative += multiplicity[patient[i]]
            tied_positive = 0
            for i in range(bounds[segment, 1], bounds[segment, 2]):
                tied_positive += multiplicity[patient[i]]
            start = bounds[segment, 2]
            # Each positive of this block loses to the negatives above it, and shares with those tied.
            pairs += tied_positive * (negative + 0.5 * tied_negative)
            negative += tied_negative
            positive += tied_positive
            if tied_positive > 0:
                precision += tied_positive * (positive / (positive + negative))
        auroc[resample] = 1.0 - pairs / (float(positive) * negative) if positive > 0 and negative > 0 else np.nan
        auprc[resample] = precision / positive if positive > 0 else np.nan


def ranking_draws(
    counts: UInt16[np.ndarray, "resample patient"], findings: list[SortedFinding]
) -> tuple[Float64[np.ndarray, "resample finding"], Float64[np.ndarray, "resample finding"]]:
    """AUROC and average precision of every finding in every resample; NaN where a resample has one class only."""
    auroc = np.empty((len(findings), counts.shape[0]))
    auprc = np.empty_like(auroc)

    def walk(part: tuple[int, slice]) -> None:
        index, rows = part
        finding = findings[index]
        _rank_walk(counts[rows], finding.patient, finding.bounds, auroc[index, rows], auprc[index, rows])

    _share(walk, len(findings), counts.shape[0])
    return auroc.T, auprc.T


@dataclass(frozen=True)
class SortedRisk:
    """One finding sorted from the surest case: patient number, residual, and whether a tie block ends there."""

    patient: Int32[np.ndarray, "known"]
    residual: Float64[np.ndarray, "known"]
    last: np.ndarray


def sort_risk(
    uncertainty: Float64[np.ndarray, "case"], residuals: Float64[np.ndarray, "case"], patient: Int64[np.ndarray, "case"]
) -> SortedRisk:
    """Sorts the cases with a known residual by rising uncertainty."""
    known = ~np.isnan(residuals)
    order = np.flatnonzero(known)[np.argsort(uncertainty[known], kind="stable")]
    ordered = uncertainty[order]
    last = np.append(ordered[1:] != ordered[:-1], True) if order.size else np.zeros(0, dtype=bool)
    return SortedRisk(patient[order].astype(np.int32), residuals[order], last)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _risk_walk(counts: Any, patient: Any, residual: Any, last: Any, aurc: Any, augrc: Any) -> None:
    for resample in range(counts.shape[0]):
        multiplicity = counts[resample]
        kept = 0
        lost = 0.0
        kept_before = 0
        lost_before = 0.0
        risk_before = 0.0
        area = 0.0
        generalised = 0.0
        for i in range(patient.shape[0]):
            weight = multiplicity[patient[i]]
            kept += weight
            lost += weight * residual[i]
            if last[i] and kept > kept_before:
                risk = lost / kept
                before = risk if kept_before == 0 else risk_before
                area += (kept - kept_before) * 0.5 * (risk + before)
                generalised += (kept - kept_before) * 0.5 * (lost + lost_before)
                kept_before, lost_before, risk_before = kept, lost, risk
        aurc[resample] = area / kept if kept > 0 else np.nan
        augrc[resample] = generalised / (float(kept) * kept) if kept > 0 else np.nan


def risk_draws(
    counts: UInt16[np.ndarray, "resample patient"], findings: list[SortedRisk]
) -> tuple[Float64[np.ndarray, "resample finding"], Float64[np.ndarray, "resample finding"]]:
    """AURC and AUGRC of every finding in every resample; NaN where a resample has no known case."""
    aurc = np.empty((len(findings), counts.shape[0]))
    augrc = np.empty_like(aurc)

    def walk(part: tuple[int, slice]) -> None:
        index, rows = part
        finding = findings[index]
        _risk_walk(counts[rows], finding.patient, finding.residual, finding.last, aurc[index, rows], augrc[index, rows])

    _share(walk, len(findings), counts.shape[0])
    return aurc.T, augrc.T


def _share(walk: Any, n_findings: int, n_resamples: int) -> None:
    """Runs `walk` on every (finding, half of the resamples); each writes its own place, so the threads' order is of no account."""
    step = max(1, -(-n_resamples // 2))
    parts = [(index, slice(at, at + step)) for index in range(n_findings) for at in range(0, n_resamples, step)]
    threads = int(numba.config.NUMBA_NUM_THREADS)
    if threads == 1 or n_resamples == 1:
        for part in parts:
            walk(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(walk, parts))
