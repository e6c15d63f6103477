"""Distance of a film's features from those of the calibration split, in units of their own spread.

Sources: Lee 2018, arXiv:1807.03888 (classes that share one covariance); Ren 2021, arXiv:2106.09022 (relative); Ledoit & Wolf 2004
(shrinkage).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.linalg.blas import dtrmm

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels
from vesalius.uncertainty.ood_scores import Features, Labels, Logits, Scores, as_table

Form = Literal["single", "two-class", "class", "relative"]
Square = Float64[np.ndarray, "dim dim"]

_ROWS = 4096  # cases worked on at a time: memory stays flat


class Mahalanobis:
    """Squared distance of the features from the calibration split, in units of its own spread.

    Forms:
        "single": one Gaussian over all cases; without labels.
        "class": of Lee 2018, for films of one class each: a mean for each class, one covariance within classes shared by all,
            and the distance from the nearest class. Labels: class numbers (case,), -1 unknown.
        "two-class": for films with any number of findings: each finding has a mean of the present and one of the absent cases, all
            share one covariance within classes (mean over findings), and the nearer distances are added up over findings. Every
            film counts once, the normal ones too; the public code for many labels counts a film once for each of its
            findings and leaves out those without any. Labels: (case, finding) of 1, 0, NaN unknown.
        "relative": "class" or "two-class", whichever the labels say, minus the distance from the single Gaussian (times the
            number of findings): what is odd for every class alike no longer counts.

    Shrinkage: "ledoit-wolf" (default; needed where features outnumber films), a number r for Sigma + r tr(Sigma) / dim I, or None,
    which is refused unless there are more cases than dimensions. Covariances are divided by the number of cases, so that "single"
    without shrinkage is a chi-square with `dim` degrees of freedom on Gaussian features.

    Source: Lee 2018, eq. 1 and 2; Ren 2021, eq. 3; Ledoit & Wolf 2004. pytorch-ood 0.4.0 does not divide by the number of cases and
        halves: its score is ours / 2N. It and OpenOOD 1.5 take the diagonal of a case x case matrix in their many-layer forms.
    Checked against: scipy.spatial.distance, sklearn.covariance (EmpiricalCovariance, LedoitWolf, LDA's pooled covariance) and the
        peers' formulas (tests/reference).
    """

    def __init__(self, form: Form = "single", *, shrinkage: float | Literal["ledoit-wolf"] | None = "ledoit-wolf") -> None:
        """Says which distance.

        Raises:
            ValueOutOfRange: An unknown form, or a shrinkage that is neither "ledoit-wolf", None, nor a number from 0 on.
        """
        if form not in get_args(Form):
            raise ValueOutOfRange(f"form {form!r}; expected one of {', '.join(get_args(Form))}")
        known = shrinkage in (None, "ledoit-wolf") or (not isinstance(shrinkage, str) and 0 <= shrinkage < np.inf)
        if not known:
            raise ValueOutOfRange(f"shrinkage {shrinkage!r}; expected 'ledoit-wolf', None, or a number from 0 on")
        self.form, self.shrinkage = form, shrinkage
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, features: Features, logits: Logits | None = None, labels: Labels | None = None) -> Self:
        """Learns means and covariance; labels (see the class) for every form but "single", logits never.

        Raises:
            NotEstimable: Fewer than two cases, too few without shrinkage, no spread at all, or no known label.
            ShapeMismatch: Labels that are not of the form's shape; the message says which.
            ValueOutOfRange: A feature is not finite.
        """
        x = np.asarray(features)
        if x.ndim != 2 or len(x) < 2:
            raise NotEstimable(f"features {x.shape}; a Gaussian needs (case, dim) with two cases or more")
        if not np.isfinite(x).all():
            raise ValueOutOfRange("a feature of the calibration split is not finite; look at the network before its gate")
        mean = x.mean(axis=0, dtype=np.float64)
        arrays = {"mean": mean}
        total = None if self.form == "class" else scatter(x, mean)
        if self.form != "single":
            classes = _Classes.of(labels, len(x), self.form)
            means = classes.means(x, mean)
            one_of_many = np.ndim(labels) == 1  # type: ignore[arg-type]  # there are labels, or `of` had refused
            within = classes.within_one(x, mean, means[0]) if one_of_many else classes.within_findings(x, mean, means)
            arrays |= {"centres": means, "whitening": self._whitening(within, within if one_of_many else total)}
        if total is not None and self.form != "two-class":
            arrays["background" if self.form == "relative" else "whitening"] = self._whitening(total)
        self._arrays = arrays
        return self

    def score(self, features: Features, logits: Logits | None = None) -> Scores:
        """Squared distance of each case, no unit; +infinity where a feature is not finite.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of dimensions than in `fit`.
        """
        if not self._arrays:
            raise NotFitted("Mahalanobis is not fitted; call fit(features) on the calibration split first")
        x = np.asarray(features)
        if x.ndim != 2 or x.shape[1] != len(self._arrays["mean"]):
            raise ShapeMismatch(f"features {x.shape}; this score was fitted on (case, {len(self._arrays['mean'])})")
        names = [name for name in ("whitening", "background") if name in self._arrays]
        whitening = {name: np.asfortranarray(self._arrays[name]) for name in names}
        centres = self._arrays["centres"] @ self._arrays["whitening"] if "centres" in self._arrays else None
        scores = np.empty(len(x))
        with np.errstate(invalid="ignore", over="ignore"):  # a row that is not finite spoils itself alone, and is +infinity below
            for rows in row_blocks(len(x)):
                scores[rows] = _distances(x[rows] - self._arrays["mean"], whitening, centres)
        return np.where(np.isfinite(scores), scores, np.inf)

    def to_json(self) -> dict[str, Any]:
        """Returns the options."""
        return {"kind": "mahalanobis", "form": self.form, "shrinkage": self.shrinkage}

    def state(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `restore` takes.

        Raises:
            NotFitted: `fit` was not called.
        """
        if not self._arrays:
            raise NotFitted("Mahalanobis is not fitted; call fit(features) on the calibration split first")
        return dict(self._arrays)

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        self._arrays = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        return self

    def _whitening(self, scatter: Scatter, share_of: Scatter | None = None) -> Square:
        """Inverse of the transposed Cholesky factor of the shrunk covariance: features times it have unit spread."""
        covariance = scatter.product / scatter.n
        dim = len(covariance)
        size = np.trace(covariance) / dim
        if self.shrinkage == "ledoit-wolf":
            share = (share_of or scatter).shrinkage()
            shrunk = (1 - share) * covariance + share * size * np.eye(dim)
        elif self.shrinkage:
            shrunk = covariance + self.shrinkage * size * np.eye(dim)
        elif scatter.freedom >= dim:
            shrunk = covariance
        else:
            less = f" around {scatter.n - scatter.freedom} means" if scatter.n - scatter.freedom > 1 else ""
            raise NotEstimable(
                f"{scatter.n} cases{less} for {dim} dimensions; without shrinkage more cases than dimensions are needed"
            )
        flat = "the features have no spread in some direction; use shrinkage, or look at the network"
        try:
            lower = cholesky(shrunk, lower=True)
        except LinAlgError as error:
            raise NotEstimable(flat) from error
        # Rounding may let a singular matrix through: then a feature has no spread left beside those before it.
        if (np.diag(lower) ** 2 <= 4 * dim * np.finfo(np.float64).eps * np.diag(shrunk)).any():
            raise NotEstimable(flat)
        whitening: Square = solve_triangular(lower, np.eye(dim), lower=True).T
        return np.ascontiguousarray(whitening)


def _distances(
    centred: Float64[np.ndarray, "row dim"],
    whitening: Mapping[Any, Square],
    centres: Float64[np.ndarray, "finding class dim"] | None,
) -> Float64[np.ndarray, " row"]:
    """Distance of a block: from the origin, or the sum over findings of the nearest class, less the background's."""
    common = _squared(_times(centred.copy(), whitening["background"])) if "background" in whitening else None
    white = _times(centred, whitening["whitening"])
    distance = _squared(white)
    if centres is None:
        return distance
    n_findings, n_classes, dim = centres.shape
    points = centres.reshape(-1, dim)
    apart = white @ (-2 * points.T) + (_squared(points) + distance[:, None])
    nearest: Float64[np.ndarray, " row"] = np.maximum(apart, 0.0).reshape(-1, n_findings, n_classes).min(axis=2).sum(axis=1)
    return nearest if common is None else nearest - n_findings * common


def _times(rows: Float64[np.ndarray, "row dim"], upper: Square) -> Float64[np.ndarray, "row dim"]:
    """Rows, which are overwritten, times an upper triangle (Fortran order): half the work of a full product."""
    product: Float64[np.ndarray, "row dim"] = dtrmm(1.0, upper, rows.T, side=0, lower=0, trans_a=1, overwrite_b=1).T
    return product


def _squared(rows: Float64[np.ndarray, "row dim"]) -> Float64[np.ndarray, " row"]:
    lengths: Float64[np.ndarray, " row"] = np.einsum("ij,ij->i", rows, rows)
    return lengths


@dataclass(frozen=True)
class Scatter:
    """Sum of products of centred rows, and what the shrinkage needs to know of them.

    Attributes:
        n: Number of rows.
        freedom: That, less the number of means that were taken off.
        product: Sum over rows of r r'.
        fourth: Sum over rows of |r|^4.
    """

    n: int
    freedom: int
    product: Square
    fourth: float

    def shrinkage(self) -> float:
        """Share of the round part, see `ledoit_wolf_shrinkage`."""
        dim = len(self.product)
        norm = float((self.product**2).sum()) / self.n**2
        size = float(np.trace(self.product)) / (self.n * dim)
        spread = norm - dim * size**2
        noise = (self.fourth / self.n - norm) / self.n
        return 1.0 if spread <= 0 else min(max(noise, 0.0), spread) / spread


def ledoit_wolf_shrinkage(centred: Features) -> float:
    """Share of the round part, in [0, 1], that makes covariance and truth closest in expectation; rows have mean 0.

    Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.
    Checked against: sklearn.covariance.ledoit_wolf_shrinkage (tests/reference).
    """
    table = as_table(centred, "features")
    return scatter(table, np.zeros(table.shape[1])).shrinkage()


def scatter(features: Features, mean: Float64[np.ndarray, " dim"]) -> Scatter:
    """Scatter of all rows around one mean, in blocks."""
    product, fourth = np.zeros((len(mean),) * 2), 0.0
    for rows in row_blocks(len(features)):
        rest = features[rows] - mean
        product += rest.T @ rest
        fourth += float((_squared(rest) ** 2).sum())
    return Scatter(len(features), len(features) - 1, product, fourth)


def row_blocks(n: int) -> Iterator[slice]:
    """Slices that together are all rows."""
    for at in range(0, n, _ROWS):
        yield slice(at, at + _ROWS)


@dataclass(frozen=True)
class _Classes:
    """Which class each case has in each finding: one column of many classes, or many of two.

    Attributes:
        codes: Number of the class from 0 on, -1 unknown.
        n_classes: In each finding.
    """

    codes: Int64[np.ndarray, "case finding"]
    n_classes: int

    @classmethod
    def of(cls, labels: Labels | None, n_cases: int, form: Form) -> _Classes:
        """Reads class numbers (case,) or findings (case, finding); the classes nobody has are left out.

        Raises:
            NotEstimable: No labels, or none known.
            ShapeMismatch: Not of the form's shape, or not one row a case.
        """
        if labels is None:
            raise NotEstimable("this form of the distance needs labels; call fit(features, logits, labels)")
        shape = np.shape(labels)
        axes = {"class": (1,), "two-class": (2,)}.get(form, (1, 2))
        if len(shape) not in axes or shape[0] != n_cases:
            wanted = " or ".join(f"({n_cases},) class numbers" if n == 1 else f"({n_cases}, finding) of 1, 0, NaN" for n in axes)
            raise ShapeMismatch(f"labels {shape}; the form {form!r} takes {wanted}")
        truth = known_labels(labels) if len(shape) == 2 else _class_numbers(labels)
        known = ~np.isnan(truth)
        if not known.any():
            raise NotEstimable("no known label; this form of the distance needs the labelled calibration split")
        if truth.ndim == 2:
            codes = np.where(known, truth, -1.0).astype(np.int64)
            return cls(codes[:, known.any(axis=0)], 2)
        names, number = np.unique(truth[known], return_inverse=True)
        column = np.full(n_cases, -1, dtype=np.int64)
        column[known] = number
        return cls(column[:, None], len(names))

    def means(self, features: Features, mean: Float64[np.ndarray, " dim"]) -> Float64[np.ndarray, "finding class dim"]:
        """Means of the classes, from `mean`; a finding with one of its two classes only has that mean twice."""
        n_findings = self.codes.shape[1]
        counts = self._counts()
        sums = np.zeros((n_findings * self.n_classes, len(mean)))
        for rows in row_blocks(len(features)):
            is_in: Bool[np.ndarray, "row finding class"] = self.codes[rows, :, None] == np.arange(self.n_classes)
            sums += is_in.reshape(len(is_in), -1).astype(np.float64).T @ (features[rows] - mean)
        means = sums.reshape(n_findings, self.n_classes, -1) / np.maximum(counts, 1)[..., None]
        lacking = counts == 0
        means[lacking] = means[:, ::-1][lacking]
        return np.asarray(means)

    def within_one(self, features: Features, mean: Float64[np.ndarray, " dim"], means: Float64[np.ndarray, "class dim"]) -> Scatter:
        """Scatter of the known cases of one column, each around the mean of its own class."""
        product, fourth, n = np.zeros((len(mean),) * 2), 0.0, 0
        for rows in row_blocks(len(features)):
            code = self.codes[rows, 0]
            rest = features[rows][code >= 0] - mean - means[code[code >= 0]]
            product += rest.T @ rest
            fourth += float((_squared(rest) ** 2).sum())
            n += len(rest)
        return Scatter(n, n - self.n_classes, product, fourth)

    def within_findings(
        self, features: Features, mean: Float64[np.ndarray, " dim"], means: Float64[np.ndarray, "finding class dim"]
    ) -> Scatter:
        """Mean over findings of the scatter within their two classes: one product of matrices, not one a finding."""
        counts = self._counts()
        known = counts.sum(axis=1)
        share = 1 / (known * len(known))
        product = np.zeros((len(mean),) * 2)
        for rows in row_blocks(len(features)):
            weighted = np.sqrt((self.codes[rows] >= 0) @ share)[:, None] * (features[rows] - mean)
            product += weighted.T @ weighted
        points = means * np.sqrt(counts * share[:, None])[..., None]
        flat = points.reshape(-1, len(mean))
        n = len(features)
        return Scatter(n, n - 1, n * (product - flat.T @ flat), 0.0)

    def _counts(self) -> Float64[np.ndarray, "finding class"]:
        counts = np.stack([(self.codes == index).sum(axis=0) for index in range(self.n_classes)], axis=1)
        return np.asarray(counts, dtype=np.float64)


def _class_numbers(labels: Labels) -> Float64[np.ndarray, " case"]:
    """Class numbers as floats, NaN where unknown (-1 or NaN)."""
    numbers = np.array(labels, dtype=np.float64)
    numbers[numbers == -1] = np.nan
    strange = numbers[~np.isnan(numbers) & ((numbers < 0) | (numbers != np.round(numbers)))]
    if strange.size:
        raise ValueOutOfRange(f"labels hold {strange[0]:g}; expected class numbers from 0 on, -1 unknown")
    return numbers
