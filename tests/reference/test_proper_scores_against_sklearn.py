"""Brier and log scores against scikit-learn and torch, and the Brier score's parts against what they are by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from vesalius.metrics import brier, brier_decomposition, multiclass_brier, multiclass_nll, nll


def classes(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n_classes)
    return random.integers(0, n_classes, 300), random.normal(0, 3, (300, n_classes))


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_exclusive_classes(n_classes: int) -> None:
    labels, z = classes(n_classes)
    p, weights = softmax(z), np.random.default_rng(0).integers(0, 4, 300)
    for half in (False, True):
        theirs = brier_score_loss(labels, p, scale_by_half=half, labels=list(range(n_classes)), sample_weight=weights)
        assert multiclass_brier(labels, p, scale_by_half=half, weights=weights) == pytest.approx(theirs, abs=1e-12)
    theirs = log_loss(labels, p, labels=list(range(n_classes)), sample_weight=weights)
    assert multiclass_nll(labels, z, weights) == pytest.approx(theirs, abs=1e-12)


def test_cross_entropy_of_torch_also_far_out() -> None:
    torch = pytest.importorskip("torch")
    labels, z = classes(5)
    far = 300 * z
    theirs = torch.nn.functional.cross_entropy(torch.tensor(far), torch.tensor(labels))
    assert multiclass_nll(labels, far) == pytest.approx(float(theirs), rel=1e-12)
    assert multiclass_nll(labels, far) > 27.7  # more than a clip of the probabilities at 1e-12 can say


def test_two_classes_are_twice_one_event() -> None:
    """The sum over both classes is twice the score of the event; scikit-learn halves it by itself, for two classes alone."""
    random = np.random.default_rng(1)
    p = random.random(200)
    labels = (random.random(200) < p).astype(int)
    both = np.column_stack([1 - p, p])
    assert multiclass_brier(labels, both) == pytest.approx(2 * brier(labels, p), abs=1e-14)
    assert multiclass_brier(labels, both, scale_by_half=True) == pytest.approx(brier(labels, p), abs=1e-14)
    assert brier_score_loss(labels, both) == pytest.approx(brier(labels, p), abs=1e-14)
    logits = np.log(p / (1 - p))
    assert multiclass_nll(labels, np.column_stack([np.zeros(200), logits])) == pytest.approx(nll(labels, logits), abs=1e-13)


def test_murphy_by_hand() -> None:
    """Four said 0.25, one of them present; six said 0.75, three of them present. Prevalence 0.4."""
    labels = np.array([1, 0, 0, 0, 1, 1, 1, 0, 0, 0.0])
    p = np.repeat([0.25, 0.75], [4, 6])
    parts = brier_decomposition(labels, p)
    assert parts.reliability == pytest.approx(0.6 * 0.25**2)
    assert parts.resolution == pytest.approx(0.4 * 0.15**2 + 0.6 * 0.1**2)
    assert parts.uncertainty == pytest.approx(0.24)
    assert (parts.within_bin_variance, parts.within_bin_covariance) == (0, 0)
    assert parts.brier == pytest.approx(brier_score_loss(labels, p), abs=1e-15)
    assert parts.skill == pytest.approx(1 - brier_score_loss(labels, p) / 0.24, abs=1e-14)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("bins", [1, 4, 15, 200])
def test_parts_over_bins_add_up(bins: int, binning: str) -> None:
    random = np.random.default_rng(bins)
    p = np.round(random.beta(1, 2, 700), 3)
    labels = (random.random(700) < p**1.4).astype(float)
    parts = brier_decomposition(labels, p, bins, binning=binning)
    theirs = brier_score_loss(labels, p)
    assert parts.brier == pytest.approx(theirs, abs=1e-15)
    assert parts.generalised_resolution == pytest.approx(parts.reliability + parts.uncertainty - theirs, abs=1e-15)
    if bins == 4:  # without the terms inside the bins the three do not add up
        assert abs(parts.reliability - parts.resolution + parts.uncertainty - theirs) > 1e-3
    if bins == 1:
        assert parts.resolution == pytest.approx(0, abs=1e-15)
        assert parts.within_bin_variance == pytest.approx(p.var(), abs=1e-14)
        assert parts.within_bin_covariance == pytest.approx(2 * np.cov(p, labels, ddof=0)[0, 1], abs=1e-14)


def test_parts_of_every_bin_by_loops() -> None:
    random = np.random.default_rng(3)
    p = random.random(90)
    labels = (random.random(90) < p).astype(float)
    weights = random.integers(0, 3, 90)
    many_p, many_y = np.repeat(p, weights).tolist(), np.repeat(labels, weights).tolist()
    n, base = len(many_p), sum(many_y) / len(many_p)
    reliability = resolution = variance = covariance = 0.0
    for b in range(6):
        inside = [(f, o) for f, o in zip(many_p, many_y, strict=True) if b / 6 <= f < (b + 1) / 6]
        said, seen = sum(f for f, _ in inside) / len(inside), sum(o for _, o in inside) / len(inside)
        reliability += len(inside) * (said - seen) ** 2 / n
        resolution += len(inside) * (seen - base) ** 2 / n
        variance += math.fsum((f - said) ** 2 for f, _ in inside) / n
        covariance += 2 * math.fsum((f - said) * (o - seen) for f, o in inside) / n
    parts = brier_decomposition(labels, p, 6, weights=weights)
    found = (parts.reliability, parts.resolution, parts.within_bin_variance, parts.within_bin_covariance)
    assert found == pytest.approx((reliability, resolution, variance, covariance), abs=1e-14)
