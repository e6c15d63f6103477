"""Small stores of films with reports: a bright square in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.stores import square_films
from vesalius.datasets.store import Store, write_store

PLANTED = "Zzyzxwick"
"""A name that stands in one patient's report; no file of a run may hold it."""
WORDS = {
    "Upper": (("Bright square in the upper half.", "An upper square is seen."), ("No upper square.", "There is no upper square.")),
    "Lower": (("Bright square in the lower half.", "A lower square is seen."), ("No lower square.", "There is no lower square.")),
}


def square_reports(path: Path, *, n: int = 48, size_px: int = 32, seed: int = 0, without_report: tuple[int, ...] = ()) -> Store:
    """The films of `square_films`, each with a report that says what is on it; some films have none."""
    plain = square_films(path.with_name(path.name + "-plain"), n=n, size_px=size_px, seed=seed, masks=False)
    random = np.random.default_rng(seed)
    manifest = plain.manifest.copy()
    manifest["report"] = [None if case in without_report else report_of(film, random) for case, film in manifest.iterrows()]
    levels = np.rint(plain.pixels(range(n)) * 255).astype(np.uint16)
    return write_store(path, levels, manifest)


def report_of(film: pd.Series, random: np.random.Generator) -> str:
    """FINDINGS and IMPRESSION of one film, in words that vary."""
    said, short = [], []
    for name, sides in WORDS.items():
        label = film[f"label:{name}"]
        if label in (0, 1):
            said.append(str(random.choice(sides[0 if label == 1 else 1])))
            if label == 1:
                short.append(f"{name} square.")
    random.shuffle(said)
    name = f" Read by {PLANTED}." if int(film["row"]) == 0 else ""
    return f"FINDINGS: {' '.join(said)}{name} IMPRESSION: {' '.join(short) or 'Nothing to see.'}"


def tiny(store: Store, out: Path, **changes: Any) -> dict[str, Any]:
    """Settings of the smallest run there is."""
    return {
        "store": store.path,
        "out": out,
        "vision": "vit-tiny",
        "text": "bert-tiny",
        "size_px": 32,
        "embedding_dim": 16,
        "context_length": 24,
        "steps": 4,
        "evaluations": 2,
        "batch_size": 8,
        "accelerator": "cpu",
    } | changes
