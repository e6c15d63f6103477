"""`vesalius train sweep`: image-text runs over a grid; the best weights of all as one ensemble."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import settings_file
from vesalius.cli.console import Console
from vesalius.cli.train_image_text import WORDS, rounded
from vesalius.training.image_text_options import SCORES
from vesalius.training.options import load_toml
from vesalius.training.sweep_options import SweepOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.training.sweep import SweepSummary


@dataclass(frozen=True)
class Command(SweepOptions):
    """Train image-text runs over learning rates, batches and epochs, and keep the best evaluations of all as an ensemble.

    Every run is one that `vesalius train image-text` would make. Stopped? The same command goes on where it was: runs that came to
    their end stay, the one that was cut off goes on from its last checkpoint.

        vesalius train sweep --store STORE --out SWEEP --learning-rates 5e-5,1e-4,2e-4 --batches 64,128 --epoch-counts 4 --keep 10
        vesalius bundle import SWEEP --out BUNDLE
    """

    config: Path | None = None
    """take every setting from this run.toml; flags given beside it are stronger"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Trains all, and shows them side by side."""
        import logging

        from vesalius.training.recipe import is_first_process
        from vesalius.training.sweep import train_sweep

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every process it starts
        console = Console(json=self.json)
        options = SweepOptions(**{setting.name: getattr(self, setting.name) for setting in fields(SweepOptions)})
        if not is_first_process():
            train_sweep(options)
            return EXIT_OK
        with console.progress("sweep", unit="steps") as progress:
            summary = train_sweep(options, progress)
        show(console, summary)
        console.result(
            {"sweep": str(summary.path), "score": summary.score, "runs": list(summary.runs), "members": list(summary.members)}
        )
        return EXIT_OK


def defaults(arguments: Sequence[str]) -> Command | None:
    """Returns the command that `--config FILE` among `arguments` describes; None without it.

    Raises:
        RunError: The file cannot be used.
    """
    path = settings_file(arguments)
    return None if path is None else Command(**vars(load_toml(SweepOptions, path)), config=path)


def show(console: Console, summary: SweepSummary) -> None:
    """Prints one row a run, and which of their weights are in the ensemble."""
    taken = [member["run"] for member in summary.members]
    rows: list[list[object]] = [
        [
            f"{run['learning_rate']:g}",
            run["batch"],
            f"{run['epochs']:g}",
            rounded(run["score"]),
            run["step"],
            None if run["seconds"] is None else f"{run['seconds']:.0f}",
            taken.count(run["run"]) or None,
        ]
        for run in summary.runs
    ]
    columns = ["learning rate", "batch", "epochs", WORDS[SCORES[summary.score]], "best step", "seconds", "members"]
    console.table("Runs, on the validation films", columns, rows)
    for sentence in summary.notes:
        console.say(f"note: {sentence}")
    console.say(f"the {len(summary.members)} best evaluations of {len(summary.runs)} runs are the ensemble: {summary.path}")
    console.say("These films chose the weights, so the figures flatter.")
    console.say(f"next: vesalius bundle import {summary.path} --out BUNDLE")
