"""Every figure of a cohort against a plain count over the predictor's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from vesalius.audit.answers import answer_store
from vesalius.audit.evaluate import choose_rows
from vesalius.audit.options import AuditOptions
from vesalius.audit.performance import describe_cohort


@pytest.fixture(params=["internal", "external"])
def cohort(request: pytest.FixtureRequest, store: Any, predictor: Any, document: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    rows = choose_rows(store, ("A",))[request.param]
    return answer_store(predictor, store, rows, lambda n: None), document["cohorts"][request.param]


def test_ranking_and_brier_are_those_of_an_independent_library(cohort: tuple[Any, dict[str, Any]]) -> None:
    answers, described = cohort
    for index, one in enumerate(described["findings"].values()):
        known = np.isfinite(answers.labels[:, index])
        y, p = answers.labels[known, index], answers.probabilities[known, index]
        assert one["n"] == known.sum()
        assert one["n_positive"] == y.sum()
        assert one["auroc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
        assert one["auprc"]["value"] == pytest.approx(average_precision_score(y, p), abs=1e-12)
        assert one["brier"]["value"] == pytest.approx(brier_score_loss(y, p), abs=1e-12)
        before = brier_score_loss(y, 1 / (1 + np.exp(-answers.logits[known, index])))
        assert one["brier_change"]["value"] == pytest.approx(one["brier"]["value"] - before, abs=1e-12)


def test_decisions_are_counted_with_and_without_abstention(cohort: tuple[Any, dict[str, Any]]) -> None:
    answers, described = cohort
    for index, one in enumerate(described["findings"].values()):
        y, p, said = answers.labels[:, index], answers.probabilities[:, index], answers.decisions[:, index]
        forced = p >= one["threshold"]
        assert one["sensitivity"]["value"] == pytest.approx(forced[y == 1].mean())
        assert one["specificity"]["value"] == pytest.approx((~forced)[y == 0].mean())
        assert one["sensitivity_answered"]["value"] == pytest.approx((said[(y == 1) & (said >= 0)] == 1).mean())
        assert one["specificity_answered"]["value"] == pytest.approx((said[(y == 0) & (said >= 0)] == 0).mean())
        assert one["coverage"]["value"] == pytest.approx((said[np.isfinite(y)] >= 0).mean())
        locked = one["curves"]["risk_coverage"]["locked"]
        assert locked["risk"] == pytest.approx(one["error_answered"]["value"])
        assert locked["coverage"] == pytest.approx(one["coverage"]["value"])


def test_macro_is_the_mean_and_intervals_hold_their_value(cohort: tuple[Any, dict[str, Any]]) -> None:
    _, described = cohort
    for key in ("auroc", "sensitivity_answered", "coverage", "nll_change"):
        values = [one[key]["value"] for one in described["findings"].values()]
        assert described["macro"][key]["value"] == pytest.approx(np.mean(values))
        assert described["macro"][key]["low"] <= described["macro"][key]["value"] <= described["macro"][key]["high"]


def test_all_of_seventeen_is_not_certainty(predictor: Any, store: Any) -> None:
    answers = answer_store(predictor, store, choose_rows(store, ("A",))["internal"], lambda n: None)
    positive = answers.labels[:, 0] == 1
    certain = replace(answers, probabilities=np.where(positive[:, None], 0.99, 0.01) + 0 * answers.probabilities)
    described = describe_cohort("films", certain, ["A"], predictor.findings, predictor.policy, AuditOptions(resamples=20))
    found = described["findings"]["effusion"]["sensitivity"]
    n = len(set(answers.patients[positive]))
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(n / (n + 3.8415), abs=1e-4)  # Wilson at n of n: n / (n + z^2)


def test_curves_end_where_they_must(cohort: tuple[Any, dict[str, Any]]) -> None:
    _, described = cohort
    for one in described["findings"].values():
        curves = one["curves"]
        assert curves["roc"]["sensitivity"][-1] == curves["roc"]["false_positive_rate"][-1] == 1.0
        assert curves["risk_coverage"]["coverage"][-1] == 1.0
        assert sum(row["n"] for row in curves["reliability"]) == one["n"]
        assert sum(curves["histogram"]["present"]) == one["n_positive"]


def test_abstention_adds_up(cohort: tuple[Any, dict[str, Any]]) -> None:
    answers, described = cohort
    abstention = described["abstention"]
    assert sum(abstention["by_reason"].values()) == abstention["n_answers"] == answers.decisions.size
    assert sum(abstention["films"].values()) == described["n_films"]
    assert abstention["by_reason"]["answered"] == (answers.decisions >= 0).sum()


def test_the_document_is_plain_json(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document, allow_nan=False)) == document
