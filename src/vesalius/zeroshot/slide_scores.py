"""Words against the patches of a slide: every class of every prompt set is one column of one matrix product.

Features are projected once; fifty prompt sets of three classes are then 150 columns, smoothed and pooled together for every K.

Source: Lu et al. 2023, arXiv:2306.07831 (MI-Zero); doing all prompt sets at once is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.zeroshot.pooling import DEFAULT_KS, Pooled, pool
from vesalius.zeroshot.smoothing import neighbours, smooth, smooth_features

Smoothing = Literal["none", "scores", "features"]
Embeddings = Float32[np.ndarray, "member patch dim"]


@dataclass(frozen=True)
class TextColumns:
    """Embedded words side by side.

    Attributes:
        weights: One column a class of a prompt set, sets one after the other: column = set x classes + class. A class of a prompt
            pair is the difference of its two texts' unit vectors, so that its score is the contrast cos+ - cos-.
        names: Of the classes, the same in every set.
        sets: How many prompt sets.
    """

    weights: Float32[np.ndarray, "member dim column"]
    names: tuple[str, ...]
    sets: int

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or self.weights.shape[2] != self.sets * len(self.names) or not self.names or self.sets < 1:
            raise ShapeMismatch(
                f"weights {self.weights.shape} for {self.sets} prompt set(s) of {len(self.names)} classes; "
                "expected (member, dim, sets x classes)"
            )

    @classmethod
    def stack(cls, sets: Sequence[Float[np.ndarray, "member name dim"]], names: Sequence[str]) -> TextColumns:
        """Returns the columns of several prompt sets of the same classes.

        Raises:
            EmptyInput: No prompt set.
        """
        if not sets:
            raise EmptyInput("no prompt set; give at least one")
        side_by_side = np.concatenate([np.asarray(one, dtype=np.float32) for one in sets], axis=1)
        return cls(np.ascontiguousarray(side_by_side.transpose(0, 2, 1)), tuple(names), len(sets))

    def score(self, embeddings: Embeddings) -> Float32[np.ndarray, "patch column"]:
        """Returns the cosine of each patch with each column, mean over the members.

        Raises:
            ShapeMismatch: Other members or another width than the words have.
        """
        if embeddings.ndim != 3 or embeddings.shape[::2] != self.weights.shape[:2]:
            raise ShapeMismatch(
                f"patches {embeddings.shape} and words {self.weights.shape}; expected the same members and width: "
                "are the features of this model?"
            )
        scores: Float32[np.ndarray, "patch column"] = embeddings[0] @ self.weights[0]
        for one, weights in zip(embeddings[1:], self.weights[1:], strict=True):
            scores += one @ weights
        return scores / np.float32(len(embeddings)) if len(embeddings) > 1 else scores

    def by_set(self, values: Float[np.ndarray, "*axes column"]) -> Float[np.ndarray, "*axes set name"]:
        """Returns values of columns as (set, class)."""
        return values.reshape(*values.shape[:-1], self.sets, len(self.names))


@dataclass(frozen=True)
class PoolOptions:
    """How patch scores become a slide's.

    Attributes:
        ks: Every K that is pooled.
        how: `mean` of the greatest K, or their `sum`, as MI-Zero's code does.
        smoothing: `none`; `scores` averages each patch's scores over its neighbours; `features` averages the embeddings, makes them
            unit vectors again and then scores them.
        neighbours: How many, the patch itself included.
    """

    ks: tuple[int, ...] = DEFAULT_KS
    how: Literal["mean", "sum"] = "mean"
    smoothing: Smoothing = "none"
    neighbours: int = 8

    def __post_init__(self) -> None:
        if self.smoothing not in ("none", "scores", "features"):
            raise ValueOutOfRange(f"smoothing {self.smoothing!r}; expected none, scores or features")


@dataclass(frozen=True)
class SlideScores:
    """What the words say of one slide.

    Attributes:
        pooled: By every K and by the mean, (set, class).
        patches: Score of each patch and class, after smoothing, mean over the prompt sets: what heat map and table show.
    """

    pooled: dict[str, Float64[np.ndarray, "set name"]]
    patches: Float32[np.ndarray, "patch name"]


def rules_of(ks: Sequence[int]) -> tuple[str, ...]:
    """Names of the ways to pool: `top-1`, `top-5` ... and `mean`."""
    return (*(f"top-{k}" for k in ks), "mean")


def score_slide(
    embeddings: Iterable[Embeddings],
    columns: TextColumns,
    coordinates: Float[np.ndarray, "patch 2"] | Int64[np.ndarray, "patch 2"],
    options: PoolOptions = PoolOptions(),
) -> SlideScores:
    """Scores, smooths and pools all columns at once.

    Args:
        embeddings: Batches of patches in the space of words, unit vectors, in the order of `coordinates`. Memory is that of a batch
            and of the scores; with smoothing `features`, that of all embeddings.
        columns: The words.
        coordinates: Of the patches, in any one unit; only used for smoothing.
        options: See `PoolOptions`.

    Raises:
        EmptyInput: No patch.
        ShapeMismatch: Embeddings of another width than the words, or other patches than coordinates.

    Checked against: the authors' loop over prompt sets, written out (tests/unit and benchmarks/prompt_sets.py).
    """
    scores = np.concatenate([columns.score(batch) for batch in _smoothed(embeddings, coordinates, options)] or [np.empty((0, 0))])
    if len(scores) != len(coordinates):
        raise ShapeMismatch(f"{len(scores)} patches and {len(coordinates)} coordinates; expected one each")
    if options.smoothing == "scores":
        scores = smooth(scores, neighbours(coordinates, options.neighbours)).astype(np.float32)
    pooled = pool(scores, options.ks, how=options.how)
    return SlideScores(_by_rule(pooled, columns), columns.by_set(scores).mean(axis=1, dtype=np.float64).astype(np.float32))


def _by_rule(pooled: Pooled, columns: TextColumns) -> dict[str, Float64[np.ndarray, "set name"]]:
    named = {f"top-{k}": values for k, values in pooled.top.items()} | {"mean": pooled.mean}
    return {rule: columns.by_set(values) for rule, values in named.items()}


def _smoothed(embeddings: Iterable[Embeddings], coordinates: np.ndarray, options: PoolOptions) -> Iterator[Embeddings]:
    if options.smoothing != "features":
        yield from embeddings
        return
    whole = np.concatenate(list(embeddings), axis=1)
    nearest = neighbours(coordinates, options.neighbours)
    yield np.stack([smooth_features(member, nearest) for member in whole])
