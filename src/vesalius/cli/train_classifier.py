"""`vesalius train classifier`: a classifier from a store."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import settings_file
from vesalius.cli.console import Console
from vesalius.training.options import ClassifierOptions, load_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.training.classifier import RunSummary


@dataclass(frozen=True)
class Command(ClassifierOptions):
    """Train a classifier on the films of a store.

    Learns from the split `train`, keeps the weights with the best macro-AUPRC on the split `validation`, and looks at
    no other film. Stopped? The same command goes on where it was, with the same numbers as if it had never stopped.

        vesalius train classifier --store STORE --out RUN --encoder resnet-small --size 128 --steps 600
        vesalius train classifier --config RUN/run.toml --out AGAIN     # the same run once more
        vesalius calibrate RUN --store STORE --out BUNDLE               # what comes next
    """

    config: Path | None = None
    """take every setting from this run.toml; flags given beside it are stronger"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Trains, and shows what was reached."""
        import logging

        from vesalius.training.classifier import train_classifier
        from vesalius.training.recipe import is_first_process

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every process it starts
        console = Console(json=self.json)
        options = ClassifierOptions(**{setting.name: getattr(self, setting.name) for setting in fields(ClassifierOptions)})
        if not is_first_process():
            train_classifier(options)
            return EXIT_OK
        with console.progress("train", unit="steps") as progress:
            summary = train_classifier(options, progress)
        show(console, summary)
        console.result(result(summary))
        return EXIT_OK


def defaults(arguments: Sequence[str]) -> Command | None:
    """Returns the command that `--config FILE` among `arguments` describes; None without it.

    Raises:
        RunError: The file cannot be used.
    """
    path = settings_file(arguments)
    return None if path is None else Command(**vars(load_toml(ClassifierOptions, path)), config=path)


def show(console: Console, summary: RunSummary) -> None:
    """Prints the best evaluation, finding by finding."""
    best = summary.best
    rows: list[list[object]] = [
        [name, summary.present[name], _rounded(best["auroc"][name]), _rounded(best["auprc"][name])] for name in summary.findings
    ]
    rows.append(["macro", "", _rounded(best["macro_auroc"]), _rounded(best["macro_auprc"])])
    n = summary.films
    console.say(f"learned from {n['train']} films; best on {n['validation']} validation films at step {best['step']}:")
    console.table("Validation", ["finding", "present", "AUROC", "AUPRC"], rows)
    for sentence in summary.notes:
        console.say(f"note: {sentence}")
    console.say(f"{'already finished' if summary.nothing_to_do else 'trained'} in {summary.seconds:.0f} s: {summary.path}")
    console.say("These films chose the weights, so the figures flatter; the audit's are the ones to quote.")
    console.say(f"next: vesalius calibrate {summary.path} --store STORE --out BUNDLE")


def result(summary: RunSummary) -> dict[str, Any]:
    """Returns the object of `--json`."""
    return {
        "run": str(summary.path),
        "findings": list(summary.findings),
        "films": summary.films,
        "best": summary.best,
        "seconds": summary.seconds,
        "notes": list(summary.notes),
    }


def _rounded(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
