from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import FailureCases, RocCurve, augrc, aurc, failure_detection_over_sets, failure_detection_table

RANDOM = np.random.default_rng(1)
N = 120
WRONG = (RANDOM.random(N) < 0.3).astype(float)
GOOD, BAD = WRONG + RANDOM.normal(0, 0.7, N), RANDOM.normal(size=N)
PATIENTS = RANDOM.integers(0, 40, N)


def test_a_good_measure_is_told_from_a_useless_one() -> None:
    bad, good = failure_detection_table({"bad": BAD, "good": GOOD}, WRONG, PATIENTS, baseline="bad", resamples=300)
    assert bad.changes == {} == bad.p_holm
    assert good.changes["auroc"].value == pytest.approx(good.auroc.value - bad.auroc.value)
    assert good.changes["auroc"].low > 0
    assert good.changes["augrc"].high < 0  # lower is better
    assert good.p_holm["auroc"] < 0.05
    assert (good.n, good.n_failures, good.n_patients, good.n_missing) == (N, int(WRONG.sum()), len(np.unique(PATIENTS)), 0)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_one_kind_of_answer_is_a_reason_and_no_number(outcome: float) -> None:
    first, second = failure_detection_table({"a": GOOD, "b": BAD}, np.full(N, outcome), baseline="a", resamples=20)
    for row in (first, second):
        assert row.roc is None
        assert "nothing to tell apart" in row.reason
        for figure in (row.auroc, row.augrc, row.aurc):
            assert np.isnan([figure.value, figure.low, figure.high]).all()
            assert figure.reason == row.reason
    assert np.isnan(second.changes["auroc"].p_value)
    assert second.p_holm == {}
    assert json.loads(json.dumps(second.to_json()))["changes"]["auroc"]["p_value"] is None


def test_a_measure_that_failed_is_counted_and_compared_on_common_cases() -> None:
    holes = np.where(np.arange(N) < 30, np.nan, GOOD)
    base, row = failure_detection_table({"bad": BAD, "holes": holes}, WRONG, PATIENTS, baseline="bad", resamples=50)
    assert (row.n, row.n_missing) == (90, 30)
    assert (base.n, base.n_missing) == (N, 0)
    alone = failure_detection_table({"bad": BAD[30:], "good": GOOD[30:]}, WRONG[30:], PATIENTS[30:], resamples=50)
    assert row.auroc.value == alone[1].auroc.value
    assert row.changes["auroc"].value == pytest.approx(alone[1].auroc.value - alone[0].auroc.value)
    nothing = failure_detection_table({"gone": np.full(N, np.nan)}, WRONG, resamples=20)[0]
    assert "NaN in every case" in nothing.reason


def test_unknown_outcomes_are_left_out() -> None:
    unknown = np.append(WRONG, [np.nan, -1.0])
    longer = np.append(GOOD, [99.0, np.nan])
    one = failure_detection_table({"u": longer}, unknown, resamples=20)[0]
    other = failure_detection_table({"u": GOOD}, WRONG, resamples=20)[0]
    assert (one.auroc.value, one.augrc.value, one.aurc.value, one.n) == (
        other.auroc.value,
        other.augrc.value,
        other.aurc.value,
        N,
    )
    assert one.n_missing == 0


def test_losses_take_the_place_of_failures_in_the_areas_only() -> None:
    losses = RANDOM.random(N)
    sets = {"one": FailureCases({"u": GOOD}, WRONG, PATIENTS, losses)}
    row = failure_detection_over_sets(sets, resamples=20)[0]
    assert row.auroc.value == failure_detection_table({"u": GOOD}, WRONG, resamples=1)[0].auroc.value
    assert row.augrc.value == pytest.approx(augrc(GOOD, losses))
    assert row.aurc.value == pytest.approx(aurc(GOOD, losses))
    with pytest.raises(ValueOutOfRange, match="loss"):
        failure_detection_over_sets({"one": FailureCases({"u": GOOD}, WRONG, None, losses + 1)})


def test_rows_come_set_by_set_and_one_set_is_as_alone() -> None:
    sets = {"home": FailureCases({"u": GOOD, "v": BAD}, WRONG), "away": FailureCases({"u": BAD, "v": GOOD}, WRONG)}
    rows = failure_detection_over_sets(sets, baseline="u", resamples=30)
    assert [(row.cases, row.measure) for row in rows] == [("home", "u"), ("home", "v"), ("away", "u"), ("away", "v")]
    alone = failure_detection_table({"u": GOOD, "v": BAD}, WRONG, baseline="u", resamples=30)
    assert rows[1].changes == alone[1].changes
    assert rows[1].p_holm["auroc"] >= alone[1].p_holm["auroc"]  # more comparisons, more doubt


def test_infinite_doubt_is_a_score_like_any_other() -> None:
    row = failure_detection_table({"u": np.array([0.0, 1.0, np.inf, np.inf])}, np.array([0.0, 0, 1, 0]), resamples=5)[0]
    assert row.auroc.value == pytest.approx(2.5 / 3)


def test_roc_curve_of_one_kind_is_nan() -> None:
    assert np.isnan(RocCurve.of(np.zeros(3), np.arange(3.0)).true_positive_rate).all()


def test_refusals() -> None:
    with pytest.raises(EmptyInput, match="no set"):
        failure_detection_over_sets({})
    with pytest.raises(EmptyInput, match="no measure"):
        failure_detection_table({}, WRONG)
    with pytest.raises(EmptyInput, match="known outcome"):
        failure_detection_table({"u": GOOD}, np.full(N, np.nan))
    with pytest.raises(ShapeMismatch, match=r"'u': \(3,\)"):
        failure_detection_table({"u": GOOD[:3]}, WRONG)
    with pytest.raises(ShapeMismatch, match="patient"):
        failure_detection_table({"u": GOOD}, WRONG, PATIENTS[:3])
    with pytest.raises(ValueOutOfRange, match="it has: u"):
        failure_detection_table({"u": GOOD}, WRONG, baseline="v")
    with pytest.raises(ValueOutOfRange, match="labels hold"):
        failure_detection_table({"u": GOOD}, WRONG / 2)
