"""What a run of language pre-training is asked for. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from vesalius.training.image_text_options import Section
from vesalius.training.options import OptimizationOptions, Precision, Words

CausalEncoder = Literal["gpt-small", "gpt-tiny", "clip-text"]


@dataclass(frozen=True)
class LanguageOptions:
    """Every setting of one run of the recipe `language`."""

    out: Path
    """folder of the run; the same command on the same folder goes on where it stopped"""
    store: Path | None = None
    """learn from the reports of this store"""
    texts: Path | None = None
    """learn from these texts, instead of a store or beside one: a CSV with a column `report`, or one text a line"""
    sites: Words = ()
    """of the store, only reports of these sites"""
    section: Section = "whole"
    """of the store's reports"""
    text: CausalEncoder = "gpt-small"
    """encoder of words; each token is told from those before it, so a BERT has nothing to learn here"""
    context_length: int = 77
    """tokens of a text at most; what is longer is cut"""
    tokenizer: Path | None = None
    """a vocabulary of your own copy; learned from the training texts if not given"""
    vocabulary: int = 8192
    """tokens to learn at most"""
    minimum_patients: int = 3
    """a word enters the vocabulary once the texts of so many patients have it: names do not"""
    epochs: float = 10.0
    """how often every text is read"""
    steps: int | None = None
    """optimizer steps, instead of epochs"""
    batch_size: int = 64
    """texts a step, over all processes"""
    accumulate: int = 1
    """split a step's texts into so many parts, where memory is short"""
    evaluations: int = 10
    """how often the validation texts are scored; the best are kept"""
    save_every: int = 200
    """steps between checkpoints, beside one at every evaluation"""
    optimization: tyro.conf.OmitArgPrefixes[OptimizationOptions] = field(default_factory=OptimizationOptions)
    """AdamW, learning rate, clipping, averaging"""
    precision: Precision = "float32"
    """bf16-mixed is faster on most machines; 16-mixed is for older GPUs"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    devices: int = 1
    """processes a machine; each takes its share of every batch"""
    nodes: int = 1
    """machines, under torchrun or Slurm"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """what computes"""
