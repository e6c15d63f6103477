"""How sure is a segmentation? From voxel maps and from several segmentations of one case to one number a case and class.

Higher = less sure, and every number is defined for every case, also where nothing was found:

    no voxel in any member          all disagreements 0: the members agree that nothing is there
    one of two masks empty          their Dice is 0; both empty: 1
    no foreground, or no boundary   mean of the map over it = the greatest value anywhere in the map: a case in which nothing was
                                    called is as sure as its least sure voxel
    one member                      all disagreements 0: there is nothing to disagree with

Volumes are walked through in slabs, so that a CT of 512 x 512 x 300 needs little more than its own arrays; members may be
memory-mapped. Maps keep the precision they came in; counts are int64, every sum float64.

Sources: Roy 2019, NeuroImage 195:11, arXiv:1811.09800 (variation of volumes, pairwise Dice, intersection over union of samples,
mean uncertainty of a structure); Jungo 2020, Front. Neurosci. 14:282 (aggregation, boundary).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Real, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.segmentation import dice_of_overlaps
from vesalius.uncertainty.ensembles import Task, expected_entropy, mutual_information, predictive_entropy

MapKind = Literal["predictive", "expected", "mutual-information"]
Segmentations = Sequence[Shaped[np.ndarray, "*space"]] | Shaped[np.ndarray, "member *space"]

SLAB_VOXELS = 1 << 21
"""Voxels that are looked at at a time."""


@dataclass(frozen=True)
class SegmentationScores:
    """What is unsure about one class of one case; higher = less sure.

    Attributes:
        volume_variation: Standard deviation of the members' volumes over their mean (ddof 0), 0 or more; Roy's CV.
        pairwise_disagreement: 1 minus the mean Dice of all pairs of different members, in [0, 1].
        consensus_disagreement: 1 minus the mean Dice of the members with the consensus (more than half of the members), in [0, 1].
        union_disagreement: 1 minus (voxels that all members call) / (voxels that any calls), in [0, 1].
        foreground_mean: Mean of the voxel map over the consensus, in the map's unit; NaN where no map was given.
        boundary_mean: Mean of the voxel map over the boundary band of the consensus; NaN where no map was given.
        consensus_voxels: Size of the consensus.
        note: What a reader should know ("empty consensus"), or None.
    """

    volume_variation: float
    pairwise_disagreement: float
    consensus_disagreement: float
    union_disagreement: float
    foreground_mean: float
    boundary_mean: float
    consensus_voxels: int
    note: str | None = None

    def measures(self) -> dict[str, float]:
        """Returns the six numbers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)[:6]}


def case_scores(
    members: Segmentations,
    uncertainty: Float[np.ndarray, "*space"] | Mapping[int, Float[np.ndarray, "*space"]] | None = None,
    *,
    classes: Sequence[int] = (1,),
    spacing_mm: Sequence[float] | None = None,
    band_width: float = 2.0,
) -> dict[int, SegmentationScores]:
    """Scores of each class of one case, from the segmentations of several members and, if given, a voxel map of uncertainty.

    Args:
        members: Masks or label maps, one a member (network, dropout pass, or view turned back); a list, or an array
            (member, *space).
        uncertainty: Voxel map, the same for every class or one a class; NaN voxels (outside the field of view) are left out.
        classes: Labels to score.
        spacing_mm: Distance of voxel centres along each axis; None measures the band in voxels.
        band_width: Greatest distance from the boundary to the centre of a voxel of the band, in mm (in voxels without spacing).

    Raises:
        EmptyInput: No member, or no class.
        ShapeMismatch: Members, map or spacing do not go together.
        ValueOutOfRange: A band narrower than the finest spacing: it would be empty.

    Source: Roy 2019 (CV, pairwise Dice, IoU, mean of the map), with values for empty structures, which it leaves open.
    Checked against: numpy and monai pair by pair, the distance transform of scipy (tests/reference).
    """
    if not len(members) or not len(classes):
        raise EmptyInput(f"{len(members)} members, classes {tuple(classes)}; one of each is needed at least")
    shapes = {tuple(member.shape) for member in members}
    maps = {name: uncertainty.get(name) if isinstance(uncertainty, Mapping) else uncertainty for name in classes}
    seen = {tuple(map_.shape) for map_ in maps.values() if map_ is not None}
    if len(shapes) > 1 or (seen and seen != shapes):
        raise ShapeMismatch(f"members {sorted(shapes)}, uncertainty {sorted(seen)}; expected equal shapes")
    scores = {}
    for name in classes:
        overlaps, consensus, agreed, union = _count(members, name)
        map_ = maps[name]
        means = (math.nan, math.nan)
        if map_ is not None:
            band = boundary_band(consensus, band_width, spacing_mm=spacing_mm)
            means = (mean_inside(map_, consensus), mean_inside(map_, band))
        n_consensus = int(np.count_nonzero(consensus))
        dices = dice_of_overlaps(overlaps)
        scores[name] = SegmentationScores(
            volume_variation(np.diagonal(overlaps)[:-1]),
            1 - _mean_of_pairs(dices[:-1, :-1]),
            1 - float(dices[-1, :-1].mean()),
            1 - (agreed / union if union else 1.0),
            *means,
            n_consensus,
            _note(n_consensus, consensus.size, union),
        )
    return scores


def stack_scores(scores: Sequence[SegmentationScores]) -> dict[str, Float64[np.ndarray, " case"]]:
    """One column a measure from one class of many cases: what `Combination` and `failure_detection_table` take.

    Raises:
        EmptyInput: No case.
    """
    if not scores:
        raise EmptyInput("no case; give the scores of at least one")
    rows = [score.measures() for score in scores]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def entropy_map(
    members: Sequence[Float[np.ndarray, "..."]] | Float[np.ndarray, "member ..."],
    *,
    kind: MapKind = "predictive",
    task: Task = "multilabel",
) -> Float[np.ndarray, "*space"]:
    """Voxel map of the doubt of several members, in nats, slab by slab; float32 where the members are, float64 otherwise.

    "predictive" is the entropy of the mean probability, all the doubt there is; "expected" the mean entropy of the members, which
    they share; "mutual-information" the difference, which more members would settle.

    Args:
        members: Probabilities of each member. "multilabel": (*space), or (finding, *space), one map each. "multiclass":
            (cls, *space), classes first, adding up to 1 in each voxel; the map has no class axis.
        kind: Which doubt.
        task: As in `predictive_entropy`.

    Raises:
        EmptyInput: No member.
        ShapeMismatch: The members' shapes differ.
        ValueOutOfRange: A probability outside [0, 1] or NaN, classes that do not add up to 1, another kind.

    Source: Gal & Ghahramani 2016; Depeweg 2018.
    Checked against: `predictive_entropy` on the whole array; scipy.stats.entropy (tests/unit).
    """
    if kind not in get_args(MapKind):
        raise ValueOutOfRange(f"kind {kind!r}; expected one of {', '.join(get_args(MapKind))}")
    if not len(members):
        raise EmptyInput("no member; give the probabilities of at least one")
    if len({tuple(member.shape) for member in members}) > 1:
        raise ShapeMismatch(f"members of shapes {sorted({tuple(m.shape) for m in members})}; expected equal ones")
    statistic = {"predictive": predictive_entropy, "expected": expected_entropy, "mutual-information": mutual_information}[kind]
    with_classes = task == "multiclass"
    shape = members[0].shape[1:] if with_classes else members[0].shape
    precision = np.float32 if members[0].dtype in (np.float16, np.float32) else np.float64
    out = np.empty(shape, dtype=precision)
    for slab in _slabs(members[0].shape, axis=int(with_classes)):
        part = np.stack([np.asarray(member[(slice(None), slab) if with_classes else slab]) for member in members])
        out[slab] = statistic(np.moveaxis(part, 1, -1) if with_classes else part, task=task)
    return out


def boundary_band(
    mask: Bool[np.ndarray, "*space"], width: float, *, spacing_mm: Sequence[float] | None = None
) -> Bool[np.ndarray, "*space"]:
    """Voxels of both sides whose centre is at most `width` from that of the nearest voxel of the other side.

    In mm with `spacing_mm`, so that a band in thick slices stays in the plane where the next slice is farther than the width; in
    voxels without it. The edge of the grid is no boundary: nobody knows what lies beyond. Work grows with the area of the surface
    and the cube of width over spacing.

    Raises:
        ShapeMismatch: Not one spacing an axis.
        ValueOutOfRange: A spacing that is not above 0, or a width below the finest spacing: the band would be empty.

    Checked against: scipy.ndimage.distance_transform_edt of both sides (tests/reference).
    """
    steps = np.ones(mask.ndim) if spacing_mm is None else np.asarray(spacing_mm, dtype=np.float64)
    if steps.shape != (mask.ndim,):
        raise ShapeMismatch(f"spacing_mm {tuple(steps)} for a mask {mask.shape}; expected one number an axis")
    if not (steps > 0).all() or not width >= steps.min():
        raise ValueOutOfRange(f"band width {width:g}, spacing {tuple(steps)}; expected a width of at least the finest spacing")
    inside = np.asarray(mask, dtype=bool)
    band = np.zeros(inside.shape, dtype=bool)
    reach = np.floor(width / steps + 1e-9).astype(int)
    crop = _around(inside, reach)
    if crop is None:
        return band
    # A margin of that reach on every side: then a step never leaves the array, and is one addition to a flat index.
    solid = np.pad(inside[crop], [(r, r) for r in reach])
    valid = np.pad(np.ones(inside[crop].shape, dtype=bool), [(r, r) for r in reach])
    strides = np.array([math.prod(solid.shape[axis + 1 :]) for axis in range(solid.ndim)])
    steps_in = _ball(reach, steps, width) @ strides
    marked = np.zeros(solid.size, dtype=bool)
    for side in (solid & valid, ~solid & valid):
        # The nearest voxel of a side, seen from the other, has a face in common with the other: nothing else need be looked at.
        surface = np.flatnonzero(_with_other_face(side, ~side & valid))
        reached = np.zeros(solid.size, dtype=bool)
        for step in steps_in.tolist():
            reached[surface + step] = True
        marked |= reached & (~side & valid).ravel()
    inner = tuple(slice(r, r + size) for r, size in zip(reach, inside[crop].shape, strict=True))
    band[crop] = marked.reshape(solid.shape)[inner]
    return band


def mean_inside(uncertainty: Real[np.ndarray, "*space"], mask: Bool[np.ndarray, "*space"]) -> float:
    """Mean of a voxel map over a mask; over an empty mask the greatest value of the map. NaN voxels are left out.

    An empty prediction is thus as sure as its least sure voxel. NaN only where the whole map is.

    Raises:
        ShapeMismatch: The shapes differ.

    Checked against: numpy's nanmean (tests/unit).
    """
    if uncertainty.shape != mask.shape:
        raise ShapeMismatch(f"uncertainty {uncertainty.shape}, mask {mask.shape}; expected equal shapes")
    total, n, greatest = 0.0, 0, -math.inf
    for slab in _slabs(mask.shape):
        part = np.asarray(uncertainty[slab])
        chosen = part[mask[slab]]
        known = chosen[~np.isnan(chosen)]
        total += float(known.sum(dtype=np.float64))
        n += known.size
        if not n:
            greatest = max(greatest, float(np.fmax.reduce(part, axis=None, initial=-math.inf)))
    if n:
        return total / n
    # Where the first slabs had no voxel of the mask and a later one did, `greatest` is of no account.
    return greatest if greatest > -math.inf else math.nan


def volume_variation(volumes: Real[np.ndarray, " member"]) -> float:
    """Coefficient of variation of the members' volumes: standard deviation (ddof 0) over mean, 0 or more; 0 where all are empty.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A volume that is negative or not finite.

    Source: Roy 2019.
    Checked against: scipy.stats.variation (tests/reference), which is NaN where all are empty.
    """
    sizes = np.asarray(volumes, dtype=np.float64)
    if not sizes.size:
        raise EmptyInput("no volume; give that of at least one member")
    if not ((sizes >= 0) & np.isfinite(sizes)).all():
        raise ValueOutOfRange("a volume is negative or not finite")
    mean = float(sizes.mean())
    return float(sizes.std()) / mean if mean > 0 else 0.0


def pairwise_dice(members: Segmentations, label: int = 1) -> float:
    """Mean Dice of all pairs of different members, in [0, 1]; 1 for one member, and a pair of empty masks counts as 1.

    Raises:
        EmptyInput: No member.
        ShapeMismatch: The members' shapes differ.

    Source: Roy 2019.
    Checked against: monai.metrics.compute_dice pair by pair (tests/reference).
    """
    return 1 - case_scores(members, classes=(label,))[label].pairwise_disagreement


def _count(members: Segmentations, label: int) -> tuple[Int64[np.ndarray, "row row"], Bool[np.ndarray, "*space"], int, int]:
    """Common voxels of every pair (the consensus as the last row), the consensus, voxels of all members, voxels of any."""
    shape = members[0].shape
    overlaps = np.zeros((len(members) + 1, len(members) + 1), dtype=np.int64)
    consensus = np.zeros(shape, dtype=bool)
    agreed = union = 0
    for slab in _slabs(shape):
        called = np.stack([np.asarray(member[slab]) == label for member in members])
        votes = called.sum(axis=0, dtype=np.int32)
        consensus[slab] = 2 * votes > len(members)
        agreed += int(np.count_nonzero(votes == len(members)))
        union += int(np.count_nonzero(votes))
        rows = np.concatenate([called, consensus[slab][None]]).reshape(len(members) + 1, -1)
        # Whole numbers up to 2^24 are exact in float32; one plane may have more. The sum over slabs is int64.
        rows = rows.astype(np.float32 if rows.shape[1] <= 1 << 24 else np.float64)
        overlaps += np.rint(rows @ rows.T).astype(np.int64)
    return overlaps, consensus, agreed, union


def _mean_of_pairs(table: Float64[np.ndarray, "member member"]) -> float:
    pairs = table[np.triu_indices(len(table), 1)]
    return float(pairs.mean()) if pairs.size else 1.0


def _note(n_consensus: int, n_voxels: int, union: int) -> str | None:
    if not union:
        return "no member has a voxel of this class"
    if not n_consensus:
        return "empty consensus: fewer than half of the members have any one voxel"
    return "the consensus fills the grid: it has no boundary" if n_consensus == n_voxels else None


def _slabs(shape: tuple[int, ...], axis: int = 0) -> Iterator[slice]:
    """Cuts one axis so that each slab has about SLAB_VOXELS (over all axes), one plane at least."""
    plane = max(math.prod(shape) // max(shape[axis], 1), 1)
    thick = max(SLAB_VOXELS // plane, 1)
    for start in range(0, shape[axis], thick):
        yield slice(start, min(start + thick, shape[axis]))


def _around(mask: Bool[np.ndarray, "*space"], reach: Int64[np.ndarray, " axis"]) -> tuple[slice, ...] | None:
    """The box around the mask, grown by the reach inside the grid; None where the mask has no boundary."""
    box = []
    if not mask.any() or mask.all():
        return None
    for axis, grow in enumerate(reach.tolist()):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        held = np.flatnonzero(mask.any(axis=others))
        # One voxel more than the reach is never needed: what is farther than the width does not enter the band.
        box.append(slice(max(int(held[0]) - max(grow, 1), 0), min(int(held[-1]) + max(grow, 1) + 1, mask.shape[axis])))
    return tuple(box)


def _ball(reach: Int64[np.ndarray, " axis"], steps: Float64[np.ndarray, " axis"], width: float) -> Int64[np.ndarray, "offset axis"]:
    grid = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach.tolist()))), dtype=np.int64)
    near = ((grid * steps) ** 2).sum(axis=1) <= width**2 * (1 + 1e-12)
    return np.asarray(grid[near])


def _with_other_face(side: Bool[np.ndarray, "*space"], other: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """Voxels of a side that have a face in common with one of the other side."""
    touching = np.zeros(side.shape, dtype=bool)
    for axis in range(side.ndim):
        before: list[slice] = [slice(None)] * side.ndim
        after = list(before)
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        touching[tuple(before)] |= side[tuple(before)] & other[tuple(after)]
        touching[tuple(after)] |= side[tuple(after)] & other[tuple(before)]
    return touching
