"""Who comes to which site with what, film by film, before any pixel is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vesalius.datasets.simulated_radiographs.anatomy import LOBES
from vesalius.datasets.simulated_radiographs.findings import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EFFUSION,
    FINDINGS,
    NODULE,
    PNEUMOTHORAX,
    Lesion,
    Side,
)
from vesalius.datasets.simulated_radiographs.patients import Frontal
from vesalius.datasets.simulated_radiographs.sites import SITES

PREVALENCE = {EFFUSION: 0.27, PNEUMOTHORAX: 0.2, CONSOLIDATION: 0.25, NODULE: 0.2, CARDIOMEGALY: 0.24}
"""Share of patients who have it at their first film."""
MILD = 0.1
"""A lesion below this severity is called possible in the report and labelled -1."""
HEDGED_ABSENT = 0.02
"""Share of absent effusions, consolidations and nodules that the report cannot exclude; labelled -1."""

SIDES: tuple[Side, Side] = ("right", "left")
LOBES_OF: dict[Side, tuple[str, ...]] = {side: tuple(name for name in LOBES if name.endswith(side)) for side in SIDES}

Label = Literal[1, 0, -1]


@dataclass(frozen=True)
class FilmPlan:
    """One line of the plan.

    Attributes:
        site: "A" or "B".
        patient: Number within the site, from 1.
        film: Number within the patient, from 1.
        study: Number within the patient, from 1; two films of one study share it.
        day: Days after the patient's first film.
        view: PA or AP.
        heart: Size against the CT's heart.
        lesions: What is put in, cardiomegaly included.
        labels: 1, 0 or -1 per finding.
    """

    site: str
    patient: int
    film: int
    study: int
    day: int
    view: Frontal
    heart: float
    lesions: tuple[Lesion, ...]
    labels: dict[str, Label]

    @property
    def stem(self) -> str:
        """File name without its ending."""
        return f"{self.site}-{self.patient:04d}-{self.film}"

    @property
    def patient_id(self) -> str:
        """Clearly no real patient's."""
        return f"SIM-{self.site}{self.patient:04d}"


def generator_of(seed: int, site: str, patient: int, film: int) -> np.random.Generator:
    """Returns the random numbers of one film (from 1), the patient (0) or the patient's plan (-1); independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ord(site), patient, film + 1)))


def plan_cohort(patients_a: int, patients_b: int, seed: int) -> list[FilmPlan]:
    """Returns every film of both sites, in order of site, patient and film; about 1.45 films a patient."""
    plans: list[FilmPlan] = []
    for site, count in (("A", patients_a), ("B", patients_b)):
        for patient in range(1, count + 1):
            plans += _plan_patient(site, patient, generator_of(seed, site, patient, -1))
    return plans


def _plan_patient(site: str, patient: int, generator: np.random.Generator) -> list[FilmPlan]:
    n_films = int(generator.choice([1, 2, 3], p=[0.64, 0.27, 0.09]))
    usual_heart = float(generator.uniform(0.92, 1.06))
    lesions: tuple[Lesion, ...] = ()
    plans = []
    study, day = 0, 0
    for film in range(1, n_films + 1):
        same_study = film == 2 and generator.random() < 0.25
        if not same_study:
            study += 1
            day += int(generator.integers(1, 40)) if film > 1 else 0
            lesions = _add_lesions(_age_lesions(lesions, generator), film == 1, generator)
        view: Frontal = "PA" if generator.random() < SITES[site].share_pa else "AP"
        worst = _worst(lesions)
        heart = usual_heart if CARDIOMEGALY not in worst else enlarged_heart(worst[CARDIOMEGALY])
        plans.append(FilmPlan(site, patient, film, study, day, view, heart, lesions, _labels(worst, generator)))
    return plans


def enlarged_heart(severity: float) -> float:
    """Size of a heart with cardiomegaly against the CT's."""
    return 1.2 + 0.24 * severity


def _worst(lesions: tuple[Lesion, ...]) -> dict[str, float]:
    return {
        name: max(lesion.severity for lesion in lesions if lesion.finding == name) for name in {item.finding for item in lesions}
    }


def _age_lesions(lesions: tuple[Lesion, ...], generator: np.random.Generator) -> tuple[Lesion, ...]:
    """By the next visit most lesions are still there, grown or shrunk; nodules and large hearts stay as they were."""
    older = []
    for lesion in lesions:
        if lesion.finding in (NODULE, CARDIOMEGALY):
            older.append(lesion)
        elif generator.random() < 0.65:
            severity = float(np.clip(lesion.severity + generator.normal(0, 0.2), 0.02, 1))
            older.append(replace(lesion, severity=severity))
    return tuple(older)


def _add_lesions(lesions: tuple[Lesion, ...], first: bool, generator: np.random.Generator) -> tuple[Lesion, ...]:
    """Draws what is new: by prevalence at the first visit, rarely later."""
    for finding in (CARDIOMEGALY, PNEUMOTHORAX, CONSOLIDATION, NODULE, EFFUSION):
        there = {lesion.finding for lesion in lesions}
        chance = PREVALENCE[finding] if first else 0.08
        if finding == EFFUSION and CARDIOMEGALY in there:
            chance *= 1.5
        if generator.random() < chance and finding not in there:
            lesions += _new_lesions(finding, lesions, generator)
    return lesions


def _new_lesions(finding: str, others: tuple[Lesion, ...], generator: np.random.Generator) -> tuple[Lesion, ...]:
    """Chooses severity, side and lobe; a pneumothorax has its lung to itself, because air and fluid together would need a level."""
    severity, place = float(generator.beta(2.0, 1.5)), int(generator.integers(2**31))
    if finding == CARDIOMEGALY:
        return (Lesion(finding, severity, place=place),)
    taken = {lesion.side for lesion in others if PNEUMOTHORAX in (finding, lesion.finding)}
    sides: list[Side] = [side for side in SIDES if side not in taken]
    if not sides:
        return ()
    side = sides[int(generator.integers(len(sides)))]
    if finding in (CONSOLIDATION, NODULE):
        lobe = LOBES_OF[side][int(generator.integers(len(LOBES_OF[side])))]
        return (Lesion(finding, severity, side, lobe, place),)
    both = finding == EFFUSION and len(sides) == 2 and generator.random() < 0.3
    lesion = Lesion(finding, severity, side, None, place)
    less = severity * float(generator.uniform(0.4, 1))
    return (lesion, replace(lesion, severity=less, side="left" if side == "right" else "right")) if both else (lesion,)


def _labels(severity: dict[str, float], generator: np.random.Generator) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for finding in FINDINGS:
        doubted = generator.random() < HEDGED_ABSENT and finding in (EFFUSION, CONSOLIDATION, NODULE)
        if finding in severity:
            labels[finding] = 1 if severity[finding] >= MILD else -1
        else:
            labels[finding] = -1 if doubted else 0
    return labels
