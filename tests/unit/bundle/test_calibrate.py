"""Everything fitted on the calibration split, in the locked order, with the fallbacks said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.bundles import CONFIG, FINDINGS, PREPROCESSING, make_network
from vesalius.bundle.calibrate import CalibrationOptions, calibrate
from vesalius.bundle.describe import describe_classifier
from vesalius.errors import BundleError, EmptyInput, ValueOutOfRange
from vesalius.inference.film import FilmInference, NetworkOutput


def overconfident(n: int = 400, seed: int = 0) -> tuple[NetworkOutput, np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities; the network's logits are three times too large."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (n, 2))
    labels = (random.random((n, 2)) < 1 / (1 + np.exp(-honest))).astype(np.float64)
    features = random.normal(size=(n, 6))
    return NetworkOutput(3.0 * honest, features), labels, np.array([f"p{case // 2}" for case in range(n)])


def test_an_overconfident_network_is_cooled_and_the_table_says_by_how_much() -> None:
    output, labels, patients = overconfident()
    calibration = calibrate(output, labels, patients, FINDINGS)
    for row in calibration.table:
        assert 1 / row["slope"] == pytest.approx(3.0, rel=0.35)
        assert row["nll_after"] < row["nll_before"]
        assert row["low"] < row["threshold"] < row["high"]
        assert row["coverage"] == pytest.approx(0.9, abs=0.02)
    assert [row["finding"] for row in calibration.table] == list(FINDINGS)
    assert [row["n"] for row in calibration.table] == [400, 400]
    assert [row["n_positive"] for row in calibration.table] == labels.sum(axis=0).tolist()


def test_thresholds_are_on_calibrated_probabilities() -> None:
    output, labels, patients = overconfident()
    calibration = calibrate(output, labels, patients, FINDINGS, CalibrationOptions(threshold_rule="sensitivity=0.95"))
    probabilities = calibration.calibrator.calibrate(output.logits)
    called = probabilities >= calibration.policy.thresholds
    sensitivity = (called & (labels == 1)).sum(axis=0) / labels.sum(axis=0)
    assert (sensitivity >= 0.95).all()
    assert (sensitivity < 0.97).all()


def test_unknown_labels_are_counted_out_and_one_class_is_never_answered() -> None:
    output, labels, patients = overconfident()
    labels[:100, 0], labels[:, 1] = np.nan, 0.0
    calibration = calibrate(output, labels, patients, FINDINGS)
    first, second = calibration.table
    assert first["n"] == 300
    assert second["n_positive"] == 0
    assert second["coverage"] == 0.0
    assert any("never answered" in note for note in second["notes"])
    decisions = calibration.policy.decide(calibration.calibrator.calibrate(output.logits))
    assert (decisions[:, 1] == -1).all()


def test_a_finding_without_any_label_still_makes_a_bundle() -> None:
    output, labels, patients = overconfident()
    labels[:, 1] = np.nan
    calibration = calibrate(output, labels, patients, FINDINGS)
    assert calibration.table[1]["n"] == 0
    assert calibration.table[1]["coverage"] is None
    assert json.dumps(_describe(calibration), allow_nan=False)


def test_the_gate_lets_its_quantile_through() -> None:
    output, labels, patients = overconfident()
    gate = calibrate(output, labels, patients, FINDINGS, CalibrationOptions(ood_quantile=0.9)).gate
    fresh = overconfident(2000, seed=1)[0]
    assert gate.is_out(fresh.features, fresh.logits).mean() == pytest.approx(0.1, abs=0.04)
    assert gate.is_out(fresh.features + 10, fresh.logits).all()


OUT_OF_RANGE: list[dict[str, Any]] = [
    {"coverage": 0.0},
    {"coverage": 1.5},
    {"threshold_rule": "best"},
    {"threshold_rule": "sensitivity=2"},
    {"threshold_rule": "f1=3"},
    {"ood_scores": ("magic",)},
    {"ood_quantile": 1.0},
]


@pytest.mark.parametrize("options", OUT_OF_RANGE)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueOutOfRange):
        calibrate(*overconfident(60), FINDINGS, CalibrationOptions(**options))


def test_no_film() -> None:
    with pytest.raises(EmptyInput, match="--sites"):
        calibrate(NetworkOutput(np.zeros((0, 2)), np.zeros((0, 3))), np.zeros((0, 2)), np.zeros(0), FINDINGS)


def _describe(calibration: Any, name: str = "a-name", **provenance: Any) -> dict[str, Any]:
    inference = FilmInference([make_network()], PREPROCESSING)
    return describe_classifier(name, CONFIG, inference, calibration, {"training_sites": ["A"], **provenance})


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "x" * 65, "a/b"])
def test_names_that_could_harm(name: str) -> None:
    with pytest.raises(BundleError, match="--name"):
        _describe(calibrate(*overconfident(60), FINDINGS), name)


def test_a_provenance_without_sites_is_refused() -> None:
    inference = FilmInference([make_network()], PREPROCESSING)
    with pytest.raises(BundleError, match="training_sites"):
        describe_classifier("a", CONFIG, inference, calibrate(*overconfident(60), FINDINGS), {})
