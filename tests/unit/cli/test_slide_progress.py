"""Patches done over many slides: what is still to come is taken to be as large as what came."""

from __future__ import annotations

from vesalius.cli.slide_progress import SlideProgress


def test_slides_to_come_are_as_large_as_those_so_far() -> None:
    said: list[tuple[int, int]] = []
    progress = SlideProgress(lambda done, total: said.append((done, total)), 4)
    progress.finish_slide()  # could not be read, or its features were there
    assert said == [], "nothing is known yet"
    progress.patch(5, 10)
    progress.patch(10, 10)
    progress.finish_slide()
    assert said == [(5, 30), (10, 30)]
    progress.patch(10, 20)
    progress.patch(20, 20)
    progress.finish_slide()
    assert said[-2:] == [(20, 45), (30, 45)]
    progress.finish_slide()
    assert said[-1] == (30, 30), "all is done"
