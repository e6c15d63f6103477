"""Out-of-distribution scores against scikit-learn, scipy and torch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from vesalius.uncertainty import Energy, Mahalanobis
from vesalius.uncertainty.mahalanobis import ledoit_wolf_shrinkage


def features(seed: int, n: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, dim)) @ random.normal(size=(dim, dim)) + random.normal(size=dim)


@pytest.mark.parametrize(("n", "dim"), [(400, 8), (60, 60), (40, 90)])
def test_ledoit_wolf(n: int, dim: int) -> None:
    x, new = features(0, n, dim), features(1, 25, dim)
    theirs = LedoitWolf().fit(x)
    assert ledoit_wolf_shrinkage(x - x.mean(axis=0)) == pytest.approx(theirs.shrinkage_, rel=1e-9)
    assert Mahalanobis().fit(x).score(new) == pytest.approx(theirs.mahalanobis(new), rel=1e-8)


def test_plain_covariance() -> None:
    x, new = features(2, 300, 6), features(3, 25, 6)
    ours = Mahalanobis(shrinkage=None).fit(x).score(new)
    assert ours == pytest.approx(EmpiricalCovariance().fit(x).mahalanobis(new), rel=1e-9)
    inverse = np.linalg.inv(np.cov(x.T, bias=True))
    assert ours == pytest.approx(cdist(new, x.mean(axis=0)[None], "mahalanobis", VI=inverse)[:, 0] ** 2, rel=1e-9)


def test_two_class_and_relative_by_their_definition() -> None:
    x, new = features(4, 300, 5), features(5, 20, 5)
    random = np.random.default_rng(6)
    labels = (random.random((300, 3)) < 0.3).astype(float)
    labels[random.random((300, 3)) < 0.1] = np.nan
    means = [[x[labels[:, k] == c].mean(axis=0) for c in (0, 1)] for k in range(3)]
    scatter = np.zeros((5, 5))
    for k in range(3):
        rest = np.concatenate([x[labels[:, k] == c] - means[k][c] for c in (0, 1)])
        scatter += rest.T @ rest / len(rest) / 3
    within, total = np.linalg.inv(scatter), np.linalg.inv(np.cov(x.T, bias=True))

    def squared(mean: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        return cdist(new, mean[None], "mahalanobis", VI=inverse)[:, 0] ** 2

    nearer = sum(np.minimum(squared(means[k][0], within), squared(means[k][1], within)) for k in range(3))
    two = Mahalanobis("two-class", shrinkage=None).fit(x, labels=labels).score(new)
    assert two == pytest.approx(nearer, rel=1e-9)
    relative = Mahalanobis("relative", shrinkage=None).fit(x, labels=labels).score(new)
    assert relative == pytest.approx(nearer - 3 * squared(x.mean(axis=0), total), rel=1e-8, abs=1e-8)


def test_joint_energy() -> None:
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(7).normal(size=(30, 4)) * 5
    for temperature in (0.5, 1.0, 3.0):
        theirs = -temperature * torch.nn.functional.softplus(torch.tensor(z) / temperature, threshold=1e9).sum(dim=1)
        assert Energy(temperature=temperature).score(None, z) == pytest.approx(theirs.numpy(), rel=1e-12)


def test_centred_energy_is_the_energy_of_both_states() -> None:
    """Two states with logits x / 2 and -x / 2 have the energy -T logsumexp over them."""
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(8).normal(size=(30, 4)) * 5
    labels = (z > 1).astype(float)
    centre = np.array([(z[labels[:, k] == 1, k].mean() + z[labels[:, k] == 0, k].mean()) / 2 for k in range(4)])
    states = torch.tensor(np.stack([(z - centre) / 2, (centre - z) / 2]))
    theirs = -torch.logsumexp(states, dim=0).sum(dim=1)
    assert Energy(centred=True).fit(z, z, labels).score(None, z) == pytest.approx(theirs.numpy(), rel=1e-10)
