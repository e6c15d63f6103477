"""From films and labels to one store, and the simulated cohort."""
