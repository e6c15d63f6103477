"""What a run of learned prompts is asked for. Light: the command line reads it before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from vesalius.training.options import OptimizationOptions, Words

TaskKind = Literal["multilabel", "multiclass"]
FULL = "full"


@dataclass(frozen=True)
class PromptOptimization(OptimizationOptions):
    """How the prompts move: AdamW, warm-up and cosine, clipping, averaging."""

    learning_rate: float = 2e-3
    """the highest learning rate, reached after the warm-up"""
    weight_decay: float = 0.01
    """AdamW's decoupled decay: it pulls the prompts back to the words they began as"""


@dataclass(frozen=True)
class PromptsOptions:
    """Every setting of one run of the recipe `prompts`."""

    bundle: tyro.conf.Positional[Path]
    """an image-text bundle; its towers are not changed"""
    store: Path
    """the store that `vesalius ingest` made, with labels"""
    out: Path
    """folder of the run; the same command on the same folder goes on where it stopped"""
    shots: Words = (FULL,)
    """films of each class to learn from: numbers, `full`, or 0 for the prompts as they begin; several make a curve"""
    repeats: int = 1
    """draws of patients for each number of shots; `full` and 0 need one"""
    task: TaskKind = "multilabel"
    """multilabel: findings may occur together, each against its denial; multiclass: a film has exactly one"""
    findings: Words = ()
    """findings to learn; all of the store's unless given"""
    prompts: str | None = None
    """a prompt file, or one of the package's by name: words of the hand-written prompts, the first of each begin the learned ones;
    "NAME" against "no NAME" unless given"""
    sites: Words = ()
    """films of these sites only; all unless given"""
    score_on: Literal["test", "validation", "calibration"] = "test"
    """split whose patients score the curve; none of them is learned from"""
    context: str = ""
    """words that the prompts begin as, before the finding's name; at random unless given"""
    context_tokens: int = 4
    """context vectors of a random start"""
    hidden: int = 16
    """width of the network that adapts the prompts to the image; 0: the same prompts for every image"""
    reads: Literal["embedding", "features"] = "embedding"
    """what that network sees: the image's embedding, or the vision tower's features before the projection"""
    bias: bool = True
    """has that network biases?"""
    class_vectors: bool = True
    """has each class a learned vector beside its name?"""
    probe_penalty: float = 1.0
    """ridge of the linear probe beside the curve, on features of unit variance"""
    steps: int = 200
    """optimizer steps for each draw"""
    batch_size: int = 32
    """films a step"""
    evaluations: int = 1
    """how often the validation films are scored; above 1 they choose the weights, and a few shots are few no more"""
    save_every: int = 200
    """steps between checkpoints, beside one at every evaluation"""
    optimization: tyro.conf.OmitArgPrefixes[PromptOptimization] = field(default_factory=PromptOptimization)
    """AdamW, learning rate, clipping, averaging"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    resamples: int = 1000
    """draws of patients behind each interval"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """what computes"""
