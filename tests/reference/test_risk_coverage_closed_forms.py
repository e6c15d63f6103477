"""Risk-coverage figures against the published table of fd-shifts and against brute force.

The table is the closed-form test table of fd-shifts (IML-DKFZ/fd-shifts, commit ccead84, fd_shifts/tests/utils.py, a hundred cases
each): its figures, retyped; confidence there is minus our uncertainty, "correct" is one minus our residual.
"""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import auroc
from vesalius.uncertainty import achievable_aurc, augrc, aurc, e_aurc, risk_coverage

N = 100
CONFIDENCE = {
    "equal": np.full(N, 0.37),
    "01": np.arange(N) % 2,
    "10": (np.arange(N) + 1) % 2,
    "ascending": np.linspace(0, 1, N),
    "unnormalised": np.arange(-(N // 2), N // 2),
    "plateaus": np.repeat([0.2, 0.4, 0.6, 0.8], N // 4),
}
CORRECT = {
    "all": np.ones(N),
    "none": np.zeros(N),
    "01": np.arange(N) % 2,
    "ascending": np.linspace(0, 1, N),
    "plateaus": np.repeat([0.2, 0.4, 0.6, 0.8], N // 4),
}
TABLE = [
    # confidence, correct, AURC, E-AURC, AUGRC, risk at 50 % and at 95 % coverage
    ("equal", "all", 0.0, 0.0, 0.0, 0.0, 0.0),
    ("equal", "none", 1.0, 0.0, 0.5, 1.0, 1.0),
    ("equal", "01", 0.5, 0.3465735902799724, 0.25, 0.5, 0.5),
    ("equal", "ascending", 0.5, 0.2524999999999986, 0.25, 0.5, 0.5),
    ("equal", "plateaus", 0.5, 0.1817914679883058, 0.25, 0.5, 0.5),
    ("01", "01", 0.125, -0.02842640972002758, 0.125, 0.0, 0.5),
    ("01", "ascending", 0.49621212121212127, 0.24871212121211994, 0.24873737373737373, 0.4949495, 0.5),
    ("01", "plateaus", 0.497, 0.17879146798830492, 0.249, 0.496, 0.5),
    ("10", "01", 0.875, 0.7215735902799725, 0.375, None, None),
    ("10", "ascending", 0.503787878787879, 0.2562878787878777, 0.25126262626262635, None, None),
    ("10", "plateaus", 0.503, 0.18479146798830492, 0.251, None, None),
    ("ascending", "01", 0.48281112575762547, 0.3293847160375979, 0.2475, None, 0.4947368),
    ("ascending", "ascending", 0.2475, 0.0, 0.16583333333333353, 0.2474747, 0.4747475),
    ("ascending", "plateaus", 0.3182085320116945, 0.0, 0.1875, 0.3, 0.4842105),
    ("unnormalised", "01", 0.48281112575762547, 0.3293847160375979, 0.2475, None, 0.4947368),
    ("plateaus", "01", 0.49083333333333334, 0.33740692361330576, 0.2475, None, 0.5),
    ("plateaus", "ascending", 0.2632575757575754, 0.015757575757574083, 0.17108585858585845, 0.2474747, 0.5),
    ("plateaus", "plateaus", 0.3125, -0.005708532011691969, 0.1875, 0.3, 0.5),
]
# Rows without a risk: fd-shifts answers with the least risk at that coverage or above, ours with the least coverage at or above it.


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_table(row: tuple) -> None:
    confidence, correct, area, excess, generalised, at_half, at_95 = row
    uncertainty, residuals = -CONFIDENCE[confidence].astype(float), 1 - CORRECT[correct].astype(float)
    assert aurc(uncertainty, residuals) == pytest.approx(area, abs=1e-12)
    assert e_aurc(uncertainty, residuals) == pytest.approx(excess, abs=1e-12)
    assert augrc(uncertainty, residuals) == pytest.approx(generalised, abs=1e-12)
    curve = risk_coverage(uncertainty, residuals)
    if at_half is not None:
        assert curve.risk_at_coverage(0.5) == pytest.approx(at_half, abs=1e-7)
    if at_95 is not None:
        assert curve.risk_at_coverage(0.95) == pytest.approx(at_95, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_curve_against_every_threshold(seed: int) -> None:
    random = np.random.default_rng(seed)
    uncertainty, residuals = random.integers(0, 8, 40) / 7, random.random(40)
    curve = risk_coverage(uncertainty, residuals)
    for coverage, risk, threshold in zip(curve.coverage, curve.risk, curve.uncertainty, strict=True):
        kept = [index for index in range(40) if uncertainty[index] <= threshold]
        assert coverage == pytest.approx(len(kept) / 40)
        assert risk == pytest.approx(sum(residuals[index] for index in kept) / len(kept))
    assert len(curve.coverage) == len(set(uncertainty.tolist()))


@pytest.mark.parametrize("seed", range(5))
def test_augrc_by_the_failure_auroc(seed: int) -> None:
    """Traub 2024, eq. 7: AUGRC = (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2, where AUROC_f ranks failures above successes."""
    random = np.random.default_rng(seed)
    failed = (random.random(200) < 0.3).astype(float)
    uncertainty = np.round(random.normal(size=200) + failed, 1)
    accuracy = 1 - failed.mean()
    expected = (1 - auroc(failed, uncertainty)) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert augrc(uncertainty, failed) == pytest.approx(expected, abs=1e-12)


def test_weights_are_repeats() -> None:
    random = np.random.default_rng(3)
    uncertainty, residuals, weights = random.integers(0, 9, 50) / 8, random.random(50), random.integers(0, 4, 50)
    repeated = np.repeat(uncertainty, weights), np.repeat(residuals, weights)
    assert aurc(uncertainty, residuals, weights) == pytest.approx(aurc(*repeated))
    assert augrc(uncertainty, residuals, weights) == pytest.approx(augrc(*repeated))


ACHIEVABLE = [  # fd-shifts `aurc_achievable`, where every one of its points is on the hull or residuals are 0/1
    ("equal", "01", 0.5),
    ("01", "01", 0.15342640972002733),
    ("01", "ascending", 0.4964992566638387),
    ("01", "plateaus", 0.4972274112777597),
    ("ascending", "all", 0.0),
    ("ascending", "none", 1.0),
    ("ascending", "01", 0.4719992328225763),
    ("ascending", "ascending", 0.24753863826243439),
    ("ascending", "plateaus", 0.31821825302024953),
    ("plateaus", "01", 0.4887532971076239),
    ("plateaus", "ascending", 0.27047759219727724),
    ("plateaus", "plateaus", 0.31821825302024637),
]


@pytest.mark.parametrize("row", ACHIEVABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_achievable_area(row: tuple) -> None:
    confidence, correct, area = row
    assert achievable_aurc(-CONFIDENCE[confidence].astype(float), 1 - CORRECT[correct].astype(float)) == pytest.approx(
        area, abs=1e-12
    )


def test_achievable_area_of_losses_off_the_hull() -> None:
    """The surest half has the greater losses: all cases are better than half of them, and no coverage is better than the mean.

    fd-shifts keeps every point where residuals are not 0/1, and has .5028 here.
    """
    uncertainty, residuals = -CONFIDENCE["10"].astype(float), 1 - CORRECT["plateaus"]
    assert achievable_aurc(uncertainty, residuals) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_achievable_area_is_the_integral_of_the_best_mixture(seed: int) -> None:
    """At each coverage the least risk of any coin between two thresholds, looked for pair by pair, and summed in small steps."""
    random = np.random.default_rng(seed)
    uncertainty, residuals = random.integers(0, 7, 60) / 6, random.random(60)
    curve = risk_coverage(uncertainty, residuals)
    points = [(0.0, 0.0), *zip(curve.coverage.tolist(), (curve.coverage * curve.risk).tolist(), strict=True)]
    middles = (np.arange(20_000) + 0.5) / 20_000
    least = np.full(middles.shape, np.inf)
    for left, low in points:
        for right, high in points:
            if left < right:
                inside = (middles >= left) & (middles <= right)
                errors = low + (high - low) * (middles - left) / (right - left)
                least = np.where(inside, np.minimum(least, errors), least)
    assert achievable_aurc(uncertainty, residuals) == pytest.approx(float(np.mean(least / middles)), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_mean_rule_case_by_case(seed: int) -> None:
    """Geifman & El-Yaniv 2017: the mean, over the cases, of the risk of all that are at least as sure."""
    random = np.random.default_rng(seed)
    uncertainty, residuals = random.integers(0, 9, 50) / 8, random.random(50)
    risks = [residuals[uncertainty <= one].mean() for one in uncertainty]
    assert aurc(uncertainty, residuals, rule="mean") == pytest.approx(np.mean(risks))
    assert abs(aurc(uncertainty, residuals, rule="mean") - aurc(uncertainty, residuals)) < 0.1


def area_by_argsort(uncertainty: np.ndarray, residuals: np.ndarray) -> float:
    """AURC as torch-uncertainty 0.13 takes it: argsort, one point a case, from 1 / n on, divided by 1 - 1 / n; ties are split."""
    n = len(residuals)
    rates = np.cumsum(residuals[np.argsort(uncertainty, kind="stable")]) / np.arange(1, n + 1)
    return float(np.trapezoid(rates, np.arange(1, n + 1) / n) / (1 - 1 / n))


def test_splitting_ties_makes_the_area_depend_on_the_order_of_the_rows() -> None:
    """Five votes an answer: splitting blocks gives as many areas as orders; whole blocks give one, inside their range."""
    random = np.random.default_rng(0)
    uncertainty = random.integers(0, 3, 2000) / 5
    residuals = (random.random(2000) < 0.02 + 0.4 * uncertainty).astype(float)
    orders = [random.permutation(2000) for _ in range(5)]
    split = {round(area_by_argsort(uncertainty[order], residuals[order]), 5) for order in orders}
    whole = {aurc(uncertainty[order], residuals[order]) for order in orders}
    assert len(split) == 5
    assert max(split) - min(split) > 0.003
    assert len(whole) == 1
    untied = random.permutation(2000) / 2000  # without ties the two agree up to their first point
    assert area_by_argsort(untied, residuals) == pytest.approx(aurc(untied, residuals), abs=2 / 2000)
