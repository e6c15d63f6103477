from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from vesalius.datasets.simulated_radiographs.findings import CARDIOMEGALY, FINDINGS, NODULE, PNEUMOTHORAX
from vesalius.datasets.simulated_radiographs.plan import MILD, FilmPlan, plan_cohort

PLANS = plan_cohort(1500, 700, seed=0)


def of_patients(plans: list[FilmPlan]) -> dict[tuple[str, int], list[FilmPlan]]:
    grouped = defaultdict(list)
    for plan in plans:
        grouped[plan.site, plan.patient].append(plan)
    return grouped


def test_the_same_seed_gives_the_same_plan_and_another_gives_another() -> None:
    assert plan_cohort(30, 10, 5) == plan_cohort(30, 10, 5)
    assert plan_cohort(30, 10, 5) != plan_cohort(30, 10, 6)


def test_more_patients_do_not_change_those_there_were() -> None:
    few, many = plan_cohort(20, 10, 1), plan_cohort(40, 30, 1)
    assert [p for p in many if (p.site == "A" and p.patient <= 20) or (p.site == "B" and p.patient <= 10)] == few


def test_file_names_are_unique_and_patients_come_back() -> None:
    assert len({plan.stem for plan in PLANS}) == len(PLANS)
    films = Counter(len(films) for films in of_patients(PLANS).values())
    assert set(films) == {1, 2, 3}
    assert 0.3 < (films[2] + films[3]) / sum(films.values()) < 0.42


@pytest.mark.parametrize(("site", "share"), [("A", 0.75), ("B", 0.25)])
def test_the_sites_mix_their_views_differently(site: str, share: float) -> None:
    views = [plan.view for plan in PLANS if plan.site == site]
    assert views.count("PA") / len(views) == pytest.approx(share, abs=0.04)  # 3 standard errors of ~1000 films


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_is_common_enough_to_learn(finding: str) -> None:
    share = sum(plan.labels[finding] == 1 for plan in PLANS) / len(PLANS)
    assert 0.12 < share < 0.36


def test_labels_say_what_was_put_in() -> None:
    for plan in PLANS:
        for finding in FINDINGS:
            worst = max((lesion.severity for lesion in plan.lesions if lesion.finding == finding), default=None)
            if worst is None:
                assert plan.labels[finding] in (0, -1)
            else:
                assert plan.labels[finding] == (1 if worst >= MILD else -1)
        enlarged = any(lesion.finding == CARDIOMEGALY for lesion in plan.lesions)
        assert (plan.heart > 1.15) == enlarged
    unsure = sum(label == -1 for plan in PLANS for label in plan.labels.values()) / (5 * len(PLANS))
    assert 0.005 < unsure < 0.05


def test_a_pneumothorax_has_its_lung_to_itself() -> None:
    seen = 0
    for plan in PLANS:
        for lesion in plan.lesions:
            if lesion.finding == PNEUMOTHORAX:
                seen += 1
                assert [other.finding for other in plan.lesions if other.side == lesion.side] == [PNEUMOTHORAX]
    assert seen > 100


def test_a_nodule_stays_in_its_place() -> None:
    followed = 0
    for films in of_patients(PLANS).values():
        for before, after in pairwise(films):
            nodules = [lesion for lesion in before.lesions if lesion.finding == NODULE]
            assert set(nodules) <= set(after.lesions)
            followed += len(nodules)
    assert followed > 30


def test_films_of_one_study_show_the_same_lesions() -> None:
    pairs = [(a, b) for films in of_patients(PLANS).values() for a, b in pairwise(films) if a.study == b.study]
    assert len(pairs) > 50
    assert all(a.lesions == b.lesions and a.day == b.day for a, b in pairs)
