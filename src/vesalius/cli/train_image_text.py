"""`vesalius train image-text`: two towers from films and their reports."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import settings_file
from vesalius.cli.console import Console
from vesalius.training.image_text_options import SCORES, ImageTextOptions
from vesalius.training.options import load_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.training.image_text import RunSummary

WORDS = {
    "zero_shot_macro_auroc": "zero-shot macro-AUROC",
    "recall_at_1": "films whose own report comes first",
    "recall_at_5": "films whose own report is among the first five",
    "recall_at_1_of_films": "reports whose own film comes first",
    "information_nats": "information, nats at least",
    "validation_loss": "contrast of all validation pairs, nats",
}


@dataclass(frozen=True)
class Command(ImageTextOptions):
    """Train an encoder of films and an encoder of words on reports, so that findings can be asked for in words.

    Learns from the split `train`, chooses the weights on the split `validation`, and looks at no other film. Stopped? The same
    command goes on where it was. Report text stays in memory; the vocabulary keeps only words that several patients share.

        vesalius train image-text --store STORE --out RUN
        vesalius train image-text --store STORE --out RUN --vision resnet-small --text bert-small --size 128 --batch-size 32
        vesalius train image-text --store STORE --out RUN --recipe medclip      # films and sentences need not be paired
        vesalius bundle import RUN --out BUNDLE                                 # what comes next
    """

    config: Path | None = None
    """take every setting from this run.toml; flags given beside it are stronger"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Trains, and shows what was reached."""
        import logging

        from vesalius.training.image_text import train_image_text
        from vesalius.training.recipe import is_first_process

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every process it starts
        console = Console(json=self.json)
        options = ImageTextOptions(**{setting.name: getattr(self, setting.name) for setting in fields(ImageTextOptions)})
        if not is_first_process():
            train_image_text(options)
            return EXIT_OK
        with console.progress("train", unit="steps") as progress:
            summary = train_image_text(options, progress)
        show(console, summary)
        console.result(result(summary))
        return EXIT_OK


def defaults(arguments: Sequence[str]) -> Command | None:
    """Returns the command that `--config FILE` among `arguments` describes; None without it.

    Raises:
        RunError: The file cannot be used.
    """
    path = settings_file(arguments)
    return None if path is None else Command(**vars(load_toml(ImageTextOptions, path)), config=path)


def show(console: Console, summary: RunSummary) -> None:
    """Prints the best evaluation."""
    best, films = summary.best, summary.films
    chosen = WORDS[SCORES[summary.score]]
    console.say(
        f"learned from {films['train']} films; best by {chosen} on {films['validation']} validation films, "
        f"{films['validation_reports']} with a report, at step {best['step']}:"
    )
    rows: list[list[object]] = [[words, rounded(best[name])] for name, words in WORDS.items() if name in best]
    rows += [[f"zero-shot AUROC, {name}", rounded(area)] for name, area in best.get("zero_shot_auroc", {}).items()]
    console.table("Validation", ["figure", "value"], rows)
    for sentence in summary.notes:
        console.say(f"note: {sentence}")
    console.say(f"{'already finished' if summary.nothing_to_do else 'trained'} in {summary.seconds:.0f} s: {summary.path}")
    console.say("These films chose the weights, so the figures flatter.")
    console.say(f"next: vesalius bundle import {summary.path} --out BUNDLE")


def result(summary: RunSummary) -> dict[str, Any]:
    """Returns the object of `--json`."""
    return {
        "run": str(summary.path),
        "films": summary.films,
        "score": summary.score,
        "best": summary.best,
        "seconds": summary.seconds,
        "notes": list(summary.notes),
    }


def rounded(value: float | None) -> str:
    """Returns a figure in three decimals."""
    return "undefined" if value is None else f"{value:.3f}"
