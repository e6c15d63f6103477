"""Which cases stand in one bin of a reliability diagram, and the sums of each bin.

Equal width: bin b holds [b / bins, (b + 1) / bins), and 1.0 belongs to the last, so that every probability counts once. Equal
mass: bins as equal as whole blocks of tied probabilities allow, so that no figure depends on the order of the rows.
Peers place edges otherwise: Guo 2017 drops p = 0, torchmetrics gives p = 1 a bin of its own (tests/reference).

Counts are int64 and sums float64. They are taken in blocks, so that forty million voxels need no more room than one block, and the
rounding stays near that of one block too. A float32 counter, as in torchmetrics and MONAI, stands still at 16,777,216.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_cases, known_labels

Binning = Literal["width", "mass"]
BinWeight = Literal["mass", "bin"]
Norm = Literal["l1", "l2", "max"]

BLOCK = 1 << 13
"""Values taken at a time: small enough that what is made of them stays in the processor's cache."""


@dataclass(frozen=True)
class BinSums:
    """Sums over the cases of each bin; an empty bin holds zeros.

    Attributes:
        n: Known cases, or their weight.
        present: Of these, the present ones.
        said: Sum of their probabilities.
    """

    n: Float64[np.ndarray, "bin"]
    present: Float64[np.ndarray, "bin"]
    said: Float64[np.ndarray, "bin"]


def bin_of(probabilities: Float64[np.ndarray, "*axes"], bins: int) -> Int64[np.ndarray, "*axes"]:
    """Number of the equal-width bin [b / bins, (b + 1) / bins) that holds each probability; 1.0 belongs to the last."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def mass_bin_of(
    probabilities: Float64[np.ndarray, " known"], counts: Float64[np.ndarray, " known"], bins: int
) -> Int64[np.ndarray, " known"]:
    """Number of the equal-mass bin of each probability; a block of ties goes whole where its middle falls, so bins may be empty.

    Checked against: netcal's equal-mass bins where nothing is tied (tests/reference); netcal refuses ties.
    """
    order = np.argsort(probabilities)
    ordered, mass = probabilities[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))[: ordered.size]
    below = np.concatenate([[0.0], np.cumsum(mass)])
    ends = np.append(starts[1:], ordered.size)
    middle = 0.5 * (below[starts] + below[ends])
    number = np.minimum((middle / below[-1] * bins).astype(np.int64), bins - 1)
    placed: Int64[np.ndarray, " known"] = np.empty(ordered.size, dtype=np.int64)
    placed[order] = np.repeat(number, ends - starts)
    return placed


def number_bins(
    probabilities: Float64[np.ndarray, " known"], counts: Float64[np.ndarray, " known"], bins: int, binning: Binning
) -> Int64[np.ndarray, " known"]:
    """Number of the bin of each probability, by either rule.

    Raises:
        ValueOutOfRange: No such rule, or fewer than one bin.
    """
    check_bins(bins)
    check_choice("binning", binning, Binning)
    return bin_of(probabilities, bins) if binning == "width" else mass_bin_of(probabilities, counts, bins)


def sum_bins(
    labels: Shaped[np.ndarray, " case"],
    probabilities: Real[np.ndarray, " case"],
    bins: int,
    binning: Binning,
    weights: Real[np.ndarray, " case"] | None = None,
) -> BinSums:
    """The sums of every bin over the known cases of one finding.

    Raises:
        ShapeMismatch: The lengths differ.
        ValueOutOfRange: A label that is none of 1, 0, -1, NaN; a probability outside [0, 1]; no such binning.
    """
    check_bins(bins)
    check_choice("binning", binning, Binning)
    if binning == "width" and weights is None:
        truth, p = as_numbers(labels), np.asarray(probabilities)
        if truth.ndim != 1:
            raise ShapeMismatch(f"labels {truth.shape}, values {p.shape}; expected two equal (case,)")
        n, said, _ = sum_width(truth, p, bins)
        return BinSums(n.sum(axis=1).astype(np.float64), n[:, 1].astype(np.float64), said.sum(axis=1))
    truth, p, counts = known_probabilities(labels, probabilities, weights)
    number = number_bins(p, counts, bins, binning)
    sums = (np.bincount(number, part, bins) for part in (counts, counts * truth, counts * p))
    return BinSums(*sums)


def sum_width(
    labels: Shaped[np.ndarray, "*axes"],
    probabilities: Shaped[np.ndarray, "*axes"],
    bins: int,
    known: Bool[np.ndarray, "*axes"] | None = None,
) -> tuple[Int64[np.ndarray, "bin 2"], Float64[np.ndarray, "bin 2"], float]:
    """Counts and sums of probabilities in each equal-width bin, absent and present apart, and the sum of squared probabilities."""
    n, said = np.zeros(2 * bins, dtype=np.int64), np.zeros(2 * bins)
    squares = 0.0
    for present, p in _known_blocks(labels, probabilities, known):
        place = (p * bins).astype(np.int64)
        np.minimum(place, bins - 1, out=place)
        place *= 2
        place += present
        n += np.bincount(place, minlength=2 * bins)
        said += np.bincount(place, p, 2 * bins)
        squares += float(p @ p)
    return n.reshape(bins, 2), said.reshape(bins, 2), squares


def _known_blocks(
    labels: Shaped[np.ndarray, "*axes"], probabilities: Shaped[np.ndarray, "*axes"], known: Bool[np.ndarray, "*axes"] | None
) -> Iterator[tuple[Bool[np.ndarray, " block"], Float64[np.ndarray, " block"]]]:
    """Yields whether present, and the probability, of the known values, some ten thousand at a time; nothing large is copied."""
    operands = [labels, probabilities] if known is None else [labels, probabilities, known]
    if len({operand.shape for operand in operands}) > 1:
        raise ShapeMismatch(f"labels {labels.shape}, values {probabilities.shape}; expected equal shapes (also of `known`)")
    blocks = np.nditer(
        operands, flags=["external_loop", "buffered", "zerosize_ok"], op_flags=[["readonly"]] * len(operands), buffersize=BLOCK
    )
    # `block` is only as good as this turn of the loop: numpy reuses its buffers.
    for block in blocks:
        truth, values = block[0], block[1]
        present = truth == 1
        keep = present | (truth == 0)
        if not keep.all():
            known_labels(truth[~keep])  # refuses what is neither unknown nor uncertain
        if known is not None:
            keep &= block[2]
        if not keep.all():
            present, values = present[keep], values[keep]
        p = values.astype(np.float64, copy=False)
        check_probabilities(p)
        yield present, p


def as_numbers(labels: Shaped[np.ndarray, "*axes"]) -> Shaped[np.ndarray, "*axes"]:
    """Labels as they are where they are numbers, and as float64 where they are a table's objects (1, 0, None)."""
    values = np.asarray(labels)
    return values if values.dtype.kind in "biuf" else values.astype(np.float64)


def known_probabilities(
    labels: Shaped[np.ndarray, " case"], probabilities: Real[np.ndarray, " case"], weights: Real[np.ndarray, " case"] | None
) -> tuple[Float64[np.ndarray, " known"], Float64[np.ndarray, " known"], Float64[np.ndarray, " known"]]:
    """`known_cases`, where the values are probabilities.

    Raises:
        ValueOutOfRange: A probability outside [0, 1].
    """
    truth, p, counts = known_cases(labels, probabilities, weights)
    check_probabilities(p)
    return truth, p, counts


def check_probabilities(p: Float64[np.ndarray, "*axes"]) -> None:
    """Refuses what no probability is.

    Raises:
        ValueOutOfRange: A value outside [0, 1], or NaN.
    """
    if not p.size:
        return
    least, greatest = float(p.min()), float(p.max())
    if np.isnan(least):
        raise ValueOutOfRange("a value is NaN where the label is known; set that label to NaN to leave the case out")
    if not (least >= 0 and greatest <= 1):
        raise ValueOutOfRange(f"probabilities reach from {least:g} to {greatest:g}; expected [0, 1] (calibrate logits first)")


def check_bins(bins: int) -> None:
    """Refuses fewer than one bin."""
    if bins < 1:
        raise ValueOutOfRange(f"bins is {bins}; expected 1 or more")


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuses a word that is not among the choices of a `Literal`."""
    if value not in get_args(choices):
        raise ValueOutOfRange(f"{name} is {value!r}; expected one of: {', '.join(get_args(choices))}")
