from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from scipy.stats import norm

from vesalius.errors import EmptyInput, NotFitted, RuleError, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import FILM_VIEWS, GreedyPolicySearch
from vesalius.uncertainty.policy_likelihoods import best_exponents, lowest_of_the_best

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(4, size=200)
CLASSES = 2 * np.eye(4)[TRUTH] + RANDOM.normal(size=(6, 200, 4)) * np.array([2, 1, 4, 1.5, 3, 1])[:, None, None]
PRESENT = (RANDOM.random((200, 3)) < 0.3).astype(float)
FINDINGS = 3 * PRESENT - 2 + RANDOM.normal(size=(6, 200, 3)) * np.array([2, 1, 4, 1.5, 3, 1])[:, None, None]
NUMBER = RANDOM.normal(10, 3, 200)
NUMBERS = NUMBER + RANDOM.normal(size=(6, 200)) * np.array([2, 1, 4, 1.5, 3, 1])[:, None]
MASKS = [RANDOM.integers(0, 2, (4, 5)) for _ in range(8)] + [RANDOM.integers(0, 2, (6, 3)) for _ in range(8)]
MAPS = [3 * mask - 1.5 + RANDOM.normal(size=(6, *mask.shape)) * np.array([2, 1, 4, 1.5, 3, 1])[:, None, None] for mask in MASKS]
PATIENTS = np.arange(200) // 2
POOLS = {
    "multiclass": (CLASSES[:, :100], TRUTH[:100], CLASSES[:, 100:], TRUTH[100:]),
    "multilabel": (FINDINGS[:, :100], PRESENT[:100], FINDINGS[:, 100:], PRESENT[100:]),
    "regression": (NUMBERS[:, :100], NUMBER[:100], NUMBERS[:, 100:], NUMBER[100:]),
    "segmentation": (MAPS[::2], MASKS[::2], MAPS[1::2], MASKS[1::2]),
}


@pytest.mark.parametrize("task", POOLS)
def test_json_brings_the_same_policy_back(task: str) -> None:
    search, labels, other, truth = POOLS[task]
    fitted = GreedyPolicySearch(task, length=4).fit(search, labels, transforms=[*FILM_VIEWS, FILM_VIEWS[1]])
    again = GreedyPolicySearch.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    assert again.to_json() == fitted.to_json()
    assert again.transforms == fitted.transforms
    assert [again.transforms[k] for k in range(4)] == [[*FILM_VIEWS, FILM_VIEWS[1]][view] for view in fitted.policy]
    for first, second in zip(fitted.apply(other), again.apply(other), strict=True):
        np.testing.assert_array_equal(first, second)
    assert again.evaluate(other, truth, resamples=20) == fitted.evaluate(other, truth, resamples=20)
    with pytest.raises(RuleError, match="judge it on others"):
        again.evaluate(search, labels)


@pytest.mark.parametrize("task", POOLS)
def test_the_objective_is_that_of_the_answer(task: str) -> None:
    search, labels, other, truth = POOLS[task]
    fitted = GreedyPolicySearch(task, length=3).fit(search, labels)
    for predictions, known, expected in (
        (search, labels, fitted.objectives[-1]),
        (other, truth, fitted.evaluate(other, truth, resamples=0).policy.value),
    ):
        answer = fitted.apply(predictions)
        if task == "multiclass":
            value = answer[np.arange(len(known)), known].mean()
        elif task == "multilabel":
            value = -np.logaddexp(0, np.where(known == 1, -answer, answer)).mean()
        elif task == "regression":
            value = norm.logpdf(known, answer[:, 0], np.sqrt(answer[:, 1])).mean()
        else:
            value = np.mean([-np.logaddexp(0, np.where(m == 1, -a, a)).mean() for a, m in zip(answer, known, strict=True)])
        assert value == pytest.approx(expected, rel=1e-9)


def test_averages_by_hand() -> None:
    fitted = GreedyPolicySearch("multilabel", length=4).fit(*POOLS["multilabel"][:2])
    p = expit(FINDINGS[list(fitted.policy)]).mean(axis=0)
    np.testing.assert_allclose(fitted.apply(FINDINGS), fitted.scale * np.log(p / (1 - p)), rtol=1e-9)
    assert fitted.temperature == 1 / fitted.scale
    classes = GreedyPolicySearch(length=4).fit(*POOLS["multiclass"][:2])
    logs = np.log(softmax(CLASSES[list(classes.policy)], axis=-1).mean(axis=0))
    np.testing.assert_allclose(classes.apply(CLASSES), log_softmax(classes.scale * logs, axis=-1), rtol=1e-9)


def test_the_score_is_of_other_cases_and_paired() -> None:
    search, labels, other, truth = POOLS["multiclass"]
    fitted = GreedyPolicySearch(length=4).fit(search, labels, PATIENTS[:100])
    score = fitted.evaluate(other, truth, PATIENTS[100:], resamples=200)
    assert score.gain_over_first_view.value == pytest.approx(score.policy.value - score.first_view.value)
    assert score.gain_over_first_view.low > 0  # the first view is a noisy one
    widths = [interval.high - interval.low for interval in (score.policy, score.whole_pool, score.gain_over_whole_pool)]
    assert widths[2] < np.hypot(*widths[:2])  # as wide as that without pairing
    with pytest.raises(RuleError, match="on these patients"):
        fitted.evaluate(other, truth, PATIENTS[99:199])


def test_unknown_labels_are_left_out() -> None:
    for task, unknown in (("multiclass", -1), ("regression", np.nan)):
        predictions, labels = POOLS[task][:2]
        hidden = np.where(np.arange(100) < 40, unknown, labels)
        hidden = hidden.astype(labels.dtype)
        whole = GreedyPolicySearch(task, length=3, floor=1.0).fit(predictions, hidden)
        dropped = GreedyPolicySearch(task, length=3, floor=1.0).fit(predictions[:, 40:], labels[40:])
        assert whole.policy == dropped.policy
        np.testing.assert_allclose(whole.objectives, dropped.objectives, rtol=1e-12)
    hidden = [np.where(np.arange(mask.size).reshape(mask.shape) < 3, -1, mask) for mask in MASKS]
    wild = [np.where(mask < 0, 50.0, z) for z, mask in zip(MAPS, hidden, strict=True)]
    first, second = (GreedyPolicySearch("segmentation", length=3).fit(maps, hidden) for maps in (MAPS, wild))
    assert (first.policy, first.objectives) == (second.policy, second.objectives)
    assert GreedyPolicySearch("segmentation").fit(MAPS, [*hidden[:-1], np.full_like(hidden[-1], -1)]).policy is not None


def test_no_view_wins_by_looking_away() -> None:
    mask = np.zeros((6, 6), dtype=int)
    half_blind, guess = np.full((6, 6), -0.5), np.full((6, 6), -0.5)
    half_blind[:3] = np.nan
    fitted = GreedyPolicySearch("segmentation", length=1).fit([np.stack([half_blind, guess])], [mask])
    assert fitted.policy == (1,)
    blind = fitted.apply([np.full((2, 6, 6), np.nan)])[0]
    np.testing.assert_array_equal(blind, 0)  # nobody saw: equal chances


def test_regression_does_not_know_the_unit() -> None:
    plain = GreedyPolicySearch("regression", length=4).fit(NUMBERS, NUMBER)
    scaled = GreedyPolicySearch("regression", length=4).fit(NUMBERS * 100 + 7, NUMBER * 100 + 7)
    assert scaled.policy == plain.policy
    np.testing.assert_allclose(scaled.objectives, np.array(plain.objectives) - np.log(100), rtol=1e-9)
    assert scaled.scale == pytest.approx(plain.scale)
    refitted = plain.fit(NUMBERS * 100 + 7, NUMBER * 100 + 7)  # the floor is found anew
    assert refitted.objectives == scaled.objectives


def test_ties_go_to_the_lowest_number() -> None:
    twice = np.concatenate([CLASSES[1:3], CLASSES[1:3]])
    assert set(GreedyPolicySearch(length=5).fit(twice, TRUTH).policy) <= {0, 1}
    assert lowest_of_the_best(np.array([-2.0, -1.0 - 1e-14, -1.0])) == 1


def test_stopping_early() -> None:
    free = GreedyPolicySearch(length=8).fit(CLASSES, TRUTH)
    gains = np.diff(free.objectives)
    least = float(np.sort(gains)[-3])
    stopped = GreedyPolicySearch(length=8, minimum_gain=least).fit(CLASSES, TRUTH)
    kept = int(np.argmax(gains < least)) + 1
    assert stopped.policy == free.policy[:kept]
    assert 1 <= kept < 8
    assert stopped.scale != free.scale


def test_big_pools_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = GreedyPolicySearch(length=4).fit(CLASSES, TRUTH)
    monkeypatch.setattr("vesalius.uncertainty.policy_likelihoods._CHUNK", 1700)
    parts = GreedyPolicySearch(length=4).fit(CLASSES, TRUTH)
    assert parts.policy == whole.policy
    np.testing.assert_allclose(parts.objectives, whole.objectives, rtol=1e-13)


def test_exponents_stay_in_their_range() -> None:
    perfect = np.array([[0.9, 0.1], [0.1, 0.9]])[:, None]
    weight, truth = np.full(2, 0.5), np.array([0, 1])
    values, exponents = best_exponents(perfect, truth, weight, 1.0)
    assert 10 < exponents[0] <= 1e3  # no exponent is the best; it stops where nothing is left to gain
    assert values[0] == pytest.approx(0, abs=1e-12)
    values, exponents = best_exponents(perfect, 1 - truth, weight, 1.0)  # always wrong
    assert exponents[0] == pytest.approx(1e-3, rel=1e-6)
    flat, _ = best_exponents(np.full((2, 1, 2), 0.5), truth, weight, 1.0)
    assert flat[0] == pytest.approx(-np.log(2))


def test_views_of_very_sure_models_do_not_overflow() -> None:
    logits = np.where(np.eye(4)[TRUTH] == 1, 900.0, -900.0)[None]
    wrong = np.roll(logits, 1, axis=-1)
    fitted = GreedyPolicySearch(length=3).fit(np.concatenate([wrong, logits]), TRUTH)
    assert fitted.policy[0] == 1
    assert np.isfinite(fitted.objectives).all()


def test_refusals() -> None:
    with pytest.raises(NotFitted, match=r"fit\(predictions, labels\)"):
        GreedyPolicySearch().apply(CLASSES)
    with pytest.raises(NotFitted):
        GreedyPolicySearch().to_json()
    with pytest.raises(ValueOutOfRange, match="multiclass"):
        GreedyPolicySearch("detection")
    with pytest.raises(ValueOutOfRange, match="length"):
        GreedyPolicySearch(length=0)
    with pytest.raises(ShapeMismatch, match="view, case, class"):
        GreedyPolicySearch().fit(CLASSES[0], TRUTH)
    with pytest.raises(ShapeMismatch, match="one label a case"):
        GreedyPolicySearch().fit(CLASSES, TRUTH[:50])
    with pytest.raises(ShapeMismatch, match="and finding"):
        GreedyPolicySearch("multilabel").fit(FINDINGS, PRESENT[:, 0])
    with pytest.raises(ValueOutOfRange, match="0 to 3"):
        GreedyPolicySearch().fit(CLASSES, TRUTH + 1)
    with pytest.raises(ValueOutOfRange, match="0 to 3"):
        GreedyPolicySearch().fit(CLASSES, TRUTH + 0.5)
    with pytest.raises(ValueOutOfRange, match="not finite"):
        GreedyPolicySearch().fit(np.where(CLASSES > 3, np.nan, CLASSES), TRUTH)
    with pytest.raises(EmptyInput, match="labelled"):
        GreedyPolicySearch().fit(CLASSES, np.full(200, -1))
    with pytest.raises(EmptyInput, match="labelled"):
        GreedyPolicySearch("regression").fit(NUMBERS, np.full(200, np.nan))
    with pytest.raises(EmptyInput, match="labelled"):
        GreedyPolicySearch("segmentation").fit(MAPS, [np.full_like(mask, -1) for mask in MASKS])
    with pytest.raises(ShapeMismatch, match="16 images, 3 label maps"):
        GreedyPolicySearch("segmentation").fit(MAPS, MASKS[:3])
    with pytest.raises(ShapeMismatch, match="every image needs every view"):
        GreedyPolicySearch("segmentation").fit([MAPS[0], MAPS[1][:3]], MASKS[:2])
    with pytest.raises(ValueOutOfRange, match="below 0"):
        GreedyPolicySearch("regression").fit(np.stack([NUMBERS, -(NUMBERS**2)], axis=-1), NUMBER)
    with pytest.raises(ShapeMismatch, match="6 views"):
        GreedyPolicySearch().fit(CLASSES, TRUTH, transforms=FILM_VIEWS)
    with pytest.raises(ShapeMismatch, match="one of 6"):
        GreedyPolicySearch().fit(CLASSES, TRUTH).apply(CLASSES[:5])
    with pytest.raises(RuleError, match="greedy_policy"):
        GreedyPolicySearch.from_json({"kind": "temperature"})
