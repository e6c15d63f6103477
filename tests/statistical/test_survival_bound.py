"""The lower bound of an event time holds as often as promised, under censoring that hides the event."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vesalius.uncertainty import SurvivalLowerBound

Random = np.random.Generator
CONFIDENCE, TRIALS, N = 0.8, 300, 60


def cases(random: Random, censor: Callable[[Random, np.ndarray, np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    """What is predicted (too high by far), the event times, the censoring times."""
    hidden = random.uniform(2, 10, 2 * N)
    truth = hidden * random.weibull(1.5, 2 * N)
    return hidden, truth, censor(random, hidden, truth)


def light(random: Random, hidden: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return random.uniform(3, 40, len(truth))


def heavy(random: Random, hidden: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return random.uniform(0, 8, len(truth))


def of_the_sickest(random: Random, hidden: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth * random.uniform(0.2, 1.5, len(truth))  # who leaves does so shortly before the event: not independent at all


def of_the_hidden(random: Random, hidden: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.where(random.random(len(truth)) < hidden / 11, 9.0, 1.0)  # long lives are followed longer


@pytest.mark.parametrize("censor", [light, heavy, of_the_sickest])
def test_without_a_horizon_it_holds_whatever_the_censoring(censor: Callable[..., np.ndarray]) -> None:
    held = []
    for trial in range(TRIALS):
        hidden, truth, censoring = cases(np.random.default_rng(trial), censor)
        bound = SurvivalLowerBound(CONFIDENCE).fit(hidden[:N], np.minimum(truth, censoring)[:N])
        held.append((truth[N:] >= bound.predict_bound(hidden[N:])).mean())
    assert np.mean(held) >= CONFIDENCE - 0.01


@pytest.mark.parametrize("censor", [light, heavy])
def test_with_a_horizon_it_is_exact(censor: Callable[..., np.ndarray]) -> None:
    held, naive, bounds = [], [], []
    for trial in range(TRIALS):
        hidden, truth, censoring = cases(np.random.default_rng(trial), censor)
        times = np.minimum(truth, censoring)
        sharp = SurvivalLowerBound(CONFIDENCE, horizon=5.0).fit(hidden[:N], times[:N], censoring[:N]).predict_bound(hidden[N:])
        plain = SurvivalLowerBound(CONFIDENCE).fit(hidden[:N], times[:N]).predict_bound(hidden[N:])
        held.append((truth[N:] >= sharp).mean())
        naive.append(plain.mean())
        bounds.append(sharp.mean())
    # Events are cut at the horizon, so ties there can only make it hold more often.
    assert CONFIDENCE - 0.01 <= np.mean(held) <= CONFIDENCE + 0.06
    if censor is heavy:
        assert np.mean(bounds) > np.mean(naive)  # knowing the censoring times pays


def test_chances_of_being_followed_mend_what_depends_on_the_case() -> None:
    plain, weighted = [], []
    for trial in range(TRIALS):
        hidden, truth, censoring = cases(np.random.default_rng(trial), of_the_hidden)
        times, chance = np.minimum(truth, censoring), hidden / 11
        constant = np.full(2 * N, 4.0)  # a prediction that knows nothing of the case
        one = SurvivalLowerBound(CONFIDENCE, horizon=8.0).fit(constant[:N], times[:N], censoring[:N])
        plain.append((truth[N:] >= one.predict_bound(constant[N:])).mean())
        two = SurvivalLowerBound(CONFIDENCE, horizon=8.0).fit(constant[:N], times[:N], censoring[:N], followed=chance[:N])
        weighted.append((truth[N:] >= two.predict_bound(constant[N:], followed=chance[N:])).mean())
    assert np.mean(plain) < CONFIDENCE - 0.02  # the bound is learnt on those who live long
    assert np.mean(weighted) >= CONFIDENCE - 0.01
