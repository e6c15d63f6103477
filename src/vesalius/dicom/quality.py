"""Is a film good enough to be answered? Rules any radiographer would accept, none of them learned."""

from __future__ import annotations

import numpy as np

from vesalius.types import Image

SIDE_LEAST_PX = 64
GREYS_LEAST = 16
BLACK_OR_WHITE_MOST = 0.9
CONTRAST_LEAST = 0.02
ASPECT_MOST = 4.0
_LOOK_AT_PX = 512


def quality_problem(image: Image) -> str | None:
    """Returns one sentence on why a film is too poor to answer (the reason `poor_quality`), or None.

    Too small, a strip, too few greys, almost all black or white, or hardly any contrast. Large films are sampled.
    """
    height, width = image.pixels.shape
    shorter, longer = min(height, width), max(height, width)
    if shorter < SIDE_LEAST_PX:
        return f"the film is {height} x {width} pixels; at least {SIDE_LEAST_PX} a side are needed"
    if longer > ASPECT_MOST * shorter:
        return f"the film is {height} x {width} pixels, a strip and not a radiograph"
    step = max(1, shorter // _LOOK_AT_PX)
    greys = np.rint(image.pixels[::step, ::step] * 255).astype(np.uint8)
    counts = np.bincount(greys.ravel(), minlength=256)
    used = int(np.count_nonzero(counts))
    if used < GREYS_LEAST:
        return f"the film has {used} grey levels of 256; at least {GREYS_LEAST} are needed"
    extreme = float(counts[0] + counts[255]) / greys.size
    if extreme > BLACK_OR_WHITE_MOST:
        return f"{extreme:.0%} of the film is plain black or white; its window or its exposure is wrong"
    contrast = float(greys.std()) / 255
    if contrast < CONTRAST_LEAST:
        return f"the film has hardly any contrast (standard deviation {contrast:.3f} of full scale)"
    return None
