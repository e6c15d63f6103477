"""Calibration of more values than fit in memory: the voxels of segmentations, or the cases of many files, taken as they come.

What is kept is a count (int64) and a sum (float64) for each bin, absent and present apart. So the figures do not depend on how the
values were cut into updates but for the last digits, and a run over forty million voxels needs the room of one block of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch
from vesalius.metrics.bins import BinSums, BinWeight, Norm, as_numbers, check_bins, check_choice, sum_width
from vesalius.metrics.calibration import ReliabilityBin, error_of
from vesalius.metrics.proper_scores import BrierDecomposition

Per = Literal["pool", "case"]


@dataclass
class _Totals:
    """Of one case, or of the pool: counts and sums in each bin, absent and present apart, and the sum of squared probabilities."""

    n: Int64[np.ndarray, "bin 2"]
    said: Float64[np.ndarray, "bin 2"]
    squares: float

    @classmethod
    def empty(cls, bins: int) -> _Totals:
        return cls(np.zeros((bins, 2), dtype=np.int64), np.zeros((bins, 2)), 0.0)

    def add(self, n: Int64[np.ndarray, "bin 2"], said: Float64[np.ndarray, "bin 2"], squares: float) -> None:
        self.n = self.n + n
        self.said = self.said + said
        self.squares += squares

    def bins(self) -> BinSums:
        return BinSums(self.n.sum(axis=1).astype(np.float64), self.n[:, 1].astype(np.float64), self.said.sum(axis=1))


class StreamingCalibration:
    """Calibration error, reliability table and Brier score of one event, from any number of updates.

        stream = StreamingCalibration()
        for name, mask, probabilities in volumes:
            stream.update(mask, probabilities, case=name)
        stream.ece(per="pool"), stream.ece(per="case")

    The bins are of equal width: equal mass would need all values at once. Each named case keeps 32 bytes a bin.

    Attributes:
        bins: How many.

    Raises:
        ValueOutOfRange: Fewer than one bin.

    Source: the definitions of `ece` and `brier_decomposition`. MONAI means "case" (and channel), torchmetrics the pool; both
    count in float32, and are wrong beyond 16,777,216 values in a bin.
    Checked against: math.fsum over all values (tests/unit), `ece`, MONAI's CalibrationErrorMetric (tests/reference), and 40 million
    voxels (benchmarks/ece.py).
    """

    def __init__(self, bins: int = 15) -> None:
        check_bins(bins)
        self.bins = bins
        self._cases: dict[str | None, _Totals] = {}

    def update(
        self,
        labels: Shaped[np.ndarray, "*axes"],
        probabilities: Shaped[np.ndarray, "*axes"],
        *,
        known: Bool[np.ndarray, "*axes"] | None = None,
        case: str | None = None,
    ) -> Self:
        """Adds values of any shape and any number type; nothing large is copied, so memory-mapped arrays are welcome.

        Args:
            labels: 1 present, 0 absent, -1 or NaN unknown; or bool.
            probabilities: Of the event, in [0, 1]; where the label is not known, anything.
            known: Further leaves out where False (a body mask, a region).
            case: Name of the image, for the figures per case; updates of one name add up. None joins the pool only.

        Raises:
            ShapeMismatch: The shapes differ.
            ValueOutOfRange: A label or probability that is none; nothing of this call has been added then.
        """
        mask = None if known is None else np.asarray(known, dtype=bool)
        sums = sum_width(as_numbers(labels), np.asarray(probabilities), self.bins, mask)
        self._cases.setdefault(case, _Totals.empty(self.bins)).add(*sums)
        return self

    def merge(self, other: StreamingCalibration) -> Self:
        """Adds what another has counted (another process, another site); the same case name in both is one case.

        Raises:
            ShapeMismatch: The numbers of bins differ.
        """
        if other.bins != self.bins:
            raise ShapeMismatch(f"{other.bins} bins cannot be added to {self.bins}; count both with the same number of bins")
        for case, totals in list(other._cases.items()):
            self._cases.setdefault(case, _Totals.empty(self.bins)).add(totals.n, totals.said, totals.squares)
        return self

    def ece(self, *, per: Per = "pool", weight: BinWeight = "mass", norm: Norm = "l1") -> float:
        """Calibration error of all values together ("pool"), or the mean of each case's own ("case"); NaN without a known value.

        The two are different figures. A case's own error takes in its chance deviations, so the mean is the larger one, and a
        small volume weighs as much as a large one.

        Args:
            per: "pool" or "case".
            weight: As in `vesalius.metrics.ece`.
            norm: As in `vesalius.metrics.ece`.

        Raises:
            NotFitted: No update yet.
            NotEstimable: "case", but an update did not name its case.
            ValueOutOfRange: An unknown word.
        """
        check_choice("per", per, Per)
        if per == "pool":
            return error_of(self._pool().bins(), weight, norm)
        own = [value for value in self.ece_per_case(weight=weight, norm=norm).values() if not math.isnan(value)]
        return math.fsum(own) / len(own) if own else math.nan

    def ece_per_case(self, *, weight: BinWeight = "mass", norm: Norm = "l1") -> dict[str, float]:
        """The calibration error of each named case by itself; NaN where it has no known value.

        Raises:
            NotFitted: No update yet.
            NotEstimable: An update did not name its case.
        """
        self._pool()
        if None in self._cases:
            raise NotEstimable("some values were added without a case; give `update` a case name each time, or ask per='pool'")
        return {str(case): error_of(totals.bins(), weight, norm) for case, totals in self._cases.items()}

    def reliability_table(self, *, confidence: float = 0.95) -> tuple[ReliabilityBin, ...]:
        """The numbers of the pool's reliability diagram, one row a bin, empty ones too.

        The Wilson interval takes values as independent. Voxels of one image are not, so for them it is far too narrow.

        Raises:
            NotFitted: No update yet.
        """
        pool = self._pool()
        n, said = pool.n.sum(axis=1), pool.said.sum(axis=1)
        return tuple(
            ReliabilityBin.of((k / self.bins, (k + 1) / self.bins), int(n[k]), int(pool.n[k, 1]), float(said[k]), confidence)
            for k in range(self.bins)
        )

    def brier_decomposition(self) -> BrierDecomposition:
        """The pool's Brier score and its parts over the bins, as `vesalius.metrics.brier_decomposition(..., bins=)`.

        Raises:
            NotFitted: No update yet.
        """
        pool = self._pool()
        sums = pool.bins()
        total = float(sums.n.sum())
        if not total:
            return BrierDecomposition(math.nan, math.nan, math.nan, math.nan, math.nan)
        n = np.where(sums.n > 0, sums.n, 1.0)
        said, seen, prevalence = sums.said / n, sums.present / n, float(sums.present.sum()) / total
        return BrierDecomposition(
            reliability=float((sums.n * (said - seen) ** 2).sum()) / total,
            resolution=float((sums.n * (seen - prevalence) ** 2).sum()) / total,
            uncertainty=prevalence * (1 - prevalence),
            within_bin_variance=max(0.0, (pool.squares - float((sums.said * said).sum())) / total),
            within_bin_covariance=2 * float((pool.said[:, 1] - sums.present * said).sum()) / total,
        )

    def _pool(self) -> _Totals:
        if not self._cases:
            raise NotFitted("nothing was counted yet; call update(labels, probabilities) first")
        pool = _Totals.empty(self.bins)
        for totals in self._cases.values():
            pool.add(totals.n, totals.said, totals.squares)
        return pool

    def to_json(self) -> dict[str, Any]:
        """Returns plain lists and numbers, exact: `from_json` goes on where this stopped."""
        cases = [
            {"case": case, "n": totals.n.tolist(), "said": totals.said.tolist(), "squares": totals.squares}
            for case, totals in self._cases.items()
        ]
        return {"bins": self.bins, "cases": cases}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """What `to_json` returned, ready for further updates."""
        stream = cls(int(state["bins"]))
        for row in state["cases"]:
            n, said = np.array(row["n"], dtype=np.int64), np.array(row["said"], dtype=np.float64)
            stream._cases[row["case"]] = _Totals(n.reshape(-1, 2), said.reshape(-1, 2), float(row["squares"]))
        return stream
