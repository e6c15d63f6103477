"""Over many samples: the debiased error's mean is right where the plug-in's is not, and every null holds its level."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import debiased_calibration_error, ece, ece_null_distribution, top_label


def test_debiased_square_is_right_in_the_mean() -> None:
    """Ten forecasts, each wrong by a known amount: mean squared gap 0.0026; with eight cases each the plug-in says 0.020."""
    said = np.linspace(0.05, 0.95, 10)
    truth = np.clip(said + np.linspace(-0.1, 0.1, 10), 0, 1)
    exact = float(((said - truth) ** 2).mean())
    p = np.repeat(said, 8)
    plain, debiased = [], []
    for seed in range(4000):
        labels = (np.random.default_rng(seed).random(80) < np.repeat(truth, 8)).astype(float)
        plain.append(ece(labels, p, bins=10, binning="mass", norm="l2") ** 2)
        debiased.append(debiased_calibration_error(labels, p, bins=10, squared=True))
    error = np.std(debiased) / np.sqrt(4000)
    assert abs(np.mean(debiased) - exact) < 4 * error
    assert np.mean(plain) > exact + 50 * error


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"binning": "mass"}, {"norm": "max", "binning": "mass", "bins": 8}, {"weight": "bin", "norm": "l2"}]
)
def test_every_null_has_its_level(options: dict[str, object]) -> None:
    """A calibrated model exceeds the 95th percentile of the null of the same figure in 5 % of the samples."""
    above = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        p = random.beta(1, 4, 200)
        labels = (random.random(200) < p).astype(float)
        null = ece_null_distribution(p, resamples=300, seed=seed, **options)
        above += ece(labels, p, **options) > np.quantile(null, 0.95)
    assert 0.025 <= above / 400 <= 0.08


@pytest.mark.slow
def test_null_of_the_top_label_has_its_level() -> None:
    """Right answers are coins of the confidence when the classes' probabilities are true."""
    above = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        p = random.dirichlet([1, 1, 2], 150)
        labels = (random.random(150)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2)
        right, confidence = top_label(labels, p)
        null = ece_null_distribution(confidence, ~np.isnan(right), resamples=300, seed=seed)
        above += ece(right, confidence) > np.quantile(null, 0.95)
    assert 0.025 <= above / 400 <= 0.08
