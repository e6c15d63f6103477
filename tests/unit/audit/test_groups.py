"""Subgroups: who belongs where, what is too few, and the pooled figures against a plain count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vesalius.audit.answers import answer_store
from vesalius.audit.evaluate import choose_rows
from vesalius.audit.groups import age_band, describe_groups, enough, excluding_zero, group_values
from vesalius.audit.options import AuditOptions


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (0, "under 40"),
        (39.9, "under 40"),
        (40, "40 to 59"),
        (59, "40 to 59"),
        (60, "60 to 75"),
        (75, "60 to 75"),
        (76, "over 75"),
        (104, "over 75"),
    ],
)
def test_age_bands_meet_without_gap(years: float, band: str) -> None:
    assert age_band(float(years)) == band


@pytest.mark.parametrize("years", [None, float("nan"), -3.0])
def test_no_age_no_band(years: float | None) -> None:
    assert age_band(years) is None


def test_columns_become_words() -> None:
    manifest = pd.DataFrame(
        {"portable": pd.array([True, False, None], dtype="boolean"), "sex": ["F", "", None], "age_years": [30.0, np.nan, 80.0]}
    )
    assert group_values(manifest, "portable") == ["yes", "no", None]
    assert group_values(manifest, "sex") == ["F", None, None]
    assert group_values(manifest, "age_band") == ["under 40", None, "over 75"]
    assert group_values(manifest, "scanner") is None


def test_enough_asks_for_ten_of_each() -> None:
    labels = np.full((40, 3), np.nan)
    labels[:10, :] = 1
    labels[10:20, 0], labels[10:19, 1], labels[10:40, 2] = 0, 0, 0
    labels[9, 2] = np.nan
    assert enough(labels).tolist() == [True, False, False]


@pytest.fixture(scope="module")
def blocks(store: Any) -> Any:
    rows = choose_rows(store, ("A",))["internal"]

    def describe(predictor: Any, by: tuple[str, ...]) -> tuple[Any, list[dict[str, Any]]]:
        answers = answer_store(predictor, store, rows, lambda n: None)
        options = AuditOptions(by=by, resamples=100)
        about = store.manifest.iloc[rows]
        return answers, describe_groups(answers, about, predictor.findings, np.asarray(predictor.policy.thresholds), options)

    return describe


def test_pooled_rates_count_every_answer_of_the_group(blocks: Any, predictor: Any, store: Any) -> None:
    answers, (block,) = blocks(predictor, ("sex",))
    sex = store.manifest["sex"].to_numpy()[answers.rows]
    called = answers.probabilities >= np.asarray(predictor.policy.thresholds)
    sensitivity = {name: called[sex == name][answers.labels[sex == name] == 1].mean() for name in "FM"}
    for group in block["groups"]:
        other = "M" if group["value"] == "F" else "F"
        assert group["pooled"]["sensitivity"]["value"] == pytest.approx(sensitivity[group["value"]])
        assert group["pooled"]["sensitivity_gap"]["value"] == pytest.approx(sensitivity[group["value"]] - sensitivity[other])
        assert group["n"] == (sex == group["value"]).sum()


def test_small_groups_get_no_figure(blocks: Any, predictor: Any) -> None:
    _, (block,) = blocks(predictor, ("age_band",))
    told = [one for group in block["groups"] for one in group["findings"].values()]
    assert any(not one["sufficient"] for one in told)
    for one in told:
        few = min(one["n_positive"], one["n"] - one["n_positive"]) < 10 or "patient" in (one["reason"] or "")
        assert one["sufficient"] is not few
        assert (one["auroc"] is None) is few


def test_what_the_store_does_not_know_is_said(blocks: Any, predictor: Any) -> None:
    _, found = blocks(predictor, ("portable", "scanner", "site"))
    assert [block["absent"] for block in found] == ["not recorded for any of them", "there is no such column", None]
    (only,) = found[2]["groups"]
    assert only["macro"]["auroc_gap"] is None
    assert only["pooled"]["sensitivity_gap"] is None
    assert excluding_zero(found) == (0, 0)


def test_many_films_of_few_patients_are_not_enough(predictor: Any, store: Any) -> None:
    rows = choose_rows(store, ("A",))["internal"]
    answers = answer_store(predictor, store, rows, lambda n: None)
    few = np.where(np.arange(len(rows)) < 40, "few", "many")
    patients = np.where(few == "few", "one", answers.patients)
    about = store.manifest.iloc[rows].assign(scanner=few)
    (block,) = describe_groups(
        replace(answers, patients=patients),
        about,
        predictor.findings,
        np.asarray(predictor.policy.thresholds),
        AuditOptions(by=("scanner",), resamples=20),
    )
    told = {group["value"]: group for group in block["groups"]}
    assert told["few"]["pooled"]["sensitivity"] is None
    assert told["few"]["pooled"]["reason"] == "insufficient: 1 patient, 10 are needed"
    assert told["few"]["macro"] is None
    assert told["many"]["pooled"]["sensitivity"]["value"] is not None
    assert told["many"]["pooled"]["sensitivity_gap"] is None
    assert excluding_zero([block]) == (0, 0)
