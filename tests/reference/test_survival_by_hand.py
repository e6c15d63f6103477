"""Kaplan-Meier and coverage under censoring against statsmodels, products written out, and every completion of the data."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

import vesalius.uncertainty as vu

RANDOM = np.random.default_rng(2)
TIMES = np.array([1.0, 2, 2, 2, 3, 4, 4, 5])
EVENTS = np.array([1.0, 1, 0, 0, 0, 1, 0, 1])


def test_kaplan_meier_equals_statsmodels() -> None:
    times, events = RANDOM.integers(1, 15, 80).astype(float), (RANDOM.random(80) < 0.6).astype(float)
    theirs = SurvfuncRight(times, events)
    assert vu.kaplan_meier(times, events).after(theirs.surv_times) == pytest.approx(theirs.surv_prob, abs=1e-12)


def test_kaplan_meier_written_out() -> None:
    curve = vu.kaplan_meier(TIMES, EVENTS)
    by_hand = [Fraction(7, 8), Fraction(7, 8) * Fraction(6, 7), Fraction(6, 8), Fraction(6, 8) * Fraction(2, 3), 0]
    assert curve.survival == pytest.approx([float(value) for value in by_hand])
    # At time 2 one event leaves first, so that two of six are censored, not two of seven; at 4 one of two.
    censoring = vu.kaplan_meier(TIMES, EVENTS, of="censoring")
    steps = [Fraction(1), Fraction(4, 6), Fraction(4, 6) * Fraction(3, 4), Fraction(4, 6) * Fraction(3, 4) * Fraction(1, 2)]
    assert censoring.survival == pytest.approx([*(float(step) for step in steps), float(steps[-1])])
    assert censoring.until(np.array([2.0, 2.5])) == pytest.approx([1, 4 / 6])
    flipped = SurvfuncRight(TIMES, 1 - EVENTS)  # libraries that flip the column count the event as still at risk
    assert flipped.surv_prob[0] == pytest.approx(5 / 7)


def test_ipcw_coverage_written_out() -> None:
    lower, upper = np.full(8, 2.0), np.full(8, 3.0)
    # P(T >= 2): seven of eight are seen at 2, nobody was censored before. P(T > 3): three of eight, each for 1 / (4/6 * 3/4).
    expected = 7 / 8 - (3 / 8) / (4 / 6 * 3 / 4)
    assert vu.censored_coverage_ipcw(TIMES, EVENTS, lower, upper) == pytest.approx(expected)
    # With one interval for all it is the difference of the Kaplan-Meier curve of the events at the two ends.
    curve = vu.kaplan_meier(TIMES, EVENTS)
    assert expected == pytest.approx(float(curve.until(np.array([2.0]))[0] - curve.after(np.array([3.0]))[0]))


def test_without_censoring_all_agree() -> None:
    times, lower = RANDOM.exponential(5, 60), RANDOM.uniform(0, 4, 60)
    upper = lower + RANDOM.uniform(0, 8, 60)
    plain = ((lower <= times) & (times <= upper)).mean()
    events = np.ones(60)
    assert vu.censored_coverage_bounds(times, events, lower, upper) == pytest.approx((plain, plain))
    assert vu.censored_coverage_ipcw(times, events, lower, upper) == pytest.approx(plain)


def test_bounds_are_those_of_every_completion() -> None:
    lower, upper = np.array([0.5, 2, 1, 3, 1, 1, 4, 2]), np.array([1.5, 3, 2, 9, 2, 4, 8, 4.5])
    censored = np.flatnonzero(EVENTS == 0)
    shares = []
    for later in itertools.product((0.01, 0.6, 1.5, 3, 20), repeat=len(censored)):
        complete = TIMES.copy()
        complete[censored] += later
        shares.append(((lower <= complete) & (complete <= upper)).mean())
    assert vu.censored_coverage_bounds(TIMES, EVENTS, lower, upper) == pytest.approx((min(shares), max(shares)))


def test_ipcw_finds_the_coverage_that_censoring_hides() -> None:
    n = 40_000
    truth, censoring = RANDOM.weibull(1.5, n) * 10, RANDOM.uniform(0, 30, n)
    lower = RANDOM.uniform(0, 6, n)
    upper = lower + RANDOM.uniform(2, 12, n)
    times, events = np.minimum(truth, censoring), (truth <= censoring).astype(float)
    hidden = ((lower <= truth) & (truth <= upper)).mean()
    assert vu.censored_coverage_ipcw(times, events, lower, upper) == pytest.approx(hidden, abs=0.01)
    seen = (((lower <= times) & (times <= upper))[events == 1]).mean()
    assert abs(seen - hidden) > 0.03  # the share among those with an event is another number
    least, greatest = vu.censored_coverage_bounds(times, events, lower, upper)
    assert least < hidden < greatest
