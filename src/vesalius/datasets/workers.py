"""How reading processes come into being. Light to import, so that they can start while this process is still importing."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
from concurrent.futures import ProcessPoolExecutor

_PRELOAD = ["vesalius.datasets.parts"]


def available_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_pool(workers: int) -> ProcessPoolExecutor:
    """Returns a pool of fresh processes: not copies of this one, which may hold threads, a lock and a network's memory."""
    from vesalius.datasets.parts import start_worker

    return ProcessPoolExecutor(workers, _context(), start_worker)


def warm_up() -> None:
    """Starts the process that the reading processes are copied from, and returns at once; saves a second of waiting later."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        _context()
        forkserver.ensure_running()


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context
