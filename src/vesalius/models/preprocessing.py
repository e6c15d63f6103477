"""The contract from an Image to the array a network sees; it is data, and goes into the bundle with the weights.

A film read from DICOM and the same film read from a store become bit-identical arrays, because both start from
`standardise`: the square of the store, at the film's own grey depth. Light: no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from vesalius.dicom.resample import dequantise, resize_to_square, standardise
from vesalius.errors import BundleError, EmptyInput
from vesalius.types import Image


@dataclass(frozen=True)
class Preprocessing:
    """From a film to the network's input.

    Attributes:
        store_size_px: Side of the square of the store it was trained from; every film passes through that size first.
        size_px: Side of the square the network sees.
        channels: How often the grey film is repeated.
        mean: Subtracted; of training pixels in [0, 1].
        std: Divided by.
    """

    store_size_px: int
    size_px: int
    channels: int = 1
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        if min(self.store_size_px, self.size_px, self.channels) < 1 or not self.std > 0:
            raise BundleError(f"sizes and channels must be at least 1 and std above 0; got {self}")

    def apply(self, images: Sequence[Image]) -> Float32[np.ndarray, "case channel height width"]:
        """Returns the network's input for films of any size.

        Raises:
            EmptyInput: No film.
        """
        if not images:
            raise EmptyInput("no film to preprocess; pass at least one Image")
        squares = [dequantise(standardise(image, self.store_size_px), image.bits_stored) for image in images]
        return self.apply_pixels(np.stack(squares))

    def apply_pixels(self, pixels: Float32[np.ndarray, "case height width"]) -> Float32[np.ndarray, "case channel height width"]:
        """The same, from the squares that `Store.pixels` returns."""
        if pixels.shape[1:] != (self.size_px, self.size_px):
            pixels = np.stack([resize_to_square(square, self.size_px) for square in pixels])
        scaled = (pixels.astype(np.float32, copy=False) - np.float32(self.mean)) / np.float32(self.std)
        repeated: Float32[np.ndarray, "case channel height width"] = np.repeat(scaled[:, None], self.channels, axis=1)
        return repeated

    @property
    def black(self) -> Float64[np.ndarray, " channel"]:
        """What a black pixel becomes."""
        return np.full(self.channels, (0.0 - self.mean) / self.std)

    def square_seen(self, height: int, width: int) -> tuple[float, float, float]:
        """Returns (top, left, side) of the square that the network sees of a film, in the film's own pixels."""
        side = float(max(height, width))
        return (height - side) / 2, (width - side) / 2, side

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict, without a word of its kind: this was the first, and bundles keep their bytes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Reads what `to_json` returned.

        Raises:
            BundleError: A field is unknown, missing or out of range.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise BundleError(f"this preprocessing contract cannot be read ({error}); was it made by another version?") from error
