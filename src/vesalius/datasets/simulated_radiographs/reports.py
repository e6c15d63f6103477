"""Reports in words, from the plan of a film: varied, hedged and negated as radiologists do, and true to the labels.

Every finding is spoken of: asserted where its label is 1, doubted where it is -1, and negated, or covered by a sentence that all is
clear, where it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesalius.datasets.simulated_radiographs.findings import CARDIOMEGALY, CONSOLIDATION, EFFUSION, NODULE, PNEUMOTHORAX, Lesion
from vesalius.datasets.simulated_radiographs.plan import FilmPlan

GRADES = ("Small", "Moderate", "Large")
ASSERTED = {
    EFFUSION: (
        "{Grade} {side} pleural effusion.",
        "There is a {grade} {side} pleural effusion with blunting of the costophrenic angle.",
        "{Side} basal opacity with a meniscus, consistent with a {grade} pleural effusion.",
    ),
    PNEUMOTHORAX: (
        "{Grade} {side} pneumothorax.",
        "A {grade} {side} pneumothorax is seen, with a visible pleural line.",
        "{Side} lung is partly collapsed; {grade} pneumothorax.",
    ),
    CONSOLIDATION: (
        "Consolidation in the {lobe}.",
        "Airspace consolidation is present in the {lobe}.",
        "{Grade} opacity in the {lobe}, in keeping with consolidation.",
    ),
    NODULE: (
        "{Size} mm nodule in the {lobe}.",
        "A rounded pulmonary nodule of about {Size} mm projects over the {lobe}.",
        "There is a {Size} mm nodule in the {lobe}.",
    ),
    CARDIOMEGALY: (
        "{Degree} cardiomegaly.",
        "The cardiac silhouette is enlarged, {degree} cardiomegaly.",
        "There is {degree} cardiomegaly.",
    ),
}
DOUBTED = {
    EFFUSION: ("Possible trace pleural effusion.", "A small pleural effusion cannot be excluded."),
    PNEUMOTHORAX: ("Questionable tiny apical pneumothorax.", "A very small pneumothorax cannot be excluded."),
    CONSOLIDATION: ("Faint opacity may represent early consolidation.", "Consolidation cannot be excluded."),
    NODULE: ("Possible small nodule, may be a vessel on end.", "A subtle nodule cannot be excluded."),
    CARDIOMEGALY: ("Heart size is borderline; possible mild cardiomegaly.", "Borderline cardiomegaly cannot be excluded."),
}
NEGATED = {
    EFFUSION: ("No pleural effusion.", "There is no pleural effusion.", "Costophrenic angles are sharp without pleural effusion."),
    PNEUMOTHORAX: ("No pneumothorax.", "There is no evidence of pneumothorax.", "No visible pneumothorax."),
    CONSOLIDATION: ("No consolidation.", "No focal consolidation.", "The lungs are without consolidation."),
    NODULE: ("No nodule.", "No suspicious pulmonary nodule.", "There is no nodule."),
    CARDIOMEGALY: (
        "No cardiomegaly.",
        "Heart size is normal, no cardiomegaly.",
        "Cardiac silhouette is within normal limits; no cardiomegaly.",
    ),
}
PAIRED = {
    frozenset({EFFUSION, PNEUMOTHORAX}): (
        "No pleural effusion or pneumothorax.",
        "Neither pleural effusion nor pneumothorax is seen.",
    ),
    frozenset({CONSOLIDATION, NODULE}): ("No consolidation or nodule.", "The lungs are clear: no consolidation, no nodule."),
}
"""Two absent findings in one sentence."""
SHORT = {
    EFFUSION: "{Side} pleural effusion",
    PNEUMOTHORAX: "{Side} pneumothorax",
    CONSOLIDATION: "Consolidation, {lobe}",
    NODULE: "Nodule, {lobe}",
    CARDIOMEGALY: "Cardiomegaly",
}
CLEAR = ("No acute cardiopulmonary abnormality.", "Normal chest radiograph.", "No acute findings.")
TECHNIQUE = {
    "PA": ("Frontal PA view of the chest.", "PA chest radiograph."),
    "AP": ("Portable AP view of the chest.", "Single AP portable chest radiograph, semi-erect."),
}


def write_report(plan: FilmPlan, generator: np.random.Generator) -> str:
    """Returns TECHNIQUE, FINDINGS and IMPRESSION of one film, in one line."""
    asserted = [name for name, label in plan.labels.items() if label == 1]
    doubted = [name for name, label in plan.labels.items() if label == -1]
    absent = [name for name, label in plan.labels.items() if label == 0]
    sentences = [_say(_pick(ASSERTED[name], generator), name, plan.lesions) for name in asserted]
    sentences += [_pick(DOUBTED[name], generator) for name in doubted]
    generator.shuffle(sentences)
    sentences += _negate(absent, generator)
    short = [_say(SHORT[name], name, plan.lesions) for name in asserted] + [f"Possible {name.lower()}" for name in doubted]
    impression = ". ".join(short) + "." if short else _pick(CLEAR, generator)
    technique = _pick(TECHNIQUE[plan.view], generator)
    return f"TECHNIQUE: {technique} FINDINGS: {' '.join(sentences)} IMPRESSION: {impression}"


def _negate(absent: Sequence[str], generator: np.random.Generator) -> list[str]:
    left = list(absent)
    sentences = []
    for pair, wordings in PAIRED.items():
        if pair <= set(left) and generator.random() < 0.6:
            sentences.append(_pick(wordings, generator))
            left = [name for name in left if name not in pair]
    sentences += [_pick(NEGATED[name], generator) for name in left]
    generator.shuffle(sentences)
    return sentences


def _say(wording: str, finding: str, lesions: Sequence[Lesion]) -> str:
    """Fills in side, severity and place of the lesions of one finding; the worst lesion gives the grade."""
    of_it = [lesion for lesion in lesions if lesion.finding == finding]
    worst = max(of_it, key=lambda lesion: lesion.severity)
    grade = GRADES[min(int(worst.severity * 3), 2)]
    degree = ("Mild", "Moderate", "Severe")[min(int(worst.severity * 3), 2)]
    side = "bilateral" if len({lesion.side for lesion in of_it}) == 2 else (worst.side or "")
    lobe = ""
    if worst.lobe:
        _, part, _, where = worst.lobe.split("_")
        lobe = f"{where} {part} lobe"
    return wording.format(
        Grade=grade,
        grade=grade.lower(),
        Degree=degree,
        degree=degree.lower(),
        Side=side.capitalize(),
        side=side,
        lobe=lobe,
        Size=round(2 * (11 + 8 * worst.severity)),
    )


def _pick(wordings: Sequence[str], generator: np.random.Generator) -> str:
    return wordings[int(generator.integers(len(wordings)))]
