"""Figures of a score: both directions named, tied scores whole, patients drawn together, normal films apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import Energy, fpr_at_tpr, ood_metrics, ood_table


def test_fpr_counts_exactly_95_in_100() -> None:
    positives, negatives = np.arange(20.0), np.array([0.5, 1.5, -3.0, 30.0])
    labels = np.r_[np.ones(20), np.zeros(4)]
    # 19 of 20 positives lie at 1 or above, and with them 1.5 and 30
    assert fpr_at_tpr(labels, np.r_[positives, negatives]) == 0.5
    assert fpr_at_tpr(labels, np.r_[positives, negatives], tpr=1.0) == 0.75
    assert fpr_at_tpr(labels, np.r_[positives, negatives], tpr=0.9) == 0.25


def test_ties_are_never_split() -> None:
    labels = np.r_[np.ones(10), np.zeros(10)]
    assert fpr_at_tpr(labels, np.zeros(20)) == 1.0
    for order in (np.arange(20), np.arange(20)[::-1], np.random.default_rng(0).permutation(20)):
        scores = np.r_[np.repeat([2.0, 1.0], 5), np.repeat([1.0, 0.0], 5)]
        assert fpr_at_tpr(labels[order], scores[order]) == 0.5


def test_masks_and_weights_equal_dropping_and_repeating() -> None:
    random = np.random.default_rng(0)
    labels, scores = (random.random(60) < 0.5).astype(float), np.round(random.normal(size=60), 1)
    weights = random.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    assert fpr_at_tpr(labels, scores, weights) == fpr_at_tpr(labels[repeated], scores[repeated])
    hidden = np.where(np.arange(60) < 20, np.nan, labels)
    assert fpr_at_tpr(hidden, scores) == fpr_at_tpr(labels[20:], scores[20:])
    assert np.isnan(fpr_at_tpr(np.ones(5), np.arange(5.0)))


def test_both_directions() -> None:
    """Nine films of home, one foreign image that lies among them: each direction sees another share."""
    found = ood_metrics(np.arange(9.0), np.array([6.5]), resamples=0)
    assert found.auroc.value == pytest.approx(7 / 9)
    assert found.aupr_out.value == pytest.approx(1 / 3)  # the third from the top is the only foreign one
    assert found.fpr95.value == 1.0  # all nine of home pass below 8, and so does the foreign image
    assert found.fpr95_out.value == pytest.approx(2 / 9)
    assert (found.n_in, found.n_out) == (9, 1)
    home_first = [k / (k + (k > 7)) for k in range(1, 10)]  # precision when k of home are called home
    assert found.aupr_in.value == pytest.approx(np.mean(home_first))


def test_infinite_scores_are_most_foreign() -> None:
    found = ood_metrics(np.arange(50.0), np.full(30, np.inf), resamples=20)
    assert (found.auroc.value, found.aupr_in.value, found.aupr_out.value) == (1.0, 1.0, 1.0)
    assert (found.fpr95.value, found.fpr95_out.value) == (0.0, 0.0)


def test_patients_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    level_in, level_out = random.normal(size=20), 1 + random.normal(size=20)
    own, foreign = (np.repeat(level, 10) + 0.1 * random.normal(size=200) for level in (level_in, level_out))
    patients = (np.repeat(np.arange(20), 10), np.repeat(np.arange(20, 40), 10))
    rows, clustered = ood_metrics(own, foreign, resamples=200), ood_metrics(own, foreign, patients=patients, resamples=200)
    for name in ("auroc", "aupr_in", "aupr_out"):
        wide, narrow = getattr(clustered, name), getattr(rows, name)
        assert wide.value == narrow.value
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    alone = ood_metrics(own, foreign, patients=(np.zeros(200), np.zeros(200)), resamples=20)
    assert alone.auroc.reason == "not estimable: one patient"


def test_a_film_and_its_altered_copy_share_their_patient() -> None:
    """Each foreign image scores 1 above its own original: drawn together, no resample can be without either."""
    own = np.random.default_rng(0).normal(size=8)
    together = ood_metrics(own, own + 1, patients=(np.arange(8), np.arange(8)), resamples=300)
    apart = ood_metrics(own, own + 1, patients=(np.arange(8), np.arange(8, 16)), resamples=300)
    assert together.auroc.n_undefined == 0
    assert together.auroc.high - together.auroc.low < apart.auroc.high - apart.auroc.low


def cohort() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    labels = (random.random((300, 3)) < 0.13).astype(float)
    labels[:10, 0] = np.nan
    home = 8 * np.nan_to_num(labels) - 4 + random.normal(0, 0.8, labels.shape)
    groups = {name: random.normal(centre, 1.5, (80, 3)) for name, centre in (("site B", -3), ("lateral", -2), ("hand", 0))}
    return home, labels, groups


def test_the_energys_trap_stands_in_the_table() -> None:
    """Foreign images without evidence: the joint energy tells them from films with findings, and not from normal ones."""
    home, labels, groups = cohort()
    tables = {}
    for centred in (False, True):
        energy = Energy(centred=centred).fit(None, home, labels)
        scores = {name: energy.score(None, logits) for name, logits in groups.items()}
        tables[centred] = ood_table(energy.score(None, home), scores, in_labels=labels, resamples=50)
    joint, centred = ({(row.group, row.against): row.metrics for row in tables[kind].rows} for kind in (False, True))
    assert joint["hand", "with findings"].auroc.value > 0.8
    assert tables[False].normal_auroc.value > 0.95
    assert tables[True].normal_auroc.value == pytest.approx(0.5, abs=0.08)
    assert joint["hand", "no finding"].auroc.value < 0.2  # normal films look *more* foreign than a hand
    assert centred["hand", "no finding"].auroc.value > 0.9
    assert centred["hand", "with findings"].auroc.value > 0.9
    counts = joint["hand", "no finding"].n_in, joint["hand", "with findings"].n_in, joint["hand", "all"].n_in
    assert counts == ((labels == 0).all(axis=1).sum(), (labels == 1).any(axis=1).sum(), 300)
    assert counts[0] + counts[1] < counts[2]  # films with an unknown label and no finding are in neither part


def test_near_and_far_are_means_over_their_groups() -> None:
    home, labels, groups = cohort()
    energy = Energy(centred=True).fit(None, home, labels)
    scores = {name: energy.score(None, logits) for name, logits in groups.items()}
    far = {"site B": "near", "lateral": "near", "hand": "far"}
    table = ood_table(energy.score(None, home), scores, distances=far, in_labels=labels, resamples=50)
    by_key = {(row.group, row.against): row.metrics for row in table.rows}
    assert len(table.rows) == 9
    assert [(row.group, row.against) for row in table.means] == [
        (distance, against) for distance in ("near", "far") for against in ("all", "no finding", "with findings")
    ]
    for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out"):
        near = np.mean([getattr(by_key[group, "all"], name).value for group in ("site B", "lateral")])
        assert getattr(table.means[0].metrics, name).value == pytest.approx(near)
        assert getattr(table.means[3].metrics, name) == getattr(by_key["hand", "all"], name)
    alone = ood_metrics(energy.score(None, home), scores["hand"], resamples=0)
    assert by_key["hand", "all"].auroc.value == alone.auroc.value
    assert by_key["hand", "all"].fpr95.value == alone.fpr95.value
    document = json.loads(json.dumps(table.to_json()))
    assert document["rows"][0]["group"] == "site B"
    assert set(document["normal_auroc"]) == {"value", "low", "high"}


def test_home_is_whole_without_labels() -> None:
    table = ood_table(np.arange(20.0), {"hand": np.arange(10.0, 30)}, resamples=10)
    assert [row.against for row in table.rows] == ["all"]
    assert table.normal_auroc is None
    assert table.means == ()
    assert table.to_json()["normal_auroc"] is None


def test_wrong_use() -> None:
    own, groups = np.arange(20.0), {"hand": np.arange(5.0)}
    with pytest.raises(EmptyInput, match="at least one of each"):
        ood_metrics(own, own[:0])
    with pytest.raises(EmptyInput):
        ood_table(own, {})
    with pytest.raises(ValueOutOfRange, match="NaN"):
        ood_metrics(own, np.array([np.nan]))
    with pytest.raises(ValueOutOfRange, match="distances of foot"):
        ood_table(own, groups, distances={"foot": "far"})
    with pytest.raises(ValueOutOfRange, match="distances of hand"):
        ood_table(own, groups, distances={"hand": "middling"})
    with pytest.raises(ShapeMismatch, match="one score and one patient"):
        ood_metrics(own, own, patients=(np.arange(3), None))
    with pytest.raises(ShapeMismatch, match="films of home"):
        ood_table(own, groups, in_labels=np.zeros((3, 2)))
    with pytest.raises(ValueOutOfRange, match="tpr"):
        fpr_at_tpr(np.array([0, 1]), np.arange(2.0), tpr=0)
