"""Bounds and controlled thresholds against MAPIE 1.6, statsmodels and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mapie.risk_control import BinaryClassificationController
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.stats import binom
from sklearn.metrics import hamming_loss, zero_one_loss
from statsmodels.stats.proportion import proportion_confint

from vesalius.uncertainty import (
    RiskControl,
    clopper_pearson_upper,
    rate_controlled_threshold,
    risk_coverage,
    sgr_threshold,
    study_residuals,
    study_risk_coverage,
)
from vesalius.uncertainty.risk_bounds import risk_p_value, risk_upper


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.99])
def test_clopper_pearson(confidence: float) -> None:
    k, n = np.array([0, 1, 3, 17, 49, 50]), np.array([12, 20, 400, 90, 50, 50])
    expected = [proportion_confint(a, b, alpha=2 * (1 - confidence), method="beta")[1] for a, b in zip(k, n, strict=True)]
    assert np.allclose(clopper_pearson_upper(k, n, confidence), expected, atol=1e-12)
    assert clopper_pearson_upper(3, 400, confidence) == pytest.approx(expected[2])


def test_p_values() -> None:
    n, risks = 137, np.array([0.0, 0.02, 0.05, 0.09, 0.1, 0.2, 1.0])
    exact = binom.cdf(np.round(n * risks), n, 0.1)
    assert np.allclose(risk_p_value(np.round(n * risks), n, 0.1), exact, atol=1e-13)
    theirs = compute_hoeffding_bentkus_p_value(risks[:-1], n, 0.1)[:, 0]
    assert np.allclose(risk_p_value(n * risks, n, 0.1, "hoeffding-bentkus")[:-1], np.minimum(theirs, 1), atol=1e-12)
    assert risk_p_value(0, 0, 0.1) == risk_p_value(0, 0, 0.1, "hoeffding-bentkus") == 1
    for bound in ("clopper-pearson", "hoeffding-bentkus"):
        upper = risk_upper(9, n, 0.9, bound)
        assert risk_p_value(9, n, upper + 1e-9, bound) <= 0.1 < risk_p_value(9, n, upper - 1e-9, bound)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2])
def test_fixed_sequence_over_given_thresholds(target: float) -> None:
    random = np.random.default_rng(1)
    doubt = random.random(900) / 2
    wrong = (random.random(900) < doubt / 2).astype(float)
    cuts = np.linspace(0.1, 0.5, 60)
    passed = -math.inf
    for cut in cuts:
        kept = doubt <= cut
        if binom.cdf(wrong[kept].sum(), kept.sum(), target) > 0.15:
            break
        passed = cut
    control = RiskControl(target, 0.85, candidates=cuts.tolist()).fit(doubt, wrong)
    assert control.threshold == passed
    assert control.coverage == pytest.approx((doubt <= passed).mean())
    if passed > 0:
        assert control.risk == pytest.approx(risk_coverage(doubt, wrong).risk[np.searchsorted(np.sort(doubt), passed, "right") - 1])


@pytest.mark.parametrize(("rate", "name"), [("sensitivity", "recall"), ("specificity", "fpr")])
def test_controlled_rate_on_the_grid_of_mapie(rate: str, name: str) -> None:
    """MAPIE tests hundredths one after another. It rounds n times the risk up, and 30.000000000000004 missed become 31.

    So it may stop a step early, and stops early only there: every hundredth between its threshold and ours passes the exact test.
    """
    random = np.random.default_rng(2)
    p = random.beta(1, 1.5, 700)
    labels = (random.random(700) < p).astype(int)
    grid = np.round(np.arange(0, 1, 0.01), 2)
    peer = BinaryClassificationController(
        lambda x: np.column_stack([1 - x, x]),
        risk=name,
        target_level=0.85 if rate == "sensitivity" else 0.15,
        confidence_level=0.9,
        list_predict_params=grid if rate == "sensitivity" else grid[::-1],
        fwer_method="fixed_sequence",
    ).calibrate(p, labels)
    theirs = np.atleast_1d(peer.valid_predict_params)
    ours = rate_controlled_threshold(labels, p, confidence=0.9, **{rate: 0.85})
    kind, missed = (labels == 1, np.less) if rate == "sensitivity" else (labels == 0, np.greater_equal)
    between = [t for t in grid if min(ours, theirs.max()) < t <= ours] if rate == "sensitivity" else []
    between += [t for t in grid if ours <= t < theirs.min()] if rate == "specificity" else []
    assert len(between) <= 1
    for t in between:
        seen = missed(p[kind], t).sum()
        assert binom.cdf(seen, kind.sum(), 0.15) <= 0.1
        share = missed(p[kind], t).mean() if rate == "specificity" else 1 - (p[kind] >= t).mean()
        assert np.ceil(kind.sum() * share) == seen + 1
    failing = grid[np.searchsorted(grid, ours, side="right")] if rate == "sensitivity" else grid[np.searchsorted(grid, ours) - 1]
    assert binom.cdf(missed(p[kind], failing).sum(), kind.sum(), 0.15) > 0.1


@pytest.mark.parametrize("n", [40, 333])
def test_controlled_rate_by_every_threshold(n: int) -> None:
    random = np.random.default_rng(n)
    labels = (random.random(n) < 0.5).astype(float)
    scores = np.round(random.normal(size=n) + labels, 1)
    present = scores[labels == 1]
    good = [t for t in np.unique(present) if binom.cdf((present < t).sum(), len(present), 0.2) <= 0.1]
    assert rate_controlled_threshold(labels, scores, sensitivity=0.8, confidence=0.9) == max(good)
    absent = scores[labels == 0]
    calm = [t for t in np.unique(absent) if binom.cdf((absent > t).sum(), len(absent), 0.2) <= 0.1]
    assert rate_controlled_threshold(labels, scores, specificity=0.8, confidence=0.9) == np.nextafter(min(calm), np.inf)


@pytest.mark.parametrize("seed", range(3))
def test_sgr_as_published(seed: int) -> None:
    """Algorithm 2 with confidences as in the paper, the root of the binomial tail by halving, and the best step that passes."""
    random = np.random.default_rng(seed)
    doubt = random.permutation(600) / 1200
    wrong = (random.random(600) < doubt / 2).astype(int)
    falling = np.argsort(-doubt)
    confidence, residual = -doubt[falling], wrong[falling]
    steps, least, most, passed = math.ceil(math.log2(600)), 0, 599, []
    for _ in range(steps):
        z = (least + most) // 2
        kept = residual[z:]
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if binom.cdf(kept.sum(), len(kept), middle) > 0.1 / steps else (low, middle)
        if high <= 0.1:
            most = z
            passed.append(-confidence[z])
        else:
            least = z + 1
    ours = sgr_threshold(doubt, wrong, target_risk=0.1, confidence=0.9)
    assert abs((doubt <= ours).sum() - (doubt <= max(passed)).sum()) <= 600 / 2**7


def test_study_losses_are_hamming_and_zero_one_loss() -> None:
    random = np.random.default_rng(4)
    labels, calls = random.integers(0, 2, (80, 5)), random.integers(0, 2, (80, 5))
    wrong = (labels != calls).astype(float)
    assert study_residuals(wrong).mean() == pytest.approx(hamming_loss(labels, calls))
    assert study_residuals(wrong, loss="worst").mean() == pytest.approx(zero_one_loss(labels, calls))


@pytest.mark.parametrize("loss", ["hamming", "worst"])
def test_study_curve_by_every_cut(loss: str) -> None:
    """Studies of one to three films, a finding critical or not, labels unknown here and there: looped over as one would say it."""
    random = np.random.default_rng(5)
    doubt, wrong = random.integers(0, 6, (60, 4)) / 5, random.integers(0, 2, (60, 4)).astype(float)
    wrong[random.random(wrong.shape) < 0.2] = np.nan
    studies = random.integers(0, 25, 60).astype(str)
    wrong[studies == studies[0]] = np.nan
    curve = study_risk_coverage(doubt, wrong, studies, loss=loss, critical=[1, 3])
    losses = {}
    for study in set(studies):
        known = [value for row in wrong[studies == study] for value in row if not math.isnan(value)]
        if known:
            losses[study] = sum(known) / len(known) if loss == "hamming" else max(known)
    assert studies[0] not in losses
    for coverage, risk, cut in zip(curve.coverage, curve.risk, curve.uncertainty, strict=True):
        kept = [study for study in losses if not any((doubt[studies == study][:, k] > cut).any() for k in (1, 3))]
        assert coverage == pytest.approx(len(kept) / len(losses))
        assert risk == pytest.approx(sum(losses[study] for study in kept) / len(kept))
