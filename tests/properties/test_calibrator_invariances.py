"""What every calibrator must keep: rows in any order, every row twice, rows without a label, several findings at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from vesalius.uncertainty import (
    Beta,
    Isotonic,
    MulticlassTemperature,
    MulticlassVector,
    Platt,
    PrevalenceShift,
    SelectedCalibrator,
    Temperature,
    Vector,
    VennAbers,
)

Make = Callable[[], Temperature]

BY_LIKELIHOOD = {
    "temperature": Temperature,
    "own temperature": lambda: Temperature(per_label=True),
    "vector": Vector,
    "beta": Beta,
    "isotonic": lambda: Isotonic(minimum_cases=0),
    "plain isotonic": lambda: Isotonic(centred=False, minimum_cases=0),
    "shifted": lambda: PrevalenceShift(Vector(), [0.2, 0.4]),
}
BY_COUNTS = {"platt": Platt, "venn-abers": VennAbers}  # what a case more would say depends on how many there are
EVERY = BY_LIKELIHOOD | BY_COUNTS


def tables(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with ties, labels with gaps, and rows of which nothing is known; new logits."""
    random = np.random.default_rng(seed)
    z = np.round(random.normal(0, 2, (n, 2)), int(random.integers(0, 4)))
    labels = (random.random((n, 2)) < expit(z)).astype(float)
    labels[random.random((n, 2)) < 0.2] = np.nan
    labels[random.random(n) < 0.2] = np.nan
    labels[:2] = [[0, 1], [1, 0]]
    return z, labels, random.normal(0, 3, (40, 2))


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 120))
@settings(max_examples=15, deadline=None)
def test_rows_in_any_order_and_rows_without_labels(name: str, seed: int, n: int) -> None:
    z, labels, new = tables(seed, n)
    fitted = EVERY[name]().fit(z, labels)
    rows = np.random.default_rng(seed).permutation(n)
    rows = rows[~np.isnan(labels[rows]).all(axis=1)]
    again = EVERY[name]().fit(z[rows], labels[rows])
    np.testing.assert_allclose(again.calibrate(new), fitted.calibrate(new), atol=1e-7)
    assert again.notes == fitted.notes


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_choice_does_not_see_rows_without_labels(seed: int) -> None:
    z, labels, new = tables(seed, 100)
    patients = np.random.default_rng(seed).integers(0, 60, 100)
    known = ~np.isnan(labels).all(axis=1)
    for owners in (None, patients):
        whole = SelectedCalibrator().fit(z, labels, owners)
        dropped = SelectedCalibrator().fit(z[known], labels[known], None if owners is None else owners[known])
        assert whole.to_json() == dropped.to_json()
        np.testing.assert_array_equal(whole.calibrate(new), dropped.calibrate(new))


@pytest.mark.parametrize("name", BY_LIKELIHOOD)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 120))
@settings(max_examples=15, deadline=None)
def test_every_row_twice_changes_nothing(name: str, seed: int, n: int) -> None:
    z, labels, new = tables(seed, n)
    once = BY_LIKELIHOOD[name]().fit(z, labels)
    twice = BY_LIKELIHOOD[name]().fit(np.repeat(z, 2, axis=0), np.repeat(labels, 2, axis=0))
    assert once.notes == twice.notes
    # Isotonic probabilities stop at 1 / (cases + 2), and Beta takes Platt's targets where cases are parted: both count cases.
    edge = 1 / ((~np.isnan(labels)).sum(axis=0) + 2) if "isotonic" in name else np.zeros(2)
    counted = [name == "beta" and "Platt" in (note or "") for note in once.notes]
    first, second = (np.clip(one.calibrate(new), edge, 1 - edge) for one in (once, twice))
    np.testing.assert_allclose(first[:, ~np.array(counted)], second[:, ~np.array(counted)], atol=1e-6)


@pytest.mark.parametrize("name", BY_COUNTS)
def test_where_cases_count_twice_as_many_say_more(name: str) -> None:
    z, labels, _ = tables(3, 60)
    z, labels = z[~np.isnan(labels[:, 0])][:, [0]], labels[~np.isnan(labels[:, 0])][:, [0]]
    ends = np.array([[-9.0], [9.0]])
    spans = [
        float(np.ptp(BY_COUNTS[name]().fit(np.repeat(z, times, axis=0), np.repeat(labels, times, axis=0)).calibrate(ends)))
        for times in (1, 2, 4)
    ]
    assert spans[0] < spans[1] < spans[2]


@pytest.mark.parametrize("kind", [MulticlassTemperature, MulticlassVector])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_classes(kind: type[MulticlassTemperature], seed: int) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (150, 3))
    labels = np.array([random.choice(3, p=row) for row in softmax(z / 2, axis=1)])
    labels[random.random(150) < 0.2] = -1
    fitted = kind().fit(z, labels).calibrate(z)
    known = np.flatnonzero(labels >= 0)
    for rows in (known, random.permutation(150), np.repeat(np.arange(150), 2)):
        np.testing.assert_allclose(kind().fit(z[rows], labels[rows]).calibrate(z), fitted, atol=1e-5)
    moved = z + random.normal(0, 3, (150, 1))  # a number added to all classes of a case is nothing to a softmax
    if kind is MulticlassTemperature:
        np.testing.assert_allclose(kind().fit(moved, labels).calibrate(moved), fitted, atol=1e-8)
