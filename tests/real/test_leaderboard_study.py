"""The study of docs/leaderboard-study.md on the published scores, beside pandas, scikit-learn and netcal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from netcal.metrics import ECE
from sklearn.metrics import confusion_matrix, roc_auc_score

pytestmark = pytest.mark.real

EXAMPLE = Path(__file__).parents[2] / "examples" / "leaderboard_study.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leaderboard_study", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["leaderboard_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "chexpert_test_labels"


@pytest.fixture(scope="module")
def done(example: ModuleType, folder: Path) -> tuple:
    return example.run(folder, 100)


def frames(folder: Path, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    truth = pd.read_csv(folder / "groundtruth.csv", index_col="Study")
    scores = pd.read_csv(folder / "example_models" / "predictions" / "standard" / f"{model}_predictions.csv", index_col="Study")
    return truth, scores.loc[truth.index]


@pytest.mark.parametrize("model", ["drnet", "desmond"])  # the two orders of columns
def test_auroc_is_scikit_learn_s(done: tuple, example: ModuleType, folder: Path, model: str) -> None:
    truth, scores = frames(folder, model)
    row = done[2]["ranking"]["auroc"][model]
    expected = {finding: roc_auc_score(truth[finding], scores[finding]) for finding in example.FINDINGS}
    for finding, value in expected.items():
        assert row[finding]["value"] == pytest.approx(value, abs=1e-12)
    assert row["mean"]["value"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)


def test_published_calibration_is_netcal_s(done: tuple, example: ModuleType, folder: Path) -> None:
    truth, scores = frames(folder, "hieupham")
    expected = np.mean([ECE(10).measure(scores[f].to_numpy(float), truth[f].to_numpy()) for f in example.FINDINGS])
    row = done[2]["calibration"]["hieupham"]
    assert row["ece_uncalibrated"]["value"] == pytest.approx(expected, abs=1e-6)
    assert row["nll_change"]["high"] < 0, "held-out patients, and still better"


def test_no_case_is_calibrated_by_its_own_patient(example: ModuleType, folder: Path) -> None:
    outputs = example.read(folder)
    logits = example.as_logits(outputs.scores["drnet"])
    flipped = outputs.truth.copy()
    flipped[7] = 1 - flipped[7]
    before = example.cross_calibrated(logits, outputs.truth, outputs.patients)
    after = example.cross_calibrated(logits, flipped, outputs.patients)
    folds = (
        example.patient_folds(outputs.patients, outputs.truth, folds=10),
        example.patient_folds(outputs.patients, flipped, folds=10),
    )
    if (folds[0] == folds[1]).all():
        np.testing.assert_allclose(before[folds[0] == folds[0][7]], after[folds[0] == folds[0][7]], atol=1e-12)
    assert not np.allclose(before, after)


def test_readers_are_counted_right(done: tuple, folder: Path) -> None:
    truth = pd.read_csv(folder / "groundtruth.csv", index_col="Study")
    reader = pd.read_csv(folder / "radiologists" / "benchmark_radiologists" / "bc6.csv", index_col="Study").loc[truth.index]
    row = next(row for row in done[2]["readers"] if (row["reader"], row["finding"]) == ("bc6", "Cardiomegaly"))
    tn, fp, fn, tp = confusion_matrix(truth["Cardiomegaly"], reader["Cardiomegaly"]).ravel()
    assert (row["reader_sensitivity"], row["reader_specificity"]) == (tp / (tp + fn), tn / (tn + fp))
    assert all(row["p_holm"] >= row["p"] for row in done[2]["readers"])
