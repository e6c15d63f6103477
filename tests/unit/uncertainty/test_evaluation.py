"""One call, every figure: each is the metric's own, and its interval the plain bootstrap's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import logit as logit_of

from vesalius import metrics as m
from vesalius import uncertainty as u
from vesalius.errors import ShapeMismatch, ValueOutOfRange

OPTIONS = u.EvaluationOptions(resamples=60, seed=2)


@pytest.fixture(scope="module")
def case() -> dict:
    random = np.random.default_rng(0)
    z = random.normal(-0.5, 2, (160, 3))
    labels = (random.random((160, 3)) < 1 / (1 + np.exp(-z / 2))).astype(float)
    labels[random.random((160, 3)) < 0.1] = np.nan
    patients = random.integers(0, 70, 160).astype(str)
    p = u.SelectedCalibrator().fit(z, labels, patients).calibrate(z)
    policy = u.DecisionPolicy(coverage=0.8).fit(p, labels)
    report = u.evaluate(p, labels, patients, z, findings=["A", "B", "C"], policy=policy, options=OPTIONS)
    return {"z": z, "labels": labels, "patients": patients, "p": p, "policy": policy, "report": report}


def test_values_are_the_metrics_own(case: dict) -> None:
    y, p, z, t = case["labels"][:, 1], case["p"][:, 1], case["z"][:, 1], case["policy"].thresholds[1]
    row = case["report"].findings["B"]
    table = m.confusion(y, p >= t)
    logit = logit_of(p)
    residuals = np.where(np.isnan(y), np.nan, (p >= t) != y)
    doubt = -np.abs(logit - logit_of(t))  # the threshold is the middle of two cases: another formula would part them otherwise
    decided = case["policy"].decide(case["p"])[:, 1]
    known = ~np.isnan(y)
    answered = known & (decided >= 0)
    expected = {
        "auroc": m.auroc(y, p),
        "auprc": m.auprc(y, p),
        "brier": m.brier(y, p),
        "nll": m.nll(y, logit),
        "ece": m.ece(y, p),
        "aurc": u.aurc(doubt, residuals),
        "augrc": u.augrc(doubt, residuals),
        "brier_uncalibrated": m.brier(y, 1 / (1 + np.exp(-z))),
        "nll_uncalibrated": m.nll(y, z),
        "ece_uncalibrated": m.ece(y, 1 / (1 + np.exp(-z))),
        "brier_change": m.brier(y, p) - m.brier(y, 1 / (1 + np.exp(-z))),
        "nll_change": m.nll(y, logit) - m.nll(y, z),
        "sensitivity": table.sensitivity,
        "specificity": table.specificity,
        "ppv": table.ppv,
        "npv": table.npv,
        "f1": table.f1,
        "mcc": table.mcc,
        "coverage": answered.sum() / known.sum(),
        "selective_error": (decided[answered] != y[answered]).mean(),
        "overprediction": p[known].mean() - y[known].mean(),
    }
    intervals = {name: value.value for name, value in row.items() if isinstance(value, m.Interval)}
    assert intervals == pytest.approx(expected, abs=1e-10)
    assert (row["n"], row["n_positive"]) == (known.sum(), (y == 1).sum())
    assert row["prevalence"] == pytest.approx(y[known].mean())
    assert row["threshold"] == t


def test_intervals_are_the_plain_bootstrap(case: dict) -> None:
    y, p, patients = case["labels"], case["p"], case["patients"]
    for name, metric in (("auroc", m.auroc), ("auprc", m.auprc), ("brier", m.brier)):
        plain = m.bootstrap(lambda w, f=metric: f(y[:, 0], p[:, 0], w), patients, resamples=60, seed=2)
        quick = case["report"].findings["A"][name]
        assert (quick.low, quick.high) == pytest.approx((plain.low, plain.high), abs=1e-10)
    logit = np.log(p / (1 - p))
    change = m.bootstrap_difference(
        lambda w: m.nll(y[:, 0], case["z"][:, 0], w), lambda w: m.nll(y[:, 0], logit[:, 0], w), patients, resamples=60, seed=2
    )
    found = case["report"].findings["A"]["nll_change"]
    assert (found.low, found.high, found.p_value) == pytest.approx((change.low, change.high, change.p_value), abs=1e-10)


def test_risk_draws_follow_the_weights(case: dict) -> None:
    y, p, t = case["labels"][:, 2], case["p"][:, 2], case["policy"].thresholds[2]
    doubt = -np.abs(logit_of(p) - logit_of(t))
    residuals = np.where(np.isnan(y), np.nan, (p >= t) != y)
    for name, metric in (("aurc", u.aurc), ("augrc", u.augrc)):
        plain = m.bootstrap(lambda w, f=metric: f(doubt, residuals, w), case["patients"], resamples=60, seed=2)
        quick = case["report"].findings["C"][name]
        assert (quick.low, quick.high) == pytest.approx((plain.low, plain.high), abs=1e-10)


def test_macro(case: dict) -> None:
    report = case["report"]
    for name in ("auroc", "brier", "ece", "nll_change", "sensitivity"):
        mean = np.mean([report.findings[key][name].value for key in "ABC"])
        assert report.macro[name].value == pytest.approx(mean)
    assert report.macro["n_findings"] == 3
    assert report.macro["n_patients"] == len(set(case["patients"]))
    y, p = case["labels"], case["p"]
    plain = m.bootstrap(
        lambda w: float(np.mean([m.auroc(y[:, k], p[:, k], w) for k in range(3)])), case["patients"], resamples=60, seed=2
    )
    assert (report.macro["auroc"].low, report.macro["auroc"].high) == pytest.approx((plain.low, plain.high), abs=1e-10)


def test_ece_stands_beside_its_null_and_inside_its_interval(case: dict) -> None:
    for row in (*case["report"].findings.values(), case["report"].macro):
        assert 0 < row["ece_null"]["median"] < row["ece_null"]["p95"] < 1
        assert row["ece"].low <= row["ece"].value <= row["ece"].high
    spread = [row["ece_null"]["p95"] - row["ece_null"]["median"] for row in case["report"].findings.values()]
    macro = case["report"].macro["ece_null"]
    assert macro["p95"] - macro["median"] < max(spread)


def test_json_has_the_contract_keys_and_no_nan(case: dict) -> None:
    plain = case["report"].to_json()
    text = json.dumps(plain, allow_nan=False)
    assert set(json.loads(text)["findings"]["A"]["auroc"]) == {"value", "low", "high"}
    for name in ("n", "n_positive", "auroc", "auprc", "ece", "ece_uncalibrated", "brier", "aurc", "augrc"):
        assert name in plain["findings"]["A"]
    assert set(plain) == {"findings", "macro"}


def test_a_finding_of_one_class_is_null_and_the_rest_stands() -> None:
    p = np.random.default_rng(1).random((40, 3))
    labels = np.zeros((40, 3))
    labels[:20, 0] = 1
    labels[:, 2] = np.nan
    plain = u.evaluate(p, labels, options=OPTIONS).to_json()
    json.dumps(plain, allow_nan=False)
    one_class, unknown = plain["findings"]["finding 1"], plain["findings"]["finding 2"]
    assert one_class["auroc"]["value"] is None
    assert "one class" in one_class["auroc"]["reason"]
    assert one_class["brier"]["low"] is not None
    assert unknown["n"] == 0
    assert unknown["ece_null"] == {"median": None, "p95": None}
    assert plain["macro"]["auroc"]["value"] == plain["findings"]["finding 0"]["auroc"]["value"]


def test_certain_probabilities_of_another_model_are_taken() -> None:
    plain = u.evaluate(np.array([[0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [0.0]]), options=OPTIONS)
    assert np.isfinite(plain.findings["finding 0"]["nll"].value)


def test_wrong_input() -> None:
    p, labels = np.full((4, 2), 0.5), np.zeros((4, 2))
    with pytest.raises(ShapeMismatch, match="1 names for 2 findings"):
        u.evaluate(p, labels, findings=["A"])
    with pytest.raises(ShapeMismatch, match="all different"):
        u.evaluate(p, labels, findings=["A", "A"])
    with pytest.raises(ShapeMismatch):
        u.evaluate(p, labels[:3])
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        u.evaluate(p * 4, labels)
