"""DeLong's variance and paired test at 100,000 cases, against MLstatkit and the formula of `confidenceinterval`.

    python benchmarks/delong.py [--quick] [--json]

Timed in turns in one run. MLstatkit 0.1 ranks by a Python loop over tie blocks, in float64. `confidenceinterval` 1.0.4 is not
installed here: its formula is written out, the three rankings of yandexdataschool/roc_comparison with their loop over tie blocks,
in float64 in place of its float32, so that the results can be compared to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from MLstatkit import Delong_test

from vesalius.metrics import delong, delong_test


def midranks(values: np.ndarray) -> np.ndarray:
    """Mid-ranks as in roc_comparison's `compute_midrank`."""
    order = np.argsort(values)
    ordered = values[order]
    n = len(values)
    ranks = np.zeros(n)
    i = 0
    while i < n:
        j = i
        while j < n and ordered[j] == ordered[i]:
            j += 1
        ranks[i:j] = 0.5 * (i + j - 1)
        i = j
    placed = np.empty(n)
    placed[order] = ranks + 1
    return placed


def three_rankings(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUROC and its standard error as in roc_comparison's `fastDeLong`."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    x, y, z = midranks(positive), midranks(negative), midranks(np.append(positive, negative))
    auroc = z[:m].sum() / m / n - (m + 1.0) / 2.0 / n
    v01, v10 = (z[:m] - x) / n, 1.0 - (z[m:] - y) / m
    return float(auroc), float(np.sqrt(np.cov(v01) / m + np.cov(v10) / n))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def measure(n_cases: int = 100_000, turns: int = 7, decimals: int = 12) -> dict[str, Any]:
    """Times both sides in turns; the ratio is that of the medians."""
    random = np.random.default_rng(0)
    labels = (random.random(n_cases) < 0.2).astype(float)
    first, second = (np.round(random.normal(size=n_cases) + labels, decimals) for _ in range(2))
    patients = random.integers(0, n_cases // 3, n_cases)
    calls: dict[str, Callable[[], Any]] = {
        "variance": lambda: delong(labels, first),
        "variance_peer": lambda: three_rankings(labels, first),
        "paired": lambda: delong_test(labels, first, second),
        "paired_peer": lambda: Delong_test(labels, first, second),
        "clustered": lambda: delong(labels, first, patients),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    found: dict[str, Any] = {}
    for _ in range(turns):
        for name, call in calls.items():
            took, found[name] = timed(call)
            seconds[name].append(took)
    middle = {name: float(np.median(values)) for name, values in seconds.items()}
    own, test, peer = found["variance"], found["paired"], found["paired_peer"]
    apart = max(
        abs(own.value - found["variance_peer"][0]),
        abs(own.standard_error - found["variance_peer"][1]),
        abs(test.z - peer[0]) / abs(peer[0]),
        abs(test.p_value - peer[1]),
    )
    assert apart < 1e-9, apart
    return {
        "what": f"DeLong variance of one AUROC, {n_cases} cases",
        "seconds": middle["variance"],
        "peer_seconds": middle["variance_peer"],
        "ratio": middle["variance_peer"] / middle["variance"],
        "target_ratio": 4.0,
        "paired_seconds": middle["paired"],
        "paired_mlstatkit_seconds": middle["paired_peer"],
        "paired_ratio": middle["paired_peer"] / middle["paired"],
        "clustered_seconds": middle["clustered"],
        "greatest_difference": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line")
    arguments = parser.parse_args()
    found = measure(10_000, 3) if arguments.quick else measure()
    print(json.dumps(found, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
