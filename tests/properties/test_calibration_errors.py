"""What no calibration error may depend on, how the errors stand to each other, and that a Brier score is the sum of its parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.metrics import (
    StreamingCalibration,
    brier,
    brier_decomposition,
    debiased_calibration_error,
    ece,
    mce,
    reliability_table,
    top_label_ece,
)

ERRORS = {
    f"{binning} {weight} {norm}": {"binning": binning, "weight": weight, "norm": norm, "bins": 5}
    for binning in ("width", "mass")
    for weight in ("mass", "bin")
    for norm in ("l1", "l2", "max")
}
METRICS = {name: (lambda y, p, weights=None, o=options: ece(y, p, weights=weights, **o)) for name, options in ERRORS.items()} | {
    "top label": top_label_ece,
    "reliability": lambda y, p, weights=None: brier_decomposition(y, p, 4, weights=weights).reliability,
    "resolution": lambda y, p, weights=None: brier_decomposition(y, p, weights=weights).resolution,
}


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with unknown ones, and probabilities with many ties and both ends."""
    n = draw(st.integers(3, 25))
    labels = draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=n, max_size=n))
    levels = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))
    return np.array([0.0, 1.0, *labels]), np.array([3, 4, *levels]) / 8


@pytest.mark.parametrize("name", METRICS)
@given(sample=samples(), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_rows_masks_and_copies(name: str, sample: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    metric, (labels, p) = METRICS[name], sample
    value = metric(labels, p)
    order = np.random.default_rng(seed).permutation(len(p))
    known = ~np.isnan(labels)
    assert metric(labels[order], p[order]) == pytest.approx(value, abs=1e-9)
    assert metric(labels[known], p[known]) == pytest.approx(value, abs=1e-9)
    assert metric(np.tile(labels, 3), np.tile(p, 3)) == pytest.approx(value, abs=1e-9)
    weights = np.random.default_rng(seed).integers(1, 4, len(p))
    assert metric(labels, p, weights=weights) == pytest.approx(metric(np.repeat(labels, weights), np.repeat(p, weights)), abs=1e-9)
    assert 0 <= value <= 1


@given(sample=samples(), bins=st.integers(1, 20), binning=st.sampled_from(["width", "mass"]))
@settings(max_examples=60, deadline=None)
def test_errors_stand_in_order(sample: tuple[np.ndarray, np.ndarray], bins: int, binning: str) -> None:
    """Mean <= root mean square <= worst; no bias is taken off below nothing; all follow from the table."""
    labels, p = sample
    mean, square, worst = (ece(labels, p, bins=bins, binning=binning, norm=norm) for norm in ("l1", "l2", "max"))
    assert mean <= square + 1e-12
    assert square <= worst + 1e-12
    assert debiased_calibration_error(labels, p, bins=bins, binning=binning) <= square + 1e-12
    gaps = [abs(row.observed - row.mean_probability) for row in reliability_table(labels, p, bins=bins, binning=binning) if row.n]
    assert mce(labels, p, bins=bins, binning=binning) == pytest.approx(max(gaps), abs=1e-12)
    assert ece(labels, p, bins=bins, binning=binning, weight="bin") == pytest.approx(np.mean(gaps), abs=1e-12)


@given(sample=samples(), bins=st.one_of(st.none(), st.integers(1, 20)), binning=st.sampled_from(["width", "mass"]))
@settings(max_examples=60, deadline=None)
def test_brier_is_the_sum_of_its_parts(sample: tuple[np.ndarray, np.ndarray], bins: int | None, binning: str) -> None:
    labels, p = sample
    parts = brier_decomposition(labels, p, bins, binning=binning)
    assert parts.brier == pytest.approx(brier(labels, p), abs=1e-14)
    assert parts.reliability >= 0
    assert -1e-15 <= parts.resolution <= parts.uncertainty + 1e-14
    if bins is None:
        assert parts.within_bin_variance == parts.within_bin_covariance == 0


@given(sample=samples(), cuts=st.lists(st.integers(0, 27), max_size=5), bins=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_streams_do_not_depend_on_cuts(sample: tuple[np.ndarray, np.ndarray], cuts: list[int], bins: int) -> None:
    labels, p = sample
    stream, rest = StreamingCalibration(bins), StreamingCalibration(bins)
    for index, (truth, said) in enumerate(zip(np.split(labels, sorted(cuts)), np.split(p, sorted(cuts)), strict=True)):
        (stream if index % 2 else rest).update(truth, said)
    assert rest.merge(stream).ece() == pytest.approx(ece(labels, p, bins=bins), abs=1e-12)
    assert rest.brier_decomposition().brier == pytest.approx(brier(labels, p), abs=1e-12)
