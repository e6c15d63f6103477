"""Areas, promises and sets do not see the order of the rows, whole copies of the sample, or cases without a label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.uncertainty import (
    APS,
    LAC,
    FindingSets,
    MultiLabelRiskControl,
    RiskControl,
    achievable_aurc,
    augrc,
    aurc,
    e_aurc,
    risk_coverage,
    study_risk_coverage,
)

AREAS = {
    "aurc": aurc,
    "aurc, mean rule": lambda u, r, w=None: aurc(u, r, w, rule="mean"),
    "e_aurc": e_aurc,
    "augrc": augrc,
    "achievable": achievable_aurc,
}


@st.composite
def tied_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uncertainties of few values, errors of 0, 1 or unknown, and an order."""
    n = draw(st.integers(1, 40))
    doubt = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))) / 4
    wrong = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=n, max_size=n)))
    wrong[draw(st.integers(0, n - 1))] = 1.0
    return doubt, wrong, np.array(draw(st.permutations(range(n))))


@pytest.mark.parametrize("name", AREAS)
@given(case=tied_cases())
@settings(max_examples=50, deadline=None)
def test_areas(name: str, case: tuple) -> None:
    doubt, wrong, order = case
    area = AREAS[name]
    value = area(doubt, wrong)
    known = ~np.isnan(wrong)
    assert area(doubt[order], wrong[order]) == value
    assert area(doubt[known], wrong[known]) == value
    assert area(np.tile(doubt, 3), np.tile(wrong, 3)) == pytest.approx(value, abs=1e-12)
    assert area(doubt, wrong, np.full(len(doubt), 2)) == pytest.approx(value, abs=1e-12)
    assert area(np.exp(doubt), wrong) == value  # any rising function of the uncertainty


@given(case=tied_cases())
@settings(max_examples=50, deadline=None)
def test_bounds_of_areas(case: tuple) -> None:
    doubt, wrong, _ = case
    curve = risk_coverage(doubt, wrong)
    overall = float(np.nanmean(wrong))
    assert 0 <= curve.achievable_aurc() <= overall + 1e-12, "answering everything is one of the rules"
    assert 0 <= curve.augrc() <= 0.5
    assert curve.augrc() <= curve.aurc() + 1e-12
    assert curve.risk_at_coverage(1.0) == pytest.approx(overall)
    assert curve.coverage_at_risk(1.0) == 1.0


@given(case=tied_cases(), n_studies=st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_studies(case: tuple, n_studies: int) -> None:
    doubt, wrong, order = case
    studies = np.arange(len(doubt)) % n_studies
    first = study_risk_coverage(doubt[:, None], wrong[:, None], studies)
    again = study_risk_coverage(doubt[order, None], wrong[order, None], studies[order])
    assert np.array_equal(first.coverage, again.coverage)
    assert np.allclose(first.risk, again.risk, atol=1e-15)


@given(seed=st.integers(0, 10_000), n=st.integers(5, 60))
@settings(max_examples=50, deadline=None)
def test_sets_and_promises(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    order = random.permutation(n)
    p = random.dirichlet([1, 1, 1], n).round(2)
    labels = random.integers(-1, 3, n)
    labels[0] = 1
    patients = random.integers(0, n, n)
    for sets in (LAC(0.7), APS(0.7)):
        inside = sets.fit(p, labels, patients).predict_set(p)
        moved = sets.fit(p[order], labels[order], patients[order])
        assert np.array_equal(moved.predict_set(p), inside)
        assert np.array_equal(moved.predict_set(p[:1]), inside[:1])
        known = labels >= 0
        assert np.array_equal(sets.fit(p[known], labels[known], patients[known]).predict_set(p), inside)
    table = np.where(random.random((n, 3)) < 0.2, np.nan, random.integers(0, 2, (n, 3)))
    table[0] = 1
    first = FindingSets(0.6).fit(p, table, patients)
    assert FindingSets(0.6).fit(p[order], table[order], patients[order]).to_json() == first.to_json()
    listed = MultiLabelRiskControl(0.5).fit(p, table)
    assert MultiLabelRiskControl(0.5).fit(p[order], table[order]).threshold == listed.threshold
    control = RiskControl(0.5, 0.5).fit(p[:, 0], table[:, 0], patients)
    assert RiskControl(0.5, 0.5).fit(p[order, 0], table[order, 0], patients[order]).to_json() == control.to_json()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_more_confidence_never_answers_more(seed: int) -> None:
    random = np.random.default_rng(seed)
    doubt = random.random(200)
    wrong = (random.random(200) < doubt / 3).astype(float)
    coverages = [RiskControl(0.2, confidence).fit(doubt, wrong).coverage for confidence in (0.5, 0.8, 0.95, 0.99)]
    assert coverages == sorted(coverages, reverse=True)
    sets = [LAC(c).fit(np.column_stack([doubt, 1 - doubt]), wrong.astype(int)).thresholds[0] for c in (0.5, 0.8, 0.95)]
    assert sets == sorted(sets)
