"""AURC and AUGRC of a million cases, against the procedure of fd-shifts; conformal LAC and APS against MAPIE.

    python benchmarks/aurc.py [--quick]

fd-shifts does not install beside current numpy, so its procedure is written out here: sort by confidence, walk down the coverage
one case after another in Python, note a point wherever the confidence changes, once for the selective and once for the generalised
risk, then take trapezoids. What else it keeps of each point (threshold, working point) is left out, which favours it. Both sides
sort for themselves, in turns in one run, and must agree.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vesalius.uncertainty import APS, LAC, risk_coverage


def walk(confidence: np.ndarray, residuals: np.ndarray, *, generalised: bool) -> float:
    """Area under one curve as fd-shifts takes it, without its factor of 1000."""
    order = np.argsort(confidence)
    sure, loss = confidence[order], residuals[order]
    n = len(loss)
    kept, errors = n, sum(loss)
    coverages, risks = [1.0], [errors / n]
    for i in range(n - 1):
        kept -= 1
        errors -= loss[i]
        if sure[i] != sure[i + 1]:
            coverages.append(kept / n)
            risks.append(errors / n if generalised else errors / kept)
    coverages.append(0.0)
    risks.append(0.0 if generalised else risks[-1])
    return float(-np.trapezoid(np.array(risks), np.array(coverages)))


def ours(confidence: np.ndarray, residuals: np.ndarray) -> tuple[float, float]:
    curve = risk_coverage(-confidence, residuals)
    return curve.aurc(), curve.augrc()


def theirs(confidence: np.ndarray, residuals: np.ndarray) -> tuple[float, float]:
    return walk(confidence, residuals, generalised=False), walk(confidence, residuals, generalised=True)


def timed(functions: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Least seconds of each, called in turns, and what each returned last."""
    seconds, results = dict.fromkeys(functions, np.inf), {}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def risk_areas(n_cases: int, rounds: int) -> dict[str, Any]:
    """Untied confidences and, beside them, a hundred different ones."""
    random = np.random.default_rng(0)
    report: dict[str, Any] = {}
    for name, step in (("untied", 0.0), ("tied", 0.01)):
        confidence = random.random(n_cases)
        residuals = (random.random(n_cases) < 0.3 * (1 - confidence)).astype(float)
        confidence = np.round(confidence / step) * step if step else confidence
        sides = {"ours": lambda c=confidence, r=residuals: ours(c, r), "theirs": lambda c=confidence, r=residuals: theirs(c, r)}
        seconds, results = timed(sides, rounds)
        difference = float(np.abs(np.subtract(results["ours"], results["theirs"])).max())
        assert difference < 1e-9, f"{name}: the areas differ by {difference}"
        report[name] = {
            "seconds": seconds["ours"],
            "fd_shifts_procedure_seconds": seconds["theirs"],
            "ratio": seconds["theirs"] / seconds["ours"],
            "greatest_difference": difference,
        }
    return report


def conformal(n_cases: int, rounds: int) -> dict[str, Any]:
    """Fit on n cases and sets for n others, 14 classes; MAPIE given the same probabilities."""
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        def fit(self, x: np.ndarray, y: np.ndarray) -> Any:
            self.classes_, self.n_features_in_ = np.arange(14), 14
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x.argmax(axis=1)

    random = np.random.default_rng(1)
    p, new = random.dirichlet(np.full(14, 0.4), n_cases), random.dirichlet(np.full(14, 0.4), n_cases)
    labels, truth = [(random.random((n_cases, 1)) > np.cumsum(q, axis=1)).sum(axis=1).clip(0, 13) for q in (p, new)]

    def peer(score: str) -> np.ndarray:
        classifier = SplitConformalClassifier(Given().fit(p, labels), 0.9, conformity_score=score, prefit=True, random_state=0)
        return classifier.conformalize(p, labels).predict_set(new)[1][..., 0]

    report = {}
    for name, sets in (("lac", LAC(0.9)), ("aps", APS(0.9))):
        sides = {"ours": lambda s=sets: s.fit(p, labels).predict_set(new), "theirs": lambda n=name: peer(n)}
        seconds, results = timed(sides, rounds)
        if name == "lac":
            assert np.array_equal(results["ours"], results["theirs"]), "the sets differ"
        coverage = {side: float(sets[np.arange(n_cases), truth].mean()) for side, sets in results.items()}
        report[name] = {
            "seconds": seconds["ours"],
            "mapie_seconds": seconds["theirs"],
            "ratio": seconds["theirs"] / seconds["ours"],
            "coverage_at_0.9": coverage["ours"],
            "mapie_coverage_at_0.9": coverage["theirs"],
        }
    return report


def measure(n_cases: int = 1_000_000, rounds: int = 3) -> dict[str, Any]:
    """Times both and returns the ratios, with the greatest difference between the areas."""
    areas = risk_areas(n_cases, rounds)
    return {
        "what": f"AURC + AUGRC of {n_cases} cases; LAC and APS of {n_cases // 10} + {n_cases // 10} x 14",
        **areas["untied"],
        "target_ratio": 5.0,
        "tied": areas["tied"],
        "conformal": conformal(n_cases // 10, rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the cases, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line instead of an indented object")
    options = parser.parse_args()
    print(json.dumps(measure(10_000, 1) if options.quick else measure(), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
