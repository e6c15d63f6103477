"""Authors' tensors in our names, strictly: every tensor of the file has its place or a written reason to be left out.

A family is a list of rules from our names to the authors', and a list of names that its files may hold beside the weights. A tensor
that is missing, of another shape, or unknown is an error that names it; nothing is loaded in part, nothing is left out in silence.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from vesalius.errors import CheckpointMismatch

Layout = Literal["same", "transposed", "pointwise"]
"""How the authors hold a matrix: as we do; transposed (`x @ W`); or as a 1 x 1 convolution."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Where one of our tensors comes from.

    Attributes:
        key: The authors' name.
        layout: How they hold it.
        part: Which of `parts` equal pieces of the first axis; query, key and value are often one tensor.
        parts: How many pieces.
        constant: The value of a tensor that the authors' files do not hold; `key` is then empty.
    """

    key: str
    layout: Layout = "same"
    part: int = 0
    parts: int = 1
    constant: float | None = None

    def their_shape(self, ours: Shape) -> Shape:
        """Returns the shape that the authors' tensor must have."""
        if self.layout == "transposed":
            return ours[::-1]
        shape = (ours[0] * self.parts, *ours[1:]) if self.parts > 1 else ours
        return (*shape, 1, 1) if self.layout == "pointwise" else shape

    def take(self, theirs: Tensor) -> Tensor:
        """Returns our tensor: float32 where theirs is of floating point, in memory of its own."""
        piece = theirs.chunk(self.parts)[self.part] if self.parts > 1 else theirs
        piece = piece.T if self.layout == "transposed" else piece
        piece = piece[..., 0, 0] if self.layout == "pointwise" else piece
        dtype = torch.float32 if piece.is_floating_point() else piece.dtype
        return piece.to(dtype, copy=True, memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Rule:
    r"""Our names to the authors': `ours` is a regular expression for a whole name, `theirs` its replacement (`\1` is a group)."""

    ours: str
    theirs: str
    layout: Layout = "same"
    part: int = 0
    parts: int = 1

    def apply(self, name: str) -> Source | None:
        """Returns where `name` comes from; None where the rule is not about it."""
        match = re.fullmatch(self.ours, name)
        return None if match is None else Source(match.expand(self.theirs), self.layout, self.part, self.parts)


def split_three(ours: Sequence[str], theirs: str) -> list[Rule]:
    """Returns the rules for three of our tensors that are one of theirs: query, key, value in this order."""
    return [Rule(name, theirs, part=part, parts=3) for part, name in enumerate(ours)]


def under(rules: Iterable[Rule], ours: str, theirs: str) -> list[Rule]:
    """Returns the rules with a prefix on either side, both given as plain text."""
    prefix = theirs.replace("\\", r"\\")
    return [replace(rule, ours=re.escape(ours) + rule.ours, theirs=prefix + rule.theirs) for rule in rules]


def name_sources(names: Iterable[str], rules: Sequence[Rule], constants: Mapping[str, float] | None = None) -> dict[str, Source]:
    """Returns where each of our tensors comes from; the first rule that speaks of a name counts.

    Raises:
        KeyError: A name that no rule speaks of: the rules are not those of this network.
    """
    mapping = {}
    for name in names:
        if constants and name in constants:
            mapping[name] = Source("", constant=constants[name])
            continue
        source = next((found for rule in rules if (found := rule.apply(name)) is not None), None)
        if source is None:
            raise KeyError(f"no rule says where {name} comes from")
        mapping[name] = source
    return mapping


def name_shapes(model: nn.Module) -> dict[str, Shape]:
    """Returns name and shape of every tensor that a model's state has."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def take_strictly(
    expected: Mapping[str, Shape],
    state: Mapping[str, Tensor],
    mapping: Mapping[str, Source],
    ignorable: Sequence[str] = (),
    sizes: Sizes | None = None,
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Returns our state and the names that were left out.

    Args:
        expected: Our names and shapes, all of them.
        state: The authors' tensors.
        mapping: Where each of ours comes from.
        ignorable: Names that the authors' files may hold beside the weights; `*` stands for anything.
        sizes: As read from this very state: what is odd is told, and where a size is not known only names are compared.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.

    Checked against: files with each fault, one at a time and together (tests/unit/models/checkpoints/test_strict.py).
    """
    sizes = sizes or Sizes({})
    missing: list[str] = []
    reshaped: dict[str, tuple[Shape, Shape | None]] = {key: (sizes.shapes[key], None) for key in sizes.odd}
    used: set[str] = set()
    for ours, shape in expected.items():
        source = mapping[ours]
        if source.constant is not None:
            continue
        used.add(source.key)
        if source.key not in state:
            missing.append(source.key)
        elif not sizes.unknown and (got := tuple(state[source.key].shape)) != (asked := source.their_shape(shape)):
            reshaped[source.key] = (got, asked)
    spare = [key for key in state if key not in used]
    ignored = [key for key in spare if any(fnmatchcase(key, pattern) for pattern in ignorable)]
    unexpected = [key for key in spare if key not in set(ignored)]
    if missing or reshaped or unexpected:
        raise mismatch(missing=missing, unexpected=unexpected, reshaped=reshaped, more=sizes.remarks())
    return {ours: _value(mapping[ours], shape, state) for ours, shape in expected.items()}, tuple(ignored)


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], mapping: Mapping[str, Source], ignorable: Sequence[str] = ()
) -> tuple[str, ...]:
    """Loads the authors' tensors into a model, all or none; returns the names that were left out.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    taken, ignored = take_strictly(name_shapes(model), state, mapping, ignorable)
    model.load_state_dict(taken, strict=True)
    return ignored


def mismatch(
    *,
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
    reshaped: Mapping[str, tuple[Shape, Shape | None]] | None = None,
    more: str = "",
) -> CheckpointMismatch:
    """Returns the error that names every key that differs; `reshaped` holds the shape got and, where it is known, the one asked."""
    reshaped = reshaped or {}
    return CheckpointMismatch(
        "the checkpoint does not have its family's tensors; check --family, or fetch the file again",
        missing=list(dict.fromkeys(missing)),
        unexpected=unexpected,
        reshaped={key: f"{_times(got)}{_asked(asked)}" for key, (got, asked) in reshaped.items()},
        remark=more,
    )


class Sizes:
    """The shapes of a file's tensors, from which a family reads the sizes of its network.

    Nothing is raised here: what does not agree is remembered, so that one error can name everything.

    Attributes:
        shapes: Of the tensors, by the authors' names.
        odd: Names of tensors that contradict each other or no network can have, and why.
        unknown: Names of tensors that would tell a size that nothing else tells, and that are not there.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.shapes: dict[str, Shape] = {key: tuple(tensor.shape) for key, tensor in state.items()}
        self.odd: dict[str, str] = {}
        self.unknown: list[str] = []

    def agree(self, *witnesses: tuple[str, int], published: int) -> int:
        """Returns a size that several tensors have: what most of them say; `published` where none is there.

        Args:
            witnesses: Names, and the axis that has the size.
            published: What the family's published checkpoints have.
        """
        said = {key: self.shapes[key][axis] for key, axis in witnesses if axis < len(self.shapes.get(key, ()))}
        if not said:
            self.unknown.append(witnesses[0][0])
            return published
        ranks = Counter(said.values()).most_common()
        best = [size for size, votes in ranks if votes == ranks[0][1]]
        if len(best) > 1:
            self.odd |= dict.fromkeys(said, f"{' and '.join(said)} disagree: {', '.join(map(str, said.values()))}")
        return published if published in best else best[0]

    def count(self, start: str, published: int) -> int:
        """Returns one more than the greatest number that any name has right behind `start`; `published` where there is none."""
        numbered = re.compile(rf"{re.escape(start)}(\d+)\.")
        found = [int(match.group(1)) for key in self.shapes if (match := numbered.match(key))]
        return max(found, default=published - 1) + 1

    def side(self, key: str, patches: int) -> int:
        """Returns the side of the square that so many patches make."""
        side = math.isqrt(max(patches, 1))
        if side * side != patches and key in self.shapes:
            self.odd[key] = f"{key} has {patches} places, which make no square"
        return side

    def heads(self, key: str, width: int) -> int:
        """Returns the number of heads of 64 features: what every family here has, and what no tensor tells."""
        if width % 64 and key in self.shapes:
            self.odd[key] = f"{key} has {width} features; expected a multiple of 64, one head each"
        return max(width // 64, 1) if width % 64 == 0 else 1

    def impossible(self, why: str) -> CheckpointMismatch:
        """Returns the error for sizes that no network can have together."""
        return mismatch(reshaped={key: (self.shapes[key], None) for key in self.odd}, more=f"{why}; {self.remarks()}")

    def remarks(self) -> str:
        """Returns what a message should add to the names."""
        lines = list(dict.fromkeys(self.odd.values()))
        if self.unknown:
            lines.append(f"shapes were not compared: {', '.join(dict.fromkeys(self.unknown))} would tell the sizes")
        return "; ".join(lines)


def _value(source: Source, shape: Shape, state: Mapping[str, Tensor]) -> Tensor:
    return source.take(state[source.key]) if source.constant is None else torch.full(shape, source.constant)


def _asked(shape: Shape | None) -> str:
    return "" if shape is None else f", expected {_times(shape)}"


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "one number"
