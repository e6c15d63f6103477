"""A grid of runs: all are trained, the best weights of all are the ensemble, a stop costs nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.reports import square_reports, tiny
from vesalius.datasets.store import Store
from vesalius.errors import RunError
from vesalius.training.image_text import load_image_text_run
from vesalius.training.image_text_options import ContrastOptimization
from vesalius.training.sweep import grid, train_sweep
from vesalius.training.sweep_options import SweepOptions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return square_reports(tmp_path_factory.mktemp("reports") / "store", n=48)


def options_for(store: Store, out: Path, **changes: Any) -> SweepOptions:
    shape = {"learning_rates": ("1e-3", "3e-3"), "batches": ("6", "12"), "epoch_counts": ("2",), "keep": 3, "steps": None}
    return SweepOptions(**tiny(store, out, **(shape | changes)))


def lines_of(sweep: Path) -> list[tuple[float, str, int]]:
    return [
        (line["zero_shot_macro_auroc"], metrics.parent.name, line["step"])
        for metrics in sweep.glob("runs/*/metrics.jsonl")
        for line in map(json.loads, metrics.read_text().splitlines())
    ]


def test_the_best_of_all_runs_are_the_ensemble(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path / "sweep")
    told: list[tuple[int, int]] = []
    summary = train_sweep(options, lambda done, total: told.append((done, total)))
    assert [run["run"] for run in summary.runs] == [point.name for point in grid(options)]
    assert len(summary.runs) == 4
    assert (
        sorted((-m["score"], m["run"], m["step"]) for m in summary.members)
        == sorted((-value, name, step) for value, name, step in lines_of(options.out))[:3]
    )
    found = load_image_text_run(options.out)
    assert [path.name for path in found.weights] == ["best-1.safetensors", "best-2.safetensors", "best-3.safetensors"]
    for path, member in zip(found.weights, summary.members, strict=True):
        kept = options.out / "runs" / member["run"] / "checkpoints" / f"step-{member['step']:08d}.safetensors"
        assert path.read_bytes() == kept.read_bytes()
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted({done for done, _ in told}), "one bar over all runs"
    tokenizers = {path.read_bytes() for path in options.out.rglob("tokenizer.json")}
    assert len(tokenizers) == 1


def test_a_stopped_sweep_goes_on_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= total * 0.6:
            raise Stop

    whole, broken = (options_for(store, tmp_path / name, batches=("12",)) for name in ("whole", "broken"))
    train_sweep(whole)
    with pytest.raises(Stop):
        train_sweep(broken, stop)
    with pytest.raises(RunError, match="vesalius train sweep --config"):
        load_image_text_run(broken.out)
    first = next((broken.out / "runs").glob("lr-0.001*/model.json"))
    made = first.stat().st_mtime_ns
    train_sweep(broken)
    assert first.stat().st_mtime_ns == made, "what was done is not done again"
    for name in ("best-1", "best-2", "best-3"):
        weights = [(one.out / "checkpoints" / f"{name}.safetensors").read_bytes() for one in (whole, broken)]
        assert weights[0] == weights[1]
    with pytest.raises(RunError, match="batches was"):
        train_sweep(replace(broken, batches=("6",)))


def test_a_run_whose_loss_breaks_is_said_and_left_out(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path / "sweep", learning_rates=("1e-3", "1e30"), batches=("12",))
    options = replace(options, optimization=replace(options.optimization, optimizer="sgd", clip_norm=0.0))
    summary = train_sweep(options)
    scores = {run["run"]: run["score"] for run in summary.runs}
    assert scores["lr-1e+30_batch-12_epochs-2"] is None
    assert {member["run"] for member in summary.members} == {"lr-0.001_batch-12_epochs-2"}
    assert "stopped being a number" in summary.notes[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rates": ("fast",)}, "numbers"),
        ({"batches": ("6.5",)}, "whole numbers"),
        ({"batches": ("6", "6")}, "none of them twice"),
        ({"epoch_counts": ()}, "at least one"),
        ({"steps": 3}, "--epoch-counts"),
        ({"epochs": 3.0}, "--epoch-counts"),
        ({"contrast_batch": 12}, "--batches"),
        ({"optimization": ContrastOptimization(learning_rate=1e-5)}, "--learning-rates"),
    ],
)
def test_a_grid_that_is_none(changes: dict[str, Any], words: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words):
        train_sweep(options_for(store, tmp_path / "sweep", **changes))
    assert not (tmp_path / "sweep").exists()
