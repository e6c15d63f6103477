"""What is promised is kept: conformal coverage, controlled risks and rates, over many draws of calibration cases.

Each bound is four standard errors of the simulation, so a promise that is kept fails here about once in thirty thousand runs, and
the seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from vesalius.uncertainty import (
    APS,
    LAC,
    ClassConditional,
    ConformalisedQuantileRegression,
    DecisionPolicy,
    FindingSets,
    MultiLabelRiskControl,
    Platt,
    RiskControl,
    SplitConformalRegression,
    rate_controlled_threshold,
    risk_coverage,
    sgr_threshold,
)

REPEATS = 400


def at_most(count: int, share: float, repeats: int = REPEATS) -> bool:
    return count <= share * repeats + 4 * math.sqrt(share * (1 - share) * repeats)


def classes(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes; the probabilities are wrong on purpose: the truth follows their squares."""
    p = random.dirichlet([2, 1, 0.5], n)
    true = p**2 / (p**2).sum(axis=1, keepdims=True)
    return p, (random.random((n, 1)) > np.cumsum(true, axis=1)).sum(axis=1).clip(0, 2)


@pytest.mark.parametrize("make", [LAC, APS, lambda c: APS(c, randomised=False)], ids=["lac", "aps", "aps not randomised"])
def test_conformal_coverage_is_exact(make: Callable) -> None:
    """With n cases and a continuous score the mean coverage is ceil((n + 1) c) / (n + 1), neither less nor more."""
    random, n, new = np.random.default_rng(0), 40, 60
    covered = []
    for _ in range(REPEATS):
        p, labels = classes(random, n + new)
        sets = make(0.8).fit(p[:n], labels[:n]).predict_set(p[n:])
        covered.append(sets[np.arange(new), labels[n:]].mean())
    expected = math.ceil(41 * 0.8) / 41
    error = math.sqrt(expected * (1 - expected) * (1 / (n + 2) + 1 / new) / REPEATS)
    assert abs(np.mean(covered) - expected) < 4 * error


def test_class_conditional_holds_every_class_where_the_whole_does_not() -> None:
    random, whole, each = np.random.default_rng(1), [], []
    for _ in range(60):
        (p, labels), (new, truth) = classes(random, 500), classes(random, 2000)
        for sets, found in ((LAC(0.9), whole), (ClassConditional(0.9), each)):
            inside = sets.fit(p, labels).predict_set(new)[np.arange(2000), truth]
            found.append([inside[truth == k].mean() for k in range(3)])
    assert np.mean(whole, axis=0).min() < 0.75  # the rarest class pays for the others
    assert (np.mean(each, axis=0) > 0.9 - 4 * np.std(each, axis=0) / math.sqrt(60)).all()
    assert np.mean(each, axis=0).max() < 0.95


@pytest.mark.parametrize("state", [0, 1])
def test_finding_sets_hold_either_state(state: int) -> None:
    random, held = np.random.default_rng(2), []
    for _ in range(200):
        p = random.beta(0.5, 3, (400, 1))
        labels = (random.random(p.shape) < p**1.5).astype(float)
        sets = FindingSets(0.9).fit(p[:300], labels[:300]).predict_set(p[300:])
        mine = labels[300:, 0] == state
        held.append(sets[mine, 0, state].mean() if mine.any() else np.nan)
    assert np.nanmean(held) > 0.9 - 4 * np.nanstd(held) / math.sqrt(200)
    assert np.nanmean(held) < 0.94


@pytest.mark.parametrize("kind", ["split", "normalised", "quantiles", "each side"])
def test_intervals_hold_the_truth(kind: str) -> None:
    random, n, new, held, width = np.random.default_rng(3), 60, 100, [], []
    for _ in range(REPEATS):
        scale = random.uniform(0.2, 3, n + new)
        y = scale * random.standard_t(3, n + new)
        zero, first, rest = np.zeros(n + new), slice(0, n), slice(n, None)
        if kind in {"split", "normalised"}:
            s = scale if kind == "normalised" else None
            fitted = SplitConformalRegression(0.9, normalised=kind == "normalised")
            fitted.fit(zero[first], y[first], None if s is None else s[first])
            ends = fitted.predict_interval(zero[rest], None if s is None else s[rest])
        else:
            quantiles = ConformalisedQuantileRegression(0.9, symmetric=kind == "quantiles").fit(
                -scale[first], scale[first], y[first]
            )
            ends = quantiles.predict_interval(-scale[rest], scale[rest])
        held.append(((y[rest] >= ends[:, 0]) & (y[rest] <= ends[:, 1])).mean())
        width.append(ends[:, 1] - ends[:, 0])
    error = math.sqrt(0.09 * (1 / (n + 2) + 1 / new) / REPEATS)
    expected = 0.9 if kind != "each side" else 1 - 2 * (1 - math.ceil(61 * 0.95) / 61)
    assert np.mean(held) > 0.9 - 4 * error
    assert np.mean(held) < expected + 1 / 61 + 4 * error
    assert (np.ptp(width[0]) == 0) == (kind == "split")


def errors(random: np.random.Generator, n: int, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Uncertainty in (0, 1/2) and 0/1 errors; "hump" is most wrong in the middle, and right again where it is least sure."""
    doubt = random.random(n) / 2
    chance = 0.6 * doubt if shape == "rising" else 0.35 * np.exp(-(((doubt - 0.2) / 0.06) ** 2))
    return doubt, (random.random(n) < chance).astype(float)


@pytest.mark.parametrize(("shape", "target"), [("rising", 0.1), ("hump", 0.06)])
def test_the_risk_is_kept_as_often_as_promised_and_plug_in_does_not(shape: str, target: float) -> None:
    curve = risk_coverage(*errors(np.random.default_rng(99), 1_000_000, shape))  # what is true, to a thousandth
    broken = dict.fromkeys(("control", "hoeffding", "sgr", "plug-in"), 0)
    coverage = dict.fromkeys(broken, 0.0)
    random = np.random.default_rng(4)
    for _ in range(REPEATS):
        doubt, wrong = errors(random, 600, shape)
        seen = risk_coverage(doubt, wrong)
        fits = np.flatnonzero(seen.risk <= target)
        found = {
            "control": RiskControl(target, 0.9).fit(doubt, wrong).threshold,
            "hoeffding": RiskControl(target, 0.9, bound="hoeffding-bentkus").fit(doubt, wrong).threshold,
            "sgr": sgr_threshold(doubt, wrong, target_risk=target, confidence=0.9),
            "plug-in": float(seen.uncertainty[fits[-1]]) if fits.size else -math.inf,
        }
        for name, threshold in found.items():
            place = np.searchsorted(curve.uncertainty, threshold, side="right") - 1
            broken[name] += place >= 0 and curve.risk[place] > target + 0.0005
            coverage[name] += float(curve.coverage[place]) / REPEATS if place >= 0 else 0.0
    assert at_most(broken["control"], 0.1)
    assert at_most(broken["hoeffding"], 0.1)
    assert at_most(broken["sgr"], 0.1)
    assert broken["plug-in"] > 0.3 * REPEATS
    assert coverage["control"] > coverage["hoeffding"] > 0.05  # the promise is not kept by never answering


def test_films_of_one_patient_are_not_independent() -> None:
    """Six films a patient, all right or all wrong: films taken as independent break the promise, patients do not."""
    random, broken = np.random.default_rng(5), {"films": 0, "patients": 0}
    for _ in range(REPEATS):
        doubt = np.repeat(random.random(150) / 2, 6)
        wrong = np.repeat((random.random(150) < 0.6 * doubt[::6]).astype(float), 6)
        patients = np.repeat(np.arange(150), 6)
        for name, owners in (("films", None), ("patients", patients)):
            broken[name] += RiskControl(0.1, 0.9).fit(doubt, wrong, owners).threshold * 0.3 > 0.1
    assert broken["films"] > 0.15 * REPEATS
    assert at_most(broken["patients"], 0.1)


@pytest.mark.parametrize("rate", ["sensitivity", "specificity"])
def test_the_rate_is_kept(rate: str) -> None:
    from scipy.stats import norm

    random, broken, reached = np.random.default_rng(6), 0, []
    for _ in range(1000):
        labels = (random.random(150) < 0.4).astype(float)
        scores = random.normal(size=150) + labels
        t = rate_controlled_threshold(labels, scores, confidence=0.9, **{rate: 0.8})
        reached.append(norm.sf(t - 1) if rate == "sensitivity" else norm.cdf(t))
        broken += reached[-1] < 0.8
    assert at_most(broken, 0.1, 1000)
    assert broken > 0.04 * 1000  # exact up to the steps of the binomial


@pytest.mark.parametrize("patients", [False, True])
def test_a_decision_rule_keeps_its_promise(patients: bool) -> None:
    """Threshold by greatest F1 and calibrator (Platt) from the very cases the promise is made on; the truth from a large sample."""
    random, new = np.random.default_rng(7), np.random.default_rng(70)

    def films(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        owner = np.repeat(np.arange(n // 2), 2) if patients else np.arange(n)
        shared = generator.normal(size=n)[owner]
        z = -0.5 + 1.5 * (0.8 * shared + 0.6 * generator.normal(size=n) if patients else shared)
        u = generator.random(n)[owner]  # the same luck for both films of a patient
        return 2 * z[:, None] + 1, (u < 1 / (1 + np.exp(-z))).astype(float)[:, None], owner

    z_new, y_new, owner_new = films(new, 60_000)
    broken, answered, repeats = 0, [], 150
    for _ in range(repeats):
        z, y, owner = films(random, 1200 if patients else 500)
        platt = Platt().fit(z, y)
        policy = DecisionPolicy(target_risk=0.15, guarantee=0.8).fit(platt.calibrate(z), y, owner)
        calls = policy.decide(platt.calibrate(z_new))[:, 0]
        kept = calls >= 0
        answered.append(kept.mean())
        if kept.any():
            wrong = np.zeros(owner_new.max() + 1)
            np.maximum.at(wrong, owner_new[kept], (calls != y_new[:, 0])[kept].astype(float))
            broken += wrong[np.unique(owner_new[kept])].mean() > 0.152
    assert at_most(broken, 0.2, repeats)
    assert np.mean(answered) > 0.2


def lists(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = random.beta(1, 2, (n, 6))
    return p, (random.random(p.shape) < p**1.4).astype(float)


def test_missed_findings_on_average_and_with_confidence() -> None:
    p_new, y_new = lists(np.random.default_rng(80), 200_000)
    some = y_new.any(axis=1)
    order = np.sort(p_new[some][y_new[some] == 1])
    weight = (y_new[some] / y_new[some].sum(axis=1, keepdims=True) / some.sum())[y_new[some] == 1]
    missed = np.append(0, np.cumsum(weight[np.argsort(p_new[some][y_new[some] == 1])]))
    random, mean, broken, n = np.random.default_rng(8), [], 0, []
    for _ in range(REPEATS):
        p, y = lists(random, 120)
        fitted = MultiLabelRiskControl(0.1).fit(p, y)
        n.append(fitted.n_units)
        mean.append(missed[np.searchsorted(order, fitted.threshold)])
        sure = MultiLabelRiskControl(0.1, confidence=0.9).fit(p, y)
        broken += missed[np.searchsorted(order, sure.threshold)] > 0.1005
        assert sure.threshold <= fitted.threshold
    error = 4 * np.std(mean) / math.sqrt(REPEATS)
    assert np.mean(mean) < 0.1 + error
    assert np.mean(mean) > 0.1 - 2 / min(n) - error  # Angelopoulos 2024, theorem 2: not much below either
    assert np.mean(np.array(mean) > 0.1) > 0.3  # an average is no promise for one calibration set
    assert at_most(broken, 0.1)
