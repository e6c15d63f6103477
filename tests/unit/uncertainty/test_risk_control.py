"""What is refused, what is saved, and that a promise is never made by rows that chose it; peers are in tests/reference."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    RiskControl,
    clopper_pearson_upper,
    rate_controlled_threshold,
    risk_controlled_threshold,
    sgr_threshold,
)
from vesalius.uncertainty.units import part_of_units, reduce_units


def cases(seed: int = 0, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    doubt = np.round(random.random(n) / 2, 2)
    return doubt, (random.random(n) < 0.5 * doubt).astype(float)


def test_what_is_found_is_within_the_promise() -> None:
    doubt, wrong = cases()
    control = RiskControl(0.1).fit(doubt, wrong)
    assert control.risk <= control.upper <= 0.1
    assert control.upper == pytest.approx(clopper_pearson_upper(round(control.risk * control.n_units), control.n_units, 0.9))
    assert np.array_equal(control.decide(doubt), doubt <= control.threshold)
    assert not control.decide(np.array([np.nan])).any()
    assert risk_controlled_threshold(doubt, wrong, target_risk=0.1) == control.threshold


@pytest.mark.parametrize("patients", [False, True])
def test_rows_in_another_order_give_the_same(patients: bool) -> None:
    doubt, wrong = cases()
    owners = np.random.default_rng(1).integers(0, 300, 600) if patients else None
    order = np.random.default_rng(2).permutation(600)
    first = RiskControl(0.15).fit(doubt, wrong, owners).to_json()
    assert RiskControl(0.15).fit(doubt[order], wrong[order], None if owners is None else owners[order]).to_json() == first
    assert sgr_threshold(doubt, wrong, target_risk=0.1) == sgr_threshold(doubt[order], wrong[order], target_risk=0.1)


def test_unknown_truth_is_left_out() -> None:
    doubt, wrong = cases()
    more = np.append(doubt, [0.1, np.nan]), np.append(wrong, [np.nan, np.nan])
    assert RiskControl(0.1).fit(*more).to_json() == RiskControl(0.1).fit(doubt, wrong).to_json()


def test_nothing_can_be_promised() -> None:
    doubt, wrong = cases(n=20)
    control = RiskControl(0.01).fit(doubt, wrong)
    assert control.threshold == -math.inf
    assert not control.decide(doubt).any()
    assert (control.coverage, control.n_units, control.upper) == (0.0, 0, 1.0)
    assert math.isnan(control.risk)
    again = RiskControl.from_json(json.loads(json.dumps(control.to_json())))
    assert again.threshold == -math.inf
    assert math.isnan(again.risk)
    assert sgr_threshold(doubt, wrong, target_risk=0.01) == -math.inf
    assert RiskControl(0.1).fit(doubt[:1], wrong[:1]).threshold == -math.inf


def test_a_patient_is_as_wrong_as_their_worst_film_or_as_their_mean() -> None:
    doubt, wrong = np.tile([0.1, 0.2], 400), np.tile([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 100)
    patients = np.repeat(np.arange(400), 2)
    worst = RiskControl(0.4, candidates=[0.1, 0.2]).fit(doubt, wrong, patients)
    mean = RiskControl(0.4, candidates=[0.1, 0.2], bound="hoeffding-bentkus", unit="mean").fit(doubt, wrong, patients)
    assert (worst.risk, worst.n_units) == (0.25, 400)
    assert (mean.risk, mean.n_units) == (0.125, 400)


def test_the_sequence_stops_at_the_first_that_fails() -> None:
    doubt, wrong = np.repeat([0.1, 0.2, 0.3], 200), np.repeat([0.0, 1.0, 0.0], 200)
    assert RiskControl(0.4, candidates=[0.1, 0.2, 0.3]).fit(doubt, wrong).threshold == 0.1
    assert RiskControl(0.4, candidates=[0.3, 0.2, 0.1]).fit(doubt, wrong).threshold == 0.3


def test_json_is_exact() -> None:
    doubt, wrong = cases()
    control = RiskControl(0.1, 0.8, bound="hoeffding-bentkus", unit="mean", candidates=[0.1, 0.3], seed=4).fit(doubt, wrong)
    again = RiskControl.from_json(json.loads(json.dumps(control.to_json())))
    assert again.to_json() == control.to_json()
    assert np.array_equal(again.decide(doubt), control.decide(doubt))


def test_a_part_is_whole_patients() -> None:
    unit = np.array([0, 0, 1, 2, 2, 2, 3])
    part = part_of_units(unit, 4, np.zeros((7, 1)), share=0.5, seed=0)
    assert len({bool(one) for one in part[unit == 2]}) == 1
    assert len(set(unit[part].tolist())) == 2
    assert not set(unit[part].tolist()) & set(unit[~part].tolist())
    assert np.isnan(reduce_units(np.array([1.0]), np.array([1]), 2, "worst")[0])


def test_rates() -> None:
    labels, scores = np.array([1.0] * 22 + [0.0]), np.append(np.arange(22.0), 0.5)
    assert rate_controlled_threshold(labels, scores, sensitivity=0.9, confidence=0.9) == 0.0
    with pytest.raises(NotEstimable, match=r"21 present units .* 22 can"):
        rate_controlled_threshold(labels[1:], scores[1:], sensitivity=0.9, confidence=0.9)
    with pytest.raises(NotEstimable, match="1 absent"):
        rate_controlled_threshold(labels, scores, specificity=0.9)
    twice = np.repeat(np.arange(23), 2)
    with pytest.raises(NotEstimable, match="11 present"):
        rate_controlled_threshold(labels[:22], scores[:22], twice[:22], sensitivity=0.9)
    for wrong in ({}, {"sensitivity": 0.9, "specificity": 0.9}, {"sensitivity": 1.0}, {"specificity": 0.9, "confidence": 1}):
        with pytest.raises(ValueOutOfRange):
            rate_controlled_threshold(labels, scores, **wrong)


def test_wrong_use() -> None:
    doubt, wrong = cases()
    with pytest.raises(NotFitted, match=r"call fit\(uncertainty, residuals\)"):
        RiskControl(0.1).decide(doubt)
    with pytest.raises(ShapeMismatch):
        RiskControl(0.1).fit(doubt, wrong[:-1])
    with pytest.raises(ShapeMismatch, match="patients"):
        RiskControl(0.1).fit(doubt, wrong, np.zeros(3))
    with pytest.raises(EmptyInput):
        RiskControl(0.1).fit(doubt, np.full(600, np.nan))
    with pytest.raises(ValueOutOfRange, match="hoeffding-bentkus"):
        RiskControl(0.1).fit(doubt, wrong / 2)
    with pytest.raises(ValueOutOfRange, match="hoeffding-bentkus"):
        sgr_threshold(doubt, wrong / 2, target_risk=0.1)
    with pytest.raises(ValueOutOfRange, match="outside"):
        RiskControl(0.1, bound="hoeffding-bentkus").fit(doubt, wrong * 3)
    for options in ({"target_risk": 0}, {"target_risk": 0.1, "confidence": 1}, {"target_risk": 0.1, "bound": "normal"}):
        with pytest.raises(ValueOutOfRange):
            RiskControl(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueOutOfRange):
        clopper_pearson_upper(3, 2)
