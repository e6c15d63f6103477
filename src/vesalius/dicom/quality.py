"""Is a film good enough to be answered?"""

from __future__ import annotations

from vesalius.types import Image


def quality_problem(image: Image) -> str | None:
    """Returns one sentence on why a film is too poor to answer, or None."""
    raise NotImplementedError
