"""A 95 % interval of the share of event-time intervals that hold covers it, patients with several cases and censoring included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from vesalius.uncertainty import evaluate_event_times

PATIENTS, EACH, TRIALS = 100, 3, 400


def share_between(low: float, high: float) -> float:
    """Chance that exp(1.5 + normal of variance 1/2) lies between the two."""
    ends = norm.cdf((np.log([low, high]) - 1.5) / np.sqrt(0.5))
    return float(ends[1] - ends[0])


@pytest.mark.slow
def test_ipcw_interval_covers() -> None:
    truth, held, alone = share_between(2, 8), 0, 0
    owners = np.repeat(np.arange(PATIENTS), EACH)
    ends = np.tile([[2.0, 8.0]], (len(owners), 1))
    for trial in range(TRIALS):
        random = np.random.default_rng(trial)
        hidden, until = random.normal(size=PATIENTS)[owners], random.uniform(1, 30, PATIENTS)[owners]
        times = np.exp(1.5 + 0.65 * hidden + np.sqrt(0.5 - 0.65**2) * random.normal(size=len(owners)))
        seen, events = np.minimum(times, until), (times <= until).astype(float)
        by_patient = evaluate_event_times(seen, events, ends, owners, resamples=200, seed=trial)["ipcw"]
        by_case = evaluate_event_times(seen, events, ends, resamples=200, seed=trial)["ipcw"]
        held += by_patient.low <= truth <= by_patient.high
        alone += by_case.low <= truth <= by_case.high
    assert 0.91 <= held / TRIALS <= 0.98
    assert alone / TRIALS < 0.88  # cases of one patient are not independent
