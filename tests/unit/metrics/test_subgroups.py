"""The subgroup table against the plain metrics on the group's own rows."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auprc, auroc, bootstrap_difference, brier, ece, holm, subgroup_table
from vesalius.metrics.subgroups import SubgroupOptions

OPTIONS = SubgroupOptions(resamples=80, seed=3)


def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    p = random.random((300, 2))
    labels = (random.random((300, 2)) < p).astype(float)
    labels[random.random((300, 2)) < 0.1] = np.nan
    return p, labels, random.integers(0, 120, 300), np.array(["F", "M"])[random.integers(0, 2, 300)]


def test_values_and_gaps() -> None:
    p, labels, patients, sex = cohort()
    rows = subgroup_table(labels, p, {"sex": sex.tolist()}, patients, findings=["A", "B"], thresholds=[0.5, 0.4], options=OPTIONS)
    assert [(row.group, row.finding) for row in rows] == [("F", "A"), ("F", "B"), ("M", "A"), ("M", "B")]
    row, inside = rows[1], sex == "F"
    y, q = labels[inside, 1], p[inside, 1]
    known = ~np.isnan(y)
    assert (row.n, row.n_positive, row.n_patients) == (known.sum(), (y == 1).sum(), len(set(patients[inside][known])))
    for name, metric in (("auroc", auroc), ("auprc", auprc), ("brier", brier), ("ece", ece)):
        assert row.metrics[name].value == pytest.approx(metric(y, q))
    assert row.metrics["overprediction"].value == pytest.approx(q[known].mean() - y[known].mean())
    assert row.metrics["sensitivity"].value == pytest.approx((q[y == 1] >= 0.4).mean())
    assert row.metrics["specificity"].value == pytest.approx((q[y == 0] < 0.4).mean())
    assert "ece" not in row.gaps


def test_gap_is_the_paired_difference() -> None:
    p, labels, patients, sex = cohort()
    gap = subgroup_table(labels, p, {"sex": sex.tolist()}, patients, options=OPTIONS)[0].gaps["auroc"]
    within, without = (np.where(side, labels[:, 0], np.nan) for side in (sex == "F", sex == "M"))
    expected = bootstrap_difference(
        lambda w: auroc(without, p[:, 0], w), lambda w: auroc(within, p[:, 0], w), patients, resamples=80, seed=3
    )
    assert (gap.value, gap.low, gap.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-12)


def test_few_cases_are_not_a_number() -> None:
    p, labels, patients, _ = cohort()
    group = ["small" if index < 25 else "large" for index in range(300)]
    strict = SubgroupOptions(resamples=10, minimum_cases=40)
    rows = {row.group: row for row in subgroup_table(labels[:, :1], p[:, :1], {"site": group}, patients, options=strict)}
    assert rows["small"].reason is not None
    assert rows["small"].reason.startswith("insufficient: ")
    assert (rows["small"].metrics, rows["small"].gaps) == ({}, {})
    assert rows["large"].metrics["auroc"].value > 0
    assert rows["large"].gaps == {}
    assert rows["small"].to_json()["reason"] == rows["small"].reason


def test_unknown_groups_belong_to_none() -> None:
    p, labels, patients, sex = cohort()
    values = [None if index % 10 == 0 else float("nan") if index % 10 == 1 else word for index, word in enumerate(sex)]
    rows = subgroup_table(labels, p, {"sex": values}, patients, options=OPTIONS)
    assert {row.group for row in rows} == {"F", "M"}
    counted = sum(row.n for row in rows if row.finding == "finding 0")
    assert counted == sum(~np.isnan(labels[index, 0]) for index in range(300) if index % 10 > 1)


def test_one_value_a_case() -> None:
    p, labels, patients, _ = cohort()
    with pytest.raises(ShapeMismatch, match="'sex' has 2 values"):
        subgroup_table(labels, p, {"sex": ["F", "M"]}, patients)


def test_intersections_are_groups_of_their_own() -> None:
    p, labels, patients, sex = cohort()
    age = np.where(np.arange(300) % 3 == 0, "old", "young").tolist()
    age[0] = None
    both = {"sex": sex.tolist(), "age_band": age}
    rows = subgroup_table(labels, p, both, patients, intersections=[("sex", "age_band")], options=OPTIONS)
    crossed = [row for row in rows if row.attribute == "sex x age_band"]
    assert [row.group for row in crossed if row.finding == "finding 0"] == ["F x old", "F x young", "M x old", "M x young"]
    joined = [None if b is None else f"{a} x {b}" for a, b in zip(sex, age, strict=True)]
    by_hand = subgroup_table(labels, p, {"sex x age_band": joined}, patients, options=OPTIONS)
    assert [(row.n, row.metrics, row.gaps) for row in crossed] == [(row.n, row.metrics, row.gaps) for row in by_hand]
    with pytest.raises(ValueOutOfRange, match="no attribute 'site' to cross; there are sex"):
        subgroup_table(labels, p, {"sex": sex.tolist()}, patients, intersections=[("sex", "site")])


def test_holm_over_the_table_counts_two_groups_once() -> None:
    p, labels, patients, sex = cohort()
    site = np.array(["a", "b", "c"])[np.arange(300) % 3].tolist()
    rows = subgroup_table(labels, p, {"sex": sex.tolist(), "site": site}, patients, options=OPTIONS)
    women, men, sites = rows[:2], rows[2:4], rows[4:]
    for first, second in zip(women, men, strict=True):
        assert first.gaps["auroc"].value == pytest.approx(-second.gaps["auroc"].value)
        assert first.gaps["auroc"].p_value == second.gaps["auroc"].p_value
        assert first.p_holm == second.p_holm
    for metric in ("auroc", "auprc", "brier", "overprediction"):
        tests = [*women, *sites]
        expected = holm(np.array([row.gaps[metric].p_value for row in tests]))
        assert [row.p_holm[metric] for row in tests] == expected.tolist()
        assert max(expected) > max(row.gaps[metric].p_value for row in tests) or max(expected) == 1
    assert rows[0].to_json()["p_holm"]["auroc"] == rows[0].p_holm["auroc"]
    assert rows[0].to_json()["gaps"]["auroc"]["p_value"] == rows[0].gaps["auroc"].p_value
