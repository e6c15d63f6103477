"""A grid of image-text runs, one after another; the best evaluations of all of them are an ensemble.

OUT/run.toml                             every setting
OUT/runs/lr-0.0001_batch-64_epochs-4/    one run, as `vesalius train image-text` leaves it
OUT/index.json                           every run with what it reached, and whose weights the members are
OUT/checkpoints/best-1.safetensors ...   the members, best first
OUT/model.json, OUT/tokenizer.json       `vesalius bundle import OUT` takes the whole as one bundle

Source: Tiu et al. 2022 (CheXzero): ten checkpoints of a grid over learning rate, batch and epochs, averaged.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.errors import LossNotFinite, RunError
from vesalius.training import state
from vesalius.training.image_text import refuse_impossible, train_image_text
from vesalius.training.image_text_options import SCORES, ContrastOptimization, ImageTextOptions, Score
from vesalius.training.image_text_run import IMAGE_TEXT, TOKENIZER, read_model
from vesalius.training.image_text_setting import gather
from vesalius.training.options import save_toml
from vesalius.training.recipe import begun_before, launch
from vesalius.training.run import RunFolder
from vesalius.training.sweep_options import SweepOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.types import ProgressCallback

INDEX = "index.json"


@dataclass(frozen=True)
class Point:
    """One run of the grid."""

    name: str
    learning_rate: float
    batch: int
    epochs: float


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep reached.

    Attributes:
        path: Its folder.
        score: The figure that chose the weights.
        runs: One entry a run: `run`, `learning_rate`, `batch`, `epochs`, `score`, `step`, `seconds`; without a score where the loss
            stopped being a number.
        members: The ensemble, best first: `file`, `run`, `step`, `score`.
        notes: What the user should know.
    """

    path: Path
    score: Score
    runs: tuple[dict[str, Any], ...]
    members: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def train_sweep(options: SweepOptions, progress: ProgressCallback | None = None) -> SweepSummary:
    """Trains every run of the grid, or goes on where it stopped, and gathers the best weights of all.

    Raises:
        RunError: A number of the grid that is none, the folder holds a sweep with other settings, or no run came to an end.
        StoreError, LabelsError, EmptyInput: As `train_image_text`.
    """
    settings = {point: options_of(options, point) for point in grid(options)}
    for one in settings.values():
        refuse_impossible(one)
    material = gather(max(settings.values(), key=lambda one: one.contrasted))
    folder = RunFolder(options.out)
    begun_before(folder, options)
    fabric = launch(options)
    if fabric.is_global_zero:
        folder.path.mkdir(parents=True, exist_ok=True)
        save_toml(options, folder.settings)
    steps = {point: max(1, round(point.epochs * len(material.rows) / point.batch)) for point in settings}
    runs: list[dict[str, Any]] = []
    done, total = 0, sum(steps.values())
    for point, one in settings.items():
        if fabric.is_global_zero:
            share_tokenizer(folder.path, one.out)
        runs.append(train_point(point, one, SCORES[material.score], shifted(progress, done, total), fabric))
        done += steps[point]
    if fabric.is_global_zero:
        names = [str(one["run"]) for one in runs if one["step"] is not None]
        members = gather_best(folder, names, material.score, options.keep)
        state.save_json(folder.path / INDEX, {"score": SCORES[material.score], "runs": runs, "members": members})
    fabric.barrier()
    index = json.loads((folder.path / INDEX).read_text(encoding="utf-8"))
    broken = [
        f"{one['run']}: the loss stopped being a number; none of its weights were taken" for one in runs if one["step"] is None
    ]
    return SweepSummary(folder.path, material.score, tuple(index["runs"]), tuple(index["members"]), (*material.notes, *broken))


def train_point(
    point: Point, options: ImageTextOptions, score: str, progress: ProgressCallback | None, fabric: Fabric
) -> dict[str, Any]:
    """Trains one run of the grid and returns its entry."""
    entry = {"run": point.name, "learning_rate": point.learning_rate, "batch": point.batch, "epochs": point.epochs}
    try:
        summary = train_image_text(options, progress, fabric)
    except LossNotFinite:
        return {**entry, "score": None, "step": None, "seconds": None}
    return {**entry, "score": summary.best[score], "step": summary.best["step"], "seconds": summary.seconds}


def grid(options: SweepOptions) -> list[Point]:
    """Returns every combination, in order.

    Raises:
        RunError: Words that are no numbers, or none; or a setting of one run that the grid's own would overrule.
    """
    refuse_overruled(options)
    try:
        axes = (
            [float(word) for word in options.learning_rates],
            [int(word) for word in options.batches],
            [float(word) for word in options.epoch_counts],
        )
    except ValueError:
        raise RunError(
            "--learning-rates and --epoch-counts are numbers and --batches whole numbers, with commas between them: 5e-5,1e-4"
        ) from None
    points = [
        Point(f"lr-{rate:g}_batch-{batch}_epochs-{epochs:g}", rate, batch, epochs)
        for rate, batch, epochs in itertools.product(*axes)
    ]
    if not points or len({point.name for point in points}) < len(points):
        raise RunError("a sweep needs at least one learning rate, batch and number of epochs, and none of them twice")
    return points


def refuse_overruled(options: SweepOptions) -> None:
    """Refuses what a single run takes and the grid would pass over in silence.

    Raises:
        RunError: Names the flag, and the one that a sweep takes.
    """
    if options.steps is not None or options.epochs != SweepOptions.epochs:
        raise RunError("a sweep counts in epochs, and in several: leave out --steps and --epochs, and give --epoch-counts")
    if options.contrast_batch is not None:
        raise RunError("a sweep tells --batches pairs from each other: leave out --contrast-batch")
    if options.optimization.learning_rate != ContrastOptimization.learning_rate:
        raise RunError("a sweep has several learning rates: leave out --learning-rate, and give --learning-rates")


def options_of(options: SweepOptions, point: Point) -> ImageTextOptions:
    """Returns the settings of one run."""
    shared = {one.name: getattr(options, one.name) for one in fields(ImageTextOptions)}
    given = ImageTextOptions(**shared)
    return replace(
        given,
        out=options.out / "runs" / point.name,
        epochs=point.epochs,
        batch_size=min(options.batch_size, point.batch),
        contrast_batch=point.batch,
        optimization=replace(options.optimization, learning_rate=point.learning_rate),
    )


def shifted(progress: ProgressCallback | None, before: int, total: int) -> ProgressCallback | None:
    """Returns the progress of one run as that of the sweep."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def share_tokenizer(sweep: Path, run: Path) -> None:
    """Gives a run the vocabulary of the sweep, once there is one, so that its members speak one language."""
    source = sweep / "runs"
    known = sorted(source.glob(f"*/{TOKENIZER}")) if source.is_dir() else []
    if known and not (run / TOKENIZER).is_file():
        run.mkdir(parents=True, exist_ok=True)
        state.save_atomically(run / TOKENIZER, known[0].read_bytes())


def gather_best(folder: RunFolder, names: list[str], score: Score, keep: int) -> list[dict[str, Any]]:
    """Puts the best weights of all runs side by side, and says of the whole what it is; returns the members, best first.

    Raises:
        RunError: No run came to an end.
    """
    candidates: list[tuple[float, str, int, Path]] = []
    for name in names:
        run = RunFolder(folder.path / "runs" / name)
        for line in state.best_lines(run.metrics, SCORES[score], keep):
            value = line[SCORES[score]]
            weights = run.weights_at(int(line["step"])) if keep > 1 else run.best
            candidates.append((float("-inf") if value is None else float(value), name, int(line["step"]), weights))
    if not candidates:
        raise RunError(f"no run of the sweep at {folder.path} came to an end; lower --learning-rates")
    candidates.sort(key=lambda one: (-one[0], one[1], one[2]))
    members: list[dict[str, Any]] = []
    folder.best.parent.mkdir(parents=True, exist_ok=True)
    for place, (value, name, step, weights) in enumerate(candidates[:keep], start=1):
        file = folder.best.with_name(f"best-{place}.safetensors")
        link_or_copy(weights, file)
        members.append({"file": file.name, "run": name, "step": step, "score": value})
    best = RunFolder(folder.path / "runs" / members[0]["run"])
    state.save_atomically(folder.path / TOKENIZER, (best.path / TOKENIZER).read_bytes())
    model = read_model(best, IMAGE_TEXT)
    state.save_json(folder.model, {**model, "weights": [member["file"] for member in members], "members": members})
    return members


def link_or_copy(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where the disk has no links."""
    beside = target.with_name(target.name + ".part")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    beside.replace(target)
