"""Folds keep patients whole and deal the rare findings evenly."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch
from vesalius.uncertainty.folds import patient_folds


def test_patients_stay_whole_and_findings_are_spread() -> None:
    random = np.random.default_rng(0)
    patients = random.integers(0, 60, 200).astype(str)
    labels = (random.random((200, 3)) < [0.05, 0.3, 0.6]).astype(float)
    fold = patient_folds(patients, labels, folds=5)
    assert set(fold) == set(range(5))
    for name in set(patients):
        assert len(set(fold[patients == name])) == 1
    for k in range(3):
        present = [len(set(patients[(fold == index) & (labels[:, k] == 1)])) for index in range(5)]
        assert max(present) - min(present) <= (1 if k == 0 else 3)


def test_seed_and_size() -> None:
    labels = np.zeros((30, 0))
    first = patient_folds(None, labels, folds=4, seed=1)
    assert np.array_equal(first, patient_folds(None, labels, folds=4, seed=1))
    assert not np.array_equal(first, patient_folds(None, labels, folds=4, seed=2))
    assert sorted(np.bincount(first)) == [7, 7, 8, 8]
    assert patient_folds(None, labels[:3], folds=5).max() == 2


def test_one_patient_a_case() -> None:
    with pytest.raises(ShapeMismatch):
        patient_folds(np.arange(3), np.zeros((4, 1)))
