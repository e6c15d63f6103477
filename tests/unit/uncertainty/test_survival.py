from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import weibull_min

import vesalius.metrics as vm
from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    SurvivalLowerBound,
    censored_coverage_bounds,
    censored_coverage_ipcw,
    evaluate_event_times,
    event_time_interval,
    kaplan_meier,
)

RANDOM = np.random.default_rng(0)
N = 80
TRUTH, CENSORING = RANDOM.weibull(1.5, N) * 10, RANDOM.uniform(1, 25, N)
TIMES, EVENTS = np.minimum(TRUTH, CENSORING), (TRUTH <= CENSORING).astype(float)
LOW, HIGH = np.full(N, 2.0), np.full(N, 12.0)
PATIENTS = RANDOM.integers(0, 30, N)
LAST = int(np.argmax(TIMES))


def test_interval_from_quantiles() -> None:
    levels = np.array([0.05, 0.1, 0.5, 0.9])
    quantiles = weibull_min.ppf(levels, 1.5, scale=np.array([[10.0], [3.0]]))
    assert np.array_equal(event_time_interval(quantiles, levels, 0.8), quantiles[:, [1, 3]])
    between = event_time_interval(quantiles, levels, 0.6)
    expected = [[np.interp(0.2, levels, row), np.interp(0.8, levels, row)] for row in quantiles]
    assert between == pytest.approx(np.array(expected))
    assert np.array_equal(event_time_interval(quantiles[:, ::-1], levels, 0.8), quantiles[:, [1, 3]])  # crossed


def test_an_event_that_may_never_come_has_no_upper_end() -> None:
    levels = np.array([0.1, 0.5, 0.9])
    ends = event_time_interval(np.array([[1.0, 7.0, np.inf], [1.0, np.inf, np.inf]]), levels, 0.8)
    assert ends.tolist() == [[1.0, np.inf], [1.0, np.inf]]
    assert event_time_interval(np.array([[1.0, 7.0, np.inf]]), levels, 0.2) == pytest.approx(np.array([[5.5, np.inf]]))


@pytest.mark.parametrize("figure", [censored_coverage_ipcw, lambda *a: np.array(censored_coverage_bounds(*a))])
def test_masks_weights_and_order(figure: object) -> None:
    events = np.where(np.arange(N) < 9, np.nan, EVENTS)
    all_ = figure(TIMES, events, LOW, HIGH)
    assert all_ == pytest.approx(figure(TIMES[9:], EVENTS[9:], LOW[9:], HIGH[9:]))
    weights = RANDOM.integers(0, 3, N)
    copies = np.repeat(np.arange(N), weights)
    many = figure(TIMES[copies], EVENTS[copies], LOW[copies], HIGH[copies])
    assert figure(TIMES, EVENTS, LOW, HIGH, weights) == pytest.approx(many)
    mixed = RANDOM.permutation(N)
    assert figure(TIMES[mixed], EVENTS[mixed], LOW, HIGH) == pytest.approx(figure(TIMES, EVENTS, LOW, HIGH))
    assert np.isnan(figure(TIMES, np.full(N, np.nan), LOW, HIGH)).all()


def test_beyond_all_follow_up_is_not_known() -> None:
    last_is_censored = np.where(np.arange(N) == LAST, 0.0, EVENTS)
    late = np.full(N, TIMES.max() + 1)
    assert np.isnan(censored_coverage_ipcw(TIMES, last_is_censored, LOW, late))
    assert np.isnan(censored_coverage_ipcw(TIMES, last_is_censored, late, late + 1))
    assert np.isnan(censored_coverage_ipcw(TIMES, last_is_censored, LOW, np.full(N, TIMES.max())))
    open_end = censored_coverage_ipcw(TIMES, last_is_censored, LOW, np.full(N, np.inf))
    assert open_end == pytest.approx(float(kaplan_meier(TIMES, last_is_censored).until(np.array([2.0]))[0]))
    # Where the last one followed had the event, nobody is left whose event could come later.
    last_is_event = np.where(np.arange(N) == LAST, 1.0, EVENTS)
    assert censored_coverage_ipcw(TIMES, last_is_event, LOW, late) == pytest.approx(
        float(kaplan_meier(TIMES, last_is_event).until(np.array([2.0]))[0])
    )
    assert censored_coverage_ipcw(TIMES, last_is_event, late, late + 1) == 0


def test_every_figure_is_its_own_function_on_the_same_resamples() -> None:
    found = evaluate_event_times(TIMES, EVENTS, np.column_stack([LOW, HIGH]), PATIENTS, resamples=40, seed=2)
    single = {
        "least": lambda w: censored_coverage_bounds(TIMES, EVENTS, LOW, HIGH, w)[0],
        "greatest": lambda w: censored_coverage_bounds(TIMES, EVENTS, LOW, HIGH, w)[1],
        "ipcw": lambda w: censored_coverage_ipcw(TIMES, EVENTS, LOW, HIGH, w),
        "lower_ipcw": lambda w: censored_coverage_ipcw(TIMES, EVENTS, LOW, np.full(N, np.inf), w),
    }
    assert {name: vm.bootstrap(figure, PATIENTS, resamples=40, seed=2) for name, figure in single.items()} == found
    assert found["least"].value <= found["ipcw"].value <= found["greatest"].value


def test_an_upper_end_beyond_follow_up_is_said() -> None:
    late = np.column_stack([LOW, np.full(N, 99.0)])
    last_is_censored = np.where(np.arange(N) == LAST, 0.0, EVENTS)
    found = evaluate_event_times(TIMES, last_is_censored, late, PATIENTS, resamples=20)
    assert "beyond the last follow-up" in found["ipcw"].reason
    assert np.isfinite(found["lower_ipcw"].value)


def test_bound_by_hand() -> None:
    quantile, times = np.array([3.0, 3, 5, 1]), np.array([2.0, 4, 9, 1])
    # scores q - x: 1, -1, -4, 0; of four the ceil(5 * 0.6) = 3rd smallest is 0, of five shares 0.8 the 4th is 1
    assert SurvivalLowerBound(0.6).fit(quantile, times).predict_bound(np.array([5.0])).tolist() == [5.0]
    assert SurvivalLowerBound(0.8).fit(quantile, times).predict_bound(np.array([5.0, 0.5])).tolist() == [4.0, 0.0]
    assert SurvivalLowerBound(0.9).fit(quantile, times).predict_bound(np.array([5.0])).tolist() == [0.0]  # four are too few
    censoring = np.array([5.0, 6, 10, 2])  # the last was not followed to 4; scores of both cut at 4: 1, -1, 0
    with_horizon = SurvivalLowerBound(0.75, horizon=4).fit(quantile, times, censoring)
    assert with_horizon.n == 3
    assert with_horizon.predict_bound(np.array([2.0, 9.0])).tolist() == [1.0, 3.0]
    assert SurvivalLowerBound(0.25, horizon=4).fit(quantile, times, censoring).predict_bound(np.array([2.0, 9])).tolist() == [3, 4]


def test_equal_chances_are_no_weights() -> None:
    quantile = RANDOM.uniform(1, 4, N)
    plain = SurvivalLowerBound(0.8, horizon=6).fit(quantile, TIMES, CENSORING)
    weighted = SurvivalLowerBound(0.8, horizon=6).fit(quantile, TIMES, CENSORING, followed=np.full(N, 0.3))
    new = np.linspace(0, 8, 20)
    assert np.array_equal(weighted.predict_bound(new, followed=np.full(20, 0.3)), plain.predict_bound(new))


def test_a_patients_worst_case_counts() -> None:
    quantile, times = np.full(6, 3.0), np.array([1.0, 5, 2, 5, 3, 5])
    by_patient = SurvivalLowerBound(0.7).fit(quantile, times, patients=np.array([0, 0, 1, 1, 2, 2]))
    assert by_patient.n == 3
    assert by_patient.predict_bound(np.array([3.0])).tolist() == [1.0]


@pytest.mark.parametrize("weighted", [False, True])
def test_json_keeps_every_digit(weighted: bool) -> None:
    chance = RANDOM.uniform(0.2, 1, N) if weighted else None
    fitted = SurvivalLowerBound(0.8, horizon=6).fit(TIMES * 0.3, TIMES, CENSORING, followed=chance)
    again = SurvivalLowerBound.from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.predict_bound(TIMES, followed=chance), fitted.predict_bound(TIMES, followed=chance))
    assert again.n == fitted.n


def test_refusals() -> None:
    with pytest.raises(NotFitted, match=r"fit\(quantile, times\)"):
        SurvivalLowerBound().predict_bound(LOW)
    with pytest.raises(ValueOutOfRange, match="also of those with an event"):
        SurvivalLowerBound(horizon=5).fit(LOW, TIMES)
    with pytest.raises(ValueOutOfRange, match="horizon"):
        SurvivalLowerBound().fit(LOW, TIMES, CENSORING)
    with pytest.raises(ValueOutOfRange, match="after its censoring time"):
        SurvivalLowerBound(horizon=5).fit(LOW, TIMES, TIMES - 0.1)
    with pytest.raises(ValueOutOfRange, match="leave one of them out"):
        SurvivalLowerBound(horizon=5).fit(LOW, TIMES, CENSORING, followed=np.ones(N), patients=PATIENTS)
    with pytest.raises(ValueOutOfRange, match="to both, or to neither"):
        SurvivalLowerBound().fit(LOW, TIMES).predict_bound(LOW, followed=np.ones(N))
    with pytest.raises(ValueOutOfRange, match="chance"):
        SurvivalLowerBound(horizon=5).fit(LOW, TIMES, CENSORING, followed=np.zeros(N))
    with pytest.raises(EmptyInput, match="choose an earlier one"):
        SurvivalLowerBound(horizon=500).fit(LOW, TIMES, CENSORING)
    with pytest.raises(ValueOutOfRange, match="horizon is 0"):
        SurvivalLowerBound(horizon=0)
    with pytest.raises(ValueOutOfRange, match="confidence"):
        SurvivalLowerBound(90)
    with pytest.raises(ValueOutOfRange, match="state of a"):
        SurvivalLowerBound.from_json({"kind": "other"})
    with pytest.raises(ValueOutOfRange, match="an interval of 0"):
        event_time_interval(np.ones((2, 2)), np.array([0.1, 0.9]), 0.95)
    with pytest.raises(ValueOutOfRange, match="rise"):
        event_time_interval(np.ones((2, 2)), np.array([0.9, 0.1]), 0.5)
    with pytest.raises(ValueOutOfRange, match="negative"):
        event_time_interval(-np.ones((2, 2)), np.array([0.1, 0.9]), 0.5)
    with pytest.raises(ShapeMismatch, match="level"):
        event_time_interval(np.ones((2, 3)), np.array([0.1, 0.9]), 0.5)
    with pytest.raises(ValueOutOfRange, match="above its upper"):
        censored_coverage_ipcw(TIMES, EVENTS, HIGH, LOW)
    with pytest.raises(ValueOutOfRange, match="time is negative"):
        kaplan_meier(-TIMES, EVENTS)
    with pytest.raises(ValueOutOfRange, match="event or censoring"):
        kaplan_meier(TIMES, EVENTS, of="death")
    with pytest.raises(EmptyInput, match="survival curve"):
        kaplan_meier(TIMES, np.full(N, np.nan))
    with pytest.raises(ShapeMismatch, match="equal"):
        kaplan_meier(TIMES, EVENTS[:3])
    with pytest.raises(ShapeMismatch, match="lower and an upper"):
        evaluate_event_times(TIMES, EVENTS, LOW)
