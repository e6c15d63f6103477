from __future__ import annotations

import pandas as pd
import pytest

from vesalius.datasets.splits import DEFAULT_FRACTIONS, assign_splits, check_fractions
from vesalius.errors import LabelsError


def films(site: str, n_patients: int, per_patient: int = 1) -> pd.DataFrame:
    patients = [f"{site}{number:04d}" for number in range(n_patients) for _ in range(per_patient)]
    return pd.DataFrame({"patient_id": patients, "site": site, "split": None})


def test_proportions_are_exact_in_every_site() -> None:
    manifest = pd.concat([films("A", 200, 2), films("B", 100)], ignore_index=True)
    manifest["given"] = assign_splits(manifest)
    counts = manifest.groupby(["site", "given"])["patient_id"].nunique()
    assert counts["A"].to_dict() == {"train": 110, "validation": 30, "calibration": 30, "test": 30}
    assert counts["B"].to_dict() == {"train": 55, "validation": 15, "calibration": 15, "test": 15}


def test_a_seed_is_a_split_and_row_order_is_not() -> None:
    manifest = films("A", 60, 2)
    splits = assign_splits(manifest, seed=1)
    assert (splits == assign_splits(manifest, seed=1)).all()
    assert (splits != assign_splits(manifest, seed=2)).any()
    shuffled = manifest.sample(frac=1, random_state=0)
    assert (assign_splits(shuffled, seed=1).sort_index() == splits).all()


def test_given_splits_stay_and_reach_the_patients_other_rows() -> None:
    manifest = films("A", 20, 2)
    manifest.loc[[0, 2, 4], "split"] = ["test", "test", "calibration"]
    splits = assign_splits(manifest)
    assert splits[[0, 1, 2, 3, 4, 5]].tolist() == ["test"] * 4 + ["calibration"] * 2
    assert splits.notna().all()
    patients = manifest.assign(split=splits).groupby("split")["patient_id"].nunique()
    assert patients.to_dict() == {"train": 11, "validation": 3, "calibration": 3, "test": 3}


def test_a_patient_of_two_sites_has_one_split() -> None:
    manifest = pd.concat([films("A", 30), films("A", 30).assign(site="B")], ignore_index=True)
    splits = assign_splits(manifest)
    assert (splits[:30].to_numpy() == splits[30:].to_numpy()).all()


def test_patients_torn_apart_and_unknown_words_are_refused() -> None:
    manifest = films("A", 3, 2)
    with pytest.raises(LabelsError, match="1 patients would be in more than one split"):
        assign_splits(manifest.assign(split=["train", "test", None, None, None, None]))
    with pytest.raises(LabelsError, match="unknown words"):
        assign_splits(manifest.assign(split="held out"))
    with pytest.raises(LabelsError, match="no patient"):
        assign_splits(manifest.assign(patient_id=None))


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": 0.5, "exam": 0.5}, {}])
def test_fractions_must_make_a_whole(fractions: dict[str, float]) -> None:
    with pytest.raises(LabelsError):
        check_fractions(fractions)


def test_a_split_that_is_not_named_gets_nobody() -> None:
    splits = assign_splits(films("A", 10), {"train": 0.8, "test": 0.2})
    assert splits.value_counts().to_dict() == {"train": 8, "test": 2}
    assert sum(DEFAULT_FRACTIONS.values()) == pytest.approx(1)
