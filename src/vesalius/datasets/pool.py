"""Many parts over all cores, and what to do when a decoder takes its process down with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from vesalius.datasets.identity import PatientKey
from vesalius.datasets.parts import Part, write_part
from vesalius.datasets.workers import open_pool
from vesalius.errors import StoreError

PARTS_AHEAD = 3
"""Parts handed to each worker at a time: enough to keep it busy, few enough to stop soon."""


def write_parts(parts: Sequence[Part], key: PatientKey, workers: int, finished: Callable[[int], None]) -> None:
    """Writes every part, `finished(n_films)` being called after each.

    A process that dies (a decoder's crash, no memory) takes the pool with it. The parts it was given then run film by film,
    each in a process of its own, and a film that kills its process is refused as `decoder_crashed`; the rest goes on.

    Raises:
        StoreError: Processes die without a film that explains it.
    """
    waiting = list(reversed(parts))
    while waiting:
        running: dict[Future[int], Part] = {}
        try:
            with open_pool(min(workers, len(waiting))) as pool:
                _run(pool, waiting, running, key, PARTS_AHEAD * workers, finished)
        except BrokenProcessPool:
            for part in running.values():
                _write_film_by_film(part, key)
                finished(len(part.films))


def _run(
    pool: ProcessPoolExecutor,
    waiting: list[Part],
    running: dict[Future[int], Part],
    key: PatientKey,
    ahead: int,
    finished: Callable[[int], None],
) -> None:
    """Empties `waiting`; a part leaves `running` when it is finished, and stays there if its process died."""
    while waiting or running:
        while waiting and len(running) < ahead:
            part = waiting.pop()
            running[pool.submit(write_part, part, key)] = part
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            n_films = future.result()
            del running[future]
            finished(n_films)


def _write_film_by_film(part: Part, key: PatientKey) -> None:
    crashed = tuple(
        index
        for index, (film, masks) in enumerate(zip(part.films, part.masks, strict=True))
        if not _survives(replace(part, films=(film,), masks=(masks,)), key)
    )
    if not _survives(replace(part, crashed=crashed), key):
        raise StoreError(
            "the processes that read films die one after another, probably for want of memory: use --workers 1 or another machine, "
            "what is done is kept. (In a script of your own, call ingest below `if __name__ == '__main__':`)"
        )


def _survives(part: Part, key: PatientKey) -> bool:
    """Writes a part in a process of its own; False if that process died."""
    try:
        with open_pool(1) as pool:
            pool.submit(write_part, part, key).result()
    except BrokenProcessPool:
        return False
    return True
