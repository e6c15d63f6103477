"""Which films are audited, what refuses, and that the same seed gives the same figures."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vesalius.audit.evaluate import AuditResult, audit, choose_rows
from vesalius.audit.gates import Gate
from vesalius.audit.options import AuditOptions
from vesalius.errors import EmptyInput

FAST = AuditOptions(resamples=50, foreign_films=8, by=("sex",))


def test_internal_is_held_out_and_external_is_everything_elsewhere(store: Any) -> None:
    rows = choose_rows(store, ("A",))
    about = store.manifest
    assert set(about.site.iloc[rows["internal"]]) == {"A"}
    assert set(about.split.iloc[rows["internal"]]) == {"test"}
    assert len(rows["internal"]) == ((about.site == "A") & (about.split == "test")).sum()
    assert len(rows["external"]) == (about.site == "B").sum()
    assert len(set(about.split.iloc[rows["external"]])) > 1


def test_films_the_bundle_was_made_from_are_never_audited(store: Any) -> None:
    made_from = replace(store, manifest=store.manifest.assign(site="A", split="train"))
    with pytest.raises(EmptyInput, match="nothing to audit"):
        choose_rows(made_from, ("A",))


def test_unknown_splits_are_not_test_films(store: Any) -> None:
    made_from = replace(store, manifest=store.manifest.assign(site="A", split=None))
    with pytest.raises(EmptyInput):
        choose_rows(made_from, ("A",))


def test_films_of_unknown_site_and_patients_seen_in_training_are_not_external(store: Any) -> None:
    about = store.manifest.copy()
    about.loc[about.site == "B", "site"] = None
    unknown = choose_rows(replace(store, manifest=about), ("A",))
    assert set(unknown) == {"internal"}
    assert set(about.split.iloc[unknown["internal"]]) == {"test"}

    assert set(choose_rows(store, ())) == {"internal"}, "a bundle that does not know its sites has no other sites"

    seen = store.manifest.copy()
    trained_on = seen.patient_id[(seen.site == "A") & (seen.split == "train")].iloc[0]
    moved = np.flatnonzero(seen.site == "B")[:2]
    seen.loc[seen.index[moved], "patient_id"] = trained_on
    external = choose_rows(replace(store, manifest=seen), ("A",))["external"]
    assert not set(moved) & set(external)


def test_a_store_without_labels_says_how_to_get_them(predictor: Any, store: Any) -> None:
    bare = replace(store, manifest=store.manifest.drop(columns=[name for name in store.manifest if name.startswith("label:")]))
    with pytest.raises(EmptyInput, match="--labels"):
        audit(predictor, bare, FAST)


def test_the_same_seed_gives_the_same_document(predictor: Any, store: Any) -> None:
    first, again = audit(predictor, store, FAST).document, audit(predictor, store, FAST).document
    other = audit(predictor, store, replace(FAST, seed=1)).document
    for document in (first, again, other):
        document.pop("made")
    assert first == again
    assert first["cohorts"]["internal"]["macro"]["auroc"] != other["cohorts"]["internal"]["macro"]["auroc"]


def test_progress_reaches_its_end(predictor: Any, store: Any) -> None:
    seen: list[tuple[int, int]] = []
    audit(predictor, store, FAST, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == predictor.n_asked
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(("site", "left"), [("A", "internal"), ("B", "external")])
def test_one_cohort_alone_is_enough(predictor: Any, store: Any, site: str, left: str) -> None:
    only = store.manifest.site.to_numpy() == site
    part = replace(store, manifest=store.manifest[only].reset_index(drop=True), films=store.films[only])
    document = audit(predictor, part, FAST).document
    assert [name for name, cohort in document["cohorts"].items() if cohort] == [left]
    assert document["key_figures"][0]["cohort"] == left


def test_a_finding_without_positives_is_not_estimable_and_the_rest_is(predictor: Any, store: Any) -> None:
    manifest = store.manifest.copy()
    manifest["label:nodule"] = np.where(manifest["label:nodule"] == 1, 0, manifest["label:nodule"])
    internal = audit(predictor, replace(store, manifest=manifest), FAST).document["cohorts"]["internal"]
    assert internal["findings"]["nodule"]["auroc"]["value"] is None
    assert internal["findings"]["nodule"]["auroc"]["reason"]
    assert internal["findings"]["nodule"]["brier"]["value"] is not None
    assert internal["macro"]["auroc"]["value"] == pytest.approx(
        np.mean([internal["findings"][name]["auroc"]["value"] for name in ("effusion", "cardiomegaly")])
    )


def test_notices_stand_once_and_the_disclaimer_always(predictor: Any, store: Any) -> None:
    options = replace(FAST, notices=("Squares, not chests.", "A second word."))
    notices = audit(predictor, store, options).document["notices"]
    assert notices == ["Squares, not chests.", "A second word.", "Research software; not for medical use."]


def test_gates_are_judged_on_the_finished_document(predictor: Any, store: Any) -> None:
    strict = Gate("strict", ("cohorts", "internal", "macro", "auroc", "low"), at_least=0.999)
    kind = Gate("kind", ("out_of_distribution", "kinds", "noise", "auroc", "value"), at_least=0.9)
    result = audit(predictor, store, replace(FAST, gates=(strict, kind)))
    assert result.refused == ["strict"]


def test_no_patient_and_no_path_reaches_the_document(result: AuditResult, store: Any) -> None:
    text = repr(copy.deepcopy(result.document))
    assert not any(patient in text for patient in set(store.manifest.patient_id))
    assert not any(image in text for image in store.manifest.image_id)
