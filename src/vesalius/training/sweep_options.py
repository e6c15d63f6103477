"""What a sweep of image-text runs is asked for. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass

from vesalius.training.image_text_options import ImageTextOptions
from vesalius.training.options import Words


@dataclass(frozen=True)
class SweepOptions(ImageTextOptions):
    """Every setting of a sweep: those of each of its runs, and what differs between them."""

    learning_rates: Words = ("5e-5", "1e-4", "2e-4")
    """a run for each of these"""
    batches: Words = ("64", "128")
    """times each of these: pairs told from each other at each step; what is above --batch-size is cached"""
    epoch_counts: Words = ("4",)
    """times each of these"""
    keep: int = 10
    """the best of all evaluations of all runs: the ensemble"""
