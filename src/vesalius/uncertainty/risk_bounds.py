"""Upper bounds of a risk, and the test of thresholds one after another: what every promise of `risk_control` rests on.

Sources: Clopper & Pearson 1934; Bates 2021, arXiv:2101.02703 (Hoeffding-Bentkus); Angelopoulos 2021, arXiv:2110.01052.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from scipy.special import betainc, betaincinv, rel_entr

from vesalius.errors import ValueOutOfRange
from vesalius.uncertainty.units import Reduce, reduce_units

Bound = Literal["clopper-pearson", "hoeffding-bentkus"]

CUTS = 100
"""Greatest number of thresholds in a sequence; more gain no coverage, and a finer sequence stops earlier by chance."""


def clopper_pearson_upper(k: Real[np.ndarray, "*axes"] | int, n: Real[np.ndarray, "*axes"] | int, confidence: float = 0.95) -> Any:
    """One-sided upper bound, in [0, 1], of a share of which k of n were seen; 1 where n is 0 or k is n.

    Raises:
        ValueOutOfRange: k is not between 0 and n, or the confidence is not inside (0, 1).

    Source: Clopper & Pearson 1934, one-sided.
    Checked against: statsmodels `proportion_confint(method="beta")` at 2 * confidence - 1 (tests/reference).
    """
    seen, total = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not ((seen >= 0) & (seen <= total)).all():
        raise ValueOutOfRange("a count lies outside 0 to n")
    check_share("confidence", confidence)
    open_end = seen < total
    upper = np.ones(seen.shape)
    upper[open_end] = betaincinv(seen[open_end] + 1, (total - seen)[open_end], confidence)
    return upper if upper.ndim else float(upper)


def binomial_tail(k: Float64[np.ndarray, "*axes"], n: Float64[np.ndarray, "*axes"], share: float) -> Float64[np.ndarray, "*axes"]:
    """P(Binomial(n, share) <= k); 1 where k is n or more, and where n is 0."""
    inside = k < n
    tail = np.ones(k.shape)
    tail[inside] = betainc((n - k)[inside], k[inside] + 1, 1 - share)
    return tail


def risk_p_value(
    lost: Real[np.ndarray, "*axes"] | float,
    n: Real[np.ndarray, "*axes"] | int,
    target_risk: float,
    bound: Bound = "clopper-pearson",
) -> Any:
    """Chance of so small a sum of losses, at most, if the risk were above the target; small means the target is kept.

    Args:
        lost: Sum of the losses, each in [0, 1]; whole errors for "clopper-pearson".
        n: How many units were lost or not; without one nothing is shown, and the answer is 1.
        target_risk: In (0, 1).
        bound: "clopper-pearson" (exact, for 0/1 losses): at or below 1 - confidence just when `clopper_pearson_upper` is at or
            below the target. "hoeffding-bentkus": any loss in [0, 1].

    Source: Angelopoulos 2021, proposition 2 (Hoeffding-Bentkus); the binomial tail for 0/1.
    Checked against: `mapie.risk_control.methods.compute_hoeffding_bentkus_p_value`, scipy.stats.binom (tests/reference).
    """
    total, count = np.broadcast_arrays(np.asarray(lost, dtype=np.float64), np.asarray(n, dtype=np.float64))
    tail = binomial_tail(np.asarray(np.ceil(total - 1e-9)), count, target_risk)
    if bound == "clopper-pearson":
        return tail if tail.ndim else float(tail)
    mean = np.minimum(np.divide(total, count, out=np.ones(total.shape), where=count > 0), target_risk)
    distance = rel_entr(mean, target_risk) + rel_entr(1 - mean, 1 - target_risk)
    smaller = np.minimum(np.exp(-count * distance), np.minimum(math.e * tail, 1.0))
    return smaller if smaller.ndim else float(smaller)


def risk_upper(lost: float, n: int, confidence: float, bound: Bound = "clopper-pearson") -> float:
    """Least target that `risk_p_value` would call kept: an upper bound of the risk, in [0, 1]."""
    if bound == "clopper-pearson":
        return float(clopper_pearson_upper(round(lost), n, confidence))
    low, high = (lost / n if n else 1.0), 1.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = middle > 0 and risk_p_value(lost, n, middle, bound) <= 1 - confidence
        low, high = (low, middle) if kept else (middle, high)
    return high


@dataclass(frozen=True)
class RiskTest:
    """What was found at the threshold that was kept.

    Attributes:
        place: Position of the last threshold that passed, -1 if none did.
        lost: Sum of losses of the units answered there.
        n_units: How many they are.
        upper: Upper bound of their risk at the confidence asked for.
    """

    place: int
    lost: float
    n_units: int
    upper: float


def passes_in_order(
    lost: Float64[np.ndarray, " cut"], units: Float64[np.ndarray, " cut"], target_risk: float, confidence: float, bound: Bound
) -> RiskTest:
    """Fixed-sequence test: each threshold in turn at the whole level, up to the first that fails.

    The order must not come from the cases that are counted here.

    Source: Angelopoulos 2021, section 3.1, with one start.
    """
    fails = np.flatnonzero(risk_p_value(lost, units, target_risk, bound) > 1 - confidence)
    place = (int(fails[0]) if fails.size else len(lost)) - 1
    if place < 0:
        return RiskTest(-1, 0.0, 0, 1.0)
    upper = risk_upper(float(lost[place]), int(units[place]), confidence, bound)
    return RiskTest(place, float(lost[place]), int(units[place]), upper)


def losses_of_units(
    answered: Bool[np.ndarray, "cut case"],
    residuals: Float64[np.ndarray, " case"],
    unit: Int64[np.ndarray, " case"],
    n_units: int,
    how: Reduce,
) -> tuple[Float64[np.ndarray, " cut"], Float64[np.ndarray, " cut"]]:
    """At each threshold: the sum of the losses of the units with an answer, and how many they are."""
    lost, counted = [], []
    for kept in answered:
        loss = reduce_units(residuals[kept], unit[kept], n_units, how)
        lost.append(np.nansum(loss))
        counted.append(np.count_nonzero(~np.isnan(loss)))
    return np.array(lost, dtype=np.float64), np.array(counted, dtype=np.float64)


def even_cuts(uncertainty: Float64[np.ndarray, " case"], limit: int = CUTS) -> Float64[np.ndarray, " cut"]:
    """At most `limit` of these values, rising, at even steps of coverage; the greatest is one of them."""
    if not uncertainty.size:
        return np.empty(0)
    ordered = np.sort(uncertainty)
    return np.unique(ordered[np.ceil(np.linspace(0, 1, min(limit, len(ordered)) + 1)[1:] * len(ordered)).astype(int) - 1])


def best_start(lost: Float64[np.ndarray, " cut"], units: Float64[np.ndarray, " cut"], target_risk: float, bound: Bound) -> int:
    """Where a sequence of rising coverage should begin: where these units, which will not test it, would pass most easily."""
    if not lost.size:
        return 0
    p = risk_p_value(lost, units, target_risk, bound)
    return int(np.flatnonzero(p == p.min())[-1])


def check_share(name: str, value: float) -> None:
    """Refuses a share that is not inside (0, 1)."""
    if not 0 < value < 1:
        raise ValueOutOfRange(f"{name} is {value}; expected a share above 0 and below 1")
