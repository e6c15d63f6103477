"""The gate's table against plain counts and an independent AUROC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vesalius.audit.answers import answer_store
from vesalius.audit.distribution import film_alone, separation, share
from vesalius.audit.evaluate import choose_rows
from vesalius.audit.options import AuditOptions

OPTIONS = AuditOptions(resamples=100)


def test_a_share_of_none_or_all_keeps_an_open_end() -> None:
    patients = np.array(["a", "a", "b", "c"])
    none, every = share(np.zeros(4, dtype=bool), patients, OPTIONS), share(np.ones(4, dtype=bool), patients, OPTIONS)
    assert (none["value"], none["low"]) == (0.0, 0.0)
    assert (every["value"], every["high"]) == (1.0, 1.0)
    assert none["high"] == pytest.approx(1 - every["low"])
    assert none["high"] == pytest.approx(3.8415 / (3 + 3.8415), abs=1e-4)  # Wilson at 0 of 3 patients: z^2 / (n + z^2)


def test_a_share_between_is_the_share() -> None:
    found = share(np.array([True, False, False, True, False]), np.array(list("abcde")), OPTIONS)
    assert found["value"] == pytest.approx(0.4)
    assert found["low"] < 0.4 < found["high"]


def test_separation_is_the_auroc_of_the_scores(predictor: Any, store: Any) -> None:
    rows = choose_rows(store, ("A",))
    home, far = (answer_store(predictor, store, rows[name], lambda n: None) for name in ("internal", "external"))
    far = replace(far, ood_scores=far.ood_scores + 0.05)
    truth = np.r_[np.ones(len(far)), np.zeros(len(home))]
    assert separation(far, home, OPTIONS)["value"] == pytest.approx(roc_auc_score(truth, np.r_[far.ood_scores, home.ood_scores]))


def test_scores_without_end_count_as_most_foreign(predictor: Any, store: Any) -> None:
    home = answer_store(predictor, store, choose_rows(store, ("A",))["internal"], lambda n: None)
    lost = replace(home, ood_scores=np.full(len(home), np.inf))
    assert separation(lost, home, OPTIONS)["value"] == 1.0


def test_the_films_padding_is_left_behind(store: Any) -> None:
    wide = replace(store, manifest=store.manifest.assign(rows=300, columns=600))
    assert film_alone(wide, 0).pixels.shape == (16, 32)
    np.testing.assert_array_equal(film_alone(wide, 0).pixels, store.films[0][8:24])


def test_every_kind_is_described_and_normal_films_apart(document: dict[str, Any]) -> None:
    section = document["out_of_distribution"]
    expected = [
        "internal",
        "internal_normal",
        "external",
        "external_normal",
        "noise",
        "blank",
        "inverted",
        "rotated_90",
        "rotated_180",
    ]
    assert list(section["kinds"]) == expected
    assert section["kinds"]["internal"]["auroc"] is None
    assert section["kinds"]["internal_normal"]["n"] < section["kinds"]["internal"]["n"]
    assert section["kinds"]["noise"]["auroc"]["value"] == 1.0
    assert section["lowest"]["value"] == min(section["kinds"][kind]["auroc"]["value"] for kind in expected[4:])
