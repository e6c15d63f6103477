"""Why a policy is judged on other cases: among views of equal worth the chosen one looks better than it is, on its own set only."""

from __future__ import annotations

import numpy as np

from vesalius.uncertainty import GreedyPolicySearch


def test_the_search_set_flatters_and_another_set_does_not() -> None:
    random = np.random.default_rng(0)
    flattered, judged = [], []
    for _ in range(60):
        truth = random.integers(0, 2, 160)
        # Forty views, each as noisy as the next: the first is as good as any that is chosen.
        z = 2 * np.eye(2)[truth] + random.normal(0, 2, (40, 160, 2))
        search, labels = z[:, :80], truth[:80]
        policy = GreedyPolicySearch(length=1).fit(search, labels)
        first = GreedyPolicySearch(length=1).fit(search[:1], labels)
        flattered.append(policy.objectives[0] - first.objectives[0])
        judged.append(policy.evaluate(z[:, 80:], truth[80:], resamples=0).gain_over_first_view.value)
    error = np.std(judged, ddof=1) / np.sqrt(60)
    assert np.mean(flattered) > 8 * error
    assert abs(np.mean(judged)) < 4 * error
