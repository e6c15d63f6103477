"""Sets by their definition, per class and per group, what is saved and what is refused; MAPIE is in tests/reference."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    APS,
    LAC,
    ClassConditional,
    ConformalisedQuantileRegression,
    FindingSets,
    GroupConditional,
    MultiLabelRiskControl,
    SplitConformalRegression,
)
from vesalius.uncertainty.conformal import conformal_quantile, row_uniform


def classes(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.dirichlet([2, 1, 0.5], n)
    return p, (random.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2)


def findings(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.beta(1, 2, (n, 3))
    labels = (random.random(p.shape) < p).astype(float)
    labels[random.random(p.shape) < 0.1] = np.nan
    return p, labels


def test_the_quantile_counts_the_new_case() -> None:
    scores = np.arange(1.0, 10.0)
    assert conformal_quantile(scores, 0.9) == 9.0  # 10 * 0.9 is the ninth, whatever 0.9 is in binary
    assert conformal_quantile(scores, 0.5) == 5.0
    assert conformal_quantile(scores, 0.91) == math.inf
    assert conformal_quantile(np.empty(0), 0.5) == math.inf


@pytest.mark.parametrize("randomised", [True, False])
def test_aps_score_class_by_class(randomised: bool) -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.25, 0.25, 0.5]])
    part = row_uniform(p, 3) if randomised else np.zeros(3)
    scores = APS(randomised=randomised, seed=3).class_scores(p)
    for row, u in enumerate(part):
        for k in range(3):
            before = sum(q for q in p[row] if q > p[row, k])
            tied = sum(q for q in p[row] if q == p[row, k])
            assert scores[row, k] == pytest.approx(before + (1 - u) * tied, abs=1e-15)


def test_a_case_has_one_random_number() -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet([1, 1, 1], 20_000)
    u = row_uniform(p)
    assert np.array_equal(u[5:6], row_uniform(p[5:6]))
    assert not np.array_equal(u, row_uniform(p, 1))
    assert abs(np.quantile(u, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.015
    assert abs(np.corrcoef([u, *p.T[:2]])[0, 1:]).max() < 0.03
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.03
    assert row_uniform(np.array([[0.0]])) == row_uniform(np.array([[-0.0]]))


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_per_class_and_per_group_are_fits_of_their_own(score: str) -> None:
    p, labels = classes()
    one = {"lac": LAC, "aps": APS}[score]
    by_class = ClassConditional(0.8, score).fit(p, labels)
    for k in range(3):
        alone = one(0.8).fit(p[labels == k], labels[labels == k])
        assert by_class.thresholds[k] == alone.thresholds[0]
        assert np.array_equal(by_class.predict_set(p)[:, k], alone.predict_set(p)[:, k])
    groups = np.array(["A", "B"] * 100)
    by_group = GroupConditional(0.8, score).fit(p, labels, groups)
    for k, name in enumerate("AB"):
        alone = one(0.8).fit(p[groups == name], labels[groups == name])
        assert by_group.thresholds[k] == alone.thresholds[0]
        assert np.array_equal(by_group.predict_set(p, np.full(200, name)), alone.predict_set(p))
    assert by_group.predict_set(p[:3], np.array(["A", "C", "B"]))[1].all(), "of an unknown group nothing is ruled out"


def test_unknown_labels_and_patients() -> None:
    p, labels = classes()
    some = np.where(np.arange(200) % 3 == 0, -1, labels)
    assert LAC().fit(p, some).thresholds == LAC().fit(p[some >= 0], labels[some >= 0]).thresholds
    patients = np.repeat(np.arange(100), 2)
    scores = 1 - p[np.arange(200), labels]
    assert LAC().fit(p, labels, patients).thresholds[0] == conformal_quantile(scores.reshape(100, 2).max(axis=1), 0.9)


def test_a_rare_class_is_always_in() -> None:
    p, labels = classes()
    labels[labels == 2] = 1
    labels[:3] = 2
    sets = ClassConditional(0.9).fit(p, labels)
    assert sets.predict_set(p)[:, 2].all()
    assert sets.notes[:2] == [None, None]
    assert "3 units are too few" in str(sets.notes[2])
    assert LAC(0.9).fit(p[:5], labels[:5]).predict_set(p).all()


@pytest.mark.parametrize(
    "sets",
    [LAC(0.8), APS(0.8, randomised=False, seed=2), APS(), ClassConditional(0.7, "aps", seed=1), ClassConditional(0.99)],
    ids=lambda sets: type(sets).__name__,
)
def test_json_is_exact(sets: LAC) -> None:
    p, labels = classes()
    sets.fit(p, labels)
    again = type(sets).from_json(json.loads(json.dumps(sets.to_json())))
    assert again.to_json() == sets.to_json()
    assert np.array_equal(again.predict_set(p), sets.predict_set(p))
    assert again.notes == sets.notes


def test_json_of_groups_and_of_another_kind() -> None:
    p, labels = classes()
    groups = np.array(["A", "B"] * 100)
    sets = GroupConditional(0.8, "aps").fit(p, labels, groups)
    again = GroupConditional.from_json(json.loads(json.dumps(sets.to_json())))
    assert np.array_equal(again.predict_set(p, groups), sets.predict_set(p, groups))
    with pytest.raises(ValueOutOfRange, match=r"GroupConditional.from_json"):
        LAC.from_json(sets.to_json())


def test_finding_sets_are_two_classes() -> None:
    p, labels = findings()
    sets = FindingSets(0.85).fit(p, labels)
    inside = sets.predict_set(p)
    whole = FindingSets(0.85, by_state=False).fit(p, labels)
    for k in range(3):
        known = ~np.isnan(labels[:, k])
        two = np.column_stack([1 - p[:, k], p[:, k]])
        truth = labels[known, k].astype(int)
        assert np.array_equal(inside[:, k], ClassConditional(0.85).fit(two[known], truth).predict_set(two))
        assert np.array_equal(whole.predict_set(p)[:, k], LAC(0.85).fit(two[known], truth).predict_set(two))
    decided = sets.decide(p)
    assert np.array_equal(decided == 1, inside[..., 1] & ~inside[..., 0])
    assert np.array_equal(decided == -1, inside[..., 0] == inside[..., 1])
    assert sets.decide(np.full((1, 3), np.nan)).tolist() == [[-1, -1, -1]]
    # the cut itself rounds differently as 1 - (1 - p): only cases off it are compared
    off = np.abs(p - sets.thresholds[:, 1]) > 1e-12
    assert np.array_equal((p >= sets.thresholds[:, 1])[off], inside[..., 1][off])


def test_finding_sets_of_a_rare_finding() -> None:
    p, labels = findings()
    labels[:, 1] = 0
    sets = FindingSets().fit(p, labels)
    assert sets.predict_set(p)[:, 1, 1].all()
    assert "0 present units are too few" in str(sets.notes[1])
    again = FindingSets.from_json(json.loads(json.dumps(sets.to_json())))
    assert again.to_json() == sets.to_json()
    assert np.array_equal(again.decide(p), sets.decide(p))


@pytest.mark.parametrize("confidence", [None, 0.8])
@pytest.mark.parametrize("normals", ["leave-out", "count"])
def test_list_of_findings_by_every_threshold(confidence: float | None, normals: str) -> None:
    p, labels = findings()
    patients = np.repeat(np.arange(100), 3)
    control = MultiLabelRiskControl(0.2, confidence=confidence, normals=normals).fit(p, labels, patients)

    def missed(cut: float) -> tuple[float, int]:
        losses: dict[int, list[float]] = {}
        for row in range(300):
            present = [k for k in range(3) if labels[row, k] == 1]
            if present or (normals == "count" and not np.isnan(labels[row]).all()):
                share = sum(p[row, k] < cut for k in present) / max(len(present), 1)
                losses.setdefault(int(patients[row]), []).append(share)
        return float(np.mean([np.mean(one) for one in losses.values()])), len(losses)

    cuts = np.unique(p[labels == 1])
    from vesalius.uncertainty.risk_bounds import risk_p_value

    def kept(cut: float) -> bool:
        risk, n = missed(cut)
        if confidence is None:
            return (n * risk + 1) / (n + 1) <= 0.2
        return risk_p_value(n * risk, n, 0.2, "hoeffding-bentkus") <= 1 - confidence

    place = int(np.searchsorted(cuts, control.threshold))
    assert cuts[place] == control.threshold
    assert kept(cuts[place])
    assert not kept(cuts[place + 1])
    assert (control.risk, control.n_units) == (pytest.approx(missed(control.threshold)[0]), missed(0)[1])
    again = MultiLabelRiskControl.from_json(json.loads(json.dumps(control.to_json())))
    assert np.array_equal(again.predict_set(p), p >= control.threshold)


def test_too_few_films_for_the_target() -> None:
    p, labels = findings(n=12)
    with pytest.raises(NotEstimable, match="19 can"):
        MultiLabelRiskControl(0.05).fit(p, labels)
    with pytest.raises(NotEstimable, match="45 can"):
        MultiLabelRiskControl(0.05, confidence=0.9).fit(p, labels)
    with pytest.raises(EmptyInput):
        MultiLabelRiskControl().fit(p, np.zeros((12, 3)))


def test_intervals_by_hand() -> None:
    y, centre = np.array([1.0, -2.0, 3.0, np.nan, 0.5]), np.zeros(5)
    assert SplitConformalRegression(0.8).fit(centre, y).predict_interval(np.array([10.0])).tolist() == [[7.0, 13.0]]
    scale = np.array([1.0, 1.0, 3.0, 1.0, 1.0])
    fitted = SplitConformalRegression(0.8, normalised=True).fit(centre, y, scale)
    assert fitted.predict_interval(np.array([10.0]), np.array([2.0])).tolist() == [[6.0, 14.0]]
    quantiles = ConformalisedQuantileRegression(0.8).fit(centre - 1, centre + 1, y)
    assert quantiles.margins == (2.0, 2.0)
    sides = ConformalisedQuantileRegression(0.6, symmetric=False).fit(centre - 1, centre + 1, y)
    assert sides.margins == (1.0, 2.0)
    wide = ConformalisedQuantileRegression(0.5).fit(centre - 9, centre + 9, y)
    assert wide.predict_interval(np.array([0.0]), np.array([2.0])).tolist() == [[1.0, 1.0]], "crossed ends are a point"
    few = SplitConformalRegression(0.9).fit(centre, y)
    assert few.predict_interval(np.zeros(1)).tolist() == [[-math.inf, math.inf]]
    patients = np.array(["a", "a", "b", "b", "c"])
    assert SplitConformalRegression(0.5).fit(centre, y, patients=patients).margins == (2.0, 2.0)
    for one in (fitted, quantiles, sides, few):
        assert type(one).from_json(json.loads(json.dumps(one.to_json()))).to_json() == one.to_json()


def test_wrong_use() -> None:
    p, labels = classes()
    for sets in (LAC(), ClassConditional(), APS()):
        with pytest.raises(NotFitted, match=r"call fit\(probabilities, labels\)"):
            sets.predict_set(p)
    with pytest.raises(NotFitted):
        FindingSets().predict_set(p)
    with pytest.raises(NotFitted):
        MultiLabelRiskControl().predict_set(p)
    with pytest.raises(NotFitted):
        SplitConformalRegression().predict_interval(np.zeros(1))
    with pytest.raises(ShapeMismatch, match=r"\(case, 3\)"):
        LAC().fit(p, labels).predict_set(p[:, :2])
    with pytest.raises(ShapeMismatch):
        FindingSets().fit(p, np.zeros(p.shape)).predict_set(p[:, :2])
    with pytest.raises(ShapeMismatch, match="patients"):
        LAC().fit(p, labels, labels[:5])
    with pytest.raises(ShapeMismatch, match="groups"):
        GroupConditional().fit(p, labels, labels[:5])
    with pytest.raises(EmptyInput):
        LAC().fit(p, np.full(200, -1))
    for bad in (labels + 1, labels + 0.5):
        with pytest.raises(ValueOutOfRange, match="none of 0 to 2"):
            LAC().fit(p, bad)
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        LAC().fit(p * 5, labels)
    for make in (LAC, FindingSets, SplitConformalRegression, ConformalisedQuantileRegression):
        with pytest.raises(ValueOutOfRange):
            make(1.0)
    with pytest.raises(ValueOutOfRange):
        ClassConditional(0.9, "raps")  # type: ignore[arg-type]
    with pytest.raises(ValueOutOfRange, match="normalised=True"):
        SplitConformalRegression().fit(p[:, 0], p[:, 1], p[:, 2])
    with pytest.raises(ValueOutOfRange, match="not above 0"):
        SplitConformalRegression(normalised=True).fit(p[:, 0], p[:, 1], p[:, 2] * 0)
    with pytest.raises(ValueOutOfRange):
        MultiLabelRiskControl(normals="ignore")  # type: ignore[arg-type]
    with pytest.raises(EmptyInput):
        SplitConformalRegression().fit(p[:, 0], np.full(200, np.nan))
