"""Whatever the cohort: no patient in two splits, nobody moved by those who come later, and a store gives back what it took."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vesalius.datasets.labels import resolve
from vesalius.datasets.splits import SPLITS, assign_splits
from vesalius.datasets.store import Store, write_store

ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ABC")), min_size=1, max_size=80)


def cohort(rows: list[tuple[int, str]]) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": [f"p{patient}" for patient, _ in rows], "site": [site for _, site in rows], "split": None})


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 5))
def test_no_patient_is_in_two_splits(rows: list[tuple[int, str]], seed: int) -> None:
    manifest = cohort(rows)
    manifest["split"] = assign_splits(manifest, seed=seed)
    assert set(manifest["split"]) <= set(SPLITS)
    assert (manifest.groupby("patient_id")["split"].nunique() == 1).all()


@settings(deadline=None, max_examples=50)
@given(ROWS, ROWS, st.integers(0, 5), st.integers(0, 5))
def test_who_comes_later_moves_nobody(
    rows: list[tuple[int, str]], later: list[tuple[int, str]], seed: int, later_seed: int
) -> None:
    first = cohort(rows)
    first["split"] = assign_splits(first, seed=seed)
    both = pd.concat([first, cohort(later)], ignore_index=True)
    splits = assign_splits(both, seed=later_seed)
    assert (splits[: len(first)] == first["split"]).all()
    assert (both.assign(split=splits).groupby("patient_id")["split"].nunique() == 1).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(0, 3))
def test_each_split_is_within_one_patient_of_its_share(n: int, seed: int) -> None:
    counts = assign_splits(cohort([(patient, "A") for patient in range(n)]), seed=seed).value_counts()
    shares = {"train": 0.55, "validation": 0.15, "calibration": 0.15, "test": 0.15}
    assert all(abs(counts.get(name, 0) - share * n) < 1 for name, share in shares.items())


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.sampled_from([1.0, 0.0, -1.0, np.nan])
    ),
    st.sampled_from(["ones", "zeros", "ignore", "lsr", "lsr-zeros", "marginalise"]),
)
def test_certain_labels_are_the_same_under_every_policy(labels: np.ndarray, policy: str) -> None:
    resolved = resolve(labels, policy)  # type: ignore[arg-type]
    certain = (labels == 0) | (labels == 1)
    assert (resolved.targets[certain] == labels[certain]).all()
    assert resolved.known[certain].all()
    assert not resolved.known[np.isnan(labels)].any()
    assert ((resolved.targets >= 0) & (resolved.targets <= 1)).all()


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_store_gives_back_what_it_took(data: st.DataObject) -> None:
    count, side = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    bits = data.draw(st.lists(st.integers(1, 16), min_size=count, max_size=count))
    levels = np.stack([data.draw(hnp.arrays(np.uint16, (side, side), elements=st.integers(0, 2**depth - 1))) for depth in bits])
    masks = data.draw(hnp.arrays(np.uint8, (count, 2, side, side)))
    manifest = pd.DataFrame({"bits_stored": bits, "image_id": [f"{row:016x}" for row in range(count)]})
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "store", levels, manifest, masks=masks, structures=["X", "Y"])
        store = Store(Path(folder) / "store")
        tops = 2.0 ** np.array(bits)[:, None, None] - 1
        np.testing.assert_array_equal(np.rint(store.pixels(range(count)) * tops), levels)
        np.testing.assert_array_equal(np.rint(store.masks(range(count))[0] * 255), masks)
