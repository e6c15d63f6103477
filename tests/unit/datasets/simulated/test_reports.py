"""The reports are read back by a small rule-based labeller that knows nothing of how they were written."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vesalius.datasets.simulated_radiographs.findings import FINDINGS
from vesalius.datasets.simulated_radiographs.plan import FilmPlan, plan_cohort
from vesalius.datasets.simulated_radiographs.reports import write_report

PLANS = plan_cohort(250, 120, seed=2)
WORDS = {
    "Pleural Effusion": r"effusion",
    "Pneumothorax": r"pneumothorax",
    "Consolidation": r"consolidation",
    "Nodule": r"nodule",
    "Cardiomegaly": r"cardiomegaly",
}
NEGATION = re.compile(r"\b(no|not|without|neither|nor)\b", re.IGNORECASE)
HEDGE = re.compile(r"\b(possible|questionable|cannot be excluded|may)\b", re.IGNORECASE)


def report_of(plan: FilmPlan, seed: int = 0) -> str:
    return write_report(plan, np.random.default_rng([seed, plan.patient, plan.film]))


def read_back(report: str) -> dict[str, int]:
    """1 asserted, -1 hedged, 0 negated or not spoken of; an assertion anywhere wins."""
    said = dict.fromkeys(FINDINGS, 0)
    for sentence in re.split(r"(?<=[.])\s+", report):
        for finding, word in WORDS.items():
            if not re.search(word, sentence, re.IGNORECASE):
                continue
            if HEDGE.search(sentence):
                said[finding] = said[finding] or -1
            elif not NEGATION.search(sentence):
                said[finding] = 1
    return said


@pytest.mark.parametrize("seed", range(3))
def test_a_report_says_what_the_labels_say(seed: int) -> None:
    wrong = [(report_of(plan, seed), plan.labels) for plan in PLANS if read_back(report_of(plan, seed)) != plan.labels]
    assert wrong == []


def test_every_finding_is_spoken_of_in_the_findings() -> None:
    for plan in PLANS:
        findings = report_of(plan).split("FINDINGS:")[1].split("IMPRESSION:")[0].lower()
        assert all(word in findings for word in WORDS.values()), findings


def test_sides_and_lobes_agree_with_the_lesions() -> None:
    for plan in PLANS:
        text = report_of(plan).lower()
        for lesion in plan.lesions:
            if plan.labels[lesion.finding] != 1:
                continue
            if lesion.lobe:
                _, part, _, side = lesion.lobe.split("_")
                assert f"{side} {part} lobe" in text
            elif lesion.side:
                assert lesion.side in text or "bilateral" in text


def test_reports_are_varied_whole_and_on_one_line() -> None:
    reports = [report_of(plan) for plan in PLANS]
    assert len(set(reports)) > 0.8 * len(reports)
    for report in reports:
        assert re.fullmatch(r"TECHNIQUE: .+ FINDINGS: .+ IMPRESSION: .+\.", report)
        assert "{" not in report
        assert "  " not in report
