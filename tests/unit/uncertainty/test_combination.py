from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import Combination, softmax_distance

RANDOM = np.random.default_rng(0)
REFERENCE = {"a": RANDOM.normal(0, 1, 40), "b": RANDOM.gamma(2, 3, 40)}


def test_a_constant_measure_is_dropped_with_its_reason_and_not_asked_for() -> None:
    fitted = Combination().fit({**REFERENCE, "c": np.full(40, 0.1), "d": np.full(40, np.nan)})
    assert fitted.used == ("a", "b")
    assert set(fitted.dropped) == {"c", "d"}
    assert "same value, 0.1" in fitted.dropped["c"]
    assert "no finite value" in fitted.dropped["d"]
    alone = Combination().fit(REFERENCE)
    new = {"a": np.array([1.0, 2.0]), "b": np.array([0.5, 9.0])}
    assert np.array_equal(fitted.score(new), alone.score(new))
    assert np.array_equal(fitted.score({**new, "c": np.array([7.0, 8.0])}), alone.score(new))


def test_a_constant_computed_in_two_ways_is_still_constant() -> None:
    fitted = Combination().fit({**REFERENCE, "c": np.where(np.arange(40) % 2, 0.1 + 0.2, 0.3)})
    assert set(fitted.dropped) == {"c"}


def test_one_case_alone_has_the_score_it_has_among_others() -> None:
    fitted = Combination().fit(REFERENCE)
    together = fitted.score(REFERENCE)
    alone = [fitted.score({name: values[k : k + 1] for name, values in REFERENCE.items()})[0] for k in range(40)]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("method", ["standardise", "rank"])
def test_nan_is_the_mean_over_the_rest_and_counted(method: str) -> None:
    fitted = Combination(method).fit(REFERENCE)
    holes = {"a": np.array([np.nan, 1.0, np.nan]), "b": np.array([2.0, np.nan, np.nan])}
    scaled = fitted.scaled(holes)
    score = fitted.score(holes)
    assert score[0] == scaled["b"][0]
    assert score[1] == scaled["a"][1]
    assert np.isnan(score[2])
    assert fitted.n_used(holes).tolist() == [1, 1, 0]


def test_logistic_puts_the_mean_in_place_of_nan() -> None:
    wrong = (REFERENCE["a"] > 0).astype(float)
    fitted = Combination("logistic").fit(REFERENCE, wrong)
    hole = fitted.score({"a": np.array([1.0]), "b": np.array([np.nan])})
    mean = fitted.score({"a": np.array([1.0]), "b": np.array([REFERENCE["b"].mean()])})
    assert hole == pytest.approx(mean)
    assert np.isnan(fitted.score({"a": np.array([np.nan]), "b": np.array([np.nan])})[0])


def test_infinite_doubt_wins() -> None:
    infinite = {"a": np.array([np.inf, 0.0]), "b": np.array([-1e9, 5.0])}
    assert Combination().fit(REFERENCE).score(infinite)[0] == np.inf
    wrong = (REFERENCE["a"] > 0).astype(float)
    assert Combination("logistic").fit(REFERENCE, wrong).score(infinite)[0] == 1.0
    assert Combination("rank").fit(REFERENCE).score(infinite)[0] == 0.5  # above all of a, below all of b
    with_infinity = Combination().fit({**REFERENCE, "a": np.append(REFERENCE["a"][:-1], np.inf)})
    assert "not finite in 1 of 40" in with_infinity.notes["a"]
    assert np.isfinite(with_infinity.score({"a": np.array([0.0]), "b": np.array([1.0])})).all()


def test_direction_is_declared_and_a_contradiction_is_said() -> None:
    turned = Combination(directions={"a": "confidence"}).fit(REFERENCE)
    by_hand = Combination().fit({"a": -REFERENCE["a"], "b": REFERENCE["b"]})
    assert np.array_equal(turned.score(REFERENCE), by_hand.score({"a": -REFERENCE["a"], "b": REFERENCE["b"]}))
    wrong = (REFERENCE["a"] + RANDOM.normal(0, 0.3, 40) > 0).astype(float)
    assert "below 0" in Combination("logistic", directions={"a": "confidence"}).fit(REFERENCE, wrong).notes["a"]
    assert "a" not in Combination("logistic").fit(REFERENCE, wrong).notes


@pytest.mark.parametrize("method", ["standardise", "rank", "logistic"])
def test_json_keeps_every_digit(method: str) -> None:
    wrong = (REFERENCE["a"] > 0).astype(float) if method == "logistic" else None
    fitted = Combination(method, directions={"b": "confidence"}).fit({**REFERENCE, "c": np.ones(40)}, wrong)
    again = Combination.from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.score(REFERENCE), fitted.score(REFERENCE))
    assert (again.used, again.dropped, again.notes, again.n_reference) == (("a", "b"), fitted.dropped, fitted.notes, 40)
    assert again.weights == fitted.weights
    with pytest.raises(ValueOutOfRange, match="expected what Combination"):
        Combination.from_json({"kind": "energy"})


def test_rank_does_not_tell_apart_what_lies_beyond_the_reference() -> None:
    score = Combination("rank").fit({"a": REFERENCE["a"]}).score({"a": np.array([-99.0, 99.0, 9999.0])})
    assert score.tolist() == [0.0, 1.0, 1.0]


def test_weights_say_what_each_is_worth() -> None:
    assert Combination().fit(REFERENCE).weights == {"a": 0.5, "b": 0.5}
    wrong = (REFERENCE["a"] > 0).astype(float)
    weights = Combination("logistic").fit(REFERENCE, wrong).weights
    assert weights["a"] > 3 * abs(weights["b"])


def test_refusals() -> None:
    with pytest.raises(NotFitted, match=r"fit\(measures\)"):
        Combination().score(REFERENCE)
    with pytest.raises(ValueOutOfRange, match="method 'mean'"):
        Combination("mean")
    with pytest.raises(ValueOutOfRange, match="directions"):
        Combination(directions={"a": "up"})
    with pytest.raises(ValueOutOfRange, match="penalty"):
        Combination("logistic", penalty=0)
    with pytest.raises(ValueOutOfRange, match="failures are needed by"):
        Combination("logistic").fit(REFERENCE)
    with pytest.raises(ValueOutOfRange, match="and by no other"):
        Combination().fit(REFERENCE, np.zeros(40))
    with pytest.raises(EmptyInput, match="no measure"):
        Combination().fit({})
    with pytest.raises(NotEstimable, match="at least one varies"):
        Combination().fit({"c": np.ones(3)})
    with pytest.raises(NotEstimable, match="0 failures in 40"):
        Combination("logistic").fit(REFERENCE, np.zeros(40))
    with pytest.raises(ShapeMismatch, match="one value a case"):
        Combination().fit({"a": np.ones(3), "b": np.ones(4)})
    with pytest.raises(ShapeMismatch, match="directions are declared for z"):
        Combination(directions={"z": "confidence"}).fit(REFERENCE)
    fitted = Combination().fit(REFERENCE)
    with pytest.raises(ShapeMismatch, match="array of NaN"):
        fitted.score({"a": np.ones(2)})
    with pytest.raises(ShapeMismatch, match="fit again to add"):
        fitted.score({**REFERENCE, "new": np.ones(40)})
    with pytest.raises(ShapeMismatch, match="failures"):
        Combination("logistic").fit(REFERENCE, np.zeros(39))


def test_a_refused_fit_leaves_nothing_half_fitted() -> None:
    once = Combination("logistic").fit(REFERENCE, (REFERENCE["a"] > 0).astype(float))
    with pytest.raises(NotEstimable):
        once.fit(REFERENCE, np.ones(40))
    with pytest.raises(NotFitted):
        once.score(REFERENCE)


def test_softmax_distance_is_the_distance_to_the_nearest_hard_label() -> None:
    p = np.array([[0.1, 0.5, np.nan], [0.9, 1.0, 0.0]])
    nearest = np.min([np.abs(p - 0), np.abs(p - 1)], axis=0)
    assert np.array_equal(softmax_distance(p), nearest, equal_nan=True)
    classes = RANDOM.dirichlet(np.ones(4), 20)
    half_l1 = np.abs(classes[:, None] - np.eye(4)).sum(axis=2).min(axis=1) / 2
    assert softmax_distance(classes, task="multiclass") == pytest.approx(half_l1)
    with pytest.raises(ValueOutOfRange, match="calibrate logits"):
        softmax_distance(np.array([1.2]))
    with pytest.raises(ValueOutOfRange, match="add up to 1"):
        softmax_distance(np.array([[0.5, 0.6]]), task="multiclass")
    with pytest.raises(ValueOutOfRange, match="task"):
        softmax_distance(np.array([0.5]), task="binary")
