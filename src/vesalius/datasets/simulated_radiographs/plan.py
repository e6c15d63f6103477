"""Who comes to which site with what, film by film, before any pixel is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

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
    """Returns the random numbers of one film (from 1), of the patient (0) or of the patient's plan (-1); independent of all others."""
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
    severity: dict[str, float] = {}
    plans = []
    study, day = 0, 0
    for film in range(1, n_films + 1):
        same_study = film == 2 and generator.random() < 0.25
        if not same_study:
            study += 1
            day += int(generator.integers(1, 40)) if film > 1 else 0
            severity = _next_state(severity, film == 1, generator)
            lesions = _place(severity, generator) if film == 1 or severity else ()
        view: Frontal = "PA" if generator.random() < SITES[site].share_pa else "AP"
        heart = usual_heart if CARDIOMEGALY not in severity else 1.18 + 0.24 * severity[CARDIOMEGALY]
        plans.append(FilmPlan(site, patient, film, study, day, view, heart, lesions, _labels(severity, generator)))
    return plans


def _next_state(before: dict[str, float], first: bool, generator: np.random.Generator) -> dict[str, float]:
    """At first drawn by prevalence; later most lesions stay, grown or shrunk, and a few are new. Nodules and big hearts stay."""
    state: dict[str, float] = {}
    for finding in FINDINGS:
        chance = PREVALENCE[finding] if first else 0.08
        if finding == EFFUSION and CARDIOMEGALY in before:
            chance *= 1.5
        stays = finding in before and (finding in (NODULE, CARDIOMEGALY) or generator.random() < 0.65)
        new = generator.random() < chance
        drawn = float(generator.beta(1.6, 1.5))
        if stays:
            drift = 0.0 if finding in (NODULE, CARDIOMEGALY) else float(generator.normal(0, 0.2))
            state[finding] = float(np.clip(before[finding] + drift, 0.02, 1))
        elif new:
            state[finding] = drawn
    return state


def _place(severity: dict[str, float], generator: np.random.Generator) -> tuple[Lesion, ...]:
    """Chooses sides and lobes; a pneumothorax has its lung to itself, because air and fluid together would need a level."""
    sides: tuple[Side, Side] = ("right", "left")
    first = int(generator.integers(2))
    air, other = sides[first], sides[1 - first]
    alone = PNEUMOTHORAX in severity
    lesions: list[Lesion] = []
    for finding, value in severity.items():
        side = other if alone else sides[int(generator.integers(2))]
        if finding == CARDIOMEGALY:
            lesions.append(Lesion(finding, value))
        elif finding == PNEUMOTHORAX:
            lesions.append(Lesion(finding, value, air))
        elif finding == EFFUSION:
            lesions.append(Lesion(finding, value, side))
            if not alone and generator.random() < 0.3:
                lesions.append(Lesion(finding, value * float(generator.uniform(0.4, 1)), "left" if side == "right" else "right"))
        else:
            lobes = (
                ("lung_upper_lobe", "lung_middle_lobe", "lung_lower_lobe")
                if side == "right"
                else ("lung_upper_lobe", "lung_lower_lobe")
            )
            lesions.append(Lesion(finding, value, side, f"{lobes[int(generator.integers(len(lobes)))]}_{side}"))
    return tuple(sorted(lesions, key=lambda lesion: lesion.finding != PNEUMOTHORAX))


def _labels(severity: dict[str, float], generator: np.random.Generator) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for finding in FINDINGS:
        doubted = generator.random() < HEDGED_ABSENT and finding in (EFFUSION, CONSOLIDATION, NODULE)
        if finding in severity:
            labels[finding] = 1 if severity[finding] >= MILD else -1
        else:
            labels[finding] = -1 if doubted else 0
    return labels
