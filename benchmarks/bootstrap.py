"""1000 patient-clustered resamples of macro AUROC and AUPRC, 25,000 images x 14 findings, against a scikit-learn loop.

    python benchmarks/bootstrap.py [--quick]

Both sides use the same resamples in one run. The scikit-learn loop is timed on a few of them and scaled up; ours, and ours on ten
times the rows, are medians of five turns. The draws of both are compared on these, so that speed never stands for another answer.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from vesalius.metrics import bootstrap_ranking
from vesalius.metrics.intervals import PatientResamples, ranking_draws


def cohort(n_cases: int, n_findings: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of 2 to 30 % prevalence, scores, and about 2.8 images a patient."""
    random = np.random.default_rng(seed)
    labels = (random.random((n_cases, n_findings)) < np.linspace(0.02, 0.3, n_findings)).astype(float)
    return labels, random.normal(size=labels.shape) + labels, random.integers(0, int(n_cases / 2.8), n_cases)


def sklearn_draws(labels: np.ndarray, scores: np.ndarray, plan: PatientResamples) -> np.ndarray:
    """Macro AUROC and macro AUPRC of each resample, as one would write it."""
    rows = []
    for counts in list(plan.chunks())[1]:
        drawn = np.repeat(np.arange(len(labels)), counts[plan.patient])
        y, s = labels[drawn], scores[drawn]
        columns = range(labels.shape[1])
        rows.append([np.mean([metric(y[:, k], s[:, k]) for k in columns]) for metric in (roc_auc_score, average_precision_score)])
    return np.array(rows)


def measure(n_cases: int = 25_000, n_findings: int = 14, resamples: int = 1000, looped: int = 6) -> dict[str, Any]:
    """Times both and returns the ratio, with the greatest difference between their draws."""
    labels, scores, patients = cohort(n_cases, n_findings)
    bootstrap_ranking(labels[:100], scores[:100], patients[:100], resamples=2)  # compiling is not what is measured
    many = cohort(10 * n_cases, n_findings)
    turns: list[list[float]] = []
    for _ in range(5):
        turns.append([])
        for one in ((labels, scores, patients), many):
            start = time.perf_counter()
            bootstrap_ranking(*one, resamples=resamples)
            turns[-1].append(time.perf_counter() - start)
    ours, ten_times = np.median(turns, axis=0).tolist()
    plan = PatientResamples.of(patients, n_cases, resamples=looped)
    start = time.perf_counter()
    theirs = sklearn_draws(labels, scores, plan)
    loop = (time.perf_counter() - start) / looped * resamples
    auroc, auprc = ranking_draws(labels, scores, plan)
    same = np.abs(np.column_stack([auroc[1:].mean(axis=1), auprc[1:].mean(axis=1)]) - theirs).max()
    return {
        "what": f"{resamples} patient-clustered resamples, macro AUROC + AUPRC, {n_cases} x {n_findings}",
        "seconds": ours,
        "sklearn_loop_seconds": loop,
        "ratio": loop / ours,
        "target_ratio": 25.0,
        "ten_times_the_rows": ten_times / ours,
        "target_ten_times": 12.0,
        "greatest_difference": float(same),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases and resamples, to see that it runs")
    quick = parser.parse_args().quick
    print(json.dumps(measure(2500, 14, 100, 2) if quick else measure(), indent=2))


if __name__ == "__main__":
    main()
