"""The one loop: parts add up to the whole, a stop costs nothing, the best is kept, a broken loss stops the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.errors import RunError
from vesalius.training.fit import Plan, Task, accumulate_gradients, fit, prefetch, seed_of
from vesalius.training.optimization import average_weights, build_optimizer
from vesalius.training.options import OptimizationOptions
from vesalius.training.run import RunFolder
from vesalius.training.state import Learner, Standing

TIMES = {"seconds", "films_per_second"}


@dataclass(frozen=True)
class Rows:
    x: Tensor
    y: Tensor
    known: Tensor

    @property
    def counts(self) -> Tensor:
        return self.known.sum().float()[None]


def some_rows(step: int, n: int = 12) -> Rows:
    generator = torch.Generator().manual_seed(seed_of(5, step))
    x = torch.randn(n, 6, generator=generator)
    return Rows(x, (x[:, :2] > 0).float(), torch.rand(n, 2, generator=generator) > 0.4)


def part_of(rows: Rows, part: int, parts: int) -> Rows:
    few = torch.arange(len(rows.x)).tensor_split(parts)[part]
    return Rows(rows.x[few], rows.y[few], rows.known[few])


def masked_mean(network: nn.Module, rows: Rows) -> Tensor:
    each = binary_cross_entropy_with_logits(network(rows.x), rows.y, reduction="none")
    return (each[rows.known].sum() / rows.known.sum().clamp_min(1))[None]


def network_of(dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


class Stop(Exception):
    """What a user's Ctrl-C does."""


def train(
    folder: Path,
    *,
    stop: int | None = None,
    losses: Callable[[nn.Module, Rows], Tensor] = masked_mean,
    scores: list[float] | None = None,
    signature: str = "",
    steps: int = 30,
) -> tuple[Standing, nn.Module]:
    net, options = network_of(), OptimizationOptions(learning_rate=0.01)
    learner = Learner(net, average_weights(net, steps, options), build_optimizer(net, options, "float32"))
    remaining = None if scores is None else iter(scores)

    def evaluate(network: nn.Module) -> dict[str, float]:
        score = -float(masked_mean(network, some_rows(999))) if remaining is None else next(remaining)
        return {"score": score}

    def progress(done: int, total: int) -> None:
        assert total == steps
        if done == stop:
            raise Stop

    task = Task(lambda step, part: part_of(some_rows(step), part, 2), losses, evaluate, "score")
    plan = Plan(steps, films=12, epoch_films=48, parts=2, evaluations=5, save_every=4, signature=signature)
    fabric = Fabric(accelerator="cpu", devices=1)
    return fit(fabric, learner, task, plan, options, RunFolder(folder), progress), net


def lines(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_give_the_gradient_of_the_whole(parts: int) -> None:
    """Each part knows a different number of labels: a mean of means would be another gradient."""
    net, rows = network_of(0.0), some_rows(1)
    masked_mean(net, rows).sum().backward()
    whole = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(net)
    loss = accumulate_gradients(fabric, module, [part_of(rows, part, parts) for part in range(parts)], masked_mean)
    assert loss.item() == pytest.approx(masked_mean(net, rows).item(), rel=1e-5)
    for parameter, expected in zip(net.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def test_the_loop_learns(tmp_path: Path) -> None:
    train(tmp_path, steps=30)
    records = lines(tmp_path)
    assert [record["step"] for record in records] == [6, 12, 18, 24, 30]
    assert records[-1]["epoch"] == 30 * 12 / 48
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert records[-1]["score"] > records[0]["score"]


@pytest.mark.parametrize("stop", [1, 6, 14, 29])
def test_a_stopped_run_goes_on_with_the_same_numbers(tmp_path: Path, stop: int) -> None:
    _, unbroken = train(tmp_path / "unbroken")
    with pytest.raises(Stop):
        train(tmp_path / "broken", stop=stop)
    _, resumed = train(tmp_path / "broken")
    assert lines(tmp_path / "broken") == lines(tmp_path / "unbroken")
    for mine, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    best = [(tmp_path / name / "checkpoints" / "best.safetensors").read_bytes() for name in ("broken", "unbroken")]
    assert best[0] == best[1]


def test_a_half_written_line_is_written_again(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, stop=14)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 18, "ep')
    train(tmp_path)
    assert [record["step"] for record in lines(tmp_path)] == [6, 12, 18, 24, 30]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first, _ = train(tmp_path)
    weights = (tmp_path / "checkpoints" / "best.safetensors").read_bytes()
    again, _ = train(tmp_path)
    assert again.best == first.best
    assert len(lines(tmp_path)) == 5
    assert (tmp_path / "checkpoints" / "best.safetensors").read_bytes() == weights


def test_the_best_is_kept_and_an_undefined_score_is_not_best(tmp_path: Path) -> None:
    standing, _ = train(tmp_path, scores=[float("nan"), 0.2, 0.7, float("nan"), 0.6])
    assert (standing.best["step"], standing.best["score"]) == (18, 0.7)
    assert lines(tmp_path)[0]["score"] is None


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(tmp_path: Path) -> None:
    calls = iter(range(1000))

    def breaks(network: nn.Module, rows: Rows) -> Tensor:
        return masked_mean(network, rows) * (float("nan") if next(calls) > 15 else 1.0)

    with pytest.raises(RunError, match="learning-rate"):
        train(tmp_path, losses=breaks)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["standing"]["step"] == 8
    assert all(torch.isfinite(weight).all() for weight in kept["module"].values())


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, stop=10, signature="a")
    with pytest.raises(RunError, match="other settings"):
        train(tmp_path, signature="b")


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, stop=10)
    whole = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"last\.ckpt cannot be read"):
        train(tmp_path)


@pytest.mark.parametrize(("steps", "evaluations"), [(1, 20), (7, 3), (100, 20), (19, 20)])
def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end(steps: int, evaluations: int) -> None:
    plan = Plan(steps, films=1, epoch_films=1, evaluations=evaluations)
    when = [done for done in range(1, steps + 1) if plan.evaluates_after(done)]
    assert len(when) == min(steps, evaluations)
    assert when[-1] == steps
    gaps = [after - before for before, after in zip([0, *when], when, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_batches_come_in_order_and_a_failure_in_the_thread_is_raised_here() -> None:
    def make(step: int, part: int) -> Rows:
        if step == 3:
            raise OSError("the disk is gone")
        return (step, part)  # type: ignore[return-value]

    seen = []
    with pytest.raises(OSError, match="disk"):
        seen.extend(prefetch(make, range(1, 5), 2))
    assert list(prefetch(make, range(4, 4), 2)) == []
    assert list(prefetch(make, range(1, 3), 2)) == [(1, [(1, 0), (1, 1)]), (2, [(2, 0), (2, 1)])]


def test_every_place_has_its_own_seed() -> None:
    places = [(step, rank) for step in range(30) for rank in range(4)]
    assert len({seed_of(0, *place) for place in places} | {seed_of(1, *place) for place in places}) == 2 * len(places)
