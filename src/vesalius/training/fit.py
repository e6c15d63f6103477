"""The one training loop; every recipe is three functions handed to it.

    setup: recipe        network, films, options
    fit:   here          batch -> losses -> backward -> clip -> step -> average; evaluate, keep the best, save
    done:  recipe        what the run is, for those who use it

A batch is a function of (step, part) alone, dropout is seeded by the step, the learning rate is computed from it: a run that was
stopped goes on with the same numbers as one that was not.

Several processes, and parts of a batch (`accumulate`), give the gradient of one large batch. Each loss term is a mean over the
labels known in its part, so a part weighs by its number of labels: with n of the N labels of the whole step, its mean is scaled by
n / N, and by the number of processes, because DDP averages their gradients.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.errors import LossNotFinite
from vesalius.training import state
from vesalius.training.optimization import learning_rate, set_learning_rate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.training.options import OptimizationOptions
    from vesalius.training.run import RunFolder
    from vesalius.training.state import Learner, Standing
    from vesalius.types import ProgressCallback


class Batch(Protocol):
    """The films of one part of a step, in one process."""

    @property
    def counts(self) -> Float[Tensor, " term"]:
        """Over how many labels each term of the loss is a mean; 0 drops the term."""


@dataclass(frozen=True)
class Task:
    """What a recipe hands to the loop.

    Attributes:
        batch: (step, part) -> films, of this process; runs in a thread, so it may not draw from torch's own generator.
        losses: (network, films) -> each term's mean over `counts`, weighted as the terms shall be added.
        evaluate: averaged network -> a line's worth of figures, equal in all processes; called in evaluation mode.
        score: The figure of `evaluate` by which the best weights are chosen; higher is better.
        gradient: (network, all parts of a step) -> loss, where a loss joins the parts and cannot be added up from theirs: it adds
            the gradient itself, and `losses` is not asked. The mean of what the processes return is the loss of the step.
    """

    batch: Callable[[int, int], Batch]
    losses: Callable[[nn.Module, Any], Float[Tensor, " term"]]
    evaluate: Callable[[nn.Module], dict[str, Any]]
    score: str
    gradient: Callable[[nn.Module, Sequence[Any]], Float[Tensor, ""]] | None = None


@dataclass(frozen=True)
class Plan:
    """How long, how often, and under which name.

    Attributes:
        steps: Optimizer steps in all.
        films: Films a step, over all processes and parts.
        epoch_films: Films in one epoch.
        parts: Parts a step's films come in, in each process.
        evaluations: Evaluations, evenly spaced, the last at the end.
        save_every: Steps between checkpoints, beside those at every evaluation.
        seed: Of dropout; batches bring their own.
        signature: Names settings and store; a checkpoint with another one is refused.
        kept: How many evaluations' weights are kept, the best ones; more than one for an ensemble.
    """

    steps: int
    films: int
    epoch_films: int
    parts: int = 1
    evaluations: int = 20
    save_every: int = 200
    seed: int = 0
    signature: str = ""
    kept: int = 1

    def evaluates_after(self, done: int) -> bool:
        """Is there an evaluation after `done` steps?"""
        times = min(self.evaluations, self.steps)
        return done * times // self.steps > (done - 1) * times // self.steps

    def saves_after(self, done: int) -> bool:
        """Is there a checkpoint after `done` steps?"""
        return done % self.save_every == 0 or self.evaluates_after(done)


def fit(
    fabric: Fabric,
    learner: Learner,
    task: Task,
    plan: Plan,
    options: OptimizationOptions,
    folder: RunFolder,
    progress: ProgressCallback | None = None,
) -> Standing:
    """Trains to the end of `plan`, from the last checkpoint in `folder` if any; writes metrics, checkpoints, best weights.

    Raises:
        LossNotFinite: Lower the learning rate.
        RunError: The checkpoint belongs to other settings.
    """
    learner.module.train()
    module, optimizer = fabric.setup(learner.module, learner.optimizer)
    learner.averaged.to(fabric.device)
    standing = resume(fabric, learner, plan, folder)
    meter = Meter(fabric, standing)
    batches = prefetch if fabric.device.type != "cpu" else one_by_one  # on a CPU a second thread only takes cores from the first
    for step, parts in batches(task.batch, range(standing.step, plan.steps), plan.parts):
        rate = learning_rate(step, plan.steps, options)
        set_learning_rate(learner.optimizer, rate)
        torch.manual_seed(seed_of(plan.seed, step, fabric.global_rank))
        loss = task.gradient(module, parts) if task.gradient else accumulate_gradients(fabric, module, parts, task.losses)
        norm = move_weights(fabric, module, optimizer, options.clip_norm)
        learner.averaged.update_parameters(learner.module)
        standing.step = step + 1
        meter.add(loss, norm)
        if plan.saves_after(standing.step):
            meter.settle()
        if plan.evaluates_after(standing.step):
            record = {**position(plan, standing, rate), **meter.figures(plan.films)}
            keep(fabric, learner, standing, record | evaluate(fabric, learner, task), task.score, folder, plan.kept)
            meter.restart()
        if plan.saves_after(standing.step) and fabric.is_global_zero:
            state.save_checkpoint(folder, learner, standing, fabric.strategy.precision.state_dict(), plan.signature)
        if progress is not None and fabric.is_global_zero:
            progress(standing.step, plan.steps)
    fabric.barrier()
    return standing


def accumulate_gradients(
    fabric: Fabric, module: nn.Module, parts: Sequence[Batch], losses: Callable[[nn.Module, Any], Float[Tensor, " term"]]
) -> Float[Tensor, ""]:
    """Adds up the gradient of one step, whatever its parts and processes; returns this process's share of the loss.

    The mean of what the processes return is the loss over the whole step.
    """
    total = torch.stack([part.counts for part in parts]).sum(0).to(fabric.device)
    if fabric.world_size > 1:
        total = fabric.all_reduce(total, reduce_op="sum")
    shares = []
    for index, part in enumerate(parts):
        with fabric.no_backward_sync(module, enabled=index < len(parts) - 1):
            weight = part.counts * fabric.world_size / total.clamp_min(1)
            loss = (losses(module, part) * weight).sum()
            fabric.backward(loss)
        shares.append(loss.detach())
    return torch.stack(shares).sum()


def move_weights(fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float) -> Float[Tensor, ""]:
    """Clips the gradient, takes the optimizer's step and clears; returns the norm before clipping."""
    # a gradient that is not finite is no error here: with 16-mixed the scaler skips such a step, and else the loss will tell
    norm: Tensor = fabric.clip_gradients(module, optimizer, max_norm=clip_norm or math.inf, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def resume(fabric: Fabric, learner: Learner, plan: Plan, folder: RunFolder) -> Standing:
    """Puts the last checkpoint back, if there is one, and forgets what was written after it."""
    standing, scaler = state.load_checkpoint(folder, learner, plan.signature)
    if scaler:
        fabric.strategy.precision.load_state_dict(scaler)
    fabric.barrier()
    if fabric.is_global_zero:
        state.keep_lines_until(folder.metrics, standing.step)
    return standing


def evaluate(fabric: Fabric, learner: Learner, task: Task) -> dict[str, Any]:
    """Scores the averaged weights."""
    averaged = learner.averaged.module.eval()
    with torch.inference_mode(), fabric.autocast():
        return task.evaluate(averaged)


def keep(
    fabric: Fabric, learner: Learner, standing: Standing, record: dict[str, Any], score: str, folder: RunFolder, kept: int = 1
) -> None:
    """Writes the evaluation's line, and the averaged weights if they are the best so far, or among the `kept` best."""
    # of equals the later: it has learned longer
    better = not standing.best or _rank(record[score]) >= _rank(standing.best[score])
    if fabric.is_global_zero:
        state.append_line(folder.metrics, record)
        if better:
            state.save_weights(folder.best, learner.averaged.module)
        if kept > 1:
            keep_among_best(folder, learner.averaged.module, standing.step, score, kept)
    if better:
        standing.best = record


def keep_among_best(folder: RunFolder, network: nn.Module, step: int, score: str, kept: int) -> None:
    """Writes the weights of `step` if its score is among the `kept` best of `metrics.jsonl`, and removes what fell out."""
    steps = [int(record["step"]) for record in state.best_lines(folder.metrics, score, kept)]
    if step in steps:
        state.save_weights(folder.weights_at(step), network)
    wanted = {folder.weights_at(one) for one in steps}
    for old in set(folder.weights_kept()) - wanted:
        old.unlink()


def position(plan: Plan, standing: Standing, rate: float) -> dict[str, Any]:
    """Where in the run a line was written."""
    films = standing.step * plan.films
    return {"step": standing.step, "epoch": round(films / plan.epoch_films, 3), "films": films, "learning_rate": rate}


def one_by_one(make: Callable[[int, int], Batch], steps: range, parts: int) -> Iterator[tuple[int, list[Batch]]]:
    """Yields each step with its parts, made when they are asked for."""
    for step in steps:
        yield step, [make(step, part) for part in range(parts)]


def prefetch(make: Callable[[int, int], Batch], steps: range, parts: int) -> Iterator[tuple[int, list[Batch]]]:
    """Yields each step with its parts; the next step's are made in a thread while the caller works."""

    def made(step: int) -> list[Batch]:
        return [make(step, part) for part in range(parts)]

    if not steps:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        following = pool.submit(made, steps.start)
        for step in steps:
            ready = following.result()
            if step + 1 < steps.stop:
                following = pool.submit(made, step + 1)
            yield step, ready


def seed_of(seed: int, *place: int) -> int:
    """Returns a 64-bit seed for this place (step, process, ...) in the run: independent for every place."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0])


class Meter:
    """Sums loss and gradient norm between two evaluations, without waiting for the device at every step."""

    def __init__(self, fabric: Fabric, standing: Standing) -> None:
        self.fabric, self.standing = fabric, standing
        self.sums = torch.tensor([standing.loss_sum, standing.norm_sum], dtype=torch.float64, device=fabric.device)
        self.started = time.monotonic() - standing.seconds
        self.interval_started, self.interval_steps = time.monotonic(), 0

    def add(self, loss: Float[Tensor, ""], norm: Float[Tensor, ""]) -> None:
        """Takes one step."""
        self.sums += torch.stack([loss.double(), norm.double()])
        self.standing.since += 1
        self.interval_steps += 1

    def settle(self) -> None:
        """Makes the sums equal in all processes and writes them into the standing.

        Raises:
            LossNotFinite: Nothing that follows could be right.
        """
        if self.fabric.world_size > 1:
            self.sums = self.fabric.all_reduce(self.sums, reduce_op="mean")
        self.standing.loss_sum, self.standing.norm_sum = self.sums.tolist()
        self.standing.seconds = time.monotonic() - self.started
        if not math.isfinite(self.standing.loss_sum):
            raise LossNotFinite(
                f"the loss is not a number any more (before step {self.standing.step}); train into another folder with a lower "
                "--learning-rate, or with --precision float32"
            )

    def figures(self, films: int) -> dict[str, Any]:
        """Means since the last evaluation."""
        since = self.standing.since
        interval_s = time.monotonic() - self.interval_started
        return {
            "train_loss": self.standing.loss_sum / since,
            "gradient_norm": self.standing.norm_sum / since,
            "seconds": self.standing.seconds,
            "films_per_second": self.interval_steps * films / max(interval_s, 1e-9),
        }

    def restart(self) -> None:
        """Begins the next interval; the time of the evaluation is in none."""
        self.sums.zero_()
        self.standing.loss_sum = self.standing.norm_sum = 0.0
        self.standing.since = self.interval_steps = 0
        self.interval_started = time.monotonic()


def _rank(score: float) -> float:
    """A score that is not defined is worse than any."""
    return -math.inf if math.isnan(score) else score
