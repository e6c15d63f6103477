"""Two scores that ask where the calibration films lie, not what shape their cloud has: nearest neighbours and virtual logits.

Sources: Sun 2022, arXiv:2204.06507 (k-th nearest neighbour); Wang 2022, arXiv:2203.10807 (virtual-logit matching).
"""

from __future__ import annotations

from typing import Any, Self, get_args

import numpy as np
from jaxtyping import Float64, Real
from scipy.linalg import eigh

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.mahalanobis import scatter
from vesalius.uncertainty.ood_scores import Features, Labels, LogitForm, Logits, Scores, as_table, evidence, finite_rows, middles

Head = tuple[Real[np.ndarray, "finding dim"], Real[np.ndarray, " finding"]]

_PRODUCTS = 4_000_000  # distances held at a time (32 MB): memory stays flat, whatever the number of cases
_CLOSE = 1e-6  # squared distances under this are taken again from the differences, where rounding would show


class KNearest:
    """Distance from the k-th nearest film of the calibration split, features L2-normalised: in [0, 2].

    It takes no shape for granted, so that a cloud of several parts is no hindrance; but it keeps every calibration film's features
    (as float64, in the bundle's statistics too), and needs k films of a kind before it knows that kind. A film that was fitted on
    is its own first neighbour; `OodGate` scores calibration films by others only.

    Without k, it is the root of the number of films, rounded: Sun's k of 200 for 50,000 films and 1000 for 1.3 million are of that
    size. Exact, by blocks of matrix products. OpenOOD 1.5 returns the squared distance, which orders films alike.

    Source: Sun 2022, section 3.
    Checked against: sklearn.neighbors.NearestNeighbors, and all distances sorted (tests/reference).
    """

    def __init__(self, k: int | None = None, *, normalise: bool = True) -> None:
        """Says which neighbour.

        Raises:
            ValueOutOfRange: k below 1.
        """
        if k is not None and k < 1:
            raise ValueOutOfRange(f"k = {k}; expected 1 or more, or None for the root of the number of films")
        self.k, self.normalise = k, normalise
        self._films: Float64[np.ndarray, "case dim"] | None = None

    def fit(self, features: Features, logits: Logits | None = None, labels: Labels | None = None) -> Self:
        """Keeps the features; logits and labels are not used.

        Raises:
            NotEstimable: Fewer films than k, or a film without direction (all features 0).
            ValueOutOfRange: A feature is not finite.
        """
        x = as_table(features, "features")
        if not np.isfinite(x).all():
            raise ValueOutOfRange("a feature of the calibration split is not finite; look at the network before its gate")
        if len(x) < (self.k or 1):
            raise NotEstimable(f"{len(x)} films have no neighbour number {self.k or 1}; ask for a smaller k")
        if self.normalise and not x.any(axis=1).all():
            raise NotEstimable("all features of a film are 0, which has no direction; look at the network, or set normalise=False")
        self._films = _directions(x) if self.normalise else x.copy()
        return self

    @property
    def neighbour(self) -> int:
        """The k in use.

        Raises:
            NotFitted: `fit` was not called.
        """
        return self.k or max(1, round(len(self._fitted()) ** 0.5))

    def score(self, features: Features, logits: Logits | None = None) -> Scores:
        """Distance of each case; +infinity where a feature is not finite, or all are 0 and have no direction.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of dimensions than in `fit`.
        """
        k, films = self.neighbour, self._fitted()
        x, usable = finite_rows(features, "features")
        if x.shape[1] != films.shape[1]:
            raise ShapeMismatch(f"features {x.shape}; this score was fitted on (case, {films.shape[1]})")
        if self.normalise:
            usable = usable & x.any(axis=1)
            x = _directions(np.where(usable[:, None], x, 1.0))
        sizes = np.einsum("ij,ij->i", films, films)
        step = max(1, _PRODUCTS // len(films))
        parts = [_kth_distance(x[at : at + step], films, sizes, k) for at in range(0, len(x), step)]
        return np.where(usable, np.concatenate(parts) if parts else np.zeros(0), np.inf)

    def to_json(self) -> dict[str, Any]:
        """Returns the options."""
        return {"kind": "knn", "k": self.k, "normalise": self.normalise}

    def state(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `restore` takes.

        Raises:
            NotFitted: `fit` was not called.
        """
        return {"films": self._fitted()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        self._films = np.asarray(arrays["films"], dtype=np.float64)
        return self

    def _fitted(self) -> Float64[np.ndarray, "case dim"]:
        if self._films is None:
            raise NotFitted("KNearest is not fitted; call fit(features) on the calibration split first")
        return self._films


class ViM:
    """Virtual-logit matching: what of the features lies outside their principal space, against the evidence in the logits.

    The residual r of the features (its length outside the space of the `dim` greatest directions) is scaled by alpha to the size of
    the logits; the score is alpha r minus that evidence, in the unit of the logits.

    Forms:
        "softmax": the paper's. Evidence is logsumexp(z), alpha = mean greatest logit / mean r. The score is the log odds of the
            virtual class, which orders films as its probability does.
        "multi-label": ours. With findings by themselves the greatest logit of a normal film is below 0, so that alpha would be
            negative and a large residual a sign of home. Evidence is the centred energy (see `Energy`), which is above 0 and the
            same for sure answers of either kind; alpha = mean evidence / mean r.

    `head` is weight (class, dim) and bias (class,) of the last layer: the origin is then the paper's, where it answers 0 for every
    class. Without it the origin is the mean of the features, and the principal space that of their covariance.

    Source: Wang 2022, eq. 5 to 8. Without `dim`: the authors' 1000 from 2048 dimensions on and 512 from 768 on, else half of them,
        but never more than half the number of films, whose residual would else be nearly 0.
    Checked against: the formulas of pytorch-ood 0.4.0 and OpenOOD 1.5 written out, and sklearn's PCA (tests/reference).
    """

    def __init__(self, dim: int | None = None, *, form: LogitForm = "multi-label", head: Head | None = None) -> None:
        """Says which space.

        Raises:
            ShapeMismatch: A head that is not weight (class, dim) and bias (class,).
            ValueOutOfRange: An unknown form, or a space of less than one direction.
        """
        if form not in get_args(LogitForm) or (dim is not None and dim < 1):
            raise ValueOutOfRange(f"form {form!r}, dim {dim}; expected one of {', '.join(get_args(LogitForm))}, and 1 or more")
        self.dim, self.form = dim, form
        self._origin = None if head is None else _where_head_is_silent(*head)
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, features: Features, logits: Logits, labels: Labels | None = None) -> Self:
        """Learns origin, principal space and alpha; labels (case, finding) only place the middle of the multi-label evidence.

        Raises:
            NotEstimable: No room outside the principal space, or no evidence in the logits to match.
            ShapeMismatch: Features and logits that do not go together, or do not fit the head.
            ValueOutOfRange: A feature or logit is not finite.
        """
        x, z = as_table(features, "features"), as_table(logits, "logits")
        origin = x.mean(axis=0) if self._origin is None else self._origin
        if len(x) != len(z) or len(origin) != x.shape[1]:
            raise ShapeMismatch(f"features {x.shape}, logits {z.shape}, head of {len(origin)} dimensions; expected them to agree")
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise ValueOutOfRange("a feature or logit of the calibration split is not finite; look at the network first")
        space = _outside(x, origin, self.dim or _usual_dim(*x.shape))
        residual = np.linalg.norm((x - origin) @ space, axis=1).mean()
        if not residual > 1e-8 * np.linalg.norm(x - origin, axis=1).mean():
            inside = x.shape[1] - space.shape[1]
            raise NotEstimable(f"{len(x)} films leave nothing outside {inside} directions; ask for a smaller dim")
        centre = middles(z, labels) if self.form == "multi-label" else np.zeros(z.shape[1])
        matched = z.max(axis=1) if self.form == "softmax" else self._evidence(z, centre)
        if not matched.mean() > 0:
            raise NotEstimable(
                f"the greatest logit is {matched.mean():.3g} on average, so the virtual logit would have the wrong sign; findings "
                "by themselves take form='multi-label'; for a softmax take another score"
            )
        self._arrays = {"origin": origin, "outside": space, "centre": centre, "alpha": np.array([matched.mean() / residual])}
        return self

    @property
    def alpha(self) -> float:
        """Unit of the logits per unit of the features.

        Raises:
            NotFitted: `fit` was not called.
        """
        return float(self.state()["alpha"][0])

    def score(self, features: Features, logits: Logits) -> Scores:
        """Virtual logit minus evidence of each case; +infinity where a feature or logit is not finite.

        Raises:
            NotFitted: `fit` was not called.
            ShapeMismatch: Another number of dimensions or findings than in `fit`.
        """
        fitted = self.state()
        x, known = finite_rows(features, "features")
        z, sure = finite_rows(logits, "logits")
        expected = (len(fitted["origin"]), len(fitted["centre"]))
        if (x.shape[1], z.shape[1]) != expected or len(x) != len(z):
            raise ShapeMismatch(f"features {x.shape}, logits {z.shape}; this score was fitted on {expected[0]} and {expected[1]}")
        residual = np.linalg.norm((x - fitted["origin"]) @ fitted["outside"], axis=1)
        return np.where(known & sure, fitted["alpha"][0] * residual - self._evidence(z, fitted["centre"]), np.inf)

    def to_json(self) -> dict[str, Any]:
        """Returns the options; what the head said is in `state`, as the origin."""
        return {"kind": "vim", "dim": self.dim, "form": self.form}

    def state(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `restore` takes.

        Raises:
            NotFitted: `fit` was not called.
        """
        if not self._arrays:
            raise NotFitted("ViM is not fitted; call fit(features, logits) on the calibration split first")
        return dict(self._arrays)

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        self._arrays = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        return self

    def _evidence(self, logits: Float64[np.ndarray, "case finding"], centre: Float64[np.ndarray, " finding"]) -> Scores:
        return evidence(logits - centre, self.form, both_states=self.form == "multi-label")


def _usual_dim(n_cases: int, n_dims: int) -> int:
    usual = 1000 if n_dims >= 2048 else 512 if n_dims >= 768 else n_dims // 2
    return max(1, min(usual, n_cases // 2))


def _outside(
    features: Float64[np.ndarray, "case dim"], origin: Float64[np.ndarray, " dim"], n_directions: int
) -> Float64[np.ndarray, "dim rest"]:
    """Directions other than the `n_directions` in which the features are widest around the origin."""
    if n_directions >= len(origin):
        raise NotEstimable(f"{n_directions} directions leave nothing of {len(origin)} dimensions; ask for a smaller dim")
    _, directions = eigh(scatter(features, origin).product)  # from the narrowest to the widest
    return np.ascontiguousarray(directions[:, : len(origin) - n_directions])


def _where_head_is_silent(
    weight: Real[np.ndarray, "finding dim"], bias: Real[np.ndarray, " finding"]
) -> Float64[np.ndarray, " dim"]:
    """The point nearest to 0 at which the last layer answers 0 for every class, in the least-squares sense."""
    w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    if w.ndim != 2 or b.shape != w.shape[:1]:
        raise ShapeMismatch(f"head {w.shape} and {b.shape}; expected weight (class, dim) and bias (class,)")
    return np.asarray(-np.linalg.pinv(w) @ b)


def _directions(features: Float64[np.ndarray, "case dim"]) -> Float64[np.ndarray, "case dim"]:
    """Rows of length 1; scaled by their greatest entry first, so that no square under- or overflows."""
    scaled = features / np.abs(features).max(axis=1, keepdims=True)
    directions: Float64[np.ndarray, "case dim"] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return directions


def _kth_distance(
    block: Float64[np.ndarray, "row dim"], films: Float64[np.ndarray, "case dim"], sizes: Float64[np.ndarray, " case"], k: int
) -> Float64[np.ndarray, " row"]:
    """Distance from the k-th nearest: |x|^2 - 2 x'y + |y|^2, and the differences themselves where that would be mostly rounding."""
    squared = block @ films.T
    squared *= -2
    squared += sizes
    own = np.einsum("ij,ij->i", block, block)
    cut = np.partition(squared, k - 1, axis=1)[:, k - 1]
    scale = own + sizes.max()
    distance = cut + own
    for row in np.flatnonzero(distance < _CLOSE * scale):
        near = films[squared[row] <= cut[row] + 1e-12 * scale[row]]
        distance[row] = np.partition(((near - block[row]) ** 2).sum(axis=1), k - 1)[k - 1]
    root: Float64[np.ndarray, "row"] = np.sqrt(distance)
    return root
