"""Patches done over many slides, so that a bar tells the time left although nobody knows how many patches are still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesalius.types import ProgressCallback


class SlideProgress:
    """Turns the progress of each slide into that of all: slides to come are taken to be as large as those so far.

    Args:
        progress: Called with (patches done, of how many, as far as can be told); the last call says that all is done.
        slides: How many there are.
    """

    def __init__(self, progress: ProgressCallback, slides: int) -> None:
        self._progress, self._slides = progress, slides
        self._sizes: list[int] = []
        self._open = 0
        self._said: tuple[int, int] | None = None

    def patch(self, done: int, total: int) -> None:
        """Takes the progress of the slide at hand."""
        self._open = total
        self._say(sum(self._sizes) + done, [*self._sizes, total])

    def finish_slide(self) -> None:
        """The slide at hand is done. One that could not be read, or whose features were there, counts as no patch."""
        self._sizes.append(self._open)
        self._open = 0
        self._say(sum(self._sizes), self._sizes)

    def _say(self, done: int, sizes: list[int]) -> None:
        cut = [size for size in sizes if size]
        now = (done, round(sum(cut) + (self._slides - len(sizes)) * sum(cut) / len(cut))) if cut else self._said
        if now is not None and now != self._said:
            self._said = now
            self._progress(*now)
