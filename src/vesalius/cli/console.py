"""What a verb shows: words and tables on stdout, progress on stderr, one object with `--json`."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vesalius.types import ProgressCallback

PLAIN_LINE_EVERY_S = 10.0
FILE_WIDTH = 150
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


class Console:
    """Speaks for one command.

    With `json` set, stdout carries nothing but the object given to `result`; words go to stderr.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def say(self, text: str = "") -> None:
        """Prints a line for people."""
        print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table; the first column is left-aligned, the others right."""
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        # as Text: in a plain str, rich takes words in square brackets for its own
        table = Table(title=Text(title), title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(Text(column), justify="left" if index == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        stream = sys.stderr if self.json else sys.stdout
        RichConsole(file=stream, width=None if stream.isatty() else FILE_WIDTH).print(table)

    def result(self, value: dict[str, Any]) -> None:
        """Prints the one object of `--json`; says nothing otherwise."""
        if self.json:
            print(json.dumps(value, allow_nan=False, default=str), flush=True)

    @contextmanager
    def progress(self, label: str, unit: str = "films") -> Iterator[ProgressCallback]:
        """Yields `progress(done, total)`: a bar with time left on a terminal, a plain line now and then elsewhere."""
        if sys.stderr.isatty():
            with self._bar(label, unit) as callback:
                yield callback
        else:
            yield self._plain(label, unit)

    @contextmanager
    def _bar(self, label: str, unit: str) -> Iterator[ProgressCallback]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=RichConsole(file=sys.stderr)) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @staticmethod
    def _plain(label: str, unit: str) -> ProgressCallback:
        started = last = time.monotonic()

        def callback(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done < total and now - last < PLAIN_LINE_EVERY_S:
                return
            last = now
            left = (now - started) / done * (total - done) if done else float("nan")
            print(f"{label}: {done}/{total} {unit}, {now - started:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)

        return callback
