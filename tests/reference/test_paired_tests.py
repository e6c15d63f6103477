"""Holm's correction against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from vesalius.metrics import holm


@pytest.mark.parametrize("seed", range(5))
def test_holm(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = np.round(random.random(17) ** 3, 2)  # with ties and zeros
    assert np.allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)
