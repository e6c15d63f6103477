"""A known temperature is found again, calibration helps on new patients, and the ECE's null holds its level."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import ece, ece_null_distribution, nll
from vesalius.uncertainty import Platt, SelectedCalibrator, Temperature

pytestmark = pytest.mark.slow


def films(seed: int, n: int, temperatures: np.ndarray, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true_logits = random.normal(-1.5, 2, (n, len(temperatures)))
    labels = (random.random(true_logits.shape) < 1 / (1 + np.exp(-true_logits))).astype(float)
    return temperatures * (true_logits + shift), labels


def test_temperatures_are_recovered_without_bias() -> None:
    known = np.array([0.4, 1.0, 2.5])
    found = np.array([Temperature(per_label=True).fit(*films(seed, 800, known)).temperatures for seed in range(200)])
    error = np.abs(np.log(found).mean(axis=0) - np.log(known))
    spread = np.log(found).std(axis=0)
    assert (error < 4 * spread / np.sqrt(200) + 0.01).all()
    assert (spread < 0.15).all()


def test_platt_recovers_a_shifted_prevalence() -> None:
    found = [Platt().fit(*films(seed, 2000, np.array([2.0]), shift=1.0)) for seed in range(60)]
    slope, intercept = (np.mean([getattr(one, name)[0] for one in found]) for name in ("slopes", "intercepts"))
    assert slope == pytest.approx(0.5, rel=0.03)
    assert intercept == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("n", [60, 150, 600])
def test_choosing_does_no_harm_on_new_patients(n: int) -> None:
    """Mean over splits: where the network is honest the choice costs next to nothing, where it is too sure it gains."""
    cost, gain = [], []
    for seed in range(60):
        for temperature, into in ((1.0, cost), (3.0, gain)):
            z, labels = films(seed, n, np.full(4, temperature))
            new, truth = films(90_000 + seed, 2000, np.full(4, temperature))
            fitted = SelectedCalibrator().fit(z, labels).calibrated_logits(new)
            into.append(np.mean([nll(truth[:, k], fitted[:, k]) - nll(truth[:, k], new[:, k]) for k in range(4)]))
    assert np.mean(cost) < 1.2 / n  # one parameter costs about 1 / 2n in log likelihood, two 1 / n
    assert np.mean(gain) < -0.1


def test_null_of_the_ece_has_its_level() -> None:
    """A calibrated model exceeds the 95th percentile of its null in 5 % of the samples."""
    above = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        p = random.beta(1, 4, 200)
        labels = (random.random(200) < p).astype(float)
        above += ece(labels, p) > np.quantile(ece_null_distribution(p, resamples=300, seed=seed), 0.95)
    assert 0.025 <= above / 400 <= 0.08
