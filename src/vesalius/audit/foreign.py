"""Images that are no upright chest film: what the out-of-distribution gate must stop.

Each kind is made from a test film, so that size, depth and padding give nothing away: noise and blank keep only the
film's outline; inverted and rotated keep its every pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vesalius.types import Pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.types import Image

BLANK_NOISE = 0.004
"""Standard deviation of the grey in a blank image: a detector's own noise, without which no reader would accept it."""


def noise(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Returns independent uniform grey values: a broken transfer."""
    grey: Pixels = generator.random(pixels.shape, dtype=np.float32)
    return grey


def blank(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Returns one grey with a trace of detector noise: an exposure without a patient."""
    level = generator.uniform(0.2, 0.8)
    grey = level + BLANK_NOISE * generator.standard_normal(pixels.shape, dtype=np.float32)
    clipped: Pixels = np.clip(grey, 0.0, 1.0).astype(np.float32)
    return clipped


def inverted(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Returns black for white: MONOCHROME1 read as MONOCHROME2."""
    return np.asarray(1.0 - pixels, dtype=np.float32)


def rotated_90(pixels: Pixels, generator: np.random.Generator) -> Float[np.ndarray, "width height"]:
    """Returns the film lying on its side."""
    return np.ascontiguousarray(np.rot90(pixels))


def rotated_180(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Returns the film upside down."""
    return np.ascontiguousarray(np.rot90(pixels, 2))


KINDS: dict[str, Callable[[Pixels, np.random.Generator], Float[np.ndarray, "rows columns"]]] = {
    "noise": noise,
    "blank": blank,
    "inverted": inverted,
    "rotated_90": rotated_90,
    "rotated_180": rotated_180,
}


def foreign_images(kind: str, films: Sequence[Image], seed: int) -> list[Image]:
    """Returns one foreign image of `kind` for each of `films`, in their order; same seed, same images."""
    # each kind draws from its own stream, so adding a kind changes no other
    generator = np.random.default_rng([seed, list(KINDS).index(kind)])
    make = KINDS[kind]
    return [replace(film, pixels=make(film.pixels, generator), image_id=f"{film.image_id}-{kind}") for film in films]
