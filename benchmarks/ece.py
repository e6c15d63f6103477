"""Calibration error of a million predictions against torchmetrics, and of forty million voxels, to the last digits.

    python benchmarks/ece.py [--quick] [--json]

A million: both sides are given what they like best (a float32 tensor there, the same array here), timed in turns in one run, and
their figures compared. Forty million: the figure counted in a stream against the exact one, by whole numbers; the memory it
took on top of the arrays; and what torchmetrics, whose counters are float32, says about the same voxels.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import binary_calibration_error

from vesalius.metrics import StreamingCalibration, ece


def predictions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (int64) and probabilities (float32) of a model that is a little too sure."""
    random = np.random.default_rng(seed)
    p = random.beta(1, 3, n).astype(np.float32)
    return (random.random(n) < p**1.2).astype(np.int64), p


def seconds(calls: dict[str, Callable[[], float]], turns: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the quickest of the turns, and the value, of each call; in turns, so that a busy machine is busy for all."""
    values = {name: call() for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in taken.items()}, values


def measure_million(n: int = 1_000_000, turns: int = 15) -> dict[str, Any]:
    """Ratio to torchmetrics, with and without its checks of the arguments; ours always checks."""
    labels, p = predictions(n)
    tensor, truth = torch.from_numpy(p), torch.from_numpy(labels)
    took, values = seconds(
        {
            "ours": lambda: ece(labels, p),
            "torchmetrics": lambda: float(binary_calibration_error(tensor, truth, n_bins=15)),
            "torchmetrics_unchecked": lambda: float(binary_calibration_error(tensor, truth, n_bins=15, validate_args=False)),
        },
        turns,
    )
    difference = abs(values["ours"] - values["torchmetrics"])
    assert difference < 1e-5, f"another figure: {values}"
    return {
        "what": f"ECE of {n} predictions, 15 bins of equal width",
        "seconds": took["ours"],
        "torchmetrics_seconds": took["torchmetrics"],
        "torchmetrics_unchecked_seconds": took["torchmetrics_unchecked"],
        "ratio": took["torchmetrics_unchecked"] / took["ours"],
        "ratio_to_its_default": took["torchmetrics"] / took["ours"],
        "target_ratio": 4.0,
        "difference": difference,
    }


def exact_ece(labels: np.ndarray, p: np.ndarray, bins: int) -> float:
    """The figure by whole numbers, rounded once, and by another way: cut at the edges by comparing, no bincount.

    A float32 in [2^-30, 1] is a whole number of 2^-54, so sums of its upper and lower 27 bits are exact in int64. Smaller ones
    are refused.
    """
    edges = np.arange(1, bins) / bins
    high, low, n, present = ([0] * bins for _ in range(4))
    for start in range(0, p.size, 1 << 20):
        said = p[start : start + (1 << 20)].astype(np.float64)
        assert said.min() >= 2.0**-30, "too small for the whole numbers of this check"
        whole = (said * 2.0**54).astype(np.int64)
        assert (whole == said * 2.0**54).all()
        place = np.searchsorted(edges, said, side="right")
        for b in range(bins):
            inside = place == b
            high[b] += int((whole[inside] >> 27).sum())
            low[b] += int((whole[inside] & (2**27 - 1)).sum())
            n[b] += int(inside.sum())
            present[b] += int(labels[start : start + (1 << 20)][inside].sum())
    gaps = (abs(Fraction(high[b] * 2**27 + low[b], 2**54) - present[b]) for b in range(bins))
    return float(sum(gaps, Fraction(0)) / sum(n))


def voxels(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nineteen of twenty voxels are background around 0.02, the rest lie anywhere; each is present as often as it says."""
    random = np.random.default_rng(1)
    p = np.float32(0.01) + np.float32(0.02) * random.random(n, dtype=np.float32)
    p[::20] = random.random(p[::20].size, dtype=np.float32).clip(1e-3, 1)
    return random.random(n, dtype=np.float32) < p, p


def measure_voxels(n: int = 40_000_000) -> dict[str, Any]:
    """64 slabs in a stream against the exact figure, and all at once for the memory."""
    labels, p = voxels(n)
    slabs = list(zip(np.array_split(labels, 64), np.array_split(p, 64), strict=True))
    start = time.perf_counter()
    stream = StreamingCalibration()
    for truth, said in slabs:
        stream.update(truth, said)
    value = stream.ece()
    took = time.perf_counter() - start
    tracemalloc.start()
    StreamingCalibration().update(labels, p).ece()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    exact = exact_ece(labels, p, 15)
    assert abs(value - exact) < 1e-9, f"{value} is not {exact}"
    start = time.perf_counter()
    theirs = float(binary_calibration_error(torch.from_numpy(p), torch.from_numpy(labels).to(torch.int64), n_bins=15))
    return {
        "what": f"ECE of {n} voxels",
        "seconds": took,
        "ece": value,
        "exact": exact,
        "difference": abs(value - exact),
        "target_difference": 1e-9,
        "extra_memory_bytes": peak,
        "arrays_bytes": p.nbytes + labels.nbytes,
        "torchmetrics_ece": theirs,
        "torchmetrics_seconds": time.perf_counter() - start,
        "torchmetrics_difference": abs(theirs - exact),
    }


def measure(n: int = 1_000_000, n_voxels: int = 40_000_000) -> dict[str, Any]:
    """Both parts, the first with its target ratio."""
    return {**measure_million(n), "voxels": measure_voxels(n_voxels)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the values, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    found = measure(100_000, 4_000_000) if options.quick else measure()
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
