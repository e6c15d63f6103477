"""Beta, isotonic, Venn-ABERS, vector and multi-class calibrators against scikit-learn, MAPIE, netcal and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.calibration import _TemperatureScaling
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from vesalius.metrics import ece
from vesalius.uncertainty import Beta, Isotonic, MulticlassTemperature, MulticlassVector, Platt, Vector, VennAbers


def bent(seed: int = 0, n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose two ends are wrong by different factors: no line mends them."""
    random = np.random.default_rng(seed)
    z = random.normal(-0.5, 2, (n, 2))
    true = np.where(z > 0, 0.4 * z, 1.5 * z)
    return z, (random.random((n, 2)) < expit(true)).astype(float)


def test_vector_is_logistic_regression() -> None:
    z, labels = bent()
    ours = Vector().fit(z, labels)
    for k in range(2):
        theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000).fit(z[:, [k]], labels[:, k])
        assert ours.slopes[k] == pytest.approx(theirs.coef_[0, 0], rel=1e-5)
        assert ours.intercepts[k] == pytest.approx(theirs.intercept_[0], abs=1e-5)
    gap = np.abs(ours.calibrate(z) - Platt().fit(z, labels).calibrate(z)).max()
    assert 0 < gap < 0.01, "Platt's targets differ, and by little where cases are many"


def test_beta_is_logistic_regression_on_both_ends() -> None:
    z, labels = bent(1)
    p = expit(z)
    ours = Beta().fit(z, labels)
    for k in range(2):
        ends = np.column_stack([np.log(p[:, k]), -np.log1p(-p[:, k])])
        theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(ends, labels[:, k])
        assert (theirs.coef_ > 0).all(), "the plain case"
        np.testing.assert_allclose(ours.calibrate(z)[:, k], theirs.predict_proba(ends)[:, 1], atol=1e-6)


def test_beta_drops_the_end_that_would_turn_round() -> None:
    random = np.random.default_rng(3)
    z = random.normal(0, 2, (800, 1))
    true = np.where(z > 0, 1.5 * z, 0.9 * z**2 / 4 - 0.8)  # below 0 the truth falls with the logit
    labels = (random.random((800, 1)) < expit(true)).astype(float)
    ends = np.column_stack([np.log(expit(z[:, 0])), -np.log(expit(-z[:, 0]))])
    assert (LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(ends, labels[:, 0]).coef_ < 0).any()
    ours = Beta().fit(z, labels)
    kept = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(ends[:, [1]], labels[:, 0])
    np.testing.assert_allclose(ours.calibrate(z)[:, 0], kept.predict_proba(ends[:, [1]])[:, 1], atol=1e-6)
    assert "negative" in (ours.notes[0] or "")


@pytest.mark.parametrize("falling", [False, True])
def test_beta_is_netcal_s(falling: bool) -> None:
    """Also where netcal finds a negative coefficient, and masks it."""
    from netcal.scaling import BetaCalibration

    random = np.random.default_rng(3)
    z = random.normal(0, 2, 1500)
    low_end = 0.9 * z**2 / 4 - 0.8 if falling else 0.4 * z
    labels = (random.random(1500) < expit(np.where(z > 0, 1.5 * z, low_end))).astype(int)
    theirs = BetaCalibration()
    theirs.fit(expit(z), labels)
    ours = Beta().fit(z[:, None], labels[:, None].astype(float))
    assert ("negative" in (ours.notes[0] or "")) == falling
    new = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(ours.calibrate(new[:, None])[:, 0], np.ravel(theirs.transform(expit(new))), atol=2e-4)


@pytest.mark.parametrize("decimals", [1, 8])
def test_plain_isotonic_is_scikit_learn_s(decimals: int) -> None:
    z, labels = bent(2, 1200)
    z = np.round(z, decimals)
    ours = Isotonic(centred=False).fit(z, labels)
    new = np.linspace(-9, 9, 333)
    for k in range(2):
        theirs = IsotonicRegression(out_of_bounds="clip").fit(z[:, k], labels[:, k]).predict(new)
        edge = 1 / (len(z) + 2)
        np.testing.assert_allclose(ours.calibrate(np.tile(new[:, None], 2))[:, k], np.clip(theirs, edge, 1 - edge), atol=1e-9)


def refit(scores: np.ndarray, labels: np.ndarray, score: float, label: int) -> float:
    """The isotonic fit at a new score once it is added with a label."""
    distinct, block = np.unique(np.append(scores, score), return_inverse=True)
    counts = np.bincount(block).astype(float)
    fit = isotonic_regression(np.bincount(block, np.append(labels, label)) / counts, weights=counts).x
    return float(fit[np.searchsorted(distinct, score)])


@pytest.mark.parametrize("seed", range(25))
def test_venn_abers_is_two_refits(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(4, 40))
    z = np.round(random.normal(size=n), int(random.integers(0, 3)))
    labels = (random.random(n) < expit(2 * z)).astype(float)
    labels[:2] = [0, 1]
    new = np.round(random.normal(size=12), 3)
    low, high = VennAbers().fit(z[:, None], labels[:, None]).interval(new[:, None])
    np.testing.assert_allclose(low[:, 0], [refit(z, labels, score, 0) for score in new], atol=1e-12)
    np.testing.assert_allclose(high[:, 0], [refit(z, labels, score, 1) for score in new], atol=1e-12)


def test_venn_abers_merged_is_mapie_s() -> None:
    from mapie.calibration import VennAbersCalibrator
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """A classifier that is its own one feature."""

        def __init__(self) -> None:
            self.classes_, self.fitted_ = np.array([0, 1]), True

        def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.column_stack([1 - x[:, 0], x[:, 0]])

        def predict(self, x: np.ndarray) -> np.ndarray:
            return (x[:, 0] >= 0.5).astype(int)

    z, labels = bent(5, 400)
    new = np.random.default_rng(6).normal(-0.5, 2, 50)
    theirs = (
        VennAbersCalibrator(Given(), cv="prefit").fit(expit(z[:, [0]]), labels[:, 0].astype(int)).predict_proba(expit(new[:, None]))
    )
    ours = VennAbers().fit(z[:, [0]], labels[:, [0]]).calibrate(new[:, None])[:, 0]
    np.testing.assert_allclose(ours, theirs[:, 1], atol=1e-6)


def classes(seed: int = 0, n: int = 900) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true = random.normal(0, 1.5, (n, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(true, axis=1)])
    return 2.2 * true + [0.5, -0.5, 0, 0], labels


def test_multiclass_temperature_is_scikit_learn_s() -> None:
    z, labels = classes()
    theirs = _TemperatureScaling().fit(z, labels)
    assert MulticlassTemperature().fit(z, labels).temperature == pytest.approx(1 / float(theirs.beta_), rel=1e-5)
    unknown = np.where(np.arange(len(labels)) % 3 == 0, -1, labels)
    known = unknown >= 0
    masked, dropped = MulticlassTemperature().fit(z, unknown), MulticlassTemperature().fit(z[known], labels[known])
    assert masked.temperature == dropped.temperature


def test_netcal_calls_the_inverse_a_temperature() -> None:
    from netcal.scaling import TemperatureScaling

    random = np.random.default_rng(0)
    true = random.normal(0, 2, 4000)
    labels = (random.random(4000) < expit(true)).astype(int)
    theirs = TemperatureScaling()
    theirs.fit(expit(2 * true), labels)
    ours = MulticlassTemperature().fit(np.column_stack([np.zeros(4000), 2 * true]), labels)
    assert float(np.ravel(theirs.temperature)[0]) == pytest.approx(1 / ours.temperature, rel=0.02)
    assert ours.temperature == pytest.approx(2, rel=0.06)


def test_multiclass_vector_is_the_likelihood_s_maximum() -> None:
    z, labels = classes(1)
    ours = MulticlassVector().fit(z, labels)

    def loss(at: np.ndarray) -> float:
        return float(-log_softmax(z * at[:4] + np.append(at[4:], 0), axis=1)[np.arange(len(labels)), labels].mean())

    best = minimize(
        loss,
        np.append(np.full(4, 0.5), np.zeros(3)),
        method="Nelder-Mead",
        options={"maxiter": 20000, "xatol": 1e-9, "fatol": 1e-13},
    )
    found = float(-log_softmax(ours.calibrated_logits(z), axis=1)[np.arange(len(labels)), labels].mean())
    assert found == pytest.approx(best.fun, abs=1e-8)
    assert ours.offsets.sum() == pytest.approx(0, abs=1e-12)


def test_op_norm_is_no_calibration() -> None:
    """torchxrayvision maps Youden's threshold to 0.5 by two straight lines: a calibrated rare finding becomes a frequent one."""
    random = np.random.default_rng(0)
    p = expit(random.normal(-5, 1.5, 200_000))
    labels = (random.random(len(p)) < p).astype(float)
    order = np.argsort(-p)
    youden = np.cumsum(labels[order]) / labels.sum() - np.cumsum(1 - labels[order]) / (1 - labels).sum()
    threshold = p[order][youden.argmax()]
    normed = np.where(p < threshold, p / threshold / 2, 1 - (1 - p) / (1 - threshold) / 2)
    assert abs(p.mean() - labels.mean()) < 0.001, "calibrated as it was"
    assert normed.mean() > 8 * labels.mean(), "and not after"
    assert 0.01 < labels.mean() < 0.03
    assert ece(labels, p) < 0.002
    assert ece(labels, normed) > 0.2, "a hundred times as badly calibrated"
    called = normed > 0.5
    assert called.mean() > 0.15, "so many would be called positive,"
    assert labels[called].mean() < 0.1, "of whom so few have the finding"
    assert (np.argsort(p[:500]) == np.argsort(normed[:500])).all(), "and the AUROC does not show it"
    assert logit(threshold) < -2, "the threshold of a rare finding is far below 0.5, as it should be"
