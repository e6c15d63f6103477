from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.intervals import PatientResamples
from vesalius.uncertainty import seed_spread

RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random((80, 2)) < 0.4).astype(float)
MEMBERS = LABELS + RANDOM.normal(size=(3, 80, 2))
PLAN = PatientResamples.of(np.arange(80) // 2, 80, resamples=40)


def test_one_seed_has_no_spread_that_could_be_known() -> None:
    found = seed_spread("auroc", LABELS, MEMBERS[:1], plan=PLAN)
    assert np.isnan(found.sd)
    assert (found.gain.value, found.gain.low, found.gain.high) == (0, 0, 0)
    assert found.to_json()["sd"] is None
    json.dumps(found.to_json(), allow_nan=False)


def test_equal_members_gain_nothing_and_an_unknown_label_is_left_out() -> None:
    unknown = LABELS.copy()
    unknown[:10] = np.nan
    wild = np.repeat(MEMBERS[:1], 3, axis=0)
    wild[:, :10] = 1e3
    found = seed_spread("auprc", unknown, wild, plan=PLAN)
    assert found.sd == pytest.approx(0, abs=1e-15)
    assert found.low == found.high == found.ensemble.value
    rest = PatientResamples.of(np.arange(80) // 2, 80, resamples=0)
    assert found.mean == pytest.approx(seed_spread("auprc", unknown, MEMBERS[:1], plan=rest).mean)


def test_classes_take_a_function() -> None:
    truth = RANDOM.integers(3, size=80)
    logits = 2 * np.eye(3)[truth] + RANDOM.normal(size=(4, 80, 3))

    def accuracy(labels: np.ndarray, p: np.ndarray, weights: np.ndarray) -> float:
        return float(np.average(p.argmax(axis=-1) == labels, weights=weights))

    found = seed_spread(accuracy, truth, logits, task="multiclass", of="probabilities", plan=PLAN)
    np.testing.assert_allclose(found.members, (logits.argmax(axis=-1) == truth).mean(axis=1))
    assert found.gain.low < found.gain.value < found.gain.high
    assert len(found.gains) == 4


def test_one_finding_may_have_no_axis_of_its_own() -> None:
    flat = seed_spread("auroc", LABELS[:, 0], MEMBERS[..., 0], plan=PLAN)
    assert flat == seed_spread("auroc", LABELS[:, :1], MEMBERS[..., :1], plan=PLAN)


def test_refusals() -> None:
    with pytest.raises(ShapeMismatch, match="member, case"):
        seed_spread("auroc", LABELS, MEMBERS[0])
    with pytest.raises(ShapeMismatch, match="plan is for 80"):
        seed_spread("auroc", LABELS[:50], MEMBERS[:, :50], plan=PLAN)
    with pytest.raises(ValueOutOfRange, match="auroc or auprc"):
        seed_spread("accuracy", LABELS, MEMBERS)
    with pytest.raises(ValueOutOfRange, match="function"):
        seed_spread("auroc", LABELS[:, 0], MEMBERS, task="multiclass")
