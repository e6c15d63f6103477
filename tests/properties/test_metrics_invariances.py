"""What no metric may depend on: the order of rows, unknown cases, copies of the whole sample, a rising map of the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.metrics import auprc, auroc, brier, ece, reliability_table
from vesalius.uncertainty import augrc, aurc, risk_coverage

METRICS = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "ece": ece,
    "ece_mass": lambda labels, p, weights=None: ece(labels, p, bins=4, binning="mass", weights=weights),
    "aurc": lambda labels, p, weights=None: aurc(np.minimum(p, 1 - p), _wrong(labels, p), weights),
    "augrc": lambda labels, p, weights=None: augrc(np.minimum(p, 1 - p), _wrong(labels, p), weights),
}


def _wrong(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(labels), np.nan, (p >= 0.5) != labels)


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with unknown ones, and probabilities with many ties and both ends."""
    n = draw(st.integers(3, 25))
    labels = draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=n, max_size=n))
    levels = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))
    return np.array([0.0, 1.0, *labels]), np.array([3, 4, *levels]) / 8


@pytest.mark.parametrize("name", METRICS)
@given(sample=samples(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rows_masks_and_copies(name: str, sample: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    metric, (labels, p) = METRICS[name], sample
    value = metric(labels, p)
    order = np.random.default_rng(seed).permutation(len(p))
    known = ~np.isnan(labels)
    assert metric(labels[order], p[order]) == pytest.approx(value, abs=1e-12)
    assert metric(labels[known], p[known]) == pytest.approx(value, abs=1e-12)
    assert metric(np.tile(labels, 3), np.tile(p, 3)) == pytest.approx(value, abs=1e-12)
    weights = np.random.default_rng(seed).integers(1, 4, len(p))
    assert metric(labels, p, weights=weights) == pytest.approx(metric(np.repeat(labels, weights), np.repeat(p, weights)), abs=1e-12)
    assert 0 <= value <= 1


@given(sample=samples())
@settings(max_examples=40, deadline=None)
def test_ranking_knows_ranks_only(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, p = sample
    for metric in (auroc, auprc):
        assert metric(labels, np.exp(3 * p)) == pytest.approx(metric(labels, p), abs=1e-12)
    assert auroc(labels, -p) == pytest.approx(1 - auroc(labels, p), abs=1e-12)
    assert auroc(1 - labels, p) == pytest.approx(1 - auroc(labels, p), abs=1e-12)


@given(sample=samples(), bins=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_tables_count_every_case_once_and_give_the_ece(sample: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, p = sample
    for binning in ("width", "mass"):
        rows = [row for row in reliability_table(labels, p, bins=bins, binning=binning) if row.n]
        n = sum(row.n for row in rows)
        assert n == (~np.isnan(labels)).sum()
        expected = sum(row.n * abs(row.mean_probability - row.observed) for row in rows) / n
        assert ece(labels, p, bins=bins, binning=binning) == pytest.approx(expected, abs=1e-12)
        assert all(row.low <= row.observed <= row.high for row in rows)


@given(sample=samples())
@settings(max_examples=40, deadline=None)
def test_risk_coverage_ends_at_the_error_of_all(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, p = sample
    curve = risk_coverage(np.minimum(p, 1 - p), _wrong(labels, p))
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(np.nanmean(_wrong(labels, p)))
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.risk_at_coverage(1.0) == curve.risk[-1]
    assert curve.coverage_at_risk(1.0) == 1
