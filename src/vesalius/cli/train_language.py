"""`vesalius train language`: an encoder of words from reports alone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import settings_file
from vesalius.cli.console import Console
from vesalius.training.language_options import LanguageOptions
from vesalius.training.options import load_toml

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Command(LanguageOptions):
    """Train an encoder of words on reports without their films: each token is told from those before it.

    Reports without films are many; an encoder that has read them starts the training of films and words further on. Report text
    stays in memory; the vocabulary keeps only words that several patients share.

        vesalius train language --store STORE --out WORDS
        vesalius train language --texts reports.csv --out WORDS --text gpt-small
        vesalius train image-text --store STORE --out RUN --init-text WORDS       # what comes next
    """

    config: Path | None = None
    """take every setting from this run.toml; flags given beside it are stronger"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Trains, and shows what was reached."""
        import logging

        from vesalius.training.language import train_language
        from vesalius.training.recipe import is_first_process

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every process it starts
        console = Console(json=self.json)
        options = LanguageOptions(**{setting.name: getattr(self, setting.name) for setting in fields(LanguageOptions)})
        if not is_first_process():
            train_language(options)
            return EXIT_OK
        with console.progress("train", unit="steps") as progress:
            summary = train_language(options, progress)
        best = summary.best
        console.say(
            f"best at step {best['step']}: {best['validation_loss']:.3f} nats a token of the validation texts, "
            f"perplexity {best['perplexity']:.1f}"
        )
        done = "already finished" if summary.nothing_to_do else "trained"
        console.say(f"{done} in {summary.seconds:.0f} s: {summary.path}")
        console.say(f"next: vesalius train image-text --store STORE --out RUN --init-text {summary.path}")
        console.result({"run": str(summary.path), "texts": summary.texts, "best": best, "seconds": summary.seconds})
        return EXIT_OK


def defaults(arguments: Sequence[str]) -> Command | None:
    """Returns the command that `--config FILE` among `arguments` describes; None without it.

    Raises:
        RunError: The file cannot be used.
    """
    path = settings_file(arguments)
    return None if path is None else Command(**vars(load_toml(LanguageOptions, path)), config=path)
