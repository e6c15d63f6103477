"""A stand-in for a decoder that takes its process down: must be importable by the processes that read."""

from __future__ import annotations

import os
import signal

from vesalius.datasets.identity import PatientKey
from vesalius.datasets.parts import Part, write_part


def write_part_or_die(part: Part, key: PatientKey) -> int:
    """Dies, as of a segmentation fault, where a film that is called a killer would be read."""
    if any("killer" in film.path and index not in part.crashed for index, film in enumerate(part.films)):
        os.kill(os.getpid(), signal.SIGKILL)
    return write_part(part, key)
