"""Who learns, who chooses, who calibrates, who tests: whole patients, site by site."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.55, "validation": 0.15, "calibration": 0.15, "test": 0.15}


def assign_splits(manifest: pd.DataFrame, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0) -> pd.Series[str]:
    """Returns a split for every row: the one it has, its patient's, or a new one."""
    raise NotImplementedError
