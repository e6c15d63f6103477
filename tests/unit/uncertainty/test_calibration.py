"""Calibrators: edge cases, choice, ranks, and state through JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import nll
from vesalius.uncertainty import Platt, SelectedCalibrator, Temperature, calibrator_from_json
from vesalius.uncertainty.calibration import Identity
from vesalius.uncertainty.folds import patient_folds

ALL = [Identity, Temperature, lambda: Temperature(per_label=True), Platt, SelectedCalibrator]


def sample(seed: int = 0, n: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three findings: honest; twice too sure; honest in slope, but rarer than its logits say."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (n, 3))
    chance = 1 / (1 + np.exp(-np.stack([z[:, 0], z[:, 1] / 4, z[:, 2] - 2.5], axis=1)))
    labels = (random.random((n, 3)) < chance).astype(float)
    labels[random.random((n, 3)) < 0.1] = np.nan
    return z, labels, random.integers(0, n // 2, n)


@pytest.mark.parametrize("make", ALL)
def test_unfitted_names_the_missing_call(make: type) -> None:
    for call in (lambda: make().calibrate(np.zeros((1, 3))), lambda: make().to_json(), lambda: make().temperatures):
        with pytest.raises(NotFitted, match=r"call fit\(logits, labels\)"):
            call()


@pytest.mark.parametrize("make", ALL)
def test_state_survives_json_exactly(make: type) -> None:
    z, labels, patients = sample()
    fitted = make().fit(z, labels, patients)
    again = calibrator_from_json(json.loads(json.dumps(fitted.to_json())))
    assert type(again) is type(fitted)
    assert np.array_equal(again.calibrate(z), fitted.calibrate(z))
    assert again.to_json() == fitted.to_json()


def test_bundles_of_the_first_version_still_load() -> None:
    """As the first bundles were written, before there were curves; probabilities by hand."""
    row = {"n": 90, "n_positive": 20, "chosen": "platt", "cv_nll": {"identity": 0.6, "platt": 0.5}, "note": None}
    line = {"slopes": [0.5, 2.0], "intercepts": [-1.0, 0.0], "notes": [None, "few"]}
    for state in (
        {"kind": "selected", **line, "selection": [row, row]},
        {"kind": "platt", **line},
        {"kind": "temperature", **line},
    ):
        loaded = calibrator_from_json(json.loads(json.dumps(state)))
        assert loaded.to_json() == state
        expected = [1 / (1 + math.exp(-(0.5 * 2 - 1))), 1 / (1 + math.exp(-(2 * -1)))]
        assert loaded.calibrate(np.array([[2.0, -1.0]]))[0] == pytest.approx(expected, rel=1e-15)
        assert loaded.notes == [None, "few"]
    assert calibrator_from_json({"kind": "selected", **line, "selection": [row, row]}).choices == ["platt", "platt"]


def test_unknown_kind() -> None:
    with pytest.raises(ValueOutOfRange, match="known here: identity"):
        calibrator_from_json({"kind": "oracle"})


@pytest.mark.parametrize("make", ALL)
def test_probabilities_are_strictly_inside_and_keep_ranks(make: type) -> None:
    z, labels, patients = sample()
    fitted = make().fit(z, labels, patients)
    p = fitted.calibrate(np.array([[-1e300] * 3, [-5.0] * 3, [0.0] * 3, [5.0] * 3, [1e300] * 3]))
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p, axis=0) > 0).all()
    assert np.isnan(fitted.calibrate(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("make", ALL)
def test_unknown_labels_equal_dropped_cases(make: type) -> None:
    z, labels, _ = sample()
    labels[:50] = np.nan
    assert np.allclose(make().fit(z, labels).calibrate(z), make().fit(z[50:], labels[50:]).calibrate(z), atol=1e-12)


def test_one_class_takes_the_shared_temperature() -> None:
    z, labels, _ = sample()
    labels[:, 1] = np.where(np.isnan(labels[:, 1]), np.nan, 0)
    shared = Temperature().fit(z, labels)
    own = Temperature(per_label=True).fit(z, labels)
    assert own.temperatures[1] == shared.temperatures[1] != own.temperatures[0]
    assert "one class only" in own.notes[1]
    assert own.notes[0] is None
    platt = Platt().fit(z, labels)
    assert (platt.temperatures[1], platt.intercepts[1]) == (shared.temperatures[1], 0)
    alone = Temperature().fit(z, np.zeros_like(z))
    assert alone.temperatures.tolist() == [1, 1, 1]
    assert "not calibrated" in alone.notes[0]


def test_perfectly_parted_is_bounded_and_never_chosen() -> None:
    random = np.random.default_rng(1)
    z = np.concatenate([random.uniform(1, 2, (30, 1)), random.uniform(-2, -1, (30, 1))])
    labels = (z > 0).astype(float)
    own = Temperature(per_label=True).fit(z, labels)
    assert own.temperatures[0] == pytest.approx(1e-3)
    assert "parted perfectly" in own.notes[0]
    selected = SelectedCalibrator().fit(z, labels)
    assert selected.choices[0] in {"identity", "platt"}
    assert selected.calibrate(np.array([[1.5]]))[0, 0] < 0.999


def test_each_finding_gets_what_it_needs() -> None:
    z, labels, patients = sample(n=3000)
    found = SelectedCalibrator().fit(z, labels, patients)
    assert found.temperatures[0] == pytest.approx(1, abs=0.15)
    assert found.choices[1] in {"temperature", "platt"}
    assert found.temperatures[1] == pytest.approx(4, rel=0.15)
    assert found.choices[2] == "platt"
    assert found.intercepts[2] == pytest.approx(-2.5, abs=0.5)  # about three standard errors


def test_selection_is_by_held_out_patients() -> None:
    """The table is what fitting and scoring by hand on the same folds gives, and the least of it is chosen."""
    z, labels, patients = sample()
    found = SelectedCalibrator(folds=4, seed=2).fit(z, labels, patients)
    fold = patient_folds(patients, labels, folds=4, seed=2)
    makers = {"identity": Identity, "shared_temperature": Temperature, "temperature": ALL[2], "platt": Platt}
    for name, make in makers.items():
        held = np.full(labels.shape, np.nan)
        for index in range(4):
            rest = fold != index
            held[~rest] = make().fit(z[rest], labels[rest]).calibrated_logits(z[~rest])
        for k in range(3):
            assert found.selection[k]["cv_nll"][name] == pytest.approx(nll(labels[:, k], held[:, k]), abs=1e-12)
    for k, row in enumerate(found.selection):
        assert row["chosen"] == min(row["cv_nll"], key=row["cv_nll"].get)
        assert row["n"] == (~np.isnan(labels[:, k])).sum()
        assert row["n_positive"] == (labels[:, k] == 1).sum()


def test_few_cases_try_the_simple_ones_only() -> None:
    z, labels, patients = sample()
    rare = np.flatnonzero(labels[:, 2] == 1)
    labels[rare[9:], 2] = np.nan
    row = SelectedCalibrator().fit(z, labels, patients).selection[2]
    assert row["n_positive"] == 9
    assert row["chosen"] in {"identity", "shared_temperature"}
    assert row["cv_nll"]["platt"] is None
    assert "only the shared temperature" in row["note"]


def test_a_tie_goes_to_the_simplest() -> None:
    """Logits of 0 are 0 at any temperature: nothing but an intercept could help, and with half present it cannot either."""
    labels = np.tile([[0.0], [1.0]], (40, 1))
    assert SelectedCalibrator().fit(np.zeros((80, 1)), labels).choices == ["identity"]


def test_wrong_input() -> None:
    z, labels, patients = sample()
    for make in ALL:
        with pytest.raises(EmptyInput, match="no known label"):
            make().fit(z, np.full_like(z, np.nan))
        with pytest.raises(ShapeMismatch):
            make().fit(z, labels[:, :2])
        with pytest.raises(ValueOutOfRange, match="infinite"):
            make().fit(np.where(np.isnan(labels), 0, np.inf), labels)
        with pytest.raises(ShapeMismatch, match=r"fitted on \(case, 3\)"):
            make().fit(z, labels).calibrate(z[:, :2])
    with pytest.raises(ShapeMismatch, match="patients"):
        SelectedCalibrator().fit(z, labels, patients[:-1])
    with pytest.raises(ValueOutOfRange, match="labels hold 2"):
        Platt().fit(z, np.full_like(z, 2))


def test_fewer_patients_than_folds() -> None:
    z, labels, _ = sample(n=40)
    two = SelectedCalibrator().fit(z, labels, np.arange(40) % 2)
    assert all(math.isfinite(value) for value in two.temperatures)
    one = SelectedCalibrator().fit(z, labels, np.zeros(40))
    assert one.choices == ["identity"] * 3
