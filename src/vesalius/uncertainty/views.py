"""Chains of transforms, sets of views that suit an image, pools for a policy search, and transforms out of JSON.

Source of the random chains: Cubuk 2019, arXiv:1909.13719 (RandAugment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vesalius.errors import RuleError, ValueOutOfRange
from vesalius.uncertainty.grey_values import Brightness, Gamma, Noise
from vesalius.uncertainty.transforms import Array, Flip, Identity, Padding, Rotate, Rotate90, Scale, Shift, Transform, checked_image


@dataclass(frozen=True)
class Chain(Transform):
    """Several transforms, one after another; brought back in the opposite order."""

    steps: tuple[Transform, ...] = ()

    kind = "chain"

    @property
    def laterality_safe(self) -> bool:  # type: ignore[override]
        """True if every step is."""
        return all(step.laterality_safe for step in self.steps)

    @property
    def dimensions(self) -> int:
        """How many of the last axes it acts within."""
        return max((step.dimensions for step in self.steps), default=0)

    @property
    def name(self) -> str:
        """The names of its steps."""
        return " + ".join(step.name for step in self.steps) or "identity()"

    def apply(self, image: Array) -> Array:
        """Returns the view after every step in turn.

        Raises:
            ShapeMismatch: The image has fewer axes than a step acts on.
        """
        view = checked_image(image, self)
        for step in self.steps:
            view = step.apply(view)
        return view

    def _forward(self, array: Array, order: int, padding: Padding) -> Array:
        for step in self.steps:
            array = step._forward(array, order, padding)
        return array

    def _backward(self, array: Array, order: int, padding: Padding) -> Array:
        for step in reversed(self.steps):
            array = step._backward(array, order, padding)
        return array

    def _settings(self) -> dict[str, Any]:
        return {"steps": [step.to_json() for step in self.steps]}


KINDS: dict[str, type[Transform]] = {
    kind.kind: kind for kind in (Identity, Flip, Rotate90, Shift, Scale, Rotate, Gamma, Brightness, Noise, Chain)
}


def transform_from_json(state: dict[str, Any]) -> Transform:
    """Returns the transform that `to_json` described.

    Raises:
        RuleError: An unknown kind or setting.
    """
    settings = dict(state)
    kind = KINDS.get(settings.pop("kind", ""))
    if kind is None:
        raise RuleError(f"a transform of kind {state.get('kind')!r}; expected one of {', '.join(KINDS)}")
    if kind is Chain:
        return Chain(tuple(transform_from_json(step) for step in settings.get("steps", ())))
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})
    except TypeError as error:
        raise RuleError(f"a {kind.kind} with {', '.join(settings)}; its settings are other ones ({error})") from error


def random_chains(
    count: int, *, length: int = 3, space: Literal[2, 3] = 2, strength: float = 0.5, sided: bool = True, seed: int = 0
) -> tuple[Transform, ...]:
    """A pool for a policy search: the image as it is, then random chains of `length` small transforms.

    Args:
        count: Members of the pool, the image as it is among them.
        length: Transforms in each chain, drawn with replacement.
        space: 2 for images, 3 for volumes.
        strength: 0 to 1: at 1 up to 20 degrees, 20 % of scale, 8 voxels, gamma 0.5 to 2, 20 % brightness, 10 % noise.
        sided: Left and right matter: no flips and no quarter turns.
        seed: Same seed, same pool.

    Raises:
        ValueOutOfRange: No member, or a strength outside [0, 1].

    Source: Cubuk 2019, algorithm of figure 2, over transforms that keep a body recognisable.
    """
    if count < 1 or length < 1 or not 0 <= strength <= 1:
        raise ValueOutOfRange(f"{count} chains of {length} with strength {strength}; expected 1 or more of both, 0 to 1")
    random = np.random.default_rng(seed)

    def draw() -> Transform:
        size = strength * random.uniform(-1, 1)
        plane = ((-2, -1), (-3, -1), (-3, -2))[random.integers(3 if space == 3 else 1)]
        choices: list[Transform] = [
            Rotate(20 * size, plane),
            Scale(1.2**size, space),
            Shift(tuple((8 * strength * random.uniform(-1, 1, space)).tolist())),
            Gamma(2**size),
            Brightness(0.2 * size),
            Noise(0.1 * abs(size), int(random.integers(2**31))),
        ]
        if not sided:
            choices += [Flip((-int(random.integers(1, space + 1)),)), Rotate90(int(random.integers(1, 4)), plane)]
        return choices[random.integers(len(choices))]

    return (Identity(), *(Chain(tuple(draw() for _ in range(length))) for _ in range(count - 1)))


FILM_VIEWS: tuple[Transform, ...] = (Identity(), Rotate(-4.0), Rotate(4.0), Scale(0.94), Scale(1.06))
"""Views of a chest film that keep its sides; the same five that `vesalius calibrate --tta rotate-scale` locks."""


def mirror_views(space: Literal[2, 3] = 2) -> tuple[Transform, ...]:
    """Every mirror image of an image without a side (a patch of tissue, a lesion): four in 2-D, eight in 3-D."""
    chosen = [tuple(-axis for axis in range(1, space + 1) if bits >> (axis - 1) & 1) for bits in range(2**space)]
    return tuple(Flip(axes) if axes else Identity() for axes in chosen)


def refuse_unsafe(transforms: Sequence[Transform], *, allow_laterality_unsafe: bool) -> None:
    """Stops transforms that may swap left and right, unless the caller allows them.

    Raises:
        RuleError: One is not safe and was not allowed.
    """
    unsafe = [transform.name for transform in transforms if not transform.laterality_safe]
    if unsafe and not allow_laterality_unsafe:
        raise RuleError(
            f"{', '.join(unsafe[:3])}: may swap left and right, which a chest film must keep (heart, side of a finding); "
            "leave it out, or pass allow_laterality_unsafe=True for images that have no side"
        )
