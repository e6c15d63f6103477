"""Calibration splits of 40 to 300 films, features of 128 and 512 dimensions: one to three new films in a hundred are stopped."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.uncertainty import Mahalanobis, OodGate

pytestmark = pytest.mark.slow


class Films:
    """Features with a falling spectrum, heavier tails than a Gaussian, and patients of one to three films that are alike."""

    def __init__(self, seed: int, dim: int) -> None:
        self.random = np.random.default_rng(seed)
        self.dim = dim
        self.mix = self.random.normal(size=(dim, dim)) / np.sqrt(dim) * np.sqrt(1 / np.arange(1, dim + 1))[:, None]

    def draw(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        patients = np.repeat(np.arange(n), self.random.integers(1, 4, n))[:n]
        shared = self.random.standard_t(8, size=(n, self.dim))[patients]
        own = self.random.standard_t(8, size=(n, self.dim))
        return (np.sqrt(0.4) * shared + np.sqrt(0.6) * own) @ self.mix + 3, patients


@pytest.mark.parametrize("dim", [128, 512])
@pytest.mark.parametrize("n", [40, 100, 300])
def test_false_alarms_and_far_films(n: int, dim: int) -> None:
    alarms, found, in_sample = [], [], []
    for seed in range(25 if n < 300 else 12):
        films = Films(seed, dim)
        features, patients = films.draw(n)
        gate = OodGate().fit(features, np.zeros((n, 2)), patients=patients)
        new, _ = films.draw(400)
        far = new + films.random.normal(size=dim) * 1.5 * new.std(axis=0)
        alarms.append(gate.is_out(new, np.zeros((400, 2))).mean())
        found.append(gate.is_out(far, np.zeros((400, 2))).mean())
        inside = Mahalanobis().fit(features)
        in_sample.append((inside.score(new) > np.quantile(inside.score(features), 0.99)).mean())
    assert 0.003 <= np.mean(alarms) <= 0.035, np.mean(alarms)
    assert np.mean(found) > 0.95, np.mean(found)
    assert np.mean(in_sample) > 2 * np.mean(alarms)  # what a threshold on in-sample distances would do


@pytest.mark.parametrize("scores", [("knn",), ("vim",), ("mahalanobis", "knn")])
@pytest.mark.parametrize("n", [40, 300])
def test_neighbours_and_virtual_logits_keep_their_promise_too(n: int, scores: tuple[str, ...]) -> None:
    """And only with the Gaussian's floor are images near the mean of all films stopped: the others take them for very homely."""
    alarms, found, blank = [], [], []
    for seed in range(15):
        films = Films(seed, 128)
        features, patients = films.draw(n)
        head = np.random.default_rng(seed).normal(size=(128, 3))
        gate = OodGate(scores).fit(features, (features - 3) @ head, patients=patients)
        new, _ = films.draw(400)
        far = new + films.random.normal(size=128) * 1.5 * new.std(axis=0)
        empty = features.mean(axis=0) + 0.02 * (new - features.mean(axis=0))
        for rates, images in ((alarms, new), (found, far), (blank, empty)):
            rates.append(gate.is_out(images, (images - 3) @ head).mean())
    assert 0.002 <= np.mean(alarms) <= 0.04, np.mean(alarms)
    assert np.mean(found) > 0.9, np.mean(found)
    assert np.mean(blank) == ("mahalanobis" in scores)
