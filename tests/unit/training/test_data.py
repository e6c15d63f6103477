"""Which films a run learns from, what it refuses, and that every film comes once an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vesalius.datasets.store import Store, write_store
from vesalius.errors import LabelsError, RunError
from vesalius.training.data import (
    Evidence,
    Films,
    choose_findings,
    choose_rows,
    films_of_step,
    refuse_one_class,
    share_of,
    unscorable,
)

FINDINGS = ("Upper", "Lower")


def store_of(path: Path, **columns: object) -> Store:
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 16, 16)).astype(np.uint16)
    table = pd.DataFrame({"split": "train", "site": "A", "view_position": "PA", "bits_stored": 12, **columns})
    return write_store(path, pixels, table)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(
        tmp_path / "store",
        split=["train", "train", "train", "train", "validation", "test"],
        site=["A", "A", "B", "A", "A", "A"],
        view_position=["PA", "AP", None, "LATERAL", "PA", "PA"],
        **{"label:Upper": [1, np.nan, 0, 1, 1, 0], "label:Lower": [np.nan, -1, 1, 0, 0, 0]},
    )


def test_all_findings_unless_some_are_named(store: Store) -> None:
    assert choose_findings(store, ()) == FINDINGS
    assert choose_findings(store, ("Lower",)) == ("Lower",)
    with pytest.raises(LabelsError, match=r"no finding Nodule; it has: Upper, Lower"):
        choose_findings(store, ("Upper", "Nodule"))


def test_only_frontal_films_of_the_split_and_sites_that_say_something(store: Store) -> None:
    assert choose_rows(store, "train", (), FINDINGS).tolist() == [0, 2], "row 1 is only uncertain, row 3 lateral"
    assert choose_rows(store, "train", (), FINDINGS, uncertain=True).tolist() == [0, 1, 2]
    assert choose_rows(store, "train", ("A",), FINDINGS).tolist() == [0]
    assert choose_rows(store, "train", (), ("Lower",)).tolist() == [2]


def test_an_empty_choice_says_what_is_missing(store: Store) -> None:
    with pytest.raises(RunError, match=r"no site C; it has: A, B"):
        choose_rows(store, "train", ("C",), FINDINGS)
    with pytest.raises(RunError, match=r"no film of site B is in split 'validation'"):
        choose_rows(store, "validation", ("B",), FINDINGS)
    with pytest.raises(RunError, match=r"of 3 films .* 2 are frontal, 1 have a known label of Lower, but none is both"):
        choose_rows(store, "train", ("A",), ("Lower",))


def test_a_finding_with_one_side_is_refused_by_name() -> None:
    truth = np.array([[1, 1, 0.0], [1, np.nan, 1], [1, -1, 0]])
    with pytest.raises(LabelsError, match=r"one side only of a \(3 present, 0 absent\), b \(1 present, 0 absent\).*--findings c"):
        refuse_one_class(truth, ("a", "b", "c"))
    refuse_one_class(truth[:, 2:], ("c",))


def test_a_finding_that_validation_cannot_score_is_told(store: Store) -> None:
    truth = np.array([[1, 1], [0, np.nan], [1, -1]])
    assert [sentence.split()[0] for sentence in unscorable(truth, FINDINGS)] == ["Lower"]
    with pytest.raises(LabelsError, match="nothing can be scored"):
        unscorable(truth[:, 1:], ("Lower",))


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_films_come_at_the_networks_size_in_any_order(store: Store, cache_gb: float) -> None:
    films = Films(store, np.array([0, 2, 5]), 16, cache_gb)
    assert (films.cached is None) == (cache_gb == 0)
    asked = np.array([2, 0, 2])
    np.testing.assert_allclose(films.pixels(asked), store.pixels([5, 0, 5]), atol=1 / 131000)
    assert Films(store, np.array([0, 2, 5]), 8, cache_gb).pixels(asked).shape == (3, 8, 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_cache_is_exact_where_it_says_so(tmp_path: Path, bits: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 2**bits, (3, 16, 16)).astype(np.uint16)
    store = write_store(tmp_path / "s", pixels, pd.DataFrame({"split": ["train"] * 3, "bits_stored": bits, "label:a": 1.0}))
    films = Films(store, np.arange(3), 16, 1.0)
    assert films.cached is not None
    np.testing.assert_array_equal(films.pixels(np.arange(3)), store.pixels([0, 1, 2]))


def test_mean_and_spread_are_those_of_the_pixels(store: Store) -> None:
    grey = store.pixels(np.arange(6)).astype(np.float64)
    mean, spread = Films(store, np.arange(6), 16, 0.0).mean_and_spread()
    assert (mean, spread) == (pytest.approx(grey.mean(), abs=1e-7), pytest.approx(grey.std(), abs=1e-6))


def test_masks_become_small_and_absent_findings_have_an_empty_known_one(tmp_path: Path) -> None:
    filled = np.zeros((3, 1, 128, 128), dtype=np.uint8)
    filled[:, 0, :2, :4] = 255
    truth = np.array([[np.nan, 1.0], [np.nan, 0.0], [np.nan, np.nan]])
    store = write_store(
        tmp_path / "s",
        np.random.default_rng(0).integers(0, 255, (3, 128, 128)).astype(np.uint16),
        pd.DataFrame({"split": ["train"] * 3, "label:a": truth[:, 0], "label:b": truth[:, 1]}),
        masks=filled,
        masks_known=np.array([[True], [False], [False]]),
        structures=("b",),
    )
    masks, known = Evidence(Films(store, np.arange(3), 128, 0.0), ("a", "b"), truth).masks(np.array([1, 0, 2]))
    assert known.tolist() == [[False, True], [False, True], [False, False]]
    assert masks.shape == (3, 2, 32, 32)
    assert masks[0].sum() == 0
    assert masks[1, 1].sum() == pytest.approx(0.5, abs=1e-2)
    assert masks[1, 1, 0, 0].item() == pytest.approx(0.5, abs=1e-2), "two of its four rows"


def test_every_film_comes_once_an_epoch_and_epochs_differ() -> None:
    seen = np.concatenate([films_of_step(step, 10, 4, seed=3) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert seen[:10].tolist() != seen[10:20].tolist()
    again = np.concatenate([films_of_step(step, 10, 4, seed=4) for step in range(5)])
    assert again.tolist() != seen.tolist()


def test_a_batch_may_be_larger_than_the_films() -> None:
    assert np.bincount(films_of_step(2, 3, 9, seed=0)).tolist() == [3, 3, 3]


@pytest.mark.parametrize("shares", [1, 2, 3, 7])
def test_shares_are_the_whole_without_overlap(shares: int) -> None:
    cases = films_of_step(0, 100, 7, seed=0)
    parts = [share_of(cases, share, shares) for share in range(shares)]
    assert np.concatenate(parts).tolist() == cases.tolist()
    assert all(len(part) for part in parts)
