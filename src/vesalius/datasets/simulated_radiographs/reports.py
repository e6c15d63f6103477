"""Reports in words, from the plan of a film: varied, hedged and negated as a radiologist does."""

from __future__ import annotations

import numpy as np

from vesalius.datasets.simulated_radiographs.plan import FilmPlan


def write_report(plan: FilmPlan, generator: np.random.Generator) -> str:
    """Returns FINDINGS and IMPRESSION of one film, consistent with its labels."""
    present = [name for name, label in plan.labels.items() if label == 1]
    possible = [name for name, label in plan.labels.items() if label == -1]
    absent = [name for name, label in plan.labels.items() if label == 0]
    lines = [f"{name} is present." for name in present] + [f"Possible {name.lower()}." for name in possible]
    lines += [f"No {name.lower()}." for name in absent]
    return "FINDINGS: " + " ".join(lines) + " IMPRESSION: " + (", ".join(present) or "No acute finding") + "."
