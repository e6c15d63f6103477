"""What a combination, a failure detector and the scores of a segmentation must keep, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.uncertainty import Combination, case_scores, failure_detection_table

SEEDS = st.integers(0, 100_000)


def measures(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    n = int(random.integers(6, 50))
    table = {name: np.round(random.normal(0, 10 ** random.uniform(-3, 3), n), int(random.integers(1, 5))) for name in "abc"}
    table["a"][:2], table["b"][:2], table["c"][:2] = [0, 1], [1, 0], [0, 1]  # none is constant
    wrong = (random.random(n) < 0.4).astype(float)
    wrong[:2] = [0, 1]
    for values in table.values():
        values[2:][random.random(n - 2) < 0.1] = np.nan
    return table, wrong, random


@pytest.mark.parametrize("method", ["standardise", "rank", "logistic"])
@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_order_duplicates_and_units(method: str, seed: int) -> None:
    table, wrong, random = measures(seed)
    labels = wrong if method == "logistic" else None
    score = Combination(method).fit(table, labels).score(table)
    assert np.isnan(score).tolist() == np.all([np.isnan(v) for v in table.values()], axis=0).tolist()
    order = random.permutation(len(wrong))
    mixed = Combination(method).fit({k: v[order] for k, v in table.items()}, None if labels is None else labels[order])
    assert mixed.score(table) == pytest.approx(score, rel=1e-9, abs=1e-9, nan_ok=True)
    if method != "logistic":  # a ridge weighs less beside twice the cases
        twice = Combination(method).fit({k: np.tile(v, 2) for k, v in table.items()})
        assert twice.score(table) == pytest.approx(score, rel=1e-9, abs=1e-9, nan_ok=True)
    units = {name: 10.0 ** float(random.uniform(-6, 6)) for name in table}
    shifted = {name: values * units[name] + 3 * units[name] for name, values in table.items()}
    assert Combination(method).fit(shifted, labels).score(shifted) == pytest.approx(score, rel=1e-6, abs=1e-6, nan_ok=True)


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_rank_knows_no_monotone_change(seed: int) -> None:
    table, _, _ = measures(seed)
    bent = {"a": np.arctan(table["a"]), "b": table["b"] ** 3, "c": np.sign(table["c"]) * np.sqrt(np.abs(table["c"]))}
    assert np.array_equal(Combination("rank").fit(bent).score(bent), Combination("rank").fit(table).score(table), equal_nan=True)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_failure_detection_knows_order_only(seed: int) -> None:
    table, wrong, random = measures(seed)
    wrong[2:][random.random(len(wrong) - 2) < 0.1] = np.nan
    rows = failure_detection_table(table, wrong, resamples=1)
    bent = failure_detection_table({name: np.arctan(values) for name, values in table.items()}, wrong, resamples=1)
    order = random.permutation(len(wrong))
    mixed = failure_detection_table({name: values[order] for name, values in table.items()}, wrong[order], resamples=1)
    twice = failure_detection_table({name: np.tile(values, 2) for name, values in table.items()}, np.tile(wrong, 2), resamples=1)
    known = ~np.isnan(wrong)
    dropped = failure_detection_table({name: values[known] for name, values in table.items()}, wrong[known], resamples=1)
    for others in (bent, mixed, twice, dropped):
        for one, other in zip(rows, others, strict=True):
            for name in ("auroc", "augrc", "aurc"):
                mine, theirs = getattr(one, name).value, getattr(other, name).value
                assert mine == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_scores_of_segmentations_know_neither_members_order_nor_axes(seed: int) -> None:
    random = np.random.default_rng(seed)
    members = random.random((int(random.integers(1, 6)), 3, 4, 5)) < random.choice([0.0, 0.1, 0.5, 1.0])
    map_ = random.random((3, 4, 5))
    spacing = random.choice([0.7, 1.0, 2.0], 3)
    scores = case_scores(members, map_, spacing_mm=spacing.tolist(), band_width=2.0)[1]
    assert np.isfinite(list(scores.measures().values())).all()
    mixed = case_scores(members[random.permutation(len(members))], map_, spacing_mm=spacing.tolist(), band_width=2.0)[1]
    axes = random.permutation(3)
    turned = case_scores(
        members.transpose(0, *(axes + 1)), map_.transpose(axes), spacing_mm=spacing[axes].tolist(), band_width=2.0
    )[1]
    for other in (mixed, turned):
        assert other.measures() == pytest.approx(scores.measures(), rel=1e-12, abs=1e-15)
