"""Greedy policy search over 100 views of 2000 cases with 10 classes, 5 steps, against the authors' loop.

    python benchmarks/policy_search.py [--quick] [--json]

The authors' program (github.com/bayesgroup/gps-augment, policy-search.py) is not a package, so its formula is written out here: for
each candidate the log of the mean softmax in float32, then a temperature by Nelder-Mead from 1. Both sides run in turns in one run
on the same pool; the policies must be the same and the objectives agree to 1e-5, so that speed never stands for another answer. The
loop is timed whole where that takes a minute at most; else its first step is timed and scaled up, and "extrapolated" says so. Its
small torch calls suffer more than numpy from a busy machine, so its fastest turn counts, and of ours the median.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch.nn.functional import log_softmax

from vesalius.uncertainty import GreedyPolicySearch

LONGEST_S = 60.0
TURNS = 3


def pool_of(n_views: int, n_cases: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of views that share what they know and have noise of their own, some much more of it than others."""
    random = np.random.default_rng(seed)
    truth = random.integers(n_classes, size=n_cases)
    shared = random.normal(size=(n_cases, n_classes)) + 2 * np.eye(n_classes)[truth]
    own = random.normal(size=(n_views, n_cases, n_classes)) * random.permutation(np.linspace(0.5, 3, n_views))[:, None, None]
    return shared + own, truth


def _softened(logs: np.ndarray, temperature: Any) -> np.ndarray:
    return log_softmax(torch.Tensor(logs / temperature), dim=1).numpy()


def _likelihood(logs: np.ndarray, truth: np.ndarray) -> float:
    return float(np.log(1e-12 + np.exp(logs)[np.arange(len(truth)), truth]).mean())


def authors_step(logits: np.ndarray, truth: np.ndarray, so_far: np.ndarray | None, chosen: int) -> tuple[int, float, np.ndarray]:
    """One step: every candidate's average and its own temperature."""
    best: tuple[int, float, np.ndarray] | None = None
    for view, candidate in enumerate(logits):
        average = candidate
        if so_far is not None:
            pair = log_softmax(torch.Tensor(np.dstack([so_far, candidate])), dim=1).numpy()
            average = logsumexp(pair, axis=2, b=(chosen, 1)) - np.log(chosen + 1)
        found = minimize(lambda t, a=average: -_likelihood(_softened(a, t), truth), 1, method="nelder-mead")
        value = _likelihood(_softened(average, found.x[0]), truth)
        if best is None or value > best[1]:
            best = (view, value, average)
    assert best is not None
    return best


def authors_search(logits: np.ndarray, truth: np.ndarray, steps: int) -> tuple[list[int], list[float], float, bool]:
    """Policy and objectives of the authors' loop, its seconds, and whether these were scaled up from the first step."""
    policy, objectives, so_far = [], [], None
    start = time.perf_counter()
    for step in range(steps):
        view, value, so_far = authors_step(logits, truth, so_far, len(policy))
        policy.append(view)
        objectives.append(value)
        spent = time.perf_counter() - start
        if step == 0 and spent * steps > LONGEST_S:
            return policy, objectives, spent * steps, True
    return policy, objectives, time.perf_counter() - start, False


def measure(n_views: int = 100, n_cases: int = 2000, n_classes: int = 10, steps: int = 5) -> dict[str, Any]:
    """Times both, checks that they say the same, and returns the ratio."""
    logits, truth = pool_of(n_views, n_cases, n_classes)
    seconds, loops = [], []
    for _ in range(TURNS):
        start = time.perf_counter()
        ours = GreedyPolicySearch(length=steps).fit(logits, truth)
        seconds.append(time.perf_counter() - start)
        if sum(loops) < LONGEST_S:
            policy, objectives, loop, extrapolated = authors_search(logits, truth, steps)
            loops.append(loop)
    assert ours.policy is not None
    difference = float(np.abs(np.subtract(ours.objectives[: len(policy)], objectives)).max())
    if list(ours.policy[: len(policy)]) != policy or difference > 1e-5:
        raise AssertionError(f"policies {ours.policy} and {policy}, objectives differ by {difference:g}")
    return {
        "what": f"greedy policy search, pool of {n_views}, {n_cases} cases x {n_classes} classes, {steps} steps",
        "seconds": float(np.median(seconds)),
        "authors_loop_seconds": min(loops),
        "extrapolated": extrapolated,
        "ratio": min(loops) / float(np.median(seconds)),
        "target_ratio": 8.0,
        "policy": list(ours.policy),
        "steps_compared": len(policy),
        "greatest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small pool, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line")
    asked = parser.parse_args()
    print(json.dumps(measure(12, 200, 5, 3) if asked.quick else measure(), indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
