"""The two compiled loops behind patient-clustered intervals: ranking metrics, and areas under risk-coverage curves.

A resample is a multiplicity for each patient. Scores never change between resamples, so each finding is sorted once; a
resample is then one walk over the sorted cases, adding up whole numbers. Sixty-four resamples walk side by side: a case's
multiplicities in all of them lie together (one cache line), so a step is a few vector instructions. The walks run without the
interpreter's lock, so that plain threads share the work, and each draw is the same whatever their number.

Importing this module imports numba; the rest of the room does so only when an interval is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt16

LANES = 64
"""Resamples that walk together: their multiplicities of one patient, a byte each, fill a cache line."""


@dataclass(frozen=True)
class SortedFinding:
    """One finding, sorted for the walk: best score first, cut into segments that each end with a block of tied scores.

    A segment has three runs of cases: absent ones above the block, absent ones in it, present ones in it. Every block that
    holds a present case ends a segment; the absent cases below the last block add nothing but their number.

    Attributes:
        patient: Patient number of each case in the order of the walk.
        bounds: Ends of the three runs of each segment, and a last row for the tail.
    """

    patient: Int32[np.ndarray, " known"]
    bounds: Int64[np.ndarray, "segment 3"]


def sort_finding(
    labels: Float64[np.ndarray, " case"], scores: Float64[np.ndarray, " case"], patient: Int64[np.ndarray, " case"]
) -> SortedFinding:
    """Sorts the cases with a known label by falling score; equal scores form one block, so row order never matters."""
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(-scores[known])]
    ordered, truth = scores[order], labels[order] > 0.5
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if order.size else np.zeros(0, dtype=np.int64)
    sizes = np.diff(starts, append=len(order))
    if len(starts) < len(order):  # within a block, the absent ones first
        block = np.repeat(np.arange(len(starts)), sizes)
        inner = np.argsort(2 * block + truth, kind="stable")
        order, truth = order[inner], truth[inner]
    n_present = np.add.reduceat(truth, starts, dtype=np.int64) if order.size else np.zeros(0, dtype=np.int64)
    held = n_present > 0
    first, last = starts[held], (starts + sizes)[held]
    bounds = np.column_stack([first, last - n_present[held], last])
    tail = np.full((1, 3), len(order))
    return SortedFinding(patient[order].astype(np.int32), np.concatenate([bounds, tail]).astype(np.int64))


def sort_findings(
    labels: Float64[np.ndarray, "case finding"], scores: Float64[np.ndarray, "case finding"], patient: Int64[np.ndarray, " case"]
) -> list[SortedFinding]:
    """Sorts every finding, several at a time."""
    with ThreadPoolExecutor(int(numba.config.NUMBA_NUM_THREADS)) as pool:
        return list(pool.map(lambda k: sort_finding(labels[:, k], scores[:, k], patient), range(labels.shape[1])))


def one_ahead(chunks: Iterator[UInt16[np.ndarray, "resample patient"]]) -> Iterator[UInt16[np.ndarray, "resample patient"]]:
    """Yields the same chunks in the same order; the next is drawn while this one is walked."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _rank_walk(counts: Any, patient: Any, bounds: Any, auroc: Any, auprc: Any) -> None:
    positive = np.zeros(LANES, dtype=np.int32)
    negative = np.zeros(LANES, dtype=np.int32)
    tied_positive = np.zeros(LANES, dtype=np.int32)
    tied_negative = np.zeros(LANES, dtype=np.int32)
    pairs = np.zeros(LANES)
    precision = np.zeros(LANES)
    start = 0
    for segment in range(bounds.shape[0]):
        for i in range(start, bounds[segment, 0]):
            row = counts[patient[i]]
            for lane in range(LANES):
                negative[lane] += row[lane]
        tied_negative[:] = 0
        for i in range(bounds[segment, 0], bounds[segment, 1]):
            row = counts[patient[i]]
            for lane in range(LANES):
                tied_negative[lane] += row[lane]
        tied_positive[:] = 0
        for i in range(bounds[segment, 1], bounds[segment, 2]):
            row = counts[patient[i]]
            for lane in range(LANES):
                tied_positive[lane] += row[lane]
        start = bounds[segment, 2]
        for lane in range(LANES):
            # Each positive of this block loses to the negatives above it, and shares with those tied.
            pairs[lane] += tied_positive[lane] * (negative[lane] + 0.5 * tied_negative[lane])
            negative[lane] += tied_negative[lane]
            positive[lane] += tied_positive[lane]
            # Where nothing was called yet the first factor is 0, and so is what is added.
            called = np.float64(max(positive[lane] + negative[lane], np.int32(1)))
            precision[lane] += tied_positive[lane] * (positive[lane] / called)
    for lane in range(auroc.shape[0]):
        both = float(positive[lane]) * negative[lane]
        auroc[lane] = 1.0 - pairs[lane] / both if both > 0 else np.nan
        auprc[lane] = precision[lane] / positive[lane] if positive[lane] > 0 else np.nan


def ranking_draws(
    counts: UInt16[np.ndarray, "resample patient"], findings: list[SortedFinding]
) -> tuple[Float64[np.ndarray, "resample finding"], Float64[np.ndarray, "resample finding"]]:
    """AUROC and average precision of every finding in every resample; NaN where a resample has one class only."""
    auroc = np.empty((len(findings), counts.shape[0]))
    auprc = np.empty_like(auroc)

    def walk(lanes: np.ndarray, rows: slice) -> None:
        for index, finding in enumerate(findings):
            _rank_walk(lanes, finding.patient, finding.bounds, auroc[index, rows], auprc[index, rows])

    _share(walk, counts)
    return auroc.T, auprc.T


@dataclass(frozen=True)
class SortedRisk:
    """One finding sorted from the surest case: patient number, residual, and whether a tie block ends there."""

    patient: Int32[np.ndarray, " known"]
    residual: Float64[np.ndarray, " known"]
    last: np.ndarray


def sort_risk(
    uncertainty: Float64[np.ndarray, " case"], residuals: Float64[np.ndarray, " case"], patient: Int64[np.ndarray, " case"]
) -> SortedRisk:
    """Sorts the cases with a known residual by rising uncertainty."""
    known = ~np.isnan(residuals)
    order = np.flatnonzero(known)[np.argsort(uncertainty[known], kind="stable")]
    ordered = uncertainty[order]
    last = np.append(ordered[1:] != ordered[:-1], True) if order.size else np.zeros(0, dtype=bool)
    return SortedRisk(patient[order].astype(np.int32), residuals[order], last)


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _risk_walk(counts: Any, patient: Any, residual: Any, last: Any, aurc: Any, augrc: Any) -> None:
    kept = np.zeros(LANES, dtype=np.int32)
    kept_before = np.zeros(LANES, dtype=np.int32)
    lost = np.zeros(LANES)
    lost_before = np.zeros(LANES)
    risk_before = np.zeros(LANES)
    area = np.zeros(LANES)
    generalised = np.zeros(LANES)
    for i in range(patient.shape[0]):
        row = counts[patient[i]]
        for lane in range(LANES):
            kept[lane] += row[lane]
            lost[lane] += row[lane] * residual[i]
        if last[i]:
            # Where a resample has no case of this block, its step is 0 and nothing is added.
            for lane in range(LANES):
                risk = lost[lane] / max(kept[lane], np.int32(1))
                before = risk if kept_before[lane] == 0 else risk_before[lane]
                step = 0.5 * (kept[lane] - kept_before[lane])
                area[lane] += step * (risk + before)
                generalised[lane] += step * (lost[lane] + lost_before[lane])
                kept_before[lane], lost_before[lane], risk_before[lane] = kept[lane], lost[lane], risk
    for lane in range(aurc.shape[0]):
        n = float(kept[lane])
        aurc[lane] = area[lane] / n if n > 0 else np.nan
        augrc[lane] = generalised[lane] / (n * n) if n > 0 else np.nan


def risk_draws(
    counts: UInt16[np.ndarray, "resample patient"], findings: list[SortedRisk]
) -> tuple[Float64[np.ndarray, "resample finding"], Float64[np.ndarray, "resample finding"]]:
    """AURC and AUGRC of every finding in every resample; NaN where a resample has no known case."""
    aurc = np.empty((len(findings), counts.shape[0]))
    augrc = np.empty_like(aurc)

    def walk(lanes: np.ndarray, rows: slice) -> None:
        for index, finding in enumerate(findings):
            _risk_walk(lanes, finding.patient, finding.residual, finding.last, aurc[index, rows], augrc[index, rows])

    _share(walk, counts)
    return aurc.T, augrc.T


def _share(walk: Callable[[np.ndarray, slice], None], counts: UInt16[np.ndarray, "resample patient"]) -> None:
    """Runs `walk` on each group of resamples, laid out (patient, lane); each writes its own place, so order is of no account."""
    # A patient drawn more than 255 times needs a second byte; that takes a plan of few patients, or none at all.
    kind = np.uint8 if counts.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16

    def group(start: int) -> None:
        rows = counts[start : start + LANES]
        lanes = np.zeros((counts.shape[1], LANES), dtype=kind)
        lanes[:, : len(rows)] = rows.astype(kind).T
        walk(lanes, slice(start, start + len(rows)))

    starts = range(0, counts.shape[0], LANES)
    threads = min(int(numba.config.NUMBA_NUM_THREADS), len(starts))
    if threads <= 1:
        for start in starts:
            group(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(group, starts))
