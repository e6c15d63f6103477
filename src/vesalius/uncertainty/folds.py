"""Folds that never part a patient: how everything in this room is cross-validated."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from vesalius.errors import ShapeMismatch


def patient_folds(
    patients: Shaped[np.ndarray, " case"] | None,
    labels: Float64[np.ndarray, "case finding"],
    *,
    folds: int = 5,
    seed: int = 0,
) -> Int64[np.ndarray, " case"]:
    """Fold number of each case, 0 to folds - 1: patients whole, and each finding's present cases dealt evenly.

    Findings are dealt from the rarest on, each patient to the fold that has the fewest present patients of that finding, then
    the fewest patients. With fewer patients than folds, there is one fold a patient. Same seed, same folds.

    Args:
        patients: Whose case it is; None takes each case as a patient of its own.
        labels: 1, 0, NaN unknown; no finding (case, 0) deals by number of patients alone.
        folds: How many.
        seed: Of the shuffle.

    Raises:
        ShapeMismatch: Not one patient a case.

    Source: Sechidis 2011 (iterative stratification), simplified: patients are dealt, and only present cases balanced.
    """
    owners = np.arange(len(labels)) if patients is None else np.asarray(patients)
    if owners.shape != (len(labels),):
        raise ShapeMismatch(f"patients {owners.shape}; expected one a case: ({len(labels)},)")
    names, patient = np.unique(owners, return_inverse=True)
    present = np.zeros((len(names), labels.shape[1]), dtype=bool)
    np.logical_or.at(present, patient, labels == 1)
    n_folds = max(1, min(folds, len(names)))
    fold = np.full(len(names), -1, dtype=np.int64)
    dealt = np.zeros((n_folds, labels.shape[1] + 1), dtype=np.int64)  # present patients of each finding, then all patients
    shuffled = np.random.default_rng(seed).permutation(len(names))
    rarest_first = np.argsort(present.sum(axis=0), kind="stable")
    for finding in (*rarest_first, -1):
        for name in shuffled:
            if fold[name] < 0 and (finding == -1 or present[name, finding]):
                fold[name] = np.lexsort((dealt[:, -1], dealt[:, finding]))[0]
                dealt[fold[name]] += np.append(present[name], True)
    return fold[patient]
