"""What every calibrator, rule and score must keep, whatever the data."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.uncertainty import (
    DecisionPolicy,
    Energy,
    Mahalanobis,
    OodGate,
    Platt,
    SelectedCalibrator,
    Temperature,
    calibrator_from_json,
)

MAKERS = [Temperature, lambda: Temperature(per_label=True), Platt, SelectedCalibrator]


def tables(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    z = np.round(random.normal(0, 10 ** random.uniform(-2, 2), (n, 2)), 2)
    labels = (random.random((n, 2)) < random.uniform(0.02, 0.6)).astype(float)
    labels[random.random((n, 2)) < 0.2] = np.nan
    labels[0] = [0, 1]
    return z, labels


@pytest.mark.parametrize("make", MAKERS)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 80))
@settings(max_examples=25, deadline=None)
def test_calibration_keeps_ranks_and_the_open_interval(make: type, seed: int, n: int) -> None:
    z, labels = tables(seed, n)
    fitted = make().fit(z, labels)
    p = fitted.calibrate(z)
    assert ((p > 0) & (p < 1)).all()
    assert ((fitted.temperatures >= 1e-3) & (fitted.temperatures <= 1e3 * (1 + 1e-12))).all()
    line = fitted.calibrated_logits(z)
    for k in range(2):
        order = np.argsort(z[:, k], kind="stable")
        assert (np.diff(p[order, k]) >= 0).all()
        assert (np.diff(line[order, k])[np.diff(z[order, k]) > 0] > 0).all()
    again = calibrator_from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.calibrate(z), p)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_temperature_does_not_know_the_unit_of_the_logits(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(0, 1, (200, 1))
    labels = (random.random((200, 1)) < 1 / (1 + np.exp(-z))).astype(float)
    first, second = Temperature().fit(z, labels), Temperature().fit(z * scale, labels)
    assert np.allclose(first.calibrate(z), second.calibrate(z * scale), atol=1e-8)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 80), coverage=st.floats(0.05, 1))
@settings(max_examples=40, deadline=None)
def test_a_rule_answers_in_the_order_of_the_probabilities(seed: int, n: int, coverage: float) -> None:
    z, labels = tables(seed, n)
    p = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
    policy = DecisionPolicy(coverage=coverage).fit(p, labels)
    rank = {0: 0, -1: 1, 1: 2}  # absent, no answer, present
    for k in range(2):
        decided = [rank[int(code)] for code in policy.decide(p)[np.argsort(p[:, k], kind="stable"), k]]
        assert decided == sorted(decided)
        assert policy.low[k] <= policy.thresholds[k] <= policy.high[k]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_more_coverage_answers_more(seed: int) -> None:
    z, labels = tables(seed, 60)
    p = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
    answered = [(DecisionPolicy(coverage=share).fit(p, labels).decide(p) >= 0) for share in (0.3, 0.6, 0.9, 1.0)]
    assert all((more | ~fewer).all() for fewer, more in pairwise(answered))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_unshrunk_mahalanobis_does_not_know_units_or_axes(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, new, mix = random.normal(size=(60, 4)), random.normal(size=(9, 4)), random.normal(size=(4, 4)) + 3 * np.eye(4)
    plain = Mahalanobis(shrinkage=None).fit(x).score(new)
    assert np.allclose(Mahalanobis(shrinkage=None).fit(x @ mix + 5).score(new @ mix + 5), plain, rtol=1e-6)
    turn = np.linalg.qr(mix)[0]
    assert np.allclose(Mahalanobis().fit(x @ turn - 2).score(new @ turn - 2), Mahalanobis().fit(x).score(new), rtol=1e-8)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_energy_and_gate_know_no_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(40, 6)), random.normal(size=(40, 3)) * 4
    order = random.permutation(3)
    assert np.allclose(Energy().score(None, z), Energy().score(None, z[:, order]))
    assert (np.diff(Energy().score(None, np.sort(z.ravel())[:, None])) <= 0).all()
    gate = OodGate().fit(x, z)
    rows = random.permutation(40)
    assert np.allclose(gate.score(x[rows], z[rows]), gate.score(x, z)[rows], rtol=1e-10)
