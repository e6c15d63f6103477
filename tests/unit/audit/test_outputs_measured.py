"""Nothing is measured by what it helped to fit; a rule answers the same after it was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.outputs import simulated, write_arrays
from vesalius.audit.decision_rule import METHODS, DecisionRule, RuleOptions, load_rule
from vesalius.audit.outputs import Outputs, read_outputs
from vesalius.audit.outputs_measured import measure
from vesalius.errors import NotEstimable, RuleError, ValueOutOfRange


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    return simulated(60, seed=2)


def read(folder: Path, given: dict[str, Any], *without: str) -> Outputs:
    return read_outputs(write_arrays(folder / "outputs.npz", given, without=without))


def test_the_labels_of_a_patient_change_nothing_that_the_patient_is_measured_by(given: dict[str, Any], tmp_path: Path) -> None:
    before = measure(read(tmp_path, given, "split"), RuleOptions())
    for patient in np.unique(given["patient_id"])[[0, 7, 30]]:
        own = given["patient_id"] == patient
        labels = given["label:Effusion"]
        lost = np.where(own & (labels == 0), np.nan, labels)  # folds are dealt by who has the finding: they stay
        after = measure(read(tmp_path, given | {"label:Effusion": lost}, "split"), RuleOptions())
        for name in ("probabilities", "thresholds", "decisions"):
            np.testing.assert_array_equal(getattr(before, name)[own], getattr(after, name)[own])
        for name, table in before.doubts.items():
            np.testing.assert_array_equal(table[own], after.doubts[name][own])
        if (own & (labels == 0)).any():
            assert not np.array_equal(before.probabilities, after.probabilities), "the others learnt from this patient"


def test_the_labels_of_the_test_split_change_no_answer(given: dict[str, Any], tmp_path: Path) -> None:
    before = measure(read(tmp_path, given), RuleOptions())
    test = given["split"] == "test"
    labels = np.where(test & np.isin(given["label:Effusion"], (0, 1)), 1 - given["label:Effusion"], given["label:Effusion"])
    after = measure(read(tmp_path, given | {"label:Effusion": labels}), RuleOptions())
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(before.decisions, after.decisions)
    assert len(before.outputs) == test.sum()


def test_the_rule_that_is_handed_out_is_fitted_on_calibration_alone(given: dict[str, Any], tmp_path: Path) -> None:
    outputs = read(tmp_path, given)
    assert outputs.split is not None
    alone = DecisionRule.fit(outputs.take(outputs.split == "calibration"))
    assert measure(outputs, RuleOptions()).rule.to_json() == alone.to_json()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "isotonic"])
def test_a_rule_answers_the_same_after_it_was_saved(method: Any, given: dict[str, Any], tmp_path: Path) -> None:
    outputs = read(tmp_path, given)
    rule = DecisionRule.fit(outputs, RuleOptions(method=method))
    paths = rule.save(tmp_path / "rule")
    assert [path.name for path in paths] == ["decision_rule.json", "decision_rule.npz"]
    again = load_rule(paths[0])
    assert again.to_json() == rule.to_json()
    for name in ("probabilities", "decisions", "foreign"):
        np.testing.assert_array_equal(getattr(rule.answer(outputs), name), getattr(again.answer(outputs), name))


def test_findings_are_found_by_name_not_by_place(given: dict[str, Any], tmp_path: Path) -> None:
    outputs = read(tmp_path, given, "features", "member_logits")
    rule = DecisionRule.fit(outputs)
    turned = {name: given[name] for name in sorted(given, reverse=True) if name not in ("features", "member_logits")}
    other = read(tmp_path, turned)
    assert other.findings == outputs.findings[::-1]
    np.testing.assert_array_equal(rule.answer(outputs).decisions, rule.answer(other).decisions)
    with pytest.raises(RuleError, match=r"nothing for Pleural_Thickening; add logit:Pleural_Thickening"):
        rule.answer(read(tmp_path, given, "label:Pleural_Thickening", "logit:Pleural_Thickening", "member_logits"))


def test_a_case_that_the_model_said_nothing_of_has_no_answer(given: dict[str, Any], tmp_path: Path) -> None:
    rule = DecisionRule.fit(read(tmp_path, given, "features"), gate=False)
    silent = {"logit:Effusion": np.array([np.nan, 50.0]), "logit:Pleural_Thickening": np.array([-50.0, np.nan])}
    np.savez(tmp_path / "silent.npz", **silent)
    found = rule.answer(read_outputs(tmp_path / "silent.npz", labelled=False))
    assert found.decisions.tolist() == [[-1, 0], [1, -1]]


def test_a_rule_that_cannot_be_read_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    path = DecisionRule.fit(read(tmp_path, given), gate=False).save(tmp_path)[0]
    state = json.loads(path.read_text())
    for change, words in (
        ({"format": "other"}, "not a decision rule"),
        ({"format_version": 99}, "of version 99; this vesalius reads 1"),
        ({"policy": {}}, "lacks a part"),
        ({"calibrator": {"kind": "magic"}}, "lacks a part"),
    ):
        path.write_text(json.dumps(state | change))
        with pytest.raises(RuleError, match=words):
            load_rule(path)
    path.write_text("{")
    with pytest.raises(RuleError, match="cannot be read"):
        load_rule(path)


def test_isotonic_needs_many_cases_and_a_promise_needs_a_line(given: dict[str, Any], tmp_path: Path) -> None:
    outputs = read(tmp_path, given, "features", "member_logits")
    with pytest.raises(NotEstimable, match="below 1000"):
        DecisionRule.fit(outputs, RuleOptions(method="isotonic"))
    many = read_outputs(write_arrays(tmp_path / "many.npz", simulated(700), without=("features", "member_logits")))
    rule = DecisionRule.fit(many, RuleOptions(method="isotonic"))
    again = load_rule(rule.save(tmp_path / "rule")[0])
    np.testing.assert_array_equal(rule.answer(many).probabilities, again.answer(many).probabilities)
    with pytest.raises(ValueOutOfRange, match="take temperature, platt"):
        DecisionRule.fit(many, RuleOptions(method="beta", target_risk=0.1, confidence=0.9))


def test_an_unknown_method_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueOutOfRange, match="expected one of temperature"):
        DecisionRule.fit(read(tmp_path, given), RuleOptions(method="magic"))  # type: ignore[arg-type]
