"""Which films a run learns from, and how they come to the network in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8, UInt16
from torch import Tensor

from vesalius.dicom.resample import resize_to_square
from vesalius.errors import LabelsError, RunError

if TYPE_CHECKING:
    from vesalius.datasets.store import Store

READ_AT_ONCE = 64
MASK_SIDE = 32
PATCH_PX = 8
"""Finding masks are held as small as patch evidence, one value a patch of 8 px, but not below 32 x 32: augmentation moves them."""

_LEVELS = np.float32(65535)


@dataclass(frozen=True)
class Labels:
    """What the films of a split say, finding by finding.

    Attributes:
        truth: 1 present, 0 absent, -1 uncertain, NaN unknown: as in the manifest.
        targets: In [0, 1], after the policy for uncertain labels.
        known: Does the target count?
        uncertain: Was it a -1?
    """

    truth: Float64[np.ndarray, "case finding"]
    targets: Float32[np.ndarray, "case finding"]
    known: Bool[np.ndarray, "case finding"]
    uncertain: Bool[np.ndarray, "case finding"]


def choose_findings(store: Store, wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns the findings to learn: those asked for, or all of the store's.

    Raises:
        LabelsError: The store has none, or lacks one that was asked for.
    """
    if not store.findings:
        raise LabelsError(f"the store {store.path} has no labels; ingest again with --labels CSV")
    missing = [name for name in wanted if name not in store.findings]
    if missing:
        raise LabelsError(f"the store has no finding {', '.join(missing)}; it has: {', '.join(store.findings)}")
    return tuple(wanted) or tuple(store.findings)


def choose_rows(
    store: Store, split: str, sites: Sequence[str], findings: Sequence[str], *, uncertain: bool = False
) -> Int64[np.ndarray, " case"]:
    """Returns the frontal films of a split and of these sites that say something of at least one finding.

    An uncertain label says something only with `uncertain`. Lateral films are left out: a bundle for frontal films does not
    answer them.

    Raises:
        RunError: A site that the store does not know, or no film is left.
    """
    known_sites = sorted(store.manifest["site"].dropna().unique())
    strange = [site for site in sites if site not in known_sites]
    if strange:
        raise RunError(f"the store has no site {', '.join(strange)}; it has: {', '.join(known_sites) or 'none named'}")
    rows = store.rows(split=split, sites=list(sites) or None)
    if not len(rows):
        where = f" of site {', '.join(sites)}" if sites else ""
        raise RunError(
            f"no film{where} is in split {split!r} of {store.path}; see the `split` column, or ingest again with more patients"
        )
    frontal = (store.manifest["view_position"] != "LATERAL").to_numpy(dtype=bool)[rows]
    labels = store.labels(findings)[rows]
    answered = (~np.isnan(labels) if uncertain else labels >= 0).any(axis=1)
    if not (frontal & answered).any():
        raise RunError(
            f"of {len(rows)} films in split {split!r}, {int(frontal.sum())} are frontal, {int(answered.sum())} have a known label "
            f"of {', '.join(findings)}, but none is both; name other --findings, or ingest again with labels"
        )
    return np.asarray(rows[frontal & answered], dtype=np.int64)


def refuse_one_class(truth: Float64[np.ndarray, "case finding"], findings: Sequence[str]) -> None:
    """Refuses findings of which the training films show only one side.

    Raises:
        LabelsError: Names each one, with how often it is present and absent, and the --findings that would do.
    """
    present, absent = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    bad = [
        f"{name} ({present[index]} present, {absent[index]} absent)"
        for index, name in enumerate(findings)
        if not present[index] or not absent[index]
    ]
    if bad:
        good = [name for index, name in enumerate(findings) if present[index] and absent[index]]
        hint = f"leave it out with --findings {','.join(good)}" if good else "no finding has both"
        raise LabelsError(f"the training films show one side only of {', '.join(bad)}; {hint}, or ingest more films")


def absent_per_present(truth: Float64[np.ndarray, "case finding"], most: float = 20.0) -> Float32[np.ndarray, " finding"]:
    """Returns how many films without each finding there are for one with it, between 1 / `most` and `most`."""
    present, absent = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    ratio: Float32[np.ndarray, " finding"] = np.clip(absent / np.maximum(present, 1), 1 / most, most).astype(np.float32)
    return ratio


def unscorable(truth: Float64[np.ndarray, "case finding"], findings: Sequence[str]) -> list[str]:
    """Returns a sentence for each finding that the validation films cannot score.

    Raises:
        LabelsError: They can score none, so no best weights could be chosen.
    """
    both = ((truth == 1).any(axis=0) & (truth == 0).any(axis=0)).tolist()
    if not any(both):
        raise LabelsError(
            f"no finding is both present and absent among the {len(truth)} validation films, so nothing can be scored; "
            "put more patients into the split `validation`"
        )
    return [
        f"{name} is not scored: the validation films do not show it both present and absent"
        for name, scorable in zip(findings, both, strict=True)
        if not scorable
    ]


class Films:
    """Pixels of some rows of a store at the network's size, kept in memory if they fit.

    In memory they are 16-bit integers: exact for 8 and 16-bit films, to 1/131070 of the grey range for others.
    """

    def __init__(self, store: Store, rows: Int64[np.ndarray, " case"], size_px: int, cache_gb: float) -> None:
        self.store, self.rows, self.size_px = store, rows, size_px
        self.cached: UInt16[np.ndarray, "case height width"] | None = None
        if len(rows) * size_px * size_px * 2 <= cache_gb * 1e9:
            cached = np.empty((len(rows), size_px, size_px), dtype=np.uint16)
            for start in range(0, len(rows), READ_AT_ONCE):
                few = slice(start, start + READ_AT_ONCE)
                cached[few] = np.rint(self._read(rows[few]) * _LEVELS)
            self.cached = cached

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, cases: Int64[np.ndarray, " batch"]) -> Float32[np.ndarray, "batch height width"]:
        """Returns films by their place in `rows`, in [0, 1]."""
        if self.cached is not None:
            grey: Float32[np.ndarray, "batch height width"] = self.cached[cases].astype(np.float32) / _LEVELS
            return grey
        return self._read(self.rows[cases])

    def _read(self, rows: Int64[np.ndarray, " batch"]) -> Float32[np.ndarray, "batch height width"]:
        ascending, back = np.unique(rows, return_inverse=True)
        pixels = self.store.pixels(ascending)
        if pixels.shape[1] != self.size_px:
            pixels = np.stack([resize_to_square(film, self.size_px) for film in pixels])
        return np.asarray(pixels[back], dtype=np.float32)

    def mean_and_spread(self, most: int = 512) -> tuple[float, float]:
        """Returns mean and standard deviation of the grey values of at most `most` films, evenly taken."""
        cases = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        sums = np.zeros(3)
        for start in range(0, len(cases), READ_AT_ONCE):
            grey = self.pixels(cases[start : start + READ_AT_ONCE]).astype(np.float64)
            sums += (grey.size, grey.sum(), np.square(grey).sum())
        mean = sums[1] / sums[0]
        return float(mean), float(max(np.sqrt(max(sums[2] / sums[0] - mean**2, 0.0)), 1e-3))


class Evidence:
    """Where each finding is, for the films of some rows: the store's masks, made small.

    A film without a finding that the store has masks for has an empty, known mask of it.
    """

    def __init__(self, films: Films, findings: Sequence[str], truth: Float64[np.ndarray, "case finding"]) -> None:
        store, rows = films.store, films.rows
        side = min(max(MASK_SIDE, films.size_px // PATCH_PX), store.size_px)
        drawn = [(place, store.structures.index(name)) for place, name in enumerate(findings) if name in store.structures]
        self.fractions: UInt8[np.ndarray, "case finding side side"] = np.zeros(
            (len(rows), len(findings), side, side), dtype=np.uint8
        )
        self.known: Bool[np.ndarray, "case finding"] = np.zeros((len(rows), len(findings)), dtype=bool)
        places, structures = [place for place, _ in drawn], [structure for _, structure in drawn]
        for start in range(0, len(rows) if drawn else 0, READ_AT_ONCE):
            few = slice(start, start + READ_AT_ONCE)
            masks, known = store.masks(rows[few])
            small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks[:, structures]), side)
            self.fractions[few, places] = (small * 255).round().to(torch.uint8).numpy()
            self.known[few, places] = known[:, structures] | (truth[few][:, places] == 0)
        self.fractions[truth == 0] = 0

    def masks(
        self, cases: Int64[np.ndarray, " batch"]
    ) -> tuple[Float[Tensor, "batch finding side side"], Bool[Tensor, "batch finding"]]:
        """Returns the share of each small square that the finding covers, and whether that is known."""
        return torch.from_numpy(self.fractions[cases]).float() / 255, torch.from_numpy(self.known[cases])


def films_of_step(step: int, films: int, batch_size: int, seed: int) -> Int64[np.ndarray, " batch"]:
    """Returns the cases of one step: an endless row of shuffled epochs, cut into batches.

    Every film comes once an epoch, none is dropped, and a step's cases depend on nothing but the arguments.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = places // films, places % films
    orders = {epoch: np.random.default_rng([seed, int(epoch)]).permutation(films) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, within, strict=True)], dtype=np.int64)


def share_of(cases: Int64[np.ndarray, " batch"], share: int, shares: int) -> Int64[np.ndarray, " part"]:
    """Returns the part of a step's cases that one process takes in one of its parts; no two overlap, none is left out."""
    return np.array_split(cases, shares)[share]
