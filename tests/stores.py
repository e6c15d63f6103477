"""Small stores of films that a classifier can learn: a bright square is a finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.datasets.store import Store, write_store

SPLITS = ("train",) * 6 + ("validation",) * 3 + ("calibration",) * 2 + ("test",) * 1


def square_films(path: Path, *, n: int = 48, size_px: int = 32, seed: int = 0, bits: int = 8, masks: bool = True) -> Store:
    """Films of noise; `Upper` puts a bright square into the upper half, `Lower` into the lower one; some labels are unknown."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (n, 2)).astype(np.float64)
    grey = random.uniform(0.2, 0.4, (n, size_px, size_px))
    filled = np.zeros((n, 2, size_px, size_px), dtype=np.uint8)
    side = size_px // 4
    for case in range(n):
        for finding in range(2):
            top = random.integers(0, size_px // 2 - side) + finding * size_px // 2
            left = random.integers(0, size_px - side)
            if labels[case, finding]:
                grey[case, top : top + side, left : left + side] += 0.5
                filled[case, finding, top : top + side, left : left + side] = 255
    labels[random.random((n, 2)) < 0.1] = np.nan
    labels[0], labels[1] = (1, -1), (np.nan, np.nan)
    manifest = pd.DataFrame(
        {
            "site": np.where(np.arange(n) % 8 == 7, "B", "A"),
            "view_position": np.where(np.arange(n) % 16 == 3, "LATERAL", "PA"),
            "bits_stored": bits,
            "split": [SPLITS[case % len(SPLITS)] for case in range(n)],
            "label:Upper": labels[:, 0],
            "label:Lower": labels[:, 1],
        }
    )
    levels = np.rint(np.clip(grey, 0, 1) * (2**bits - 1)).astype(np.uint16)
    drawn = {"masks": filled, "structures": ("Upper", "Lower")} if masks else {}
    return write_store(path, levels, manifest, **drawn)
