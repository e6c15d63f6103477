"""Who learns, who chooses, who calibrates, who tests: whole patients, site by site."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int64

from vesalius.errors import LabelsError

SPLITS = ("train", "validation", "calibration", "test")
DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.55, "validation": 0.15, "calibration": 0.15, "test": 0.15}


def assign_splits(manifest: pd.DataFrame, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0) -> "pd.Series[str]":
    """Returns a split for every row: the one it has, else its patient's, else a new one.

    Within each site, new patients are shuffled and dealt so that the site's patients, old and new, come as near to the
    fractions as whole patients can. A patient of two sites is dealt once, at the first site by name. No row that has a
    split ever changes it, so that rows added later move nobody.

    Args:
        manifest: Columns `patient_id`, `site` and `split` (null where not yet given); a row without patient is refused.
        fractions: Of patients, by split; their sum is 1. A split that is not named gets nobody.
        seed: Same seed, same rows, same key of patients: same splits.

    Raises:
        LabelsError: A patient with two splits, a row without patient, an unknown split, or fractions that do not add up to 1.
    """
    shares = check_fractions(fractions)
    has_split = manifest["split"].notna()
    strange = set(manifest.loc[has_split, "split"]) - set(SPLITS)
    if strange:
        raise LabelsError(f"{len(strange)} unknown words in the column split; write one of {', '.join(SPLITS)} or leave it blank")
    if manifest["patient_id"].isna().any():
        raise LabelsError("a row has no patient, so it cannot be split by patient; ingest gives every row one")
    given = manifest[has_split].groupby("patient_id")["split"].agg(["first", "nunique"])
    torn = int((given["nunique"] > 1).sum())
    if torn:
        raise LabelsError(
            f"{torn} patients would be in more than one split, which leaks test patients into training; "
            "give all rows of a patient the same word in the column split, or leave the column out"
        )
    split_of = {str(patient): str(word) for patient, word in given["first"].items()}
    site_of = manifest.assign(site=manifest["site"].fillna("")).groupby("patient_id")["site"].min()
    for site, patients in site_of.groupby(site_of).groups.items():
        _deal(split_of, sorted(patients), shares, str(site), seed)
    return pd.Series(manifest["patient_id"].map(split_of).to_numpy(object), index=manifest.index, name="split", dtype=object)


def check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """Returns the fractions in the order of `SPLITS`.

    Raises:
        LabelsError: An unknown split, a negative share, or a sum other than 1.
    """
    strange = [name for name in fractions if name not in SPLITS]
    if strange:
        raise LabelsError(f"unknown splits {', '.join(strange)}; the splits are {', '.join(SPLITS)}")
    shares = {name: float(fractions.get(name, 0.0)) for name in SPLITS}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise LabelsError(f"the splits' fractions are {shares}; expected none below 0 and a sum of 1")
    return shares


def _deal(split_of: dict[str, str], patients: list[str], shares: Mapping[str, float], site: str, seed: int) -> None:
    """Gives the patients of one site that have no split yet theirs."""
    new = [patient for patient in patients if patient not in split_of]
    held = np.array([sum(split_of.get(patient) == name for patient in patients) for name in SPLITS], dtype=np.int64)
    wanted = _whole(np.array(list(shares.values())) * len(patients), len(patients))
    room = _shrink(np.maximum(wanted - held, 0), len(new))
    site_seed = int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")
    order = np.random.default_rng([seed, site_seed]).permutation(len(new))
    words = np.repeat(SPLITS, room)
    split_of.update({new[place]: str(word) for place, word in zip(order, words, strict=True)})


def _whole(shares: "np.ndarray[tuple[int], np.dtype[np.float64]]", total: int) -> Int64[np.ndarray, " split"]:
    """Rounds shares to whole patients by largest remainder; the sum is `total`."""
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainders = np.round(shares - counts, 9)
    for index in np.argsort(-remainders, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return counts


def _shrink(room: Int64[np.ndarray, " split"], total: int) -> Int64[np.ndarray, " split"]:
    """Takes places away, always from where most are left, until `total` are."""
    room = room.copy()
    while room.sum() > total:
        room[int(np.argmax(room))] -= 1
    return room
