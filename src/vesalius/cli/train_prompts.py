"""`vesalius train prompts`: prompts learned from class labels over frozen towers, and the few-shot curve."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import settings_file
from vesalius.cli.console import Console
from vesalius.training.options import load_toml
from vesalius.training.prompts_options import PromptsOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.training.prompts import PromptsSummary


@dataclass(frozen=True)
class Command(PromptsOptions):
    """Learn prompts from class labels alone, and say whether they help.

    The towers of an image-text bundle stay as they are; a small generator of prompts learns, for each number of films a class and
    each draw of patients. Beside the learned prompts stand the hand-written ones and a linear probe on the same frozen embeddings.
    The curve is scored on patients of another split, with intervals by patient. Stopped? The same command goes on where it was.

        vesalius train prompts BUNDLE --store STORE --out RUN                                        # from all films
        vesalius train prompts BUNDLE --store STORE --out RUN --shots 0,1,2,4,8,16,full --repeats 5  # the few-shot protocol
    """

    config: Path | None = None
    """take every setting from this run.toml; flags given beside it are stronger"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Learns, and shows the curve."""
        import logging

        from vesalius.training.prompts import train_prompts

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        console = Console(json=self.json)
        options = PromptsOptions(**{setting.name: getattr(self, setting.name) for setting in fields(PromptsOptions)})
        with console.progress("prompts", unit="steps") as progress:
            summary = train_prompts(options, progress)
        show(console, summary, options)
        console.result(result(summary))
        return EXIT_OK


def defaults(arguments: Sequence[str]) -> Command | None:
    """Returns the command that `--config FILE` among `arguments` describes; None without it.

    Raises:
        RunError: The file cannot be used.
    """
    path = settings_file(arguments)
    return None if path is None else Command(**vars(load_toml(PromptsOptions, path)), config=path)


def show(console: Console, summary: PromptsSummary, options: PromptsOptions) -> None:
    """Prints the curve: one row a point."""
    exclusive = options.task == "multiclass"
    columns = [
        "prompts",
        "shots",
        "films",
        "macro AUROC (95 %)",
        "least to greatest of the draws",
        "minus hand-written",
        "minus probe",
    ]
    rows = []
    for row in summary.curve:
        repeats = row["repeats"]
        spread = "" if repeats["n"] == 1 else f"{_rounded(repeats['least'])} to {_rounded(repeats['greatest'])}"
        cells = [row["method"], row["shots"], f"{row['films']:.0f}", _interval(row["macro_auroc"]), spread]
        cells += [_interval(row.get("minus_hand_written")), _interval(row.get("minus_linear_probe"))]
        rows.append([*cells, _interval(row.get("accuracy"))] if exclusive else cells)
    films = summary.films
    console.say(f"{summary.parameters} numbers are learned; drawn from {films['train']} films, scored on {films['scored']}:")
    console.table("Few shots", [*columns, "accuracy (95 %)"] if exclusive else columns, rows)
    for sentence in summary.notes:
        console.say(f"note: {sentence}")
    console.say("Intervals draw the scored patients again; the draws' spread is that of the patients learned from.")
    console.say(f"{'already finished' if summary.nothing_to_do else 'learned'} in {summary.seconds:.0f} s: {summary.path}")


def result(summary: PromptsSummary) -> dict[str, Any]:
    """Returns the object of `--json`."""
    return {
        "run": str(summary.path),
        "findings": list(summary.findings),
        "films": summary.films,
        "parameters": summary.parameters,
        "curve": summary.curve,
        "seconds": summary.seconds,
        "notes": list(summary.notes),
    }


def _interval(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    if figure["low"] is None:
        return _rounded(figure["value"])
    return f"{_rounded(figure['value'])} ({_rounded(figure['low'])}, {_rounded(figure['high'])})"


def _rounded(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
