"""What every out-of-distribution score must keep: the order of rows and columns, repeats, masks, units; and its figures too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.uncertainty import (
    Energy,
    KNearest,
    Mahalanobis,
    MaxLogit,
    MaxProbability,
    ViM,
    detector_from_state,
    fpr_at_tpr,
    ood_metrics,
    ood_table,
)

SEEDS = st.integers(0, 10_000)
MAKERS = {
    "single": Mahalanobis,
    "two-class": lambda: Mahalanobis("two-class", shrinkage=0.1),
    "relative": lambda: Mahalanobis("relative", shrinkage=0.1),
    "energy": Energy,
    "centred-energy": lambda: Energy(centred=True, temperature=2.0),
    "softmax-energy": lambda: Energy(form="softmax"),
    "max-logit": MaxLogit,
    "max-probability": MaxProbability,
    "knn": lambda: KNearest(3),
    "vim": lambda: ViM(2),
}


def films(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random((n, 3)) < 0.4).astype(float)
    labels[random.random((n, 3)) < 0.2] = np.nan
    labels[:2] = [[0, 1, 0], [1, 0, 1]]
    x = random.normal(size=(n, 6)) * 10 ** random.uniform(-2, 2)
    return x, random.normal(size=(n, 3)) * 3, labels


@pytest.mark.parametrize("name", MAKERS)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_rows_may_come_in_any_order(name: str, seed: int) -> None:
    x, z, labels = films(seed)
    new, new_z, _ = films(seed + 1)
    expected = MAKERS[name]().fit(x, z, labels).score(new, new_z)
    rows = np.random.default_rng(seed).permutation(len(x))
    shuffled = MAKERS[name]().fit(x[rows], z[rows], labels[rows])
    assert np.allclose(shuffled.score(new[rows], new_z[rows]), expected[rows], rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    one_by_one = [shuffled.score(new[k : k + 1], new_z[k : k + 1])[0] for k in range(len(new))]
    assert np.allclose(one_by_one, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("single", "knn")])
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_every_film_twice_changes_nothing(name: str, seed: int) -> None:
    """But Ledoit and Wolf's shrinkage, which grows with doubt, and the k-th neighbour, which is then the 2k-th."""
    x, z, labels = films(seed)
    expected = MAKERS[name]().fit(x, z, labels).score(x, z)
    twice = [np.tile(array, (2, 1)) for array in (x, z, labels)]
    assert np.allclose(MAKERS[name]().fit(*twice).score(x, z), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(seed=SEEDS, k=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_every_film_twice_doubles_the_neighbours_number(seed: int, k: int) -> None:
    x, _, _ = films(seed)
    new, _, _ = films(seed + 1)
    expected = KNearest(k).fit(x).score(new)
    assert np.allclose(KNearest(2 * k).fit(np.tile(x, (2, 1))).score(new), expected, rtol=1e-9, atol=1e-12)
    assert (expected >= KNearest(max(1, k - 1)).fit(x).score(new)).all()
    assert ((expected >= 0) & (expected <= 2)).all()
    assert np.allclose(KNearest(k).fit(7 * x).score(0.1 * new), expected, rtol=1e-9)


@pytest.mark.parametrize("form", ["class", "two-class", "relative"])
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_masks_equal_dropping(form: str, seed: int) -> None:
    """Of a film whose labels are all unknown, the classes learn nothing; only the single Gaussian does."""
    x, _, labels = films(seed)
    truth = np.random.default_rng(seed).integers(3, size=40).astype(float) if form == "class" else labels
    hidden = truth.copy()
    hidden[30:] = np.nan
    whole, part = Mahalanobis(form, shrinkage=None).fit(x, labels=hidden), Mahalanobis(form, shrinkage=None)
    part.fit(x[:30], labels=truth[:30])
    means = [fit.state()["centres"] + fit.state()["mean"] for fit in (whole, part)]
    assert np.allclose(*means, rtol=1e-8, atol=1e-8 * np.abs(x).max())
    if form != "relative":
        assert np.allclose(whole.score(x), part.score(x), rtol=1e-7)


@pytest.mark.parametrize("form", ["class", "two-class", "relative"])
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_unshrunk_forms_know_no_units_or_axes(form: str, seed: int) -> None:
    x, _, labels = films(seed)
    truth = np.arange(40) % 3 if form == "class" else labels
    random = np.random.default_rng(seed)
    mix = np.linalg.qr(random.normal(size=(6, 6)))[0] * 10 ** random.uniform(-1, 1, 6)
    plain = Mahalanobis(form, shrinkage=None).fit(x, labels=truth).score(x)
    turned = Mahalanobis(form, shrinkage=None).fit(x @ mix + 5, labels=truth).score(x @ mix + 5)
    assert np.allclose(turned, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_state_is_exact(name: str, seed: int) -> None:
    x, z, labels = films(seed)
    fitted = MAKERS[name]().fit(x, z, labels)
    again = detector_from_state(fitted.state(), json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.score(x, z), fitted.score(x, z))


@given(seed=SEEDS, n_in=st.integers(1, 40), n_out=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_figures_keep_order_signs_and_repeats(seed: int, n_in: int, n_out: int) -> None:
    random = np.random.default_rng(seed)
    own, foreign = np.round(random.normal(size=n_in), 1), np.round(random.normal(size=n_out) + 0.5, 1)
    found = ood_metrics(own, foreign, resamples=0)
    names = ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out")
    values = [getattr(found, name).value for name in names]
    again = ood_metrics(random.permutation(own), random.permutation(foreign), resamples=0)
    assert [getattr(again, name).value for name in names] == pytest.approx(values)
    twice = ood_metrics(np.tile(own, 2), np.tile(foreign, 2), resamples=0)
    assert [getattr(twice, name).value for name in names] == pytest.approx(values)
    bent = ood_metrics(np.exp(own), np.exp(foreign), resamples=0)  # any rising function: only the order counts
    assert [getattr(bent, name).value for name in names] == pytest.approx(values)
    turned = ood_metrics(-foreign, -own, resamples=0)  # home and foreign change places
    assert turned.auroc.value == pytest.approx(found.auroc.value)
    assert (turned.aupr_in.value, turned.fpr95.value) == pytest.approx((found.aupr_out.value, found.fpr95_out.value))
    labels = np.repeat([1.0, 0.0], [n_in, n_out])
    at = [fpr_at_tpr(labels, -np.r_[own, foreign], tpr=tpr) for tpr in (0.5, 0.8, 0.95, 1.0)]
    assert at == sorted(at)
    assert at[2] == found.fpr95.value


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_table_is_its_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    own, labels = random.normal(size=30), (random.random((30, 2)) < 0.3).astype(float)
    groups = {"a": random.normal(size=8), "b": random.normal(size=12)}
    table = ood_table(own, groups, in_labels=labels, resamples=0)
    parts = {"all": np.ones(30, dtype=bool), "no finding": ~labels.any(axis=1), "with findings": labels.any(axis=1)}
    for row in table.rows:
        alone = ood_metrics(own[parts[row.against]], groups[row.group], resamples=0)
        for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out"):
            assert getattr(row.metrics, name).value == pytest.approx(getattr(alone, name).value)
