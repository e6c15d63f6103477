"""Scores of predicted numbers against uncertainty-toolbox, scikit-learn, scipy and integrals written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from sklearn.metrics import mean_pinball_loss
from uncertainty_toolbox import metrics_calibration as toolbox
from uncertainty_toolbox import metrics_scoring_rule as rules
from uncertainty_toolbox.recalibration import optimize_recalibration_ratio

import vesalius.metrics as vm
import vesalius.uncertainty as vu

RANDOM = np.random.default_rng(3)
N = 400
MEAN = RANDOM.normal(20, 5, N)
SD = RANDOM.gamma(3, 0.5, N)
TARGET = MEAN + 1.3 * SD * RANDOM.standard_t(5, N) + 0.2


def test_gaussian_scores_equal_uncertainty_toolbox() -> None:
    assert vm.crps_gaussian(TARGET, MEAN, SD) == pytest.approx(rules.crps_gaussian(MEAN, SD, TARGET), rel=1e-12)
    assert vm.gaussian_nll(TARGET, MEAN, SD) == pytest.approx(rules.nll_gaussian(MEAN, SD, TARGET), rel=1e-12)
    assert vm.gaussian_nll(TARGET, MEAN, SD) == pytest.approx(-stats.norm.logpdf(TARGET, MEAN, SD).mean(), rel=1e-12)
    assert vm.sharpness(TARGET, SD) == pytest.approx(toolbox.sharpness(SD), rel=1e-12)


@pytest.mark.parametrize("case", range(5))
def test_crps_is_the_integral_of_the_squared_difference(case: int) -> None:
    y, mean, sd = TARGET[case], MEAN[case], SD[case]
    below = integrate.quad(lambda x: stats.norm.cdf(x, mean, sd) ** 2, mean - 30 * sd, y, limit=200)[0]
    above = integrate.quad(lambda x: stats.norm.sf(x, mean, sd) ** 2, y, mean + 30 * sd, limit=200)[0]
    assert vm.crps_gaussian(np.array([y]), np.array([mean]), np.array([sd])) == pytest.approx(below + above, rel=1e-7)


@pytest.mark.parametrize("fair", [False, True])
def test_crps_of_samples_is_that_of_all_pairs(fair: bool) -> None:
    samples = np.round(RANDOM.normal(MEAN, SD, (7, N)))  # with ties
    error = np.abs(samples - TARGET).mean(axis=0)
    pairs = np.abs(samples[:, None] - samples[None]).sum(axis=(0, 1)) / (7 * 6 if fair else 49)
    assert vm.crps_samples(TARGET, samples, fair=fair) == pytest.approx((error - pairs / 2).mean(), rel=1e-12)


def test_crps_of_samples_is_the_integral_over_their_steps() -> None:
    samples, y = np.array([1.0, 2.0, 2.0, 5.0]), 3.2
    grid = np.linspace(0, 6, 600_001)
    steps = np.searchsorted(samples, grid, side="right") / 4
    integral = np.trapezoid((steps - (grid >= y)) ** 2, grid)
    assert vm.crps_samples(np.array([y]), samples[:, None]) == pytest.approx(integral, abs=1e-4)


def test_the_fair_crps_of_few_members_is_that_of_many() -> None:
    truth, few, many = np.zeros(4000), RANDOM.normal(0, 1, (3, 4000)), RANDOM.normal(0, 1, (600, 4000))
    assert vm.crps_samples(truth, few, fair=True) == pytest.approx(vm.crps_samples(truth, many, fair=True), abs=0.03)
    assert vm.crps_samples(truth, few) > vm.crps_samples(truth, many) + 0.1


def test_toolbox_interval_score_is_ours_over_its_99_confidences() -> None:
    ours = []
    for confidence in np.linspace(0.01, 0.99, 99):
        half = stats.norm.ppf(0.5 + confidence / 2) * SD
        ours.append(vm.interval_score(TARGET, MEAN - half, MEAN + half, confidence=confidence))
    assert np.mean(ours) == pytest.approx(rules.interval_score(MEAN, SD, TARGET), rel=1e-10)
    # The same name for another number: one interval's score is not the mean over 99.
    assert ours[89] != pytest.approx(rules.interval_score(MEAN, SD, TARGET), rel=0.1)


def test_the_interval_score_is_least_at_the_true_quantiles() -> None:
    def score(half: float) -> float:
        ends = np.full(20_000, half)
        return vm.interval_score(standard, -ends, ends, confidence=0.8)

    standard = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    best = optimize.minimize_scalar(score, bounds=(0.5, 3), method="bounded").x
    assert best == pytest.approx(stats.norm.ppf(0.9), abs=2e-3)


def test_coverage_equals_toolbox() -> None:
    for confidence in (0.5, 0.9):
        half = stats.norm.ppf(0.5 + confidence / 2) * SD
        theirs = toolbox.get_proportion_in_interval(MEAN, SD, TARGET, confidence)
        assert vm.interval_coverage(TARGET, MEAN - half, MEAN + half) == pytest.approx(theirs, abs=1e-12)


def test_pinball_loss_equals_sklearn_and_its_integral_is_the_crps() -> None:
    levels = np.array([0.1, 0.5, 0.8])
    quantiles = stats.norm.ppf(levels, MEAN[:, None], SD[:, None])
    for level, column, ours in zip(levels, quantiles.T, vm.pinball_loss(TARGET, quantiles, levels), strict=True):
        assert ours == pytest.approx(mean_pinball_loss(TARGET, column, alpha=level), rel=1e-12)
    fine = (np.arange(2000) + 0.5) / 2000
    every = vm.pinball_loss(TARGET, stats.norm.ppf(fine, MEAN[:, None], SD[:, None]), fine)
    assert 2 * every.mean() == pytest.approx(vm.crps_gaussian(TARGET, MEAN, SD), rel=1e-3)


@pytest.mark.parametrize("kind", ["interval", "quantile"])
def test_miscalibration_area_is_what_toolbox_nears_on_a_fine_grid(kind: str) -> None:
    pit = vm.gaussian_pit(TARGET, MEAN, SD)
    exact = vm.miscalibration_area(pit, kind=kind)
    fine = toolbox.miscalibration_area(MEAN, SD, TARGET, num_bins=4001, vectorized=True, prop_type=kind)
    assert exact == pytest.approx(fine, abs=3e-4)
    place = np.abs(2 * pit - 1) if kind == "interval" else pit
    grid = (np.arange(200_000) + 0.5) / 200_000
    steps = np.searchsorted(np.sort(place), grid, side="right") / N
    assert exact == pytest.approx(np.abs(steps - grid).mean(), abs=1e-5)
    assert exact == pytest.approx(stats.wasserstein_distance(place, (np.arange(200_000) + 0.5) / 200_000), abs=1e-5)


def test_closed_forms_of_the_miscalibration_area() -> None:
    assert vm.miscalibration_area(np.full(9, 0.5), kind="quantile") == pytest.approx(0.25)  # a step in the middle
    assert vm.miscalibration_area(np.zeros(9), kind="quantile") == pytest.approx(0.5)  # the worst there is
    assert vm.miscalibration_area(np.full(9, 0.5)) == pytest.approx(0.5)  # every target in every interval
    assert vm.miscalibration_area((np.arange(1000) + 0.5) / 1000, kind="quantile") == pytest.approx(1 / 4000)


def test_quantile_shares_are_those_of_toolbox_seen_from_above() -> None:
    expected, observed = toolbox.get_proportion_lists_vectorized(MEAN, SD, TARGET, num_bins=11, prop_type="quantile")
    levels = expected[1:-1]
    ours = vm.quantile_shares(TARGET, stats.norm.ppf(levels, MEAN[:, None], SD[:, None]), levels)
    # Its residual is prediction minus target, so what it calls the share below is the share above the mirrored quantile.
    assert ours == pytest.approx(1 - observed[1:-1][::-1], abs=1e-12)
    assert not np.allclose(ours, observed[1:-1], atol=0.05)


def test_the_scale_is_the_likeliest() -> None:
    fitted = vu.StdRecalibration().fit(MEAN, SD, TARGET)
    best = optimize.minimize_scalar(lambda s: vm.gaussian_nll(TARGET, MEAN, s * SD), bounds=(0.1, 10), method="bounded")
    assert fitted.scale == pytest.approx(best.x, rel=1e-4)
    assert fitted.scale == pytest.approx(optimize_recalibration_ratio(MEAN, SD, TARGET, criterion="miscal"), rel=0.2)
    assert vm.gaussian_nll(TARGET, MEAN, fitted.calibrate(SD)) <= best.fun + 1e-9


def test_recalibrated_quantiles_are_those_of_the_errors() -> None:
    fitted = vu.QuantileRecalibration().fit(MEAN, SD, TARGET)
    levels = np.array([0.05, 0.31, 0.5, 0.9])
    errors = stats.mstats.mquantiles((TARGET - MEAN) / SD, levels, alphap=0, betap=0)
    assert fitted.calibrate(MEAN, SD, levels) == pytest.approx(MEAN[:, None] + SD[:, None] * np.asarray(errors), rel=1e-12)
