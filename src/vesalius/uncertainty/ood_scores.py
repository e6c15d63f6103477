"""How foreign is this film? Scores from logits and from features; higher = more foreign, what is not finite scores +infinity.

Sources: Lee 2018, arXiv:1807.03888 (Mahalanobis); Ren 2021, arXiv:2106.09022 (relative); Ledoit & Wolf 2004 (shrinkage);
Liu 2020, arXiv:2010.03759, and Wang 2021, arXiv:2111.12797 (energy, its joint form for many labels).
"""

from __future__ import annotations

from typing import Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels

Features = Float64[np.ndarray, "case dim"]
Logits = Float64[np.ndarray, "case finding"]
Scores = Float64[np.ndarray, "case"]
Form = Literal["single", "two-class", "relative"]

_ROWS = 4096  # cases whitened at a time: memory stays flat


class Energy:
    """Joint energy of the logits of many findings: low where no finding is supported.

    Plain: -sum of T log(1 + exp(z / T)). It falls with *how much* disease there is, so a normal film looks foreign to it.
    Centred: -sum of T log(2 cosh((z - c) / 2T)): being sure of "absent" counts as much as being sure of "present"; c is the
    middle between the mean logits of both (0 without labels). A normal film then scores like any other sure answer.

    Source: Wang 2021, eq. 5. logsumexp over sigmoid logits, as in several libraries, ignores the state "absent". The centred form
        is ours: the same energy over both states of each finding.
    Checked against: torch.nn.functional.softplus (tests/reference).
    """

    def __init__(self, *, temperature: float = 1.0, centred: bool = False) -> None:
        self.temperature, self.centred = temperature, centred
        self._centre: Float64[np.ndarray, "finding"] | None = None

    def fit(self, features: Features, logits: Logits, labels: Logits | None = None) -> Self:
        """Learns the middle of each finding; features are not used."""
        z = np.asarray(logits, dtype=np.float64)
        self._centre = np.zeros(z.shape[1])
        if self.centred and labels is not None:
            y = known_labels(labels)
            for index in range(z.shape[1]):
                present, absent = z[y[:, index] == 1, index], z[y[:, index] == 0, index]
                if present.size and absent.size:
                    self._centre[index] = (present.mean() + absent.mean()) / 2
        return self

    def score(self, features: Features | None, logits: Logits) -> Scores:
        """Energy of each case, in the unit of the logits; +infinity where a logit is not finite.

        Raises:
            NotFitted: The centred form before `fit`.
        """
        z = np.asarray(logits, dtype=np.float64)
        finite: Bool[np.ndarray, "case"] = np.asarray(np.isfinite(z).all(axis=1))
        z = np.where(finite[:, None], z, 0.0) / self.temperature
        if self.centred:
            if self._centre is None:
                raise NotFitted("Energy(centred=True) is not fitted; call fit(features, logits, labels) first")
            half = (z - self._centre / self.temperature) / 2
            support = np.logaddexp(half, -half)
        else:
            support = np.logaddexp(0.0, z)
        scores: Scores = np.where(finite, -self.temperature * support.sum(axis=1), np.inf)
        return scores

    def state(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `restore` takes."""
        if self._centre is None:
            raise NotFitted("Energy is not fitted; call fit(features, logits, labels) first")
        return {"centre": self._centre}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        self._centre = np.asarray(arrays["centre"], dtype=np.float64)
        return self


class Mahalanobis:
    """Squared distance of the features from the calibration split, in units of its own spread.

    Forms: "single" is one Gaussian over all cases. "two-class" has, for each finding, a mean of the present and one of the absent
    cases, one covariance within classes shared by all, and adds up the nearer distances; every film counts, the normal ones
    too, which the authors' code for many labels drops. "relative" is that minus the distance from the single Gaussian.

    Shrinkage: "ledoit-wolf" (default; needed where features outnumber films), a number r for Sigma + r tr(Sigma) / dim I, or None,
    which is refused unless there are more cases than dimensions. Covariances are divided by the number of cases, so that "single"
    without shrinkage is a chi-square with `dim` degrees of freedom on Gaussian features.

    Source: Lee 2018, eq. 2; Ren 2021, eq. 3; Ledoit & Wolf 2004. pytorch-ood 0.4.0 does not divide by the number of cases.
    Checked against: scipy.spatial.distance and sklearn.covariance.LedoitWolf (tests/reference).
    """

    def __init__(self, form: Form = "single", *, shrinkage: float | Literal["ledoit-wolf"] | None = "ledoit-wolf") -> None:
        """Says which distance.

        Raises:
            ValueOutOfRange: An unknown form.
        """
        if form not in get_args(Form):
            raise ValueOutOfRange(f"form {form!r}; expected one of {', '.join(get_args(Form))}")
        self.form, self.shrinkage = form, shrinkage
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, features: Features, logits: Logits | None = None, labels: Logits | None = None) -> Self:
        """Learns means and covariance; labels (1, 0, NaN unknown) only for "two-class" and "relative", logits never.

        Raises:
            NotEstimable: Fewer than two cases, too few without shrinkage, or no spread at all.
            ValueOutOfRange: A feature is not finite.
        """
        x = np.asarray(features, dtype=np.float64)
        if x.ndim != 2 or len(x) < 2:
            raise NotEstimable(f"features {x.shape}; a Gaussian needs (case, dim) with two cases or more")
        if not np.isfinite(x).all():
            raise ValueOutOfRange("a feature of the calibration split is not finite; look at the network before its gate")
        mean = x.mean(axis=0)
        centred = x - mean
        self._arrays = {"mean": mean}
        if self.form != "single":
            centres, within = _classes(centred, labels)
            self._arrays |= {"centres": centres, "whitening": self._whitening(within, centred)}
        if self.form != "two-class":
            total = centred.T @ centred / len(x)
            self._arrays["background" if self.form == "relative" else "whitening"] = self._whitening(total, centred)
        return self

    def score(self, features: Features, logits: Logits | None = None) -> Scores:
        """Squared distance of each case, no unit; +infinity where a feature is not finite.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of dimensions than in `fit`.
        """
        if not self._arrays:
            raise NotFitted("Mahalanobis is not fitted; call fit(features) on the calibration split first")
        x = np.asarray(features, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self._arrays["mean"]):
            raise ShapeMismatch(f"features {x.shape}; this score was fitted on (case, {len(self._arrays['mean'])})")
        parts = [self._score(x[at : at + _ROWS]) for at in range(0, len(x), _ROWS)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _score(self, features: Features) -> Scores:
        finite = np.isfinite(features).all(axis=1)
        centred = np.where(finite[:, None], features, 0.0) - self._arrays["mean"]
        white = centred @ self._arrays["whitening"]
        distance = (white**2).sum(axis=1)
        if self.form != "single":
            centres = self._arrays["centres"] @ self._arrays["whitening"]  # (finding, class, dim)
            nearer = [np.minimum(*(((white - centre) ** 2).sum(axis=1) for centre in of_finding)) for of_finding in centres]
            distance = np.sum(nearer, axis=0)
        if self.form == "relative":
            distance = distance - len(nearer) * ((centred @ self._arrays["background"]) ** 2).sum(axis=1)
        scores: Scores = np.where(finite, distance, np.inf)
        return scores

    def _whitening(self, covariance: Float64[np.ndarray, "dim dim"], centred: Features) -> Float64[np.ndarray, "dim dim"]:
        """Inverse of the transposed Cholesky factor of the shrunk covariance: features times it have unit spread."""
        n, dim = centred.shape
        size = np.trace(covariance) / dim
        if self.shrinkage == "ledoit-wolf":
            share = ledoit_wolf_shrinkage(centred)
            shrunk = (1 - share) * covariance + share * size * np.eye(dim)
        elif self.shrinkage:
            shrunk = covariance + self.shrinkage * size * np.eye(dim)
        elif n > dim:
            shrunk = covariance
        else:
            raise NotEstimable(f"{n} cases for {dim} dimensions; without shrinkage more cases than dimensions are needed")
        try:
            lower = cholesky(shrunk, lower=True)
        except LinAlgError as error:
            raise NotEstimable("the features have no spread in some direction; use shrinkage, or look at the network") from error
        whitening: Float64[np.ndarray, "dim dim"] = solve_triangular(lower, np.eye(dim), lower=True).T
        return np.ascontiguousarray(whitening)

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


def ledoit_wolf_shrinkage(centred: Features) -> float:
    """Share of the round part, in [0, 1], that makes covariance and truth closest in expectation; rows have mean 0.

    Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.
    Checked against: sklearn.covariance.ledoit_wolf_shrinkage (tests/reference).
    """
    n, dim = centred.shape
    # The n x n product has the same norm as the dim x dim covariance and is the smaller where films are few.
    product = centred @ centred.T if n < dim else centred.T @ centred
    norm = float((product**2).sum()) / n**2
    size = float((centred**2).sum()) / (n * dim)
    spread = norm - dim * size**2
    noise = (float(((centred**2).sum(axis=1) ** 2).sum()) / n - norm) / n
    return 1.0 if spread <= 0 else min(max(noise, 0.0), spread) / spread


def _classes(
    centred: Features, labels: Logits | None
) -> tuple[Float64[np.ndarray, "finding two dim"], Float64[np.ndarray, "dim dim"]]:
    """Means of the absent and the present cases of each finding, and the covariance within classes, mean over findings."""
    if labels is None:
        raise NotEstimable("this form of the distance needs labels; call fit(features, logits, labels)")
    truth = known_labels(labels)
    centres = np.zeros((truth.shape[1], 2, centred.shape[1]))
    within, used = np.zeros((centred.shape[1],) * 2), 0
    for index, column in enumerate(truth.T):
        members = [column == 0, column == 1]
        if not (members[0].any() or members[1].any()):
            continue
        used += 1
        means = [centred[side].mean(axis=0) if side.any() else None for side in members]
        absent = means[0] if means[0] is not None else means[1]
        present = means[1] if means[1] is not None else means[0]
        centres[index] = np.stack([absent, present])  # type: ignore[list-item]
        known = members[0] | members[1]
        rest = centred[known] - centres[index][column[known].astype(int)]
        within += rest.T @ rest / known.sum()
    if not used:
        raise NotEstimable("no known label; this form of the distance needs the labelled calibration split")
    return centres, within / used
