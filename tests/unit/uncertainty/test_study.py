"""Studies that are set aside as a whole; the loops over studies are in tests/reference."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import label_risk_coverage, risk_coverage, study_residuals, study_risk_coverage, study_uncertainty

DOUBT = np.array([[0.1, 0.4], [0.3, 0.2], [0.0, 0.0]])
WRONG = np.array([[1.0, 0.0], [np.nan, 1.0], [np.nan, np.nan]])


def test_a_film_is_a_study_unless_told() -> None:
    assert study_uncertainty(DOUBT).tolist() == [0.4, 0.3, 0.0]
    assert study_uncertainty(DOUBT, critical=[1]).tolist() == [0.4, 0.2, 0.0]
    assert study_residuals(WRONG)[:2].tolist() == [0.5, 1.0]
    assert study_residuals(WRONG, loss="worst")[:2].tolist() == [1.0, 1.0]
    assert study_residuals(WRONG, critical=[1])[:2].tolist() == [0.0, 1.0]
    assert np.isnan(study_residuals(WRONG)[2])
    assert study_risk_coverage(DOUBT, WRONG).coverage.tolist() == [0.5, 1.0], "the unlabelled study counts for nothing"


def test_films_of_a_study_share_it() -> None:
    studies = np.array(["b", "a", "b"])
    assert study_uncertainty(DOUBT, studies).tolist() == [0.3, 0.4]
    assert study_residuals(WRONG, studies).tolist() == [1.0, 0.5]
    assert study_residuals(WRONG, studies, loss="worst").tolist() == [1.0, 1.0]


def test_each_finding_for_itself() -> None:
    random = np.random.default_rng(0)
    doubt, wrong = random.random((40, 3)), random.integers(0, 2, (40, 3)).astype(float)
    wrong[:, 2] = np.nan
    wrong[:7, 0] = np.nan
    weights = random.integers(0, 3, 40)
    first, second, none = label_risk_coverage(doubt, wrong, weights)
    assert none is None
    assert first is not None
    assert second is not None
    assert np.array_equal(first.risk, risk_coverage(doubt[7:, 0], wrong[7:, 0], weights[7:]).risk)
    assert np.array_equal(second.coverage, risk_coverage(doubt[:, 1], wrong[:, 1], weights).coverage)


def test_wrong_use() -> None:
    for critical in ([], [2], [-1]):
        with pytest.raises(ValueOutOfRange, match="from 0 to 1"):
            study_uncertainty(DOUBT, critical=critical)
    with pytest.raises(ValueOutOfRange, match="hamming, worst"):
        study_residuals(WRONG, loss="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueOutOfRange, match="NaN"):
        study_uncertainty(np.full((2, 2), np.nan))
    with pytest.raises(ShapeMismatch, match="studies"):
        study_uncertainty(DOUBT, np.array(["a"]))
    with pytest.raises(ShapeMismatch):
        study_risk_coverage(DOUBT, WRONG[:, :1])
    with pytest.raises(ShapeMismatch):
        study_residuals(WRONG[0])
    with pytest.raises(EmptyInput):
        study_risk_coverage(DOUBT, np.full((3, 2), np.nan))
