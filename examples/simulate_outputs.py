"""Writes outputs of a simulated model, to try `vesalius uq` on: three findings, several films a patient, far too sure of itself.

    python examples/simulate_outputs.py --out outputs.csv
    python examples/simulate_outputs.py --out outputs.npz      # with features and the members of an ensemble
    python examples/simulate_outputs.py --out new.csv --seed 1 --without-labels

Nothing here is a patient: every number comes from a random generator.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

FINDINGS = {"Effusion": -0.5, "Pneumothorax": -2.6, "Cardiomegaly": 0.2}
"""Each finding and how common it is, as a logit."""
TEMPERATURE = 2.4


def simulate(n_patients: int, seed: int) -> dict[str, Any]:
    """Returns arrays by the names that `vesalius uq` reads."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), random.integers(1, 5, n_patients))
    n = len(patient)
    disease = random.normal(scale=0.9, size=(n_patients, 3))[patient] + random.normal(scale=1.3, size=(n, 3))
    true_logit = 1.5 * disease + np.array(list(FINDINGS.values()))
    labels = (random.random((n, 3)) < 1 / (1 + np.exp(-true_logit))).astype(float)
    hard = random.random((n, 1)) < 0.15  # films on which the members disagree, and the answer is worse
    spread = np.where(hard, 2.6, 0.7)
    members = TEMPERATURE * true_logit + spread * random.normal(size=(5, n, 3)) + spread * random.normal(size=(n, 3))
    labels[random.random((n, 3)) < 0.05] = np.nan  # unknown
    features = random.normal(size=(n, 16)) + 2.0 * hard
    arrays: dict[str, Any] = {
        "patient_id": np.array([f"patient-{number:04d}" for number in patient]),
        "split": np.where(random.random(n_patients) < 0.5, "calibration", "test")[patient],
        "sex": np.where(random.random(n_patients) < 0.5, "F", "M")[patient],
        "site": np.where(random.random(n_patients) < 0.7, "North", "South")[patient],
    }
    for index, name in enumerate(FINDINGS):
        arrays |= {f"label:{name}": labels[:, index], f"logit:{name}": members.mean(axis=0)[:, index]}
    return arrays | {"features": features, "member_logits": members}


def write_csv(path: Path, arrays: dict[str, Any]) -> None:
    """Writes one line a case; an unknown label is left blank."""
    columns = {name: values for name, values in arrays.items() if values.ndim == 1}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(_cell(value) for value in row)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:g}"


def main() -> None:
    """Writes one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="FILE.csv or FILE.npz")
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-labels", action="store_true", help="new cases, to apply a rule to")
    given = parser.parse_args()
    arrays = simulate(given.patients, given.seed)
    if given.without_labels:
        arrays = {name: values for name, values in arrays.items() if not name.startswith("label:")}
    if given.out.suffix == ".npz":
        np.savez(given.out, **arrays)
    else:
        write_csv(given.out, arrays)
    print(f"{given.out}: {len(arrays['patient_id'])} cases of {given.patients} simulated patients")


if __name__ == "__main__":
    main()
