"""One of Venn-ABERS' two probabilities is calibrated however few the cases; a changed prevalence is found and mended."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from vesalius.uncertainty import Isotonic, Platt, PrevalenceShift, VennAbers, estimate_prevalence


def one_new_case_each(splits: int, n: int) -> tuple[np.ndarray, ...]:
    """Many calibration splits of n cases, and one new case for each: (truth, p0, p1, merged, plain isotonic)."""
    rows = []
    for seed in range(splits):
        random = np.random.default_rng(seed)
        z = random.normal(-0.5, 1.5, (n + 1, 1))
        labels = (random.random((n + 1, 1)) < expit(1.5 * z**3 / 4)).astype(float)  # no line, no beta curve
        old, new = slice(0, n), slice(n, n + 1)
        if labels[old].min() == labels[old].max():
            continue
        venn = VennAbers().fit(z[old], labels[old])
        low, high = venn.interval(z[new])
        steps = Isotonic(centred=False, minimum_cases=0).fit(z[old], labels[old])
        steps._edges = [0.0]  # as other libraries leave it
        with np.errstate(divide="ignore"):
            isotonic = expit(steps.calibrated_logits(z[new]))
        rows.append([labels[n, 0], low[0, 0], high[0, 0], venn.calibrate(z[new])[0, 0], isotonic[0, 0]])
    return tuple(np.array(rows).T)


def test_the_probability_of_the_truth_s_own_side_is_calibrated() -> None:
    """Vovk 2015, theorem 1: of the cases whose p_truth is near v, a share v is present."""
    truth, low, high, merged, isotonic = one_new_case_each(4000, 30)
    own = np.where(truth == 1, high, low)
    edges = np.quantile(own, [0.25, 0.5, 0.75])
    group = np.searchsorted(edges, own, side="right")
    for k in np.unique(group):
        here = group == k
        error = (truth[here] - own[here]).mean()
        assert abs(error) < 3.5 * np.sqrt((own[here] * (1 - own[here])).mean() / here.sum()) + 1e-3, k
    assert low.mean() < truth.mean() < high.mean(), "the interval holds the share present"
    assert ((low < merged) & (merged < high)).all()
    certain = isotonic == 0
    assert truth[certain].mean() > 0.01, "isotonic says 'never' of cases of which some are present"
    assert merged[certain].min() > 0
    assert np.log(merged[truth == 1]).mean() > -2, "and the log likelihood of the merged probability stays finite"


def test_the_interval_narrows_around_the_truth() -> None:
    widths = []
    for n in (200, 2000, 20_000):
        random = np.random.default_rng(n)
        z = random.normal(0, 1.5, (n, 1))
        labels = (random.random(z.shape) < expit(z / 2)).astype(float)
        new = np.linspace(-2, 2, 41)[:, None]
        low, high = VennAbers().fit(z, labels).interval(new)
        widths.append(float((high - low).mean()))
        gap = np.maximum(low - expit(new / 2), expit(new / 2) - high)  # how far the true probability lies outside
        assert gap.mean() < 1.5 * n ** (-1 / 3)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize("target", [0.05, 0.5])
def test_a_known_prevalence_is_mended_and_an_unknown_one_found(target: float) -> None:
    def films(seed: int, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        labels = (random.random((n, 1)) < share).astype(float)
        return 2.0 * random.normal(1.5 * labels - 0.5, 1), labels

    found, unmended, mended = [], [], []
    for seed in range(40):
        z, labels = films(seed, 3000, 0.2)
        new, truth = films(500 + seed, 3000, target)
        shifted = PrevalenceShift(Platt(), [target]).fit(z, labels)
        plain = shifted.inner.calibrate(new)
        found.append(estimate_prevalence(plain, shifted.calibration_prevalence)[0])
        unmended.append(plain.mean() - truth.mean())
        mended.append(shifted.calibrate(new).mean() - truth.mean())
    spread = np.std(found)
    assert abs(np.mean(found) - target) < 4 * spread / np.sqrt(40) + 0.002
    # Cramer-Rao: nobody who knows both densities does better; the fitted calibrator adds its own error.
    x = np.linspace(-8, 9, 4001)
    absent, present = norm.pdf(x, -0.5), norm.pdf(x, 1.0)
    least = 1 / np.sqrt(3000 * np.trapezoid((present - absent) ** 2 / (target * present + (1 - target) * absent), x))
    assert 0.75 * least < spread < 2 * least
    assert abs(np.mean(mended)) < 0.005
    assert abs(np.mean(unmended)) > 0.04
