"""Thresholds by brute force, the band by counting, and what is answered when nothing can be chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import confusion
from vesalius.uncertainty import DecisionPolicy, risk_coverage
from vesalius.uncertainty.selective import choose_threshold


def sample(seed: int = 0, n: int = 200, findings: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = np.round(random.beta(1.2, 2, (n, findings)), 3).clip(0.001, 0.999)
    labels = (random.random((n, findings)) < p).astype(float)
    labels[random.random((n, findings)) < 0.1] = np.nan
    return p, labels


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_against_every_cut(seed: int) -> None:
    p, labels = sample(seed, findings=1)
    known = ~np.isnan(labels[:, 0])
    q, y = p[known, 0], labels[known, 0]
    tables = {cut: confusion(y, q >= cut) for cut in np.unique(q)}
    chosen = {
        rule: confusion(y, q >= choose_threshold(y, q, rule, target_sensitivity=0.8)) for rule in ("f1", "youden", "sensitivity")
    }
    assert chosen["f1"].f1 == pytest.approx(max(table.f1 for table in tables.values()))
    best = max(table.sensitivity + table.specificity for table in tables.values())
    assert chosen["youden"].sensitivity + chosen["youden"].specificity == pytest.approx(best)
    reached = [table for table in tables.values() if table.sensitivity >= 0.8]
    assert chosen["sensitivity"].sensitivity >= 0.8
    assert chosen["sensitivity"].specificity == pytest.approx(max(table.specificity for table in reached))


@pytest.mark.parametrize("coverage", [0.5, 0.77, 0.9, 1.0])
def test_the_band_keeps_the_coverage(coverage: float) -> None:
    p, labels = sample()
    policy = DecisionPolicy(coverage=coverage).fit(p, labels)
    decided = policy.decide(p)
    for k in range(2):
        known = ~np.isnan(labels[:, k])
        kept = (decided[known, k] >= 0).mean()
        assert coverage <= kept + 1e-12
        assert kept < coverage + 0.05  # whole tie blocks of probabilities with three decimals
        assert policy.low[k] <= policy.thresholds[k] <= policy.high[k]
    assert (decided[p >= policy.high] == 1).all()
    assert (decided[p <= policy.low] <= (1 if coverage == 1 else 0)).all()
    assert set(np.unique(decided)) <= {-1, 0, 1}


def test_the_surest_are_kept() -> None:
    """Who is not answered is nearer to the threshold, in logits, than who is."""
    p, labels = sample(3)
    policy = DecisionPolicy(coverage=0.7).fit(p, labels)
    decided = policy.decide(p)
    distance = np.abs(np.log(p / (1 - p)) - np.log(policy.thresholds / (1 - policy.thresholds)))
    for k in range(2):
        assert distance[decided[:, k] == -1, k].max() < distance[decided[:, k] >= 0, k].min()


def test_target_risk() -> None:
    p, labels = sample(4, n=600)
    policy = DecisionPolicy(target_risk=0.15).fit(p, labels)
    for k in range(2):
        known = ~np.isnan(labels[:, k])
        q, y, t = p[known, k], labels[known, k], policy.thresholds[k]
        decided = policy.decide(p)[known, k]
        answered = decided >= 0
        assert (decided[answered] != y[answered]).mean() <= 0.15
        doubt = -np.abs(np.log(q / (1 - q)) - np.log(t / (1 - t)))
        widest = risk_coverage(doubt, ((q >= t) != y).astype(float)).coverage_at_risk(0.15)
        assert answered.mean() == pytest.approx(widest)


def test_unreachable_risk_is_never_answered() -> None:
    p, labels = np.array([[0.2], [0.8], [0.2], [0.8]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    policy = DecisionPolicy("youden", target_risk=0.1).fit(p, labels)
    assert (policy.decide(np.array([[1e-9], [0.5], [1 - 1e-9]])) == -1).all()
    assert "never answered" in policy.notes[0]


@pytest.mark.parametrize("label", [0.0, 1.0, np.nan])
def test_one_class_is_never_answered(label: float) -> None:
    policy = DecisionPolicy().fit(np.array([[0.1], [0.9]]), np.full((2, 1), label))
    assert (policy.decide(np.array([[0.001], [0.999]])) == -1).all()
    assert "no threshold can be chosen" in policy.notes[0]
    assert policy.rules == ["none"]


def test_few_present_use_youden() -> None:
    p, labels = sample(5, n=30)
    policy = DecisionPolicy(minimum_positive=100).fit(p, labels)
    assert policy.rules == ["youden", "youden"]
    assert "unsteady" in policy.notes[0]


def test_greatest_f1_must_not_call_everything() -> None:
    """A weak score of a common finding has its greatest F1 where all are called present (Lipton 2014): 70 / 95 against 36 / 55."""
    labels = np.array([0] * 2 + [1] * 18 + [0] * 23 + [1] * 17, dtype=float)[:, None]
    p = np.linspace(0.7, 0.3, 60)[:, None]
    policy = DecisionPolicy(coverage=1.0).fit(p, labels)
    assert policy.rules == ["youden"]
    assert "every case present" in policy.notes[0]
    assert (policy.decide(p) == 0).any()


def test_no_probability_no_answer() -> None:
    p, labels = sample()
    assert (DecisionPolicy(coverage=1.0).fit(p, labels).decide(np.full((1, 2), np.nan)) == -1).all()


def test_json_is_exact() -> None:
    p, labels = sample()
    policy = DecisionPolicy("sensitivity", coverage=0.8, target_sensitivity=0.7).fit(p, labels)
    again = DecisionPolicy.from_json(json.loads(json.dumps(policy.to_json())))
    assert again.to_json() == policy.to_json()
    assert np.array_equal(again.decide(p), policy.decide(p))
    assert np.array_equal(again.high, policy.high)


def test_wrong_use() -> None:
    p, labels = sample()
    with pytest.raises(NotFitted, match=r"call fit\(probabilities, labels\)"):
        DecisionPolicy().decide(p)
    with pytest.raises(ShapeMismatch, match=r"fitted on \(case, 2\)"):
        DecisionPolicy().fit(p, labels).decide(p[:, :1])
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        DecisionPolicy().fit(p * 4, labels)
    with pytest.raises(EmptyInput):
        DecisionPolicy().fit(p[:0], labels[:0])
    for wrong in ({"rule": "best"}, {"coverage": 0}, {"coverage": 1.2}, {"target_risk": 1}, {"target_sensitivity": 0}):
        with pytest.raises(ValueOutOfRange):
            DecisionPolicy(**wrong)


def test_a_promise_is_tested_by_others_than_chose_it() -> None:
    p, labels = sample(6, n=3000)
    patients = np.random.default_rng(0).integers(0, 1500, 3000)
    policy = DecisionPolicy(target_risk=0.2, guarantee=0.9).fit(p, labels, patients)
    from vesalius.uncertainty.selective import CHOOSING_SHARE
    from vesalius.uncertainty.units import number_units, part_of_units

    unit, n_units = number_units(patients, 3000)
    testing = ~part_of_units(unit, n_units, p, share=CHOOSING_SHARE, seed=0)
    for k, promise in enumerate(policy.promises):
        rows = testing & ~np.isnan(labels[:, k])
        calls, owners, truth = policy.decide(p)[rows, k], patients[rows], labels[rows, k]
        answered = set(owners[calls >= 0].tolist())
        wrong = set(owners[(calls >= 0) & (calls != truth)].tolist())
        assert (promise["answered"], promise["wrong"]) == (len(answered), len(wrong))
        assert promise["tested"] == len(set(owners.tolist()))
        assert len(wrong) / len(answered) < promise["upper"] <= 0.2
        assert f"{len(wrong)} of {len(answered)} wrong" in policy.notes[k]


@pytest.mark.parametrize("patients", [None, np.repeat(np.arange(400), 2).astype(str)])
def test_a_promise_does_not_depend_on_the_order_of_the_rows(patients: np.ndarray | None) -> None:
    p, labels = sample(7, n=800)
    order = np.random.default_rng(1).permutation(800)
    first = DecisionPolicy(target_risk=0.25, guarantee=0.8).fit(p, labels, patients)
    owners = None if patients is None else patients[order]
    other = DecisionPolicy(target_risk=0.25, guarantee=0.8).fit(p[order], labels[order], owners)
    assert other.to_json() == first.to_json()


def test_a_promised_sensitivity() -> None:
    from vesalius.uncertainty import rate_controlled_threshold

    p, labels = sample(8, n=800)
    policy = DecisionPolicy("sensitivity", target_sensitivity=0.85, guarantee=0.95).fit(p, labels)
    for k in range(2):
        expected = rate_controlled_threshold(labels[:, k], p[:, k], sensitivity=0.85, confidence=0.95)
        assert policy.thresholds[k] == expected
        assert policy.promises[k] == {"sensitivity": 0.85, "sensitivity_confidence": 0.95}
    plain = DecisionPolicy("sensitivity", target_sensitivity=0.85).fit(p, labels)
    assert (policy.thresholds < plain.thresholds).all()
    both = DecisionPolicy("sensitivity", target_sensitivity=0.85, guarantee=0.8, target_risk=0.3).fit(p, labels)
    assert {"sensitivity", "target_risk", "upper"} <= set(both.promises[0])


def test_too_few_for_a_promise_are_never_answered() -> None:
    p, labels = sample(9, n=60)
    for policy in (DecisionPolicy(target_risk=0.01, guarantee=0.9), DecisionPolicy("sensitivity", guarantee=0.999)):
        policy.fit(p, labels)
        assert (policy.decide(p) == -1).all()
        assert policy.promises == [None, None]
        assert all("never answered" in note for note in policy.notes)


def test_json_of_a_promise_and_of_rules_written_before_there_were_any() -> None:
    p, labels = sample(6, n=1500)
    policy = DecisionPolicy(target_risk=0.25, guarantee=0.8).fit(p, labels)
    state = json.loads(json.dumps(policy.to_json()))
    assert DecisionPolicy.from_json(state).to_json() == policy.to_json()
    assert DecisionPolicy.from_json(state).promises == policy.promises
    plain = DecisionPolicy().fit(p, labels).to_json()
    assert set(plain) == {"rule", "coverage", "target_sensitivity", "target_risk", "minimum_positive", "findings"}
    assert set(plain["findings"][0]) == {"threshold", "low", "high", "rule", "note"}
    assert DecisionPolicy.from_json(plain).promises == [None, None]


def test_a_guarantee_of_nothing() -> None:
    for wrong in (
        {"guarantee": 0.9},
        {"guarantee": 1.0, "target_risk": 0.1},
        {"guarantee": 0.9, "target_risk": 0.0},
        {"guarantee": 0.9, "rule": "sensitivity", "target_sensitivity": 1.0},
    ):
        with pytest.raises(ValueOutOfRange):
            DecisionPolicy(**wrong)
