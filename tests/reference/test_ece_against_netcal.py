"""Expected calibration error against netcal and torchmetrics, and the other conventions that share its name."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import ece

netcal = pytest.importorskip("netcal.metrics", reason="netcal is not installed; see the test group of pyproject.toml")


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.beta(1, 3, 600)
    return (random.random(600) < p**1.3).astype(float), p


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [5, 10, 15])
def test_equal_width(seed: int, bins: int) -> None:
    labels, p = sample(seed)
    assert ece(labels, p, bins=bins) == pytest.approx(netcal.ECE(bins).measure(p, labels), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [5, 10, 15])
def test_equal_mass_without_ties(seed: int, bins: int) -> None:
    labels, p = sample(seed)
    expected = netcal.ECE(bins, equal_intervals=False).measure(p, labels)
    assert ece(labels, p, bins=bins, binning="mass") == pytest.approx(expected, abs=1e-12)


def test_equal_width_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import binary_calibration_error

    labels, p = sample(4)
    theirs = float(binary_calibration_error(torch.tensor(p), torch.tensor(labels).int(), n_bins=15))
    assert ece(labels, p) == pytest.approx(theirs, abs=1e-5)


def test_ace_of_netcal_is_another_figure() -> None:
    """netcal's ACE averages bins without their weight: for a rare finding it is many times our ECE, so we never use the word."""
    random = np.random.default_rng(5)
    p = np.clip(random.beta(0.5, 30, 20_000), 0, 1)
    labels = (random.random(20_000) < p).astype(float)
    assert netcal.ACE(15).measure(p, labels) > 5 * ece(labels, p)


def test_top_label_calibration_is_another_figure() -> None:
    """Two cases at 0.2 and 0.8, both absent: as events |0.2| and |0.8|, as confidences 0.8 right and 0.8 wrong."""
    labels, p = np.array([0.0, 0.0]), np.array([0.2, 0.8])
    confidence, right = np.maximum(p, 1 - p), ((p >= 0.5) == labels).astype(float)
    assert ece(labels, p, bins=10) == pytest.approx((0.2 + 0.8) / 2)
    assert ece(right, confidence, bins=10) == pytest.approx(abs(0.8 - 0.5))
