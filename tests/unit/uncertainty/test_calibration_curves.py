"""Curves: order, edges, masks, state, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    Beta,
    Isotonic,
    MulticlassTemperature,
    MulticlassVector,
    Platt,
    PrevalenceShift,
    Temperature,
    Vector,
    VennAbers,
    calibrator_from_json,
    estimate_prevalence,
    shift_prevalence,
)
from vesalius.uncertainty.calibration_curves import isotonic_steps
from vesalius.uncertainty.venn_abers import venn_abers_steps, venn_abers_tables

MAKERS = [
    Beta,
    Vector,
    VennAbers,
    lambda: Isotonic(minimum_cases=0),
    lambda: Isotonic(centred=False, minimum_cases=0),
    lambda: PrevalenceShift(Platt(), [0.2, 0.4]),
]


def tables(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    z = np.round(random.normal(0, 2, (n, 2)), int(random.integers(0, 4)))
    labels = (random.random((n, 2)) < expit(z)).astype(float)
    labels[random.random((n, 2)) < 0.2] = np.nan
    labels[:2] = [[0, 1], [1, 0]]
    return z, labels


@pytest.mark.parametrize("make", MAKERS)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 80))
@settings(max_examples=20, deadline=None)
def test_order_interval_state_and_masks(make: type, seed: int, n: int) -> None:
    z, labels = tables(seed, n)
    fitted = make().fit(z, labels)
    new = np.sort(np.random.default_rng(seed).normal(0, 4, (50, 2)), axis=0)
    p = fitted.calibrate(new)
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p, axis=0) >= -1e-12).all()
    again = calibrator_from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.calibrate(new), p)
    np.testing.assert_allclose(expit(fitted.calibrated_logits(new)), p, atol=1e-11)
    known = ~np.isnan(labels[:, 0])
    if make is not MAKERS[-1]:
        alone = make().fit(z[known][:, [0]], labels[known][:, [0]])
        np.testing.assert_allclose(alone.calibrate(new[:, [0]])[:, 0], p[:, 0], atol=1e-12)
    unknown = fitted.calibrate(np.array([[np.nan, 0.0]]))
    assert np.isnan(unknown[0, 0])
    assert np.isfinite(unknown[0, 1])


@pytest.mark.parametrize("make", MAKERS)
def test_wrong_order_of_calls_and_wrong_shapes(make: type) -> None:
    with pytest.raises(NotFitted, match="call fit"):
        make().calibrate(np.zeros((3, 2)))
    with pytest.raises(NotFitted):
        make().to_json()
    with pytest.raises(ShapeMismatch, match="fitted on"):
        make().fit(*tables(0)).calibrate(np.zeros((3, 5)))


@pytest.mark.parametrize("make", [Beta, VennAbers, lambda: Isotonic(minimum_cases=0)])
def test_one_class_is_said_and_left_as_it_is(make: type) -> None:
    z, labels = tables(1)
    labels[:, 1] = np.where(np.isnan(labels[:, 1]), np.nan, 0.0)
    fitted = make().fit(z, labels)
    assert "one class" not in (fitted.notes[0] or "")
    assert "one class only" in fitted.notes[1]
    np.testing.assert_allclose(fitted.calibrate(z)[:, 1], expit(z[:, 1]))


def test_beta_of_a_parted_finding_is_finite() -> None:
    z = np.linspace(-3, 3, 40)[:, None]
    fitted = Beta().fit(z, (z > 0).astype(float))
    assert "parted perfectly" in fitted.notes[0]
    assert np.isfinite(fitted.calibrated_logits(z)).all()
    assert (np.diff(fitted.calibrate(z)[:, 0]) > 0).all()


PARTED = {
    "temperature": lambda: Temperature(per_label=True),
    "platt": Platt,
    "vector": Vector,
    "beta": Beta,
    "isotonic": lambda: Isotonic(minimum_cases=0),
    "venn-abers": VennAbers,
}


@pytest.mark.parametrize("name", PARTED)
@pytest.mark.parametrize("tied", [False, True])
def test_a_parted_finding_is_said_and_stays_finite(name: str, tied: bool) -> None:
    """The other finding is not parted, and does not say so."""
    z = np.array([-3, -2, -1, -0.5, 0.5, 1, 2, 3.0])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
    if tied:
        z = np.array([-3, -2, -1, 0, 0, 1, 2, 3.0])  # a present and an absent case of the same logit
    mixed = np.array([0, 1, 0, 0, 1, 0, 1, 1.0])
    fitted = PARTED[name]().fit(np.stack([z, z], axis=1), np.stack([labels, mixed], axis=1))
    assert "parted perfectly" in (fitted.notes[0] or "")
    assert "parted" not in (fitted.notes[1] or "")
    assert np.isfinite(fitted.calibrated_logits(np.stack([z, z], axis=1))).all()
    p = fitted.calibrate(np.array([[-4.0, 0], [4.0, 0]]))[:, 0]
    assert 0 < p[0] < 0.5 < p[1] < 1


def test_parted_away_from_zero_has_its_threshold_in_the_gap() -> None:
    z = np.array([[1.0], [2], [4], [5]])
    fitted = Vector().fit(z, np.array([[0.0], [0], [1], [1]]))
    assert (fitted.slopes[0], fitted.intercepts[0]) == (1e3, -3e3)
    tied = Vector().fit(np.array([[1.0], [2], [2], [2], [2], [5]]), np.array([[0.0], [0], [1], [1], [1], [1]]))
    assert tied.calibrate(np.array([[2.0]]))[0, 0] == pytest.approx(0.75), "cases at the threshold get their own share"


def test_equal_logits_part_nothing() -> None:
    labels = (np.arange(40) % 4 == 0).astype(float)[:, None]
    for make in PARTED.values():
        fitted = make().fit(np.zeros((40, 1)), labels)
        assert "parted" not in (fitted.notes[0] or "")
    for make in (Vector, Beta):
        assert make().fit(np.zeros((40, 1)), labels).calibrate(np.zeros((1, 1)))[0, 0] == pytest.approx(0.25)


def test_isotonic_refuses_few_cases() -> None:
    with pytest.raises(NotEstimable, match="follow noise below 1000"):
        Isotonic().fit(*tables(0, 200))


def test_centred_points_by_hand() -> None:
    scores, labels = np.array([1.0, 2, 3, 4, 5, 6]), np.array([0.0, 1, 0, 0, 1, 1])
    # steps: {1}: 0, {2, 3, 4}: 1/3, {5, 6}: 1
    x, p = isotonic_steps(scores, labels, centred=True)
    np.testing.assert_allclose(x, [1, 3, 5.5])
    np.testing.assert_allclose(p, [0, 1 / 3, 1])
    x, p = isotonic_steps(scores, labels, centred=False)
    np.testing.assert_allclose(x, [1, 2, 4, 5, 6])
    np.testing.assert_allclose(p, [0, 1 / 3, 1 / 3, 1, 1])


def test_venn_abers_widens_where_cases_are_few() -> None:
    random = np.random.default_rng(0)
    z = random.normal(0, 1, (2000, 1))
    low, high = VennAbers().fit(z, (random.random(z.shape) < expit(z)).astype(float)).interval(np.array([[0.0], [4.5]]))
    assert (low <= high).all()
    assert high[1, 0] - low[1, 0] > 2 * (high[0, 0] - low[0, 0])
    assert high[1, 0] == 1, "above every calibration case nothing speaks against present"
    with pytest.raises(ValueOutOfRange, match="NaN"):
        VennAbers().fit(*tables(0)).interval(np.full((1, 2), np.nan))


def test_venn_abers_steps_repeat_nothing() -> None:
    random = np.random.default_rng(0)
    z = random.normal(0, 1, 3000)
    labels = (random.random(3000) < expit(z)).astype(float)
    scores, absent, present = venn_abers_tables(z, labels)
    (starts, low), (ends, high) = venn_abers_steps(z, labels)
    assert len(starts) + len(ends) < 1000 < len(scores)
    np.testing.assert_array_equal(low[np.searchsorted(starts, scores, side="right") - 1], absent)
    np.testing.assert_array_equal(high[np.searchsorted(ends, scores)], present)


def test_shifted_prevalence_by_counting() -> None:
    """Present cases are kept twice as often as absent ones: the probabilities of what is left are the moved ones."""
    p = np.array([[0.5], [0.1], [0.9]])
    moved = shift_prevalence(p, [0.25], [0.4])  # odds 1/3 -> 2/3
    np.testing.assert_allclose(moved, 2 * p / (2 * p + 1 - p))
    np.testing.assert_allclose(shift_prevalence(moved, [0.4], [0.25]), p)
    np.testing.assert_array_equal(shift_prevalence(np.array([[0.0], [1.0]]), [0.3], [0.6]), [[0.0], [1.0]])
    for wrong in ([0.0], [1.0], [1.3]):
        with pytest.raises(ValueOutOfRange):
            shift_prevalence(p, wrong, [0.4])
    with pytest.raises(ShapeMismatch):
        shift_prevalence(p, [0.2, 0.3], [0.4])


def test_prevalence_is_found_again() -> None:
    random = np.random.default_rng(0)
    n = 40_000
    truth = random.random(n) < 0.35
    x = random.normal(2.0 * truth, 1)  # log odds at a prevalence of 0.1: 2 x - 2 + logit(0.1)
    p = expit(2 * x - 2 + np.log(0.1 / 0.9))[:, None]
    found = estimate_prevalence(p, [0.1])
    assert found[0] == pytest.approx(0.35, abs=0.015)
    share = np.linspace(0.3, 0.4, 2001)
    odds = (p / (1 - p) * 0.9 / 0.1)[:, 0]
    likelihood = [np.log(s * odds + 1 - s).sum() for s in share]
    assert found[0] == pytest.approx(share[int(np.argmax(likelihood))], abs=1e-4)


def test_prevalence_shift_is_the_inner_then_the_move() -> None:
    z, labels = tables(3)
    fitted = PrevalenceShift(Platt(), [0.2, 0.4]).fit(z, labels)
    inner = Platt().fit(z, labels).calibrate(z)
    np.testing.assert_allclose(fitted.calibrate(z), shift_prevalence(inner, np.nanmean(labels, axis=0), [0.2, 0.4]))
    with pytest.raises(NotEstimable, match="one class"):
        PrevalenceShift(Platt(), [0.2, 0.4]).fit(z, np.where(np.isnan(labels), np.nan, 1.0))


def test_classes() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(300, 3))
    labels = np.argmax(z + random.gumbel(size=z.shape), axis=1)
    for kind in (MulticlassTemperature, MulticlassVector):
        fitted = kind().fit(z, labels)
        p = fitted.calibrate(z)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        again = kind.from_json(json.loads(json.dumps(fitted.to_json())))
        np.testing.assert_array_equal(again.calibrate(z), p)
        with pytest.raises(NotFitted):
            kind().calibrate(z)
        with pytest.raises(ShapeMismatch):
            fitted.calibrate(z[:, :2])
    assert (np.argmax(MulticlassTemperature().fit(z, labels).calibrate(z), axis=1) == z.argmax(axis=1)).all()
    with pytest.raises(NotEstimable, match="no case of class 2"):
        MulticlassVector().fit(z, np.where(labels == 2, 0, labels))
    right = MulticlassTemperature().fit(z, z.argmax(axis=1))
    assert "bound" in (right.note or "")
