"""Does a 95 % interval cover 95 %? Patients with one to eight images that share their truth and their difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import auroc, bootstrap_ranking, ece
from vesalius.metrics.draws import proper_draws
from vesalius.metrics.intervals import PatientResamples, interval_of

pytestmark = pytest.mark.slow

SIMULATIONS = 400


def cohort(seed: int, n_patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels are of the patient; scores share a patient's offset as large as the image's own noise."""
    random = np.random.default_rng(seed)
    images = random.integers(1, 9, n_patients)
    sick = (random.random(n_patients) < 0.3).astype(float)
    offset = random.normal(size=n_patients)
    patients = np.repeat(np.arange(n_patients), images)
    return sick[patients], 1.5 * sick[patients] + offset[patients] + random.normal(size=len(patients)), patients


def test_patient_intervals_cover_and_row_intervals_do_not() -> None:
    labels, scores, _ = cohort(10_000, 200_000)
    truth = auroc(labels, scores)
    covered = {"patient": 0, "row": 0}
    for seed in range(SIMULATIONS):
        labels, scores, patients = cohort(seed, 250)
        for kind, owners in (("patient", patients), ("row", None)):
            found = bootstrap_ranking(labels[:, None], scores[:, None], owners, resamples=400, seed=seed).auroc[0]
            covered[kind] += found.low <= truth <= found.high
    share = {kind: count / SIMULATIONS for kind, count in covered.items()}
    # 400 simulations of a 95 % interval: standard error 1.1 points.
    assert 0.93 <= share["patient"] <= 0.97, share
    assert share["row"] < 0.85, share


def test_ece_interval_covers_what_the_ece_of_such_a_sample_is() -> None:
    """The plug-in ECE has an expectation of its own at each sample size; the centred interval holds it."""

    def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        p = random.beta(1, 3, 300)
        return (random.random(300) < p**0.6).astype(float), p

    expected = np.mean([ece(*sample(seed)) for seed in range(20_000, 24_000)])
    covered, above = 0, 0
    for seed in range(SIMULATIONS):
        labels, p = sample(seed)
        draws = proper_draws(labels, p, PatientResamples.of(None, 300, resamples=400, seed=seed))["ece"]
        centred, plain = interval_of(draws, centred=True), interval_of(draws)
        covered += centred.low <= expected <= centred.high
        above += plain.low > plain.value
    assert 0.92 <= covered / SIMULATIONS <= 0.98, covered
    assert centred.reason is None


def test_p_values_are_uniform_under_no_difference() -> None:
    """Two equally good models: 5 % of the p-values lie below 0.05."""
    from vesalius.metrics import bootstrap_ranking_difference

    low = 0
    for seed in range(SIMULATIONS):
        labels, first, patients = cohort(seed, 150)
        random = np.random.default_rng(50_000 + seed)
        truth = 1.5 * labels
        second = truth + random.normal(size=150)[patients] + random.normal(size=len(labels))
        found = bootstrap_ranking_difference(labels[:, None], first[:, None], second[:, None], patients, resamples=400, seed=seed)
        low += found["auroc"][0].p_value < 0.05
    assert 0.025 <= low / SIMULATIONS <= 0.085, low
