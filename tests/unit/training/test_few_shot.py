"""Who is drawn, the probe beside, and what a row of the curve says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from vesalius.training.few_shot import Point, draw_shots, few_shot_curve, linear_probe


def cohort(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of three findings, some unknown or uncertain, and two films a patient."""
    random = np.random.default_rng(seed)
    truth = (random.random((n, 3)) < [0.3, 0.2, 0.1]).astype(float)
    truth[random.random((n, 3)) < 0.1] = np.nan
    truth[random.random((n, 3)) < 0.05] = -1
    return truth, np.repeat(np.arange(n // 2), 2)


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_a_draw_has_so_many_patients_a_class(shots: int) -> None:
    truth, patients = cohort()
    cases = draw_shots(truth, patients, shots, 3, exclusive=False)
    assert len(cases) == len(set(cases.tolist())) <= 4 * shots
    for column in range(3):
        there_are = len(set(patients[truth[:, column] == 1].tolist()))
        drawn = cases[truth[cases, column] == 1]
        assert len(set(patients[drawn].tolist())) >= min(shots, there_are)
    normal = ~(truth[cases] == 1).any(axis=1)
    assert normal.sum() == shots, "films without a finding come only as the class of their own"
    assert len(set(patients[cases[normal]].tolist())) == shots, "one film a patient"


def test_fewer_shots_are_part_of_more_and_seeds_differ() -> None:
    truth, patients = cohort()
    draws = [set(draw_shots(truth, patients, shots, 3, exclusive=False).tolist()) for shots in (1, 2, 4, 8)]
    assert all(few <= more for few, more in itertools.pairwise(draws))
    again = set(draw_shots(truth, patients, 8, 3, exclusive=False).tolist())
    assert again == draws[-1]
    assert set(draw_shots(truth, patients, 8, 4, exclusive=False).tolist()) != again


def test_exclusive_classes_have_no_class_of_none() -> None:
    truth = np.eye(3)[np.arange(30) % 3]
    cases = draw_shots(truth, np.arange(30), 4, 0, exclusive=True)
    assert (truth[cases].sum(axis=0) == 4).all()


def test_a_class_of_fewer_patients_gives_all_it_has() -> None:
    truth = np.zeros((20, 2))
    truth[:3, 0], truth[3:10, 1] = 1, 1
    cases = draw_shots(truth, np.arange(20), 5, 0, exclusive=False)
    assert (truth[cases] == 1).sum(axis=0).tolist() == [3, 5]


@pytest.mark.parametrize(("n", "dim"), [(30, 5), (6, 40)])
def test_the_probe_is_sklearns_logistic_regression(n: int, dim: int) -> None:
    """With fewer films than numbers too, where ours works in the span of the films."""
    random = np.random.default_rng(n)
    learned, scored = (random.normal(size=(count, dim)) for count in (n, 12))
    truth = np.column_stack([np.arange(n) % 2, random.integers(0, 2, n)]).astype(float)
    truth[0, 1], truth[1, 1], truth[2, 1] = 0, 1, np.nan
    logits = linear_probe(learned.astype(np.float32), truth, scored.astype(np.float32), penalty=0.5)
    centre = learned.mean(axis=0)
    spread = np.sqrt(((learned - centre) ** 2).mean())
    for column in range(2):
        known = ~np.isnan(truth[:, column])
        theirs = LogisticRegression(C=2.0, solver="newton-cholesky", tol=1e-10)
        theirs.fit((learned[known] - centre) / spread, truth[known, column])
        np.testing.assert_allclose(logits[:, column], theirs.decision_function((scored - centre) / spread), atol=1e-5)


def test_a_probe_of_one_side_says_nothing() -> None:
    logits = linear_probe(np.eye(3, dtype=np.float32), np.ones((3, 1)), np.eye(3, dtype=np.float32), 1.0)
    assert (logits == 0).all()
    one = linear_probe(np.ones((1, 3), dtype=np.float32), np.ones((1, 1)), np.eye(3, dtype=np.float32), 1.0)
    assert (one == 0).all()


def test_a_row_is_the_mean_of_its_repeats() -> None:
    truth, patients = cohort(80)
    truth[truth == -1] = np.nan
    random = np.random.default_rng(5)
    scores = random.normal(size=(2, 80, 3)) + np.nan_to_num(truth)
    hand = random.normal(size=(1, 80, 3))
    points = [Point("hand-written prompts", "0", hand, (0,)), Point("learned prompts", "4", scores, (16, 15))]
    rows = few_shot_curve(points, truth, patients, ("a", "b", "c"), exclusive=False, resamples=60)

    def area(column: int, of: np.ndarray) -> float:
        known = ~np.isnan(truth[:, column])
        return float(roc_auc_score(truth[known, column], of[known, column]))

    macros = [np.mean([area(column, one) for column in range(3)]) for one in scores]
    row = rows[1]
    assert row["macro_auroc"]["value"] == pytest.approx(np.mean(macros))
    assert row["macro_auroc"]["low"] < row["macro_auroc"]["value"] < row["macro_auroc"]["high"]
    assert (row["repeats"]["least"], row["repeats"]["greatest"]) == pytest.approx((min(macros), max(macros)))
    assert row["auroc"]["b"]["value"] == pytest.approx(np.mean([area(1, one) for one in scores]))
    assert row["films"] == 15.5
    difference = np.mean(macros) - np.mean([area(column, hand[0]) for column in range(3)])
    assert row["minus_hand_written"]["value"] == pytest.approx(difference)
    assert "minus_linear_probe" not in row
    assert "accuracy" not in row


def test_exclusive_classes_have_an_accuracy() -> None:
    truth = np.eye(3)[np.arange(40) % 3]
    right = np.arange(40) < 30
    scores = np.where(right[:, None], truth, 1 - truth) + np.array([0.0, 0.01, 0.02])
    rows = few_shot_curve(
        [Point("learned prompts", "1", scores[None], (3,))], truth, np.arange(40), "abc", exclusive=True, resamples=80
    )
    assert rows[0]["accuracy"]["value"] == pytest.approx(0.75)
    assert rows[0]["accuracy"]["low"] < 0.75 < rows[0]["accuracy"]["high"]
