from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm

import vesalius.metrics as vm
from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    QuantileRecalibration,
    StdRecalibration,
    evaluate_gaussian,
    evaluate_intervals,
    quantile_calibration_table,
)

RANDOM = np.random.default_rng(0)
N = 90
MEAN, SD = RANDOM.normal(size=N), RANDOM.gamma(3, 1, N)
TARGET = MEAN + SD * RANDOM.normal(size=N)
TARGET[:7] = np.nan
PATIENTS = RANDOM.integers(0, 25, N)
HALF = norm.ppf(0.95) * SD

GAUSSIAN = {
    "rmse": lambda w: np.sqrt(np.average((TARGET - MEAN)[7:] ** 2, weights=w[7:])),
    "mae": lambda w: np.average(np.abs(TARGET - MEAN)[7:], weights=w[7:]),
    "crps": lambda w: vm.crps_gaussian(TARGET, MEAN, SD, w),
    "nll": lambda w: vm.gaussian_nll(TARGET, MEAN, SD, w),
    "sharpness": lambda w: vm.sharpness(TARGET, SD, w),
    "coverage": lambda w: vm.interval_coverage(TARGET, MEAN - HALF, MEAN + HALF, w),
    "width": lambda w: vm.mean_interval_width(TARGET, MEAN - HALF, MEAN + HALF, w),
    "interval_score": lambda w: vm.interval_score(TARGET, MEAN - HALF, MEAN + HALF, w, confidence=0.9),
    "miscalibration_area": lambda w: vm.miscalibration_area(vm.gaussian_pit(TARGET, MEAN, SD), w),
}


def test_every_figure_is_its_own_function_on_the_same_resamples() -> None:
    found = evaluate_gaussian(TARGET, MEAN, SD, PATIENTS, resamples=50, seed=3)
    assert set(found) == set(GAUSSIAN)
    for name, figure in GAUSSIAN.items():
        alone = vm.bootstrap(figure, PATIENTS, resamples=50, seed=3)
        assert found[name].value == pytest.approx(alone.value, rel=1e-10), name
        if name != "miscalibration_area":
            assert (found[name].low, found[name].high) == pytest.approx((alone.low, alone.high), rel=1e-10), name
    area = found["miscalibration_area"]
    assert 0 <= area.low <= area.value <= area.high


def test_given_intervals() -> None:
    found = evaluate_intervals(TARGET, MEAN - HALF, MEAN + HALF, PATIENTS, confidence=0.9, resamples=50, seed=3)
    whole = evaluate_gaussian(TARGET, MEAN, SD, PATIENTS, resamples=50, seed=3)
    for name in ("coverage", "width", "interval_score"):
        assert found[name].value == pytest.approx(whole[name].value)
        assert found[name].low == pytest.approx(whole[name].low)


def test_quantile_table() -> None:
    levels = np.array([0.1, 0.6])
    quantiles = norm.ppf(levels, MEAN[:, None], SD[:, None])
    rows = quantile_calibration_table(TARGET, quantiles, levels, PATIENTS, resamples=50, seed=3)
    assert [row.level for row in rows] == [0.1, 0.6]
    assert [row.observed.value for row in rows] == pytest.approx(vm.quantile_shares(TARGET, quantiles, levels).tolist())
    assert [row.pinball.value for row in rows] == pytest.approx(vm.pinball_loss(TARGET, quantiles, levels).tolist())
    alone = vm.bootstrap(lambda w: vm.quantile_shares(TARGET, quantiles, levels, w)[1], PATIENTS, resamples=50, seed=3)
    assert (rows[1].observed.low, rows[1].observed.high) == pytest.approx((alone.low, alone.high))
    assert (rows[0].n, rows[0].n_patients) == (N - 7, len(np.unique(PATIENTS[7:])))


def test_one_patient_gives_no_interval_and_a_reason() -> None:
    found = evaluate_gaussian(TARGET, MEAN, SD, np.zeros(N), resamples=20)
    assert all(figure.reason == "not estimable: one patient" for figure in found.values())
    nothing = evaluate_gaussian(np.full(N, np.nan), MEAN, SD, PATIENTS, resamples=20)
    assert all(np.isnan(figure.value) and figure.reason for figure in nothing.values())


def test_predictions_of_unknown_targets_may_be_anything() -> None:
    mean, sd = MEAN.copy(), SD.copy()
    mean[:7], sd[:7] = np.nan, -1
    assert evaluate_gaussian(TARGET, mean, sd, PATIENTS, resamples=5) == evaluate_gaussian(TARGET, MEAN, SD, PATIENTS, resamples=5)
    assert StdRecalibration().fit(mean, sd, TARGET).scale == StdRecalibration().fit(MEAN, SD, TARGET).scale


def test_scale_by_hand() -> None:
    fitted = StdRecalibration().fit(np.zeros(2), np.array([1.0, 2.0]), np.array([3.0, 2.0]))
    assert fitted.scale == pytest.approx(np.sqrt((9 + 1) / 2))
    assert fitted.calibrate(np.array([2.0])) == pytest.approx([2 * np.sqrt(5)])
    assert StdRecalibration.from_json(json.loads(json.dumps(fitted.to_json()))).scale == fitted.scale
    assert StdRecalibration().fit(np.zeros(2), np.full(2, 1e-200), np.array([1.0, 1.0])).scale == pytest.approx(1e200)


def test_recalibrated_quantiles_hold_their_share_on_new_cases() -> None:
    shares = []
    for trial in range(400):
        random = np.random.default_rng(trial)
        errors = random.standard_t(3, 40) + 0.3  # neither Gaussian nor centred
        fitted = QuantileRecalibration().fit(np.zeros(19), np.full(19, 2.0), 2 * errors[:19])
        quantile = fitted.calibrate(np.zeros(1), np.full(1, 2.0), np.array([0.9]))[0, 0]
        shares.append((2 * errors[19:] <= quantile).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.015)


def test_quantiles_are_kept_to_the_last_digit() -> None:
    fitted = QuantileRecalibration().fit(MEAN, SD, TARGET)
    again = QuantileRecalibration.from_json(json.loads(json.dumps(fitted.to_json())))
    levels = np.array([0.25, 0.5])
    assert np.array_equal(again.calibrate(MEAN, SD, levels), fitted.calibrate(MEAN, SD, levels))


def test_refusals() -> None:
    for one in (StdRecalibration(), QuantileRecalibration()):
        with pytest.raises(NotFitted, match=r"fit\(means"):
            one.to_json()
        with pytest.raises(EmptyInput, match="calibration cases"):
            one.fit(MEAN, SD, np.full(N, np.nan))
        with pytest.raises(ValueOutOfRange, match="standard deviation"):
            one.fit(MEAN, 0 * SD, TARGET)
        with pytest.raises(ShapeMismatch, match="equal"):
            one.fit(MEAN[:3], SD, TARGET)
        with pytest.raises(ValueOutOfRange, match="state of a"):
            type(one).from_json({"kind": "other"})
    with pytest.raises(NotEstimable, match="every error is 0"):
        StdRecalibration().fit(MEAN, SD, MEAN)
    with pytest.raises(ValueOutOfRange, match="below 0"):
        StdRecalibration().fit(MEAN, SD, TARGET).calibrate(-SD)
    with pytest.raises(NotEstimable, match="calibration cases reach"):
        QuantileRecalibration().fit(MEAN[-5:], SD[-5:], TARGET[-5:]).calibrate(MEAN, SD, np.array([0.95]))
    with pytest.raises(ShapeMismatch, match="equal"):
        QuantileRecalibration().fit(MEAN, SD, TARGET).calibrate(MEAN, SD[:2], np.array([0.5]))
    with pytest.raises(ValueOutOfRange, match="confidence"):
        evaluate_gaussian(TARGET, MEAN, SD, confidence=95)
    with pytest.raises(ValueOutOfRange, match="standard deviation"):
        evaluate_gaussian(TARGET, MEAN, -SD)
    with pytest.raises(ValueOutOfRange, match="not finite"):
        evaluate_gaussian(TARGET, MEAN * np.inf, SD)
    with pytest.raises(ShapeMismatch, match="equal"):
        evaluate_gaussian(TARGET, MEAN[:4], SD)
    with pytest.raises(ValueOutOfRange, match="above its upper"):
        evaluate_intervals(TARGET, MEAN + HALF, MEAN - HALF, confidence=0.9)
    with pytest.raises(ValueOutOfRange, match="level"):
        quantile_calibration_table(TARGET, MEAN[:, None], np.array([1.0]))
    with pytest.raises(ShapeMismatch, match="level"):
        quantile_calibration_table(TARGET, MEAN, np.array([0.5]))
