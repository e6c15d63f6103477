"""What a run of films and their reports is asked for. Light: the command line reads it before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.models.clip_config import TextEncoder, VisionEncoder
from vesalius.training.options import OptimizationOptions, Precision, Words

Recipe = Literal["clip", "medclip"]
Section = Literal["impression", "findings", "both", "whole"]
TextView = Literal["all", "some", "one"]
SharedWords = Literal["positives", "negatives"]
LabelCoding = Literal["signed", "published"]
Score = Literal["auto", "zero-shot", "retrieval", "information"]
SCORES: dict[Score, str] = {
    "zero-shot": "zero_shot_macro_auroc",
    "retrieval": "recall_at_1",
    "information": "information_nats",
}
"""Under which name each score stands in `metrics.jsonl`; `auto` takes the first that the validation films can give."""


@dataclass(frozen=True)
class ContrastOptimization(OptimizationOptions):
    """How the weights move: AdamW or SGD, warm-up and cosine, clipping, averaging."""

    learning_rate: float = 5e-4
    """the highest learning rate, reached after the warm-up; about 1e-5 to 1e-4 from published weights"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd is plain, with --momentum; CheXzero: 1e-4, with --warmup 0 --final-learning-rate 1 --weight-decay 0 --clip-norm 0"""
    momentum: float = 0.9
    """of sgd"""
    text_rate: float = 1.0
    """learning rate of the text encoder, as a share of all else's; a BERT bears less than a network of convolutions"""


@dataclass(frozen=True)
class ImageTextOptions:
    """Every setting of one run of the recipe `image-text`."""

    store: Path
    """the store that `vesalius ingest` made, with reports"""
    out: Path
    """folder of the run; the same command on the same folder goes on where it stopped"""
    recipe: Recipe = "clip"
    """clip: a film is told its own report from all others; medclip: films and sentences match as far as their labels do, paired or
    not"""
    sites: Words = ()
    """train and validate on films of these sites only; all unless given"""
    findings: Words = ()
    """findings that labels and zero-shot scores speak of; all of the store's unless given"""
    section: Section = "both"
    """which part of a report is learned; `impression` and `findings` take the other where one is missing"""
    sentences: TextView = "some"
    """of a report's sentences, each time: all, some drawn anew, or one; clip only"""
    shared_words: SharedWords = "positives"
    """a film whose report says every sentence of a text too is a right answer for it; CLIP and CheXzero call it a negative; clip
    only"""
    texts: Path | None = None
    """reports without films for medclip: a CSV with a column `report`, or one text a line"""
    names: bool = True
    """medclip: the bare name of each finding and its denial are learned as sentences too, since findings are asked for by name"""
    label_coding: LabelCoding = "signed"
    """medclip: `signed` tells denied from unmentioned; `published` is the authors' product of labels, where both are 0"""
    sharpness: float = 10.0
    """medclip: how sharply a match of labels is told from a mismatch; published: 1"""
    vision: VisionEncoder = "clip-vit-b-32"
    """encoder of films"""
    text: TextEncoder = "clip-text"
    """encoder of words"""
    size_px: Annotated[int, tyro.conf.arg(name="size")] = 224
    """side of the square the network sees, in pixels"""
    embedding_dim: int = 512
    """size of the space that both meet in"""
    context_length: int = 77
    """tokens of a text at most; what is longer is cut"""
    tokenizer: Path | None = None
    """a vocabulary of your own copy (tokenizer.json, vocab.txt, vocab.json or CLIP's); learned from the training reports if not
    given"""
    vocabulary: int = 8192
    """tokens to learn at most"""
    minimum_patients: int = 3
    """a word enters the vocabulary once the reports of so many patients have it: names do not"""
    init_from: Path | None = None
    """go on from this image-text run or bundle; towers, tokenizer and preprocessing are then its own"""
    init_text: Path | None = None
    """start the text encoder from a run of `vesalius train language`; its tokenizer comes along"""
    epochs: float = 30.0
    """how often every film is seen"""
    steps: int | None = None
    """optimizer steps, instead of epochs"""
    batch_size: int = 64
    """pairs that go through the networks at once, over all processes: what fits into memory"""
    contrast_batch: int | None = None
    """pairs told from each other at each step, over all processes; above --batch-size gradients are cached. As many unless given"""
    evaluations: int = 20
    """how often the validation films are scored"""
    keep: int = 1
    """keep the weights of so many evaluations, the best ones: an ensemble"""
    score: Score = "auto"
    """what chooses the best weights: macro-AUROC of zero-shot scores, retrieval of the own report, or information in nats"""
    save_every: int = 200
    """steps between checkpoints, beside one at every evaluation: at most so much is lost by a stop"""
    optimization: tyro.conf.OmitArgPrefixes[ContrastOptimization] = field(default_factory=ContrastOptimization)
    """optimizer, learning rate, clipping, averaging"""
    augmentation: tyro.conf.OmitArgPrefixes[AugmentationOptions] = field(default_factory=AugmentationOptions)
    """how films are varied; mixup and cutmix do not apply"""
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
    cache_gb: float = 4.0
    """films are kept in memory up to this size, and read again for every batch beyond it"""

    @property
    def contrasted(self) -> int:
        """Pairs told from each other at each step, over all processes."""
        return self.batch_size if self.contrast_batch is None else self.contrast_batch

    @property
    def parts(self) -> int:
        """Parts that a step's pairs go through the networks in."""
        return -(-self.contrasted // self.batch_size)
