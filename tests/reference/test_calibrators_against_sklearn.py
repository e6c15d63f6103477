"""Temperature and Platt against scikit-learn's own fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from sklearn.calibration import _SigmoidCalibration, _TemperatureScaling

from vesalius.uncertainty import Platt, Temperature


def sample(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    z = random.normal(-1, 2.5, (n, 3))
    labels = (random.random((n, 3)) < 1 / (1 + np.exp(-z / [1.4, 2.2, 0.8]))).astype(float)
    return z, labels


@pytest.mark.parametrize("seed", range(3))
def test_temperature(seed: int) -> None:
    z, labels = sample(seed)
    ours = Temperature(per_label=True).fit(z, labels).temperatures
    for k in range(3):
        # Logits of both classes: from one column scikit-learn would make (-z, z), and its T would be twice ours.
        theirs = _TemperatureScaling().fit(np.column_stack([np.zeros(len(z)), z[:, k]]), labels[:, k])
        assert ours[k] == pytest.approx(1 / float(theirs.beta_), rel=1e-5)


def test_temperature_against_a_plain_search() -> None:
    z, labels = sample(4)

    def loss(log_slope: float, at: np.ndarray, y: np.ndarray) -> float:
        return float((np.logaddexp(0, np.exp(log_slope) * at) - y * np.exp(log_slope) * at).mean())

    shared = minimize_scalar(lambda a: loss(a, z, labels), bounds=(-7, 7), method="bounded", options={"xatol": 1e-10})
    assert Temperature().fit(z, labels).temperatures == pytest.approx(np.full(3, np.exp(-shared.x)), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_platt(seed: int) -> None:
    z, labels = sample(seed)
    ours = Platt().fit(z, labels)
    for k in range(3):
        theirs = _SigmoidCalibration().fit(z[:, k], labels[:, k])
        assert ours.slopes[k] == pytest.approx(-theirs.a_, rel=1e-4)
        assert ours.intercepts[k] == pytest.approx(-theirs.b_, abs=1e-4)


def test_platt_against_a_plain_search() -> None:
    """The bound holds too: where present cases have the lower logits, the slope is the least allowed and the intercept its best."""
    z, labels = sample(6)
    turned = -z
    ours = Platt().fit(turned, labels)
    for k in range(3):
        n_positive, n = labels[:, k].sum(), len(labels)
        targets = np.where(labels[:, k] == 1, (n_positive + 1) / (n_positive + 2), 1 / (n - n_positive + 2))

        def loss(line: np.ndarray, at: np.ndarray = turned[:, k], y: np.ndarray = targets) -> float:
            return float((np.logaddexp(0, line[0] * at + line[1]) - y * (line[0] * at + line[1])).mean())

        best = minimize(loss, [0.1, 0.0], bounds=[(1e-3, 1e3), (None, None)], options={"ftol": 1e-14, "gtol": 1e-10})
        assert ours.slopes[k] == 1e-3
        assert ours.intercepts[k] == pytest.approx(best.x[1], abs=1e-4)
        assert "slope stands at its bound" in ours.notes[k]
