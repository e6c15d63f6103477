"""Ways to look at an image again, each with its way back; for numpy images of two or three dimensions.

An image is (*channel, height, width) or (*channel, depth, height, width): a transform acts on the last axes. `apply` makes the
view; `inverse` brings an answer a voxel (a mask, a probability map, also with axes in front) back onto the image's grid; `seen`
says for which voxels that answer was made of real image and not of what was padded around it.

Left and right: `laterality_safe` is False for what may put the heart on the other side (flips, quarter turns). They are refused
where they would be used unless the caller says that the image has no side.

Source: Wang 2019, arXiv:1807.07356 (inverse transforms before averaging).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from scipy import ndimage

from vesalius.errors import ShapeMismatch, ValueOutOfRange

Interpolation = Literal["nearest", "linear"]
Array = Shaped[np.ndarray, "..."]
Padding = Literal["nearest", "constant"]

_WHOLE = 1 - 1e-6  # a voxel interpolated from real ones alone weighs 1 up to rounding
_LARGEST_ANGLE_DEG = 45.0


class Transform(ABC):
    """A view of an image and the way back.

    Attributes:
        kind: The word for it in JSON.
        laterality_safe: Does the view keep left on the left?
        dimensions: How many of the last axes it acts within.
    """

    kind: ClassVar[str]
    laterality_safe: ClassVar[bool] = True

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within; 0 for one that changes grey values only."""
        return 0

    @property
    def name(self) -> str:
        """Kind and settings, for a table."""
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self._settings().items())})"

    def apply(self, image: Array) -> Array:
        """Returns the view, padded with the nearest edge value; linear between voxels.

        Raises:
            ShapeMismatch: The image has fewer axes than the transform acts on.
        """
        return self._forward(checked_image(image, self), 1, "nearest")

    def inverse(self, answer: Array, *, interpolation: Interpolation = "linear") -> Array:
        """Brings a voxelwise answer to the view back onto the image's grid; axes in front (class, finding) stay.

        "nearest" keeps label maps whole. Answers a case need no inverse.

        Raises:
            ShapeMismatch: The answer has fewer axes than the transform acts on.
            ValueOutOfRange: An unknown interpolation.
        """
        if interpolation not in get_args(Interpolation):
            raise ValueOutOfRange(f"interpolation {interpolation!r}; expected one of {', '.join(get_args(Interpolation))}")
        return self._backward(checked_image(answer, self), int(interpolation == "linear"), "nearest")

    def seen(self, shape: tuple[int, ...]) -> Bool[np.ndarray, "*space"]:
        """True for the voxels of an image of that shape whose answer, brought back, holds nothing of the padding."""
        there = self._forward(np.ones(shape), 1, "constant")
        return np.asarray(self._backward(there, 1, "constant") >= _WHOLE)

    @abstractmethod
    def _forward(self, array: Array, order: int, padding: Padding) -> Array: ...

    @abstractmethod
    def _backward(self, array: Array, order: int, padding: Padding) -> Array: ...

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words that `transform_from_json` takes."""
        return {"kind": self.kind, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Identity(Transform):
    """The image as it is."""

    kind = "identity"

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        return array

    def _backward(self, array: Array, order: int, padding: Padding) -> Array:
        return array


@dataclass(frozen=True)
class Flip(Transform):
    """Mirrors the axes (negative: -1 width, -2 height, -3 depth). Exact, and its own inverse."""

    axes: tuple[int, ...] = (-1,)

    kind = "flip"
    laterality_safe = False

    def __post_init__(self) -> None:
        _check_axes(self.axes)

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return max(-axis for axis in self.axes)

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        return np.ascontiguousarray(np.flip(array, self.axes))

    _backward = _forward


@dataclass(frozen=True)
class Rotate90(Transform):
    """Quarter turns in the plane of two axes, from the first towards the second as numpy.rot90 does. Exact."""

    turns: int = 1
    plane: tuple[int, int] = (-2, -1)

    kind = "rotate90"
    laterality_safe = False

    def __post_init__(self) -> None:
        _check_axes(self.plane, 2)

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return max(-axis for axis in self.plane)

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        return np.ascontiguousarray(np.rot90(array, self.turns, self.plane))

    def _backward(self, array: Array, order: int, padding: Padding) -> Array:
        return np.ascontiguousarray(np.rot90(array, -self.turns, self.plane))


class Affine(Transform):
    """A small linear map about the centre of the last axes, sampled by scipy.ndimage; the grid stays as it is."""

    @abstractmethod
    def _matrix(self) -> Float64[np.ndarray, "space space"]: ...

    def _offset(self) -> Float64[np.ndarray, " space"]:
        return np.zeros(self.dimensions)

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        return self._sample(array, self._matrix(), -self._matrix() @ self._offset(), order, padding)

    def _backward(self, array: Array, order: int, padding: Padding) -> Array:
        return self._sample(array, np.linalg.inv(self._matrix()), self._offset(), order, padding)

    def _sample(
        self,
        array: Array,
        matrix: Float64[np.ndarray, "space space"],
        moved: Float64[np.ndarray, " space"],
        order: int,
        padding: Padding,
    ) -> Array:
        """Reads `array` at matrix (place - centre) + centre + moved."""
        space = array.shape[array.ndim - self.dimensions :]
        centre = (np.array(space) - 1) / 2
        stack = array.reshape(-1, *space)
        # Interpolated whole numbers would be cut, not rounded: only nearest keeps their type.
        dtype = array.dtype if order == 0 or array.dtype.kind == "f" else np.dtype(np.float64)
        sampled = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        out = np.empty(stack.shape, dtype=dtype)
        start = centre - matrix @ centre + moved
        for image, target in zip(stack.astype(sampled, copy=False), out, strict=True):
            target[...] = ndimage.affine_transform(image, matrix, start, order=order, mode=padding, output=sampled)
        return out.reshape(array.shape)


@dataclass(frozen=True)
class Shift(Affine):
    """Moves the image by so many voxels along its last axes, as many as numbers given; whole voxels are moved exactly."""

    voxels: tuple[float, ...] = (0.0, 0.0)

    kind = "shift"

    def __post_init__(self) -> None:
        if len(self.voxels) not in {2, 3} or not np.isfinite(self.voxels).all():
            raise ValueOutOfRange(f"a shift by {self.voxels}; expected two or three finite numbers: (depth,) height, width")

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return len(self.voxels)

    def _matrix(self) -> Float64[np.ndarray, "space space"]:
        return np.eye(len(self.voxels))

    def _offset(self) -> Float64[np.ndarray, " space"]:
        return np.array(self.voxels, dtype=np.float64)


@dataclass(frozen=True)
class Scale(Affine):
    """Enlarges (above 1) or shrinks about the centre of the last `space` axes; 0.5 to 2."""

    factor: float = 1.0
    space: Literal[2, 3] = 2

    kind = "scale"

    def __post_init__(self) -> None:
        if not 0.5 <= self.factor <= 2 or self.space not in {2, 3}:
            raise ValueOutOfRange(f"a scale of {self.factor} in {self.space} dimensions; expected 0.5 to 2 in 2 or 3")

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return self.space

    def _matrix(self) -> Float64[np.ndarray, "space space"]:
        return np.eye(self.space) / self.factor


@dataclass(frozen=True)
class Rotate(Affine):
    """Turns the image about its centre in the plane of two axes: from the first axis towards the second, at most 45 degrees.

    In the default plane (height, width) a positive angle is counter-clockwise as the image is shown, as in numpy.rot90.
    """

    degrees: float = 0.0
    plane: tuple[int, int] = (-2, -1)

    kind = "rotate"

    def __post_init__(self) -> None:
        _check_axes(self.plane, 2)
        if not abs(self.degrees) <= _LARGEST_ANGLE_DEG:
            raise ValueOutOfRange(f"a turn by {self.degrees} degrees; at most {_LARGEST_ANGLE_DEG:g} either way, or use Rotate90")

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return max(2, *(-axis for axis in self.plane))

    def _matrix(self) -> Float64[np.ndarray, "space space"]:
        turn, angle = np.eye(self.dimensions), np.deg2rad(self.degrees)
        first, second = self.plane
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = np.sin(angle), -np.sin(angle)
        return turn


def _check_axes(axes: tuple[int, ...], count: int | None = None) -> None:
    wrong = not axes or len(set(axes)) != len(axes) or not set(axes) <= {-1, -2, -3}
    if wrong or (count is not None and len(axes) != count):
        raise ValueOutOfRange(f"axes {axes}; expected {count or 'one to three'} of -1 width, -2 height, -3 depth, each once")


def checked_image(image: Array, transform: Transform) -> Array:
    """The image as an array, if it has the axes that the transform acts on.

    Raises:
        ShapeMismatch: It has fewer.
    """
    numbers = np.asarray(image)
    if numbers.ndim < transform.dimensions:
        raise ShapeMismatch(f"an array {numbers.shape}; {transform.name} acts on its last {transform.dimensions} axes")
    return numbers
