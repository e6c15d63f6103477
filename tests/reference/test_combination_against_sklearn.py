"""Combined uncertainties and failure detection against scipy, scikit-learn and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

import vesalius.metrics as vm
import vesalius.uncertainty as vu
from vesalius.metrics.intervals import PatientResamples
from vesalius.uncertainty.logistic_ridge import fit_ridge

RANDOM = np.random.default_rng(5)
N = 300
HIDDEN = RANDOM.normal(size=N)
MEASURES = {
    "distance": np.round(HIDDEN + RANDOM.normal(size=N), 1),
    "spread": np.exp(HIDDEN + RANDOM.normal(0, 2, N)),
    "sureness": -HIDDEN + RANDOM.normal(0, 3, N),
}
WRONG = (RANDOM.random(N) < 1 / (1 + np.exp(1.5 - 1.5 * HIDDEN))).astype(float)
NEW = {name: RANDOM.normal(values.mean(), 2 * values.std(), 50) for name, values in MEASURES.items()}


def test_standardise_is_the_mean_of_z_scores_of_the_reference() -> None:
    fitted = vu.Combination(directions={"sureness": "confidence"}).fit(MEASURES)
    turned = {"distance": 1, "spread": 1, "sureness": -1}
    of_reference = np.mean([turned[name] * stats.zscore(values) for name, values in MEASURES.items()], axis=0)
    assert fitted.score(MEASURES) == pytest.approx(of_reference, abs=1e-12)
    of_new = np.mean([turned[n] * (NEW[n] - MEASURES[n].mean()) / MEASURES[n].std() for n in MEASURES], axis=0)
    assert fitted.score(NEW) == pytest.approx(of_new, abs=1e-12)


def test_rank_is_the_mean_of_percentiles_of_the_reference() -> None:
    fitted = vu.Combination("rank").fit(MEASURES)
    expected = np.mean([stats.percentileofscore(MEASURES[n], NEW[n], kind="mean") / 100 for n in MEASURES], axis=0)
    assert fitted.score(NEW) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("penalty", [0.2, 1.0, 30.0])
def test_logistic_equals_sklearn(penalty: float) -> None:
    fitted = vu.Combination("logistic", penalty=penalty).fit(MEASURES, WRONG)
    scale = {name: (values.mean(), values.std()) for name, values in MEASURES.items()}
    design = np.column_stack([(MEASURES[n] - scale[n][0]) / scale[n][1] for n in MEASURES])
    new = np.column_stack([(NEW[n] - scale[n][0]) / scale[n][1] for n in MEASURES])
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000).fit(design, WRONG)
    assert list(fitted.weights.values()) == pytest.approx(theirs.coef_[0].tolist(), abs=1e-5)
    assert fitted.score(NEW) == pytest.approx(theirs.predict_proba(new)[:, 1], abs=1e-5)


def test_logistic_ridge_survives_perfect_separation_and_copies() -> None:
    x = np.linspace(-1, 1, 40)
    design = np.column_stack([x, x])
    slopes, intercept = fit_ridge(design, (x > 0).astype(float), 1.0)
    theirs = LogisticRegression(C=1.0, tol=1e-12, max_iter=5000).fit(design, x > 0)
    assert slopes == pytest.approx(theirs.coef_[0], abs=1e-5)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-5)


def test_failure_detection_equals_the_metrics_on_every_resample() -> None:
    patients = RANDOM.integers(0, 60, N)
    row = vu.failure_detection_table({"u": MEASURES["distance"]}, WRONG, patients, resamples=60, seed=4)[0]
    plan = PatientResamples.of(patients, N, resamples=60, seed=4)
    counts = np.concatenate(list(plan.chunks()))[:, plan.patient]
    u = MEASURES["distance"]
    draws = {
        "auroc": [roc_auc_score(WRONG, u, sample_weight=w) for w in counts],
        "augrc": [vu.augrc(u, WRONG, w) for w in counts],
        "aurc": [vu.aurc(u, WRONG, w) for w in counts],
    }
    for name, drawn in draws.items():
        interval, values = getattr(row, name), np.array(drawn)
        assert interval.value == pytest.approx(values[0], abs=1e-12)
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values[1:], [0.025, 0.975])), abs=1e-12)


def test_roc_curve_equals_sklearn() -> None:
    row = vu.failure_detection_table({"u": MEASURES["distance"]}, WRONG, resamples=10)[0]
    assert row.roc is not None
    false, true, thresholds = roc_curve(WRONG, MEASURES["distance"], drop_intermediate=False)
    assert row.roc.false_positive_rate == pytest.approx(false)
    assert row.roc.true_positive_rate == pytest.approx(true)
    assert row.roc.threshold == pytest.approx(thresholds)
    assert np.trapezoid(row.roc.true_positive_rate, row.roc.false_positive_rate) == pytest.approx(row.auroc.value)


def test_holm_counts_every_set() -> None:
    sets = {
        name: vu.FailureCases({k: v[part] for k, v in MEASURES.items()}, WRONG[part])
        for name, part in {"home": slice(0, 150), "away": slice(150, N)}.items()
    }
    rows = vu.failure_detection_over_sets(sets, baseline="distance", resamples=100)
    compared = [row for row in rows if row.changes]
    assert [(row.cases, row.measure) for row in compared] == [
        (cases, measure) for cases in ("home", "away") for measure in ("spread", "sureness")
    ]
    raw = [row.changes["auroc"].p_value for row in compared]
    assert [row.p_holm["auroc"] for row in compared] == pytest.approx(vm.holm(np.array(raw)).tolist())
