"""Greedy policy search against the authors' own program, and every other task against a search written with scipy's minimisers.

GOLDEN was made by running policy-search.py and metrics.py of github.com/bayesgroup/gps-augment (BSD-2-Clause, commit 24368e4) on
`pool_of(...)` with torch 2.13.0 and scipy 1.17.1, one worker. Their temperature search stops within 1e-4 of the best temperature
and works in float32: objectives (here to eight digits) agree to 1e-6, temperatures to 1e-3.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from scipy.stats import norm

from vesalius.uncertainty import GreedyPolicySearch


def pool_of(n_views: int, n_cases: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(n_classes, size=n_cases)
    shared = random.normal(size=(n_cases, n_classes)) + 2 * np.eye(n_classes)[truth]
    own = random.normal(size=(n_views, n_cases, n_classes)) * random.permutation(np.linspace(0.5, 3, n_views))[:, None, None]
    return shared + own, truth


GOLDEN = [
    # pool, policy, objective after each step, temperature of the whole policy
    (
        (12, 200, 5, 0),
        (10, 5, 10, 11, 9, 7),
        (
            -0.7296393513679504,
            -0.7181254625320435,
            -0.7041998505592346,
            -0.6887576580047607,
            -0.6803646087646484,
            -0.6726118326187134,
        ),
        0.5050781249999995,
    ),
    (
        (20, 300, 3, 1),
        (1, 7, 17, 8, 18),
        (-0.4884085953235626, -0.44808852672576904, -0.43647003173828125, -0.42817139625549316, -0.421440988779068),
        0.46523437499999953,
    ),
    (
        (8, 150, 10, 2),
        (7, 7, 5, 3, 7, 7, 7, 7),
        (
            -1.2632719278335571,
            -1.2632719278335571,
            -1.2491663694381714,
            -1.2245038747787476,
            -1.213331937789917,
            -1.2113116979599,
            -1.2125067710876465,
            -1.214820146560669,
        ),
        0.6089843749999996,
    ),
]


@pytest.mark.parametrize(("pool", "policy", "objectives", "temperature"), GOLDEN)
def test_policy_and_objective_of_the_authors(
    pool: tuple[int, int, int, int], policy: tuple[int, ...], objectives: tuple[float, ...], temperature: float
) -> None:
    search = GreedyPolicySearch(length=len(policy)).fit(*pool_of(*pool))
    assert search.policy == policy
    np.testing.assert_allclose(search.objectives, objectives, atol=1e-6)
    assert search.temperature == pytest.approx(temperature, abs=1e-3)


def greedy(objective: Callable[[tuple[int, ...]], float], n_views: int, length: int) -> tuple[tuple[int, ...], list[float]]:
    """The search as one would write it: every candidate minimised by itself."""
    policy: tuple[int, ...] = ()
    values = []
    for _ in range(length):
        found = [objective((*policy, view)) for view in range(n_views)]
        policy = (*policy, int(np.argmax(found)))
        values.append(max(found))
    return policy, values


def best(of: Callable[[float], float]) -> float:
    """Greatest value over a positive number, searched on its logarithm."""
    found = minimize_scalar(lambda log: -of(np.exp(log)), bounds=(-6, 6), method="bounded", options={"xatol": 1e-9})
    return -float(found.fun)


def test_multiclass_against_scipy() -> None:
    z, truth = pool_of(6, 80, 4, 5)

    def objective(policy: tuple[int, ...]) -> float:
        logs = np.log(softmax(z[list(policy)], axis=-1).mean(axis=0))
        return best(lambda b: log_softmax(b * logs, axis=-1)[np.arange(80), truth].mean())

    policy, values = greedy(objective, 6, 4)
    search = GreedyPolicySearch("multiclass", length=4).fit(z, truth)
    assert search.policy == policy
    np.testing.assert_allclose(search.objectives, values, atol=1e-10)


def test_multilabel_against_scipy_with_unknown_labels() -> None:
    random = np.random.default_rng(3)
    labels = (random.random((90, 3)) < 0.3).astype(float)
    z = 3 * labels - 2 + random.normal(size=(7, 90, 3)) * random.uniform(1, 4, (7, 1, 1))
    labels[random.random((90, 3)) < 0.2] = np.nan
    known = ~np.isnan(labels)

    def objective(policy: tuple[int, ...]) -> float:
        p = expit(z[list(policy)]).mean(axis=0)[known]
        line, y = np.log(p / (1 - p)), labels[known]
        return best(lambda b: -np.logaddexp(0, -b * np.where(y == 1, line, -line)).mean())

    policy, values = greedy(objective, 7, 4)
    search = GreedyPolicySearch("multilabel", length=4).fit(z, labels)
    assert search.policy == policy
    np.testing.assert_allclose(search.objectives, values, atol=1e-10)


@pytest.mark.parametrize("own_variance", [False, True])
def test_regression_against_scipy(own_variance: bool) -> None:
    random = np.random.default_rng(4)
    y = random.normal(50, 10, 70)
    mean = y + random.normal(size=(6, 70)) * random.uniform(1, 6, (6, 1)) + random.normal(0, 2, 70)
    variance = random.uniform(1, 5, (6, 70)) if own_variance else np.zeros((6, 70))
    floor = 1.5

    def objective(policy: tuple[int, ...]) -> float:
        chosen = list(policy)
        total = mean[chosen].var(axis=0) + variance[chosen].mean(axis=0) + floor
        return best(lambda s: norm.logpdf(y, mean[chosen].mean(axis=0), s * np.sqrt(total)).mean())

    policy, values = greedy(objective, 6, 4)
    predictions = np.stack([mean, variance], axis=-1) if own_variance else mean
    search = GreedyPolicySearch("regression", length=4, floor=floor).fit(predictions, y)
    assert search.policy == policy
    np.testing.assert_allclose(search.objectives, values, atol=1e-10)


@pytest.mark.parametrize("n_classes", [None, 3])
def test_segmentation_against_scipy_with_padded_voxels_and_sizes(n_classes: int | None) -> None:
    random = np.random.default_rng(6)
    sizes = [(5, 4), (6, 6), (3, 7)]
    labels = [random.integers(-1, n_classes or 2, size) for size in sizes]
    front = () if n_classes is None else (n_classes,)
    maps = [random.normal(0, 2, (5, *front, *size)) for size in sizes]
    for z, truth in zip(maps, labels, strict=True):
        for view, noise in enumerate(random.permutation(5)):
            there = (truth == 1) if n_classes is None else np.stack([truth == k for k in range(n_classes)])
            z[view] = z[view] * (0.5 + noise) / 2 + 2 * there - 1
        z[1, ..., 0] = np.nan
        z[2, ..., 0, :] = np.nan

    def objective(policy: tuple[int, ...]) -> float:
        def value(b: float) -> float:
            images = []
            for z, truth in zip(maps, labels, strict=True):
                logs = []
                for place in itertools.product(*map(range, truth.shape)):
                    if truth[place] < 0:
                        continue
                    views = [z[(view, ..., *place)] for view in policy]
                    seen = [np.atleast_1d(view) for view in views if not np.isnan(view).any()]
                    choices = n_classes or 2
                    if not seen:
                        logs.append(-np.log(choices))
                        continue
                    if n_classes is None:
                        p = np.mean([[expit(-view[0]), expit(view[0])] for view in seen], axis=0)
                    else:
                        p = np.mean([softmax(view) for view in seen], axis=0)
                    logs.append(log_softmax(b * np.log(p))[truth[place]])
                images.append(np.mean(logs))
            return float(np.mean(images))

        return best(value)

    policy, values = greedy(objective, 5, 2)
    search = GreedyPolicySearch("segmentation", length=2).fit(maps, labels)
    assert search.policy == policy
    np.testing.assert_allclose(search.objectives, values, atol=1e-9)
