"""Calibrators that are no line in the logits: beta, isotonic and Venn-ABERS.

A curve bends where a line cannot, and takes more cases to learn where: below about a thousand, `Platt` does better on cases that it
has not seen. Isotonic and Venn-ABERS make ties, so that an AUROC after them may differ from the one before.

Sources: Kull 2017, AISTATS (beta); Zadrozny & Elkan 2002 (isotonic); Oron & Flournoy 2017, arXiv:1701.05964 (centred isotonic);
Vovk, Petej & Fedorova 2015, arXiv:1511.00213 (inductive Venn-ABERS).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy.special import expit, logit

from vesalius.errors import NotEstimable, ValueOutOfRange
from vesalius.uncertainty.calibration import LARGEST_LOGIT, Calibrator, Logits, checked_logits, checked_pair, one_class
from vesalius.uncertainty.logistic_fit import parted, platt_targets
from vesalius.uncertainty.logistic_ridge import fit_ridge
from vesalius.uncertainty.venn_abers import AbsentSteps, PresentSteps, merged_probability, venn_abers_steps

Column = Float64[np.ndarray, "case"]
Knots = Float64[np.ndarray, "knot"]

_RIDGE = 1e-9  # only to have a best answer where both ends say the same
_ONE_CLASS = "one class only: the logits are taken as they are"
_ONE_STEP = "parted perfectly: one step, as sharp as the number of cases allows"


class Beta(Calibrator):
    """logit p' = a ln p - b ln(1 - p) + c for each finding, p the logistic function of the logit, a and b at least 0.

    A line in the logits where a = b; otherwise the two ends bend apart, as scores need that crowd near 0. A coefficient that would
    be negative is set to 0 and the rest fitted again, so that order is kept.

    Source: Kull 2017, section 3 and algorithm 1.
    netcal's BetaCalibration drops a coefficient in the same way, but clips p at float32 precision first.
    Checked against: scikit-learn's unpenalised LogisticRegression on both ends, and netcal (tests/reference).
    """

    kind = "beta"

    def __init__(self) -> None:
        self._coefficients: list[tuple[float, float, float]] | None = None

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
        """
        z, y = checked_pair(logits, labels)
        self._coefficients, self.notes = [], []
        for index, column in enumerate(y.T):
            known = ~np.isnan(column)
            if one_class(column) is not None:
                self._coefficients.append((1.0, 1.0, 0.0))
                self.notes.append(_ONE_CLASS)
                continue
            found, note = _fit_beta(z[known, index], column[known])
            self._coefficients.append(found)
            self.notes.append(note)
        return self

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits after calibration, unclipped.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        if self._coefficients is None:
            raise self._not_fitted()
        z = checked_logits(logits, len(self._coefficients))
        a, b, c = np.array(self._coefficients).T
        with np.errstate(invalid="ignore"):  # NaN logits stay NaN
            line: Logits = -a * np.logaddexp(0, -z) + b * np.logaddexp(0, z) + c
        return line

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._coefficients is None:
            raise self._not_fitted()
        return {"kind": self.kind, "coefficients": [list(row) for row in self._coefficients], "notes": list(self.notes)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        one = cls()
        one._coefficients = [(float(a), float(b), float(c)) for a, b, c in state["coefficients"]]
        one.notes = list(state["notes"])
        return one


def _fit_beta(z: Column, y: Column) -> tuple[tuple[float, float, float], str | None]:
    """(a, b, c), and what to know of them."""
    ends = np.column_stack([-np.logaddexp(0, -z), np.logaddexp(0, z)])  # ln p and -ln(1 - p)
    used, notes, targets = [0, 1], [], y
    if parted(z, y) or parted(-z, y):
        # Plain likelihood has no end then. Platt's targets give it one.
        targets = platt_targets(y)
        notes.append("parted perfectly: fitted with Platt's targets")
    while used:
        weights, intercept = fit_ridge(ends[:, used], targets, _RIDGE)
        if not weights.any():
            break
        if (weights >= 0).all():
            found = np.zeros(2)
            found[used] = weights
            if len(used) == 1:
                notes.append("a coefficient would be negative: set to 0, and the rest fitted again")
            return (float(found[0]), float(found[1]), float(intercept)), "; ".join(notes) or None
        del used[int(np.argmin(weights))]
    share = float(y.mean())
    return (0.0, 0.0, float(logit(share))), "logits do not rise with the finding: the share present for all"


class Isotonic(Calibrator):
    """The rising step function that fits best, or its centred form that rises between the steps too.

    Plain steps give 0 and 1 at the ends (an infinite log likelihood for one wrong case) and merge cases that the logit tells apart.
    Here probabilities stay within 1 / (n + 2) of both ends, and the centred form (the default) puts each step's value at the middle
    of its cases and joins these points by straight lines, so that fewer ties are made. Below `minimum_cases` known cases of a
    finding it is refused: steps follow noise.

    Source: Zadrozny & Elkan 2002; centred: Oron & Flournoy 2017, section 2.2, with each case weighing the same.
    Checked against: sklearn.isotonic.IsotonicRegression (tests/reference); the centred points by hand (tests/unit).
    """

    kind = "isotonic"

    def __init__(self, *, centred: bool = True, minimum_cases: int = 1000) -> None:
        """Says which form.

        Args:
            centred: Join the middles of the steps.
            minimum_cases: Known cases below which a finding is refused; lower it only to show what happens.
        """
        self.centred, self.minimum_cases = centred, minimum_cases
        self._knots: list[tuple[Knots, Knots]] | None = None
        self._edges: list[float] = []

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Fits on the calibration split; labels 1, 0, NaN unknown.

        Raises:
            EmptyInput: No known label at all.
            NotEstimable: A finding has fewer known cases than `minimum_cases`; take Platt, Beta or SelectedCalibrator.
        """
        z, y = checked_pair(logits, labels)
        least = int((~np.isnan(y)).sum(axis=0).min())
        if least < self.minimum_cases:
            raise NotEstimable(
                f"a finding has {least} known cases; isotonic steps follow noise below {self.minimum_cases}: take Platt or Beta"
                " (minimum_cases= lowers the bar)"
            )
        self._knots, self._edges, self.notes = [], [], []
        for index, column in enumerate(y.T):
            known = ~np.isnan(column)
            if one_class(column) is not None:
                self._knots.append((np.zeros(0), np.zeros(0)))
                self._edges.append(0.0)
                self.notes.append(_ONE_CLASS)
                continue
            x, p = isotonic_steps(z[known, index], column[known], centred=self.centred)
            self._knots.append((x, p))
            self._edges.append(float(1 / (known.sum() + 2)))
            self.notes.append(_ONE_STEP if parted(z[known, index], column[known]) else None)
        return self

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits of the calibrated probabilities; beyond the outermost calibration cases they stay as at the last.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        if self._knots is None:
            raise self._not_fitted()
        z = checked_logits(logits, len(self._knots))
        out = z.copy()
        for index, ((x, p), edge) in enumerate(zip(self._knots, self._edges, strict=True)):
            if x.size:
                out[:, index] = logit(np.clip(np.interp(z[:, index], x, p), edge, 1 - edge))
        out[np.isnan(z)] = np.nan
        return out

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._knots is None:
            raise self._not_fitted()
        knots = [[x.tolist(), p.tolist()] for x, p in self._knots]
        return {"kind": self.kind, "centred": self.centred, "knots": knots, "edges": self._edges, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        one = cls(centred=state["centred"])
        one._knots = [(np.array(x, dtype=np.float64), np.array(p, dtype=np.float64)) for x, p in state["knots"]]
        one._edges = [float(edge) for edge in state["edges"]]
        one.notes = list(state["notes"])
        return one


def isotonic_steps(scores: Column, labels: Column, *, centred: bool) -> tuple[Knots, Knots]:
    """Points of the isotonic fit to be joined by straight lines, rising scores; equal scores are one point first.

    Plain: both ends of every step. Centred: the mean score of a step's cases, at its value.
    """
    from scipy.optimize import isotonic_regression

    distinct, block = np.unique(scores, return_inverse=True)
    counts = np.bincount(block).astype(np.float64)
    fitted = isotonic_regression(np.bincount(block, labels) / counts, weights=counts)
    starts = fitted.blocks[:-1]
    values = fitted.x[starts]
    if not centred:
        ends = fitted.blocks[1:] - 1
        x, p = np.column_stack([distinct[starts], distinct[ends]]).ravel(), np.repeat(values, 2)
        keep = np.append(True, (np.diff(x) > 0) | (np.diff(p) != 0))
        return x[keep], p[keep]
    middle = np.add.reduceat(distinct * counts, starts) / np.add.reduceat(counts, starts)
    return np.asarray(middle), np.asarray(values)


class VennAbers(Calibrator):
    """Two probabilities a case, one of which is calibrated: from isotonic fits with the case added as absent, and as present.

    Their distance says how much the calibration cases know there: wide where they are few. `calibrate` merges both into
    p1 / (1 - p0 + p1), the choice with the least regret in log likelihood; `interval` gives p0 and p1.

    Source: Vovk, Petej & Fedorova 2015, sections 3-4, algorithms 1-2; merging: eq. 8.
    Checked against: refitting with each case added, by brute force (tests/reference); MAPIE's merged probabilities.
    """

    kind = "venn-abers"

    def __init__(self) -> None:
        self._tables: list[tuple[AbsentSteps, PresentSteps]] | None = None

    def fit(
        self,
        logits: Real[np.ndarray, "case finding"],
        labels: Real[np.ndarray, "case finding"],
        patients: Shaped[np.ndarray, " case"] | None = None,
    ) -> Self:
        """Prepares the two fits for every place a new case can take; labels 1, 0, NaN unknown. O(n log n) a finding.

        The promise that one of both is calibrated holds for independent cases: give one film a patient.

        Raises:
            EmptyInput: No known label at all.
        """
        z, y = checked_pair(logits, labels)
        self._tables, self.notes = [], []
        for index, column in enumerate(y.T):
            known = ~np.isnan(column)
            if one_class(column) is not None:
                self._tables.append(((np.zeros(0), np.zeros(0)), (np.zeros(0), np.zeros(0))))
                self.notes.append(_ONE_CLASS)
                continue
            self._tables.append(venn_abers_steps(z[known, index], column[known]))
            self.notes.append(_ONE_STEP if parted(z[known, index], column[known]) else None)
        return self

    def interval(self, logits: Real[np.ndarray, "case finding"]) -> tuple[Logits, Logits]:
        """(p0, p1): the probability if the case were absent, and if it were present; p0 <= p1.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
            ValueOutOfRange: A logit is NaN; leave that case out.
        """
        if self._tables is None:
            raise self._not_fitted()
        z = checked_logits(logits, len(self._tables))
        if np.isnan(z).any():
            raise ValueOutOfRange("a logit is NaN: no place among the calibration cases; leave that case out")
        low, high = expit(z), expit(z)
        for index, ((starts, absent), (ends, present)) in enumerate(self._tables):
            if starts.size:
                below = np.searchsorted(starts, z[:, index], side="right") - 1  # the last step that starts at or below
                above = np.searchsorted(ends, z[:, index], side="left")  # the first that ends at or above
                low[:, index] = np.where(below < 0, 0.0, absent[np.maximum(below, 0)])
                high[:, index] = np.where(above == len(ends), 1.0, present[np.minimum(above, len(ends) - 1)])
        return low, high

    def calibrated_logits(self, logits: Real[np.ndarray, "case finding"]) -> Logits:
        """Logits of the merged probabilities; NaN logits stay NaN.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        if self._tables is None:
            raise self._not_fitted()
        z = checked_logits(logits, len(self._tables))
        unknown = np.isnan(z)
        merged = merged_probability(*self.interval(np.where(unknown, 0.0, z)))
        with np.errstate(divide="ignore"):
            out = np.clip(logit(merged), -LARGEST_LOGIT, LARGEST_LOGIT)
        alone = [not starts.size for (starts, _), _ in self._tables]
        out[:, alone] = z[:, alone]
        out[unknown] = np.nan
        return np.asarray(out)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._tables is None:
            raise self._not_fitted()
        return {
            "kind": self.kind,
            "tables": [[[part.tolist() for part in steps] for steps in table] for table in self._tables],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Returns the fitted calibrator that `to_json` described."""
        one = cls()
        tables = [[np.array(steps, dtype=np.float64) for steps in table] for table in state["tables"]]
        one._tables = [((absent[0], absent[1]), (present[0], present[1])) for absent, present in tables]
        one.notes = list(state["notes"])
        return one
