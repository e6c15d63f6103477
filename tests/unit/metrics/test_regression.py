from __future__ import annotations

import numpy as np
import pytest

import vesalius.metrics as vm
from vesalius.errors import NotEstimable, ShapeMismatch, ValueOutOfRange

RANDOM = np.random.default_rng(0)
N = 60
MEAN, SD = RANDOM.normal(size=N), RANDOM.gamma(2, 1, N)
TARGET = MEAN + SD * RANDOM.normal(size=N)
LOW, HIGH = MEAN - SD, MEAN + SD
SAMPLES = RANDOM.normal(MEAN, SD, (4, N))
LEVELS = np.array([0.2, 0.7])
QUANTILES = np.sort(RANDOM.normal(size=(N, 2)), axis=1)

FIGURES = {
    "coverage": lambda y, w, at: vm.interval_coverage(y, LOW[at], HIGH[at], w),
    "width": lambda y, w, at: vm.mean_interval_width(y, LOW[at], HIGH[at], w),
    "interval score": lambda y, w, at: vm.interval_score(y, LOW[at], HIGH[at], w, confidence=0.8),
    "pinball": lambda y, w, at: vm.pinball_loss(y, QUANTILES[at], LEVELS, w).sum(),
    "shares": lambda y, w, at: vm.quantile_shares(y, QUANTILES[at], LEVELS, w).sum(),
    "sharpness": lambda y, w, at: vm.sharpness(y, SD[at], w),
    "nll": lambda y, w, at: vm.gaussian_nll(y, MEAN[at], SD[at], w),
    "crps": lambda y, w, at: vm.crps_gaussian(y, MEAN[at], SD[at], w),
    "samples": lambda y, w, at: vm.crps_samples(y, SAMPLES[:, at], w),
    "fair samples": lambda y, w, at: vm.crps_samples(y, SAMPLES[:, at], w, fair=True),
    "area": lambda y, w, at: vm.miscalibration_area(vm.gaussian_pit(y, MEAN[at], SD[at]), w),
    "area below": lambda y, w, at: vm.miscalibration_area(vm.gaussian_pit(y, MEAN[at], SD[at]), w, kind="quantile"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_masks_weights_and_order(name: str) -> None:
    figure = FIGURES[name]
    masked = np.where(np.arange(N) < 15, np.nan, TARGET)
    kept = np.arange(15, N)
    assert figure(masked, None, np.arange(N)) == pytest.approx(figure(TARGET[kept], None, kept), rel=1e-12)
    weights = RANDOM.integers(0, 4, N)
    copies = np.repeat(np.arange(N), weights)
    assert figure(TARGET, weights, np.arange(N)) == pytest.approx(figure(TARGET[copies], None, copies), rel=1e-12)
    shuffled = RANDOM.permutation(N)
    assert figure(TARGET[shuffled], None, shuffled) == pytest.approx(figure(TARGET, None, np.arange(N)), rel=1e-12)
    assert np.isnan(figure(np.full(N, np.nan), None, np.arange(N)))


def test_by_hand() -> None:
    y, low, high = np.array([1.0, 5.0, 9.0]), np.array([0.0, 6.0, 1.0]), np.array([1.0, 8.0, 4.0])
    assert vm.interval_coverage(y, low, high) == pytest.approx(1 / 3)  # the end is inside
    assert vm.mean_interval_width(y, low, high) == pytest.approx(2)
    assert vm.interval_score(y, low, high, confidence=0.9) == pytest.approx((1 + (2 + 20 * 1) + (3 + 20 * 5)) / 3)
    assert vm.crps_samples(np.array([2.0]), np.array([[5.0]])) == pytest.approx(3)  # one member: the absolute error
    assert vm.pinball_loss(np.array([3.0]), np.array([[1.0]]), np.array([0.9])) == pytest.approx([1.8])
    assert vm.mean_interval_width(y, low, np.full(3, np.inf)) == np.inf


def test_refusals() -> None:
    with pytest.raises(ShapeMismatch, match="equal"):
        vm.interval_coverage(TARGET, LOW[:3], HIGH[:3])
    with pytest.raises(ShapeMismatch, match=r"\(case,\)"):
        vm.gaussian_nll(TARGET[None], MEAN[None], SD[None])
    with pytest.raises(ShapeMismatch, match="member"):
        vm.crps_samples(TARGET, TARGET)
    with pytest.raises(ShapeMismatch, match="level"):
        vm.pinball_loss(TARGET, QUANTILES, LEVELS[:1])
    with pytest.raises(ValueOutOfRange, match="above its upper"):
        vm.interval_coverage(TARGET, HIGH, LOW)
    with pytest.raises(ValueOutOfRange, match="confidence is 90"):
        vm.interval_score(TARGET, LOW, HIGH, confidence=90)
    with pytest.raises(ValueOutOfRange, match="standard deviation"):
        vm.crps_gaussian(TARGET, MEAN, SD * 0)
    with pytest.raises(ValueOutOfRange, match="NaN where the target"):
        vm.gaussian_nll(TARGET, MEAN * np.nan, SD)
    with pytest.raises(ValueOutOfRange, match="infinite"):
        vm.gaussian_nll(TARGET * np.inf, MEAN, SD)
    with pytest.raises(ValueOutOfRange, match="weight"):
        vm.sharpness(TARGET, SD, -np.ones(N))
    with pytest.raises(ValueOutOfRange, match="level"):
        vm.quantile_shares(TARGET, QUANTILES, np.array([0.0, 0.5]))
    with pytest.raises(ValueOutOfRange, match="gaussian_pit"):
        vm.miscalibration_area(TARGET * 100)
    with pytest.raises(ValueOutOfRange, match="kind"):
        vm.miscalibration_area(np.array([0.5]), kind="both")
    with pytest.raises(NotEstimable, match="two or more"):
        vm.crps_samples(TARGET, SAMPLES[:1], fair=True)
