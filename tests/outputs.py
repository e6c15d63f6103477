"""Outputs of a simulated model for tests of `vesalius uq`: too sure of itself, with patients, members and features."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

FINDINGS = ("Effusion", "Pleural_Thickening")
SECRET = "Wilhelmina-4711-"
"""How every patient's name begins: it must come out nowhere."""


def simulated(n_patients: int = 160, *, seed: int = 0, temperature: float = 2.5) -> dict[str, Any]:
    """Arrays as `vesalius uq` wants them; dividing the logits by `temperature` calibrates them."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), random.integers(1, 4, n_patients))
    n = len(patient)
    truth = random.normal(size=(n_patients, 2))[patient] + random.normal(size=(n, 2)) + np.array([-0.3, -1.2])
    labels = (random.random((n, 2)) < expit(truth)).astype(float)
    members = temperature * truth + random.normal(scale=0.4, size=(4, n, 2))
    labels[random.random((n, 2)) < 0.05] = np.nan
    labels[random.random((n, 2)) < 0.03] = -1
    given: dict[str, Any] = {
        "patient_id": np.array([f"{SECRET}{number}" for number in patient]),
        "split": np.where(patient % 2 == 0, "calibration", "test"),
        "sex": np.where(patient % 3 == 0, "F", "M"),
    }
    for index, name in enumerate(FINDINGS):
        given |= {f"label:{name}": labels[:, index], f"logit:{name}": members.mean(axis=0)[:, index]}
    return given | {"features": random.normal(size=(n, 8)), "member_logits": members}


def write_csv(path: Path, given: dict[str, Any], *, without: tuple[str, ...] = ()) -> Path:
    """Writes the columns of one axis as a CSV; unknown labels are blank."""
    columns = {name: values for name, values in given.items() if values.ndim == 1 and name not in without}

    def cell(value: Any) -> str:
        if isinstance(value, str):
            return value
        return "" if np.isnan(value) else repr(float(value))

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([map(cell, row) for row in zip(*columns.values(), strict=True)])
    return path


def write_arrays(path: Path, given: dict[str, Any], *, without: tuple[str, ...] = ()) -> Path:
    """Writes a .npz."""
    np.savez(path, **{name: values for name, values in given.items() if name not in without})
    return path
