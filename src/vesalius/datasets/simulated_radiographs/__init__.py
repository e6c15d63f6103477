"""Chest radiographs of virtual patients, who all descend from one real CT: test and demo material, never evidence on real films."""

from vesalius.datasets.simulated_radiographs.cohort import CohortOptions, CohortSummary, simulate_cohort

__all__ = ["CohortOptions", "CohortSummary", "simulate_cohort"]
