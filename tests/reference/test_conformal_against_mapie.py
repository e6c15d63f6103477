"""Conformal sets and intervals against MAPIE 1.6 on the same calibration cases: the same sets, the same ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from mapie.risk_control import MultiLabelClassificationController
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from vesalius.uncertainty import (
    APS,
    LAC,
    ConformalisedQuantileRegression,
    MultiLabelRiskControl,
    SplitConformalRegression,
    conformal,
)


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose input is its own probabilities."""

    def __init__(self, n_classes: int = 4) -> None:
        self.n_classes = n_classes

    def fit(self, X: np.ndarray, y: np.ndarray) -> Given:
        self.classes_ = np.arange(self.n_classes)
        self.n_features_in_ = self.n_classes
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X).argmax(axis=1)


class Number(RegressorMixin, BaseEstimator):
    """A regressor whose input is its own answer."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def fit(self, X: np.ndarray, y: np.ndarray) -> Number:
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X)[:, self.column]


def classes(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.dirichlet([1.5, 1, 0.7, 0.4], n)
    labels = (random.random((n, 1)) > np.cumsum(p**1.3 / (p**1.3).sum(axis=1, keepdims=True), axis=1)).sum(axis=1).clip(0, 3)
    return p, labels


def mapie_sets(score: str, confidence: float, fit: tuple, new: np.ndarray, **options: Any) -> np.ndarray:
    peer = SplitConformalClassifier(Given().fit(*fit), confidence, conformity_score=score, prefit=True, random_state=7)
    peer.conformalize(*fit)
    return peer.predict_set(new, conformity_score_params=options)[1][..., 0]


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [53, 400])
def test_lac_has_the_same_sets(confidence: float, n: int) -> None:
    fit, (new, _) = classes(1, n), classes(2, 500)
    ours = LAC(confidence).fit(*fit).predict_set(new)
    assert np.array_equal(ours, mapie_sets("lac", confidence, fit, new))
    assert 1 < ours.sum(axis=1).mean() < 4


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_randomised_aps_has_the_same_sets_with_the_same_random_numbers(confidence: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, (new, _) = classes(3, 300), classes(4, 500)
    monkeypatch.setattr(conformal, "row_uniform", lambda rows, seed: np.random.RandomState(7).uniform(size=len(rows)))
    ours = APS(confidence).fit(*fit).predict_set(new)
    assert np.array_equal(ours, mapie_sets("aps", confidence, fit, new, include_last_label="randomized"))


def test_aps_score_is_the_mass_up_to_the_class() -> None:
    from mapie.conformity_scores import APSConformityScore

    p, labels = classes(5, 200)
    theirs, _ = APSConformityScore.get_true_label_cumsum_proba(labels, p, np.arange(4))
    ours = APS(randomised=False).class_scores(p)[np.arange(200), labels]
    assert np.allclose(ours, theirs[:, 0], atol=1e-15)


def test_mapie_by_default_takes_the_last_class_in_and_covers_too_much() -> None:
    """It draws the score at random in `conformalize` and not in `predict_set`; with the same draw in both, coverage is as asked."""
    fit, (new, labels) = classes(6, 4000), classes(7, 20_000)
    theirs = mapie_sets("aps", 0.8, fit, new)[np.arange(20_000), labels].mean()
    ours = APS(0.8).fit(*fit).predict_set(new)[np.arange(20_000), labels].mean()
    assert theirs > 0.85
    assert ours == pytest.approx(0.8, abs=4 * (0.16 / 4000) ** 0.5)


def numbers(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centre, scale = random.normal(size=n), random.uniform(0.3, 2, n)
    truth = centre + scale * random.standard_t(4, n)
    return np.column_stack([centre, centre - scale, centre + 1.2 * scale]), truth


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_split_regression_has_the_same_ends(confidence: float) -> None:
    (x, y), (new, _) = numbers(8, 157), numbers(9, 50)
    peer = SplitConformalRegressor(Number().fit(x, y), confidence_level=confidence, prefit=True).conformalize(x, y)
    theirs = peer.predict_interval(new)[1][..., 0]
    ours = SplitConformalRegression(confidence).fit(x[:, 0], y).predict_interval(new[:, 0])
    assert np.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_quantile_regression_has_the_same_ends(confidence: float, symmetric: bool) -> None:
    (x, y), (new, _) = numbers(10, 213), numbers(11, 50)
    fitted = [Number(column).fit(x, y) for column in (1, 2, 0)]
    peer = ConformalizedQuantileRegressor(fitted, confidence_level=confidence, prefit=True).conformalize(x, y)
    theirs = peer.predict_interval(new, symmetric_correction=symmetric)[1][..., 0]
    ours = ConformalisedQuantileRegression(confidence, symmetric=symmetric).fit(x[:, 1], x[:, 2], y)
    assert np.allclose(ours.predict_interval(new[:, 1], new[:, 2]), theirs, atol=1e-12)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.3])
def test_list_of_findings_on_the_grid_of_mapie(target: float) -> None:
    """MAPIE tries hundredths and asks for strictly less: its threshold is the last hundredth at or below ours."""
    random = np.random.default_rng(12)
    p = random.beta(1, 2, (300, 5))
    labels = (random.random(p.shape) < p).astype(float)
    labels[np.arange(300), p.argmax(axis=1)] = 1.0  # every film has a finding, so that normal films are no question
    peer = MultiLabelClassificationController(lambda x: x, risk="recall", method="crc", target_level=1 - target)
    theirs = float(peer.calibrate(p, labels.astype(int)).best_predict_param[0])
    ours = MultiLabelRiskControl(target).fit(p, labels)
    assert theirs <= ours.threshold < theirs + 0.01
    assert ours.n_units == 300
