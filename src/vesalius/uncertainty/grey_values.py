"""Views that change grey values and leave every voxel in its place; in units of the image's own range, so they fit any unit."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from vesalius.errors import ValueOutOfRange
from vesalius.uncertainty.transforms import Array, Padding, Transform


class GreyValues(Transform):
    """Changes grey values and leaves every voxel in its place: nothing has to be brought back."""

    def apply(self, image: Array) -> Array:
        """Returns the view, in float64 unless the image is float32."""
        numbers = np.asarray(image)
        if numbers.dtype != np.float32:
            numbers = numbers.astype(np.float64)
        return np.asarray(self._regrey(numbers), dtype=numbers.dtype)

    @abstractmethod
    def _regrey(self, image: Array) -> Array: ...

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        return array

    _backward = _forward


@dataclass(frozen=True)
class Gamma(GreyValues):
    """Raises grey values, between the image's least and greatest, to a power: below 1 brightens the middle. 0.25 to 4."""

    exponent: float = 1.0

    kind = "gamma"

    def __post_init__(self) -> None:
        if not 0.25 <= self.exponent <= 4:
            raise ValueOutOfRange(f"a gamma of {self.exponent}; expected 0.25 to 4")

    def _regrey(self, image: Array) -> Array:
        low, range_ = _range(image)
        return image if range_ == 0 else low + range_ * ((image - low) / range_) ** self.exponent


@dataclass(frozen=True)
class Brightness(GreyValues):
    """Adds a share of the image's range to every grey value; -0.5 to 0.5. Nothing is cut off."""

    share: float = 0.0

    kind = "brightness"

    def __post_init__(self) -> None:
        if not abs(self.share) <= 0.5:
            raise ValueOutOfRange(f"a brightness of {self.share}; expected -0.5 to 0.5 of the range of grey values")

    def _regrey(self, image: Array) -> Array:
        return image + self.share * _range(image)[1]


@dataclass(frozen=True)
class Noise(GreyValues):
    """Adds Gaussian noise whose standard deviation is a share of the image's range; the same seed gives the same noise."""

    share: float = 0.01
    seed: int = 0

    kind = "noise"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 0.5:
            raise ValueOutOfRange(f"noise of {self.share}; expected 0 to 0.5 of the range of grey values")

    def _regrey(self, image: Array) -> Array:
        return image + self.share * _range(image)[1] * np.random.default_rng(self.seed).standard_normal(image.shape)


def _range(image: Array) -> tuple[float, float]:
    low = float(image.min())
    return low, float(image.max()) - low
