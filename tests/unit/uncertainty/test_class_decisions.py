"""Classes that exclude each other: which calibrator is taken, and when the likeliest class is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ValueOutOfRange
from vesalius.uncertainty import BiasCorrectedTemperature, MulticlassTemperature, Platt, calibrator_from_json
from vesalius.uncertainty.class_decisions import ClassPolicy, SelectedClassCalibrator, class_numbers
from vesalius.uncertainty.folds import patient_folds


def draw(seed: int, n: int = 240, *, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Cosines a hundredth as large as the true log odds, the words of each class nearer or farther by its offset."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 2, (n, 3))
    truth = np.array([random.choice(3, p=row) for row in softmax(odds, axis=1)])
    return (odds + np.array(offset)) / 100 + random.normal(0, 0.05, (n, 1)), truth


def table(truth: np.ndarray) -> np.ndarray:
    return np.where(truth[:, None] < 0, np.nan, np.arange(3) == truth[:, None])


def test_class_numbers() -> None:
    labels = np.array([[0, 1, 0], [np.nan, np.nan, 1], [np.nan] * 3, [0, 0, 0]])
    assert class_numbers(labels).tolist() == [1, 2, -1, -1]
    with pytest.raises(ValueOutOfRange, match="two classes"):
        class_numbers(np.array([[1.0, 1.0, 0.0]]))


def test_offsets_are_taken_where_the_words_of_a_class_lie_nearer_to_everything() -> None:
    z, truth = draw(0, offset=(6.0, 0.0, 0.0))
    fitted = SelectedClassCalibrator().fit(z, table(truth))
    assert {row["chosen"] for row in fitted.selection} == {"temperature_and_offsets"}
    p = fitted.calibrate(z)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(p.mean(axis=0), np.bincount(truth) / len(truth), atol=0.02)
    fresh, of = draw(1, 2000, offset=(6.0, 0.0, 0.0))
    loss = -np.log(fitted.calibrate(fresh)[np.arange(len(of)), of]).mean()
    true = -log_softmax((fresh * 100) - np.array([6.0, 0, 0]), axis=1)[np.arange(len(of)), of].mean()
    assert loss < true + 0.02, "as good as who knows the odds"


def test_the_choice_is_that_of_candidates_scored_by_hand() -> None:
    z, truth = draw(2)
    patients = np.repeat(np.arange(120), 2)
    fitted = SelectedClassCalibrator(seed=3).fit(z, table(truth), patients)
    fold = patient_folds(patients, np.eye(3)[truth], folds=5, seed=3)
    for name, kind in (("temperature", MulticlassTemperature), ("temperature_and_offsets", BiasCorrectedTemperature)):
        losses = np.empty(len(z))
        for index in range(5):
            held = fold == index
            line = kind().fit(z[~held], truth[~held]).calibrate(z[held])
            losses[held] = -np.log(line[np.arange(held.sum()), truth[held]])
        assert fitted.selection[0]["cv_nll"][name] == pytest.approx(losses.mean(), abs=1e-9)
    best = min(fitted.order, key=lambda name: fitted.selection[0]["cv_nll"][name])
    assert fitted.selection[0]["chosen"] == best


def test_few_cases_get_no_offsets_and_well_parted_ones_no_bound() -> None:
    truth = np.repeat(np.arange(3), 6)
    z = 0.2 * np.eye(3)[truth] + np.random.default_rng(0).normal(0, 0.001, (18, 3))
    few = SelectedClassCalibrator().fit(z, table(truth))
    assert {row["chosen"] for row in few.selection} == {"identity"}, "a temperature of 0 is no estimate"
    assert few.selection[0]["cv_nll"]["temperature_and_offsets"] is None
    many = SelectedClassCalibrator().fit(np.repeat(z, 2, axis=0), table(np.repeat(truth, 2)))
    assert {row["chosen"] for row in many.selection} == {"temperature_and_offsets"}
    own = many.calibrate(z)[np.arange(18), truth]
    assert 0.8 < own.min() < own.max() < 0.97, "sure, and as sure as 12 cases a class allow: 13 / 15"


def test_two_classes_with_offsets_are_platt() -> None:
    random = np.random.default_rng(4)
    z = random.normal(0, 0.1, (80, 2))
    truth = (random.random(80) < 1 / (1 + np.exp(-12 * (z[:, 1] - z[:, 0]) - 0.7))).astype(int)
    ours = BiasCorrectedTemperature().fit(z, truth)
    theirs = Platt().fit((z[:, 1] - z[:, 0])[:, None], truth[:, None].astype(float))
    np.testing.assert_allclose(ours.calibrate(z)[:, 1], theirs.calibrate((z[:, 1] - z[:, 0])[:, None])[:, 0], atol=1e-6)
    assert ours.temperature == pytest.approx(float(theirs.temperatures[0]), rel=1e-5)


def test_a_class_without_a_case() -> None:
    z, truth = draw(5, 60)
    kept = truth != 2
    with pytest.raises(NotEstimable, match="no case of class 2"):
        BiasCorrectedTemperature().fit(z[kept], truth[kept])
    fitted = SelectedClassCalibrator().fit(z[kept], table(truth[kept]))
    assert fitted.notes[2] == "no case of this class: nothing shows that it is ever right"
    policy = ClassPolicy(coverage=1.0).fit(fitted.calibrate(z[kept]), table(truth[kept]))
    said = policy.decide(np.array([[0.05, 0.05, 0.9], [0.05, 0.9, 0.05]]))
    assert said.tolist() == [[-1, -1, -1], [0, 1, 0]], "what was never seen is never said"


def test_written_and_read_back() -> None:
    z, truth = draw(6)
    fitted = SelectedClassCalibrator().fit(z, table(truth))
    again = calibrator_from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.calibrate(z), fitted.calibrate(z))
    policy = ClassPolicy(target_risk=0.2).fit(fitted.calibrate(z), table(truth))
    read = ClassPolicy.from_json(json.loads(json.dumps(policy.to_json())))
    assert np.array_equal(read.decide(fitted.calibrate(z)), policy.decide(fitted.calibrate(z)))


@pytest.mark.parametrize("target", [None, 0.1, 0.2])
def test_the_cut_is_that_of_brute_force(target: float | None) -> None:
    z, truth = draw(7)
    p = softmax(z * 100, axis=1)
    policy = ClassPolicy(coverage=0.7, target_risk=target).fit(p, table(truth))
    greatest, wrong = p.max(axis=1), p.argmax(axis=1) != truth
    answered = (policy.decide(p) >= 0).all(axis=1)
    if target is None:
        assert answered.sum() == np.ceil(0.7 * len(z))
    else:
        kept = [cut for cut in greatest if wrong[greatest >= cut].mean() <= target]
        assert answered.sum() == (greatest >= min(kept)).sum()
    assert np.array_equal(answered, greatest >= policy.cut)
    assert (policy.decide(p)[answered].sum(axis=1) == 1).all(), "one class is present, never two and never none"


def test_what_is_never_answered() -> None:
    p = np.array([[0.6, 0.4], [0.7, 0.3]])
    one = ClassPolicy().fit(p, np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert (one.decide(p) == -1).all()
    assert "never answered" in str(one.notes[0])
    wrong = ClassPolicy(target_risk=0.0).fit(p, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert (wrong.decide(p) == -1).all()
    fine = ClassPolicy(coverage=1.0).fit(p, np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (fine.decide(np.array([[np.nan, np.nan], [0.9, 0.1]])) == [[-1, -1], [1, 0]]).all()


def test_what_is_refused() -> None:
    unknown = np.full((2, 2), np.nan)
    with pytest.raises(EmptyInput):
        SelectedClassCalibrator().fit(np.zeros((2, 2)), unknown)
    with pytest.raises(EmptyInput):
        ClassPolicy().fit(np.full((2, 2), 0.5), unknown)
    with pytest.raises(ValueOutOfRange, match="coverage"):
        ClassPolicy(coverage=0)
    with pytest.raises(NotFitted):
        ClassPolicy().decide(np.zeros((1, 2)))
    with pytest.raises(NotFitted):
        SelectedClassCalibrator().calibrate(np.zeros((1, 2)))


def test_scores_that_tell_nothing_are_said() -> None:
    truth = np.repeat(np.arange(2), (30, 60))
    z = np.stack([truth, 1 - truth], axis=1) + np.random.default_rng(0).normal(0, 0.1, (90, 2))  # wrong way round
    fitted = SelectedClassCalibrator().fit(z, (np.arange(2) == truth[:, None]).astype(float))
    assert fitted.notes[0] is not None
    assert "no better than chance" in fitted.notes[0]
    np.testing.assert_allclose(fitted.calibrate(z).mean(axis=0), [1 / 3, 2 / 3], atol=0.01)
    z, truth = draw(2)
    assert SelectedClassCalibrator().fit(z, table(truth)).notes == [None] * 3
