"""The audit's arrays are the predictor's own answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vesalius.audit.answers import CODES, answer_store, as_answers, truth
from vesalius.types import Decision, Failure, Finding, Prediction, Reason


def test_every_answer_is_that_of_predict(predictor: Any, store: Any) -> None:
    rows = np.array([5, 0, 17, 40])
    done: list[int] = []
    answers = answer_store(predictor, store, rows, done.append)
    assert sum(done) == len(rows)
    for case, row in enumerate(rows):
        (prediction,) = predictor.predict_batch([store.image(int(row))])
        for index, finding in enumerate(prediction.findings):
            assert answers.probabilities[case, index] == finding.probability
            assert answers.decisions[case, index] == CODES[finding.decision]
            assert answers.reasons[case, index] == (finding.reason or "")
        assert answers.ood_scores[case] == prediction.ood.score
    assert list(answers.patients) == list(store.manifest.patient_id.iloc[rows])


def test_uncertain_labels_and_absent_columns_are_unknown(store: Any) -> None:
    columns = truth(store, ("nodule", "fracture"))
    raw = store.manifest["label:nodule"].to_numpy()
    np.testing.assert_array_equal(np.isnan(columns[:, 0]), np.isnan(raw) | (raw == -1))
    assert np.isnan(columns[:, 1]).all()


def test_a_film_without_a_reading_is_no_assessed_film(store: Any) -> None:
    lateral = Prediction("a", "1", "b", (Finding("f", 0.3, decision=Decision.ABSTAIN, reason=Reason.NOT_ASSESSABLE),))
    poor = Prediction("a", "1", "b", (Finding("f", 0.3, 0.6, 0.4, Decision.ABSTAIN, Reason.POOR_QUALITY),))
    failed = Prediction("a", None, "b", error=Failure("truncated", "the file ends before its pixels do"))
    good = Prediction("a", "1", "b", (Finding("f", 0.3, 0.6, 0.4, Decision.PRESENT),))
    rows = np.arange(4)
    answers = as_answers([lateral, poor, failed, good], ("f",), rows, np.ones((4, 1)), store.manifest)
    assert answers.assessed.tolist() == [False, False, False, True]
    assert answers.decisions[:, 0].tolist() == [-1, -1, -1, 1]
    assert answers.reasons[:, 0].tolist() == ["not_assessable", "poor_quality", "poor_quality", ""]


def test_normal_means_every_label_known_and_absent(predictor: Any, store: Any) -> None:
    answers = answer_store(predictor, store, np.arange(4), lambda n: None)
    labels = np.array([[0, 0, 0], [0, np.nan, 0], [0, 1, 0], [0, 0, 0.0]])
    assert replace(answers, labels=labels).normal.tolist() == [True, False, False, True]
