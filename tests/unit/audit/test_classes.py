"""Classes that exclude each other: figures of the likeliest class against an independent library and plain counts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score

from vesalius.audit.answers import Answers
from vesalius.audit.card import audit_section
from vesalius.audit.classes import NOT_OF_CLASSES, describe_classes, likeliest, of_one_class, settle_classes
from vesalius.audit.evaluate import audit
from vesalius.audit.groups import describe_groups
from vesalius.audit.key_figures import balanced_accuracy
from vesalius.audit.options import AuditOptions
from vesalius.audit.performance import describe_cohort
from vesalius.audit.report import all_figures, render, risk_notes
from vesalius.uncertainty.class_decisions import ClassPolicy

CLASSES = ("oak", "ash", "elm")
CUT = 0.6
FEW = AuditOptions(resamples=100)


def answers(n: int = 90, seed: int = 0) -> Answers:
    """Answers that lean to the truth; each tenth slide is stopped by a gate, and of each ninth nobody knows the class."""
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=n)
    logits = random.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    stopped = np.arange(n) % 10 == 3
    given = (p.max(axis=1) >= CUT) & ~stopped
    decisions = np.where(given[:, None], (p == p.max(axis=1, keepdims=True)).astype(int), -1)
    why = np.where(stopped, "out_of_distribution", np.where(given, "", "uncertain")).astype(object)
    labels = np.eye(3)[truth]
    labels[np.arange(n) % 9 == 1] = np.nan
    scores, rows = np.where(stopped, 9.0, 1.0), np.arange(n)
    patients = np.array([f"p{number // 2}" for number in range(n)], dtype=object)
    return Answers(np.log(p), p, decisions, np.repeat(why[:, None], 3, axis=1), scores, stopped, rows, labels, patients)


def policy() -> ClassPolicy:
    state = {"coverage": 0.9, "target_risk": None, "cut": CUT, "note": None, "seen": [True] * 3}
    return ClassPolicy.from_json(state)


def test_figures_of_the_likeliest_class_are_those_of_an_independent_library() -> None:
    given = answers()
    found = describe_classes(given, CLASSES, CUT, FEW)
    known = np.isfinite(given.labels).all(axis=1)
    truth, best = given.labels[known].argmax(axis=1), given.probabilities[known].argmax(axis=1)
    said = (given.decisions[known] >= 0).all(axis=1)
    assert found["n"] == known.sum() == 80
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, best))
    assert found["accuracy"]["value"] == pytest.approx((truth == best).mean())
    assert found["coverage"]["value"] == pytest.approx(said.mean())
    assert found["error_answered"]["value"] == pytest.approx((truth != best)[said].mean())
    assert 0 < said.mean() < 1
    for kept, name in ((slice(None), "likeliest"), (said, "answered")):
        table = [[found["confusion"][name][row][column] for column in CLASSES] for row in CLASSES]
        np.testing.assert_array_equal(table, confusion_matrix(truth[kept], best[kept], labels=[0, 1, 2]))
    assert [found["confusion"]["no_answer"][name] for name in CLASSES] == np.bincount(truth[~said]).tolist()
    top, right = given.probabilities[known].max(axis=1), truth == best
    assert found["top"]["brier"]["value"] == pytest.approx(brier_score_loss(right, top))
    assert found["top"]["auroc"]["value"] == pytest.approx(roc_auc_score(right, top))
    assert found["top"]["ece"]["low"] <= found["top"]["ece"]["value"] <= found["top"]["ece"]["high"]
    for at, name in enumerate(CLASSES):
        assert found["recall"][name]["value"] == pytest.approx(right[truth == at].mean())


def test_a_class_without_a_case_is_not_in_the_mean_and_the_note_says_so() -> None:
    given = answers()
    kept = given.take(given.labels[:, 2] != 1)
    found = describe_classes(kept, CLASSES, CUT, FEW)
    assert found["recall"]["elm"]["value"] is None
    assert found["balanced_accuracy"]["value"] == pytest.approx(np.mean([found["recall"][name]["value"] for name in CLASSES[:2]]))
    assert "No case of elm: not in the mean." in balanced_accuracy("internal", found)["note"]
    assert "No case" not in balanced_accuracy("internal", describe_classes(given, CLASSES, CUT, FEW))["note"]


def test_the_surest_are_answered_first_and_the_mark_is_where_the_bundle_stands() -> None:
    given = answers()
    found = describe_classes(given, CLASSES, CUT, FEW)
    known = np.isfinite(given.labels).all(axis=1)
    truth, p = given.labels[known].argmax(axis=1), given.probabilities[known]
    wrong = (p.argmax(axis=1) != truth)[np.argsort(-p.max(axis=1))]
    curve = found["curves"]["risk_coverage"]
    for coverage, risk in zip(curve["coverage"], curve["risk"], strict=True):
        count = round(coverage * len(wrong))
        assert risk == pytest.approx(wrong[:count].mean(), abs=1e-4)
    assert curve["locked"] == {"coverage": found["coverage"]["value"], "risk": found["error_answered"]["value"]}
    spread = found["curves"]["histogram"]
    assert (sum(spread["present"]), sum(spread["absent"])) == ((~wrong).sum(), wrong.sum())


def test_one_question_stands_for_all_classes() -> None:
    given = answers()
    claims = likeliest(given)
    assert claims.probabilities.shape == (90, 1)
    assert set(claims.decisions[:, 0]) == {1, -1}
    np.testing.assert_array_equal(np.isnan(claims.labels[:, 0]), np.arange(90) % 9 == 1)
    known = np.isfinite(claims.labels[:, 0])
    right = given.labels[known].argmax(axis=1) == given.probabilities[known].argmax(axis=1)
    np.testing.assert_array_equal(claims.labels[known, 0], right)


def test_a_cohort_of_classes_has_no_figure_of_a_threshold_and_counts_answers_by_slide() -> None:
    given = answers()
    cohort = describe_cohort("slides", given, ["N"], CLASSES, policy(), FEW)
    settle_classes(cohort, given, CLASSES, CUT, FEW)
    assert not {*NOT_OF_CLASSES} & {*cohort["findings"]["oak"], *cohort["macro"]}
    assert "risk_coverage" not in cohort["findings"]["oak"]["curves"]
    answered = int((given.decisions[:, 0] >= 0).sum())
    stops = cohort["abstention"]["by_reason"]
    assert (cohort["abstention"]["n_answers"], stops["answered"], stops["out_of_distribution"]) == (90, answered, 9)
    assert stops["uncertain"] == 90 - 9 - answered
    document = {"cohorts": {"internal": cohort, "external": None}, "slides": {}, "bundle": {"findings": list(CLASSES)}}
    gate = {"threshold": 3.0, "kinds": {"internal": {"title": "internal slides", "scores": {"median": 1.0}}}}
    gate["kinds"]["internal"]["scores"] |= dict.fromkeys(("p05", "p25", "p75", "p95"), 1.0)  # type: ignore[index]
    drawn = all_figures(document | {"out_of_distribution": gate})
    assert {"classes:reliability", "classes:risk", "classes:histogram:internal", "roc:oak"} <= set(drawn)
    assert not [name for name in drawn if name.startswith("risk:")]
    assert list(risk_notes(document)) == [""]


@pytest.mark.parametrize("what", ["labels", "slides"])
def test_without_a_known_class_nothing_is_estimated(what: str) -> None:
    given = answers(20)
    if what == "slides":
        given = given.take(np.zeros(20, dtype=bool))
    else:
        given.labels[:] = np.nan
    found = describe_classes(given, CLASSES, CUT, FEW)
    assert found["n"] == 0
    for name in ("balanced_accuracy", "accuracy", "coverage", "error_answered"):
        assert found[name]["value"] is None
        assert found[name]["reason"] == "none of a known class"
    assert found["top"]["ece"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_subgroups_of_classes_count_the_likeliest() -> None:
    import pandas as pd

    given = answers(180)
    scanner = np.where(np.arange(180) // 2 % 2 == 0, "Alpha", "Beta")
    about = pd.DataFrame({"scanner": scanner})
    options = AuditOptions(by=("scanner", "stain"), resamples=50)
    blocks: list[dict[str, Any]] = describe_groups(given, about, CLASSES, np.full(3, CUT), options, classes=True)
    known = np.isfinite(given.labels).all(axis=1)
    right = given.probabilities.argmax(axis=1) == np.nan_to_num(given.labels).argmax(axis=1)
    share = {name: right[known & (scanner == name)].mean() for name in ("Alpha", "Beta")}
    for group, other in zip(blocks[0]["groups"], ("Beta", "Alpha"), strict=True):
        pooled = group["pooled"]
        assert pooled["accuracy"]["value"] == pytest.approx(share[group["value"]])
        assert pooled["accuracy_gap"]["value"] == pytest.approx(share[group["value"]] - share[other])
        assert not [name for name in (*pooled, *group["findings"]["oak"]) if name.startswith(("sensitivity", "specificity"))]
    assert blocks[1]["absent"] == "there is no such column"


def test_several_classes_at_once_or_none_are_of_no_known_class() -> None:
    given = answers(4)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [np.nan, np.nan, 1]])
    found = of_one_class(replace(given, labels=labels)).labels
    np.testing.assert_array_equal(found, [[1, 0, 0], [np.nan] * 3, [np.nan] * 3, [0, 0, 1]])


def test_films_of_classes_have_the_same_page(store: Any, predictor_of_classes: Any) -> None:
    result = audit(predictor_of_classes, store, AuditOptions(resamples=30, foreign_films=8, images=True))
    document = result.document
    table = store.labels(predictor_of_classes.findings)
    assert 0 < document["cohorts"]["internal"]["classes"]["n"] < document["cohorts"]["internal"]["n_films"]
    counted = sum(document["cohorts"][name]["findings"]["nodule"]["n_positive"] for name in ("internal", "external"))
    assert counted < (table[:, 1] == 1).sum(), "a film of two classes is of none that is known"
    assert document["key_figures"][0]["id"] == "balanced_accuracy_internal"
    page = render(result)
    for key in document["key_figures"]:
        assert key["text"] in page
    wanted = set(re.findall(r'data-figure="([^"]+)"', page))
    assert wanted == set(all_figures(document)) >= {"classes:risk", "classes:histogram:external"}
    main_part = re.sub(r"<[^>]+>", " ", page[page.index("<header") : page.index("</main>")])
    assert not re.findall(r"\b[Ss]lides?\b", main_part), "it is of films"
    assert {film.kind for film in result.gallery} >= {"error", "correct"}
    for film in result.gallery:
        assert film.kind != "error" or film.words.startswith(f"Said {film.finding}")
    card, balanced = audit_section(document), document["cohorts"]["internal"]["classes"]["balanced_accuracy"]
    assert f"balanced accuracy of the likeliest: {balanced['value']:.3f} ({balanced['low']:.3f}" in card
    assert "sensitivity" not in card
    (rows,) = {
        line.count("|") for line in card.splitlines() if line.startswith("|") and "stopped" not in line and line.count("|") > 6
    }
    assert rows == 9


def test_where_no_case_was_answered_the_reason_is_not_that_no_class_is_known() -> None:
    given = answers()
    silent = replace(given, decisions=np.full_like(given.decisions, -1), reasons=np.full_like(given.reasons, "out_of_distribution"))
    found = describe_classes(silent, CLASSES, CUT, FEW)
    assert (found["n"], found["coverage"]["value"]) == (80, 0.0)
    assert found["error_answered"]["value"] is None
    assert found["error_answered"]["reason"] == "none of a known class was answered"
