"""Several answers to one question: their mean, and how far they lie apart.

The first axis is the member: networks of other seeds, passes with dropout left on, or views of the same image. The arrays are the
same, and so are the functions. Two tasks: "multilabel" (each number is the chance of one finding, by itself; any shape, voxels too)
and "multiclass" (the last axis is the class; probabilities sum to 1). Every spread is 0 for one member and higher = less sure.

Sources: Lakshminarayanan 2017, arXiv:1612.01474 (deep ensembles); Gal & Ghahramani 2016, arXiv:1506.02142 (dropout left on);
Houlsby 2011, arXiv:1112.5745 and Depeweg 2018, arXiv:1710.07283 (entropy = expected entropy + mutual information).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64, Real
from scipy.special import entr, log_expit, log_softmax, logsumexp, xlog1py

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange

Task = Literal["multilabel", "multiclass"]
Averaging = Literal["logits", "probabilities"]
Members = Real[np.ndarray, "member *axes"]
Values = Float64[np.ndarray, "*axes"]
Doubt = Float64[np.ndarray, "..."]
"""One number a finding (the axes of a member), or one a case where the last axis was the class."""

_NEAR = 0.01
_SUM_TOLERANCE = 1e-3  # float32 softmax of many classes is this far from 1 at the worst


def mean_of(member_logits: Members, of: Averaging = "logits", *, task: Task = "multilabel") -> Values:
    """One answer from many, as logits, ready for a calibrator; shape of one member.

    The two rules differ and a bundle locks one. Mean of logits: one very sure member pulls far. Mean of probabilities: it cannot,
    and the result is never surer than the surest; what comes back is the logit of the mean probability (for classes its logarithm,
    whose softmax is the mean probability), worked out on logarithms so that nothing rounds to 0 or 1.

    Args:
        member_logits: (member, case, finding) or (member, case, class), any axes between.
        of: What is averaged.
        task: Whether probabilities are the logistic function or the softmax over the last axis.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A logit that is not finite, or an unknown rule or task.

    Source: mean of probabilities: Lakshminarayanan 2017, section 2.4. torch-uncertainty's wrappers leave the choice to its metrics.
    Checked against: scipy.special.logit of the mean of expit, and torch.logsumexp (tests/reference).
    """
    z = np.asarray(member_logits, dtype=np.float64)
    _check_task(task, z)
    if of not in get_args(Averaging):
        raise ValueOutOfRange(f"a mean of {of!r}; expected one of {', '.join(get_args(Averaging))}")
    if not np.isfinite(z).all():
        raise ValueOutOfRange("a member's logit is not finite; leave that case out, or look at the network")
    if of == "logits":
        return np.asarray(z.mean(axis=0))
    if task == "multiclass":
        return np.asarray(logsumexp(log_softmax(z, axis=-1), axis=0) - np.log(len(z)))
    return np.asarray(logsumexp(log_expit(z), axis=0) - logsumexp(log_expit(-z), axis=0))


def std_of_probabilities(member_probabilities: Members, *, task: Task = "multilabel") -> Values:
    """Standard deviation over members of each finding's (or class's) probability, in [0, 0.5]; shape of one member.

    Divided by the number of members (ddof 0), so that one member gives 0 and not NaN; torch.std divides by one less.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Checked against: numpy and torch.std(correction=0) (tests/reference).
    """
    # Deviations from the first member: members that agree to the last bit have a spread of exactly 0.
    p = _probabilities(member_probabilities, task)
    return np.asarray((p - p[0]).std(axis=0))


def predictive_entropy(member_probabilities: Members, *, task: Task = "multilabel") -> Doubt:
    """Entropy of the mean probability, in nats: all the doubt there is. One number a finding, or one a case for classes.

    Range: [0, ln 2] for a finding, [0, ln K] for K classes.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Checked against: scipy.stats.entropy (tests/reference).
    """
    return np.asarray(_entropy(_probabilities(member_probabilities, task).mean(axis=0), task))


def expected_entropy(member_probabilities: Members, *, task: Task = "multilabel") -> Doubt:
    """Mean over members of their own entropy, in nats: the doubt that they share (noise in the image or in the label).

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Checked against: scipy.stats.entropy (tests/reference).
    """
    return np.asarray(_entropy(_probabilities(member_probabilities, task), task).mean(axis=0))


def mutual_information(member_probabilities: Members, *, task: Task = "multilabel") -> Doubt:
    """Predictive minus expected entropy, in nats, 0 or more: the doubt that more members would settle.

    Computed as the mean divergence of the members from their mean, of which every term is 0 or more. The difference of the two
    entropies, as in torch-uncertainty, is nothing but rounding where members nearly agree, and can fall below 0.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Source: Houlsby 2011, eq. 2; Depeweg 2018, eq. 5.
    Checked against: torch_uncertainty's formula and the difference of scipy.stats.entropy (tests/reference).
    """
    p = _probabilities(member_probabilities, task)
    mean = p.mean(axis=0)
    if task == "multiclass":
        return np.asarray(_divergence(p - mean, mean).sum(axis=-1).mean(axis=0))
    return np.asarray((_divergence(p - mean, mean) + _divergence(mean - p, 1 - mean)).mean(axis=0))


def variation_ratio(member_probabilities: Members, *, task: Task = "multilabel", threshold: float = 0.5) -> Doubt:
    """Share of members that do not vote with the most votes, in [0, 1 - 1/K]; 0 where all agree.

    Args:
        member_probabilities: (member, ..., finding) or (member, ..., class).
        task: A finding's vote is "present" from `threshold` on; a class vote is the greatest probability, the first of equals.
        threshold: For findings; their operating point is better than 0.5 where there is one.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Source: Freeman 1965; Gal 2016, eq. 3.19.
    Checked against: scipy.stats.mode (tests/reference).
    """
    p = _probabilities(member_probabilities, task)
    return np.asarray(1 - _vote_counts(p, task, threshold).max(axis=0) / len(p))


def pairwise_disagreement(member_probabilities: Members, *, task: Task = "multilabel", threshold: float = 0.5) -> Doubt:
    """Share of the pairs of members whose votes differ, in [0, 1]; 0 for one member.

    Pairs are of two different members. It is the one spread here that sees copies: each member twice adds pairs that agree.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.

    Source: Skalak 1996; Kuncheva & Whitaker 2003, eq. 8.
    Checked against: every pair counted (tests/reference).
    """
    p = _probabilities(member_probabilities, task)
    counts = _vote_counts(p, task, threshold)
    pairs = len(p) * (len(p) - 1)
    return np.asarray(1 - (counts * (counts - 1)).sum(axis=0) / pairs if pairs else np.zeros(counts.shape[1:]))


@dataclass(frozen=True)
class Spread:
    """Mean probability and every spread of one ensemble; each array (case, finding), or (case,) for classes.

    Attributes:
        probabilities: Mean over members; (case, class) for classes.
        std_of_probabilities: For classes the standard deviation of the class that the mean favours.
        predictive_entropy: In nats.
        expected_entropy: In nats.
        mutual_information: In nats.
        variation_ratio: Share.
        pairwise_disagreement: Share.
    """

    probabilities: Doubt
    std_of_probabilities: Doubt
    predictive_entropy: Doubt
    expected_entropy: Doubt
    mutual_information: Doubt
    variation_ratio: Doubt
    pairwise_disagreement: Doubt

    def measures(self) -> dict[str, Doubt]:
        """Returns the spreads by name, without the mean: what `Combination` and `failure_detection_table` take a column of."""
        return {field.name: getattr(self, field.name) for field in fields(self)[1:]}


def spread_of(member_probabilities: Members, *, task: Task = "multilabel", threshold: float = 0.5) -> Spread:
    """Every spread at once.

    Raises:
        EmptyInput: No member.
        ValueOutOfRange: A number outside [0, 1], or classes that do not sum to 1.
    """
    p = _probabilities(member_probabilities, task)
    std, mean = std_of_probabilities(p, task=task), p.mean(axis=0)
    if task == "multiclass":
        std = np.take_along_axis(std, mean.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return Spread(
        probabilities=mean,
        std_of_probabilities=std,
        predictive_entropy=predictive_entropy(p, task=task),
        expected_entropy=expected_entropy(p, task=task),
        mutual_information=mutual_information(p, task=task),
        variation_ratio=variation_ratio(p, task=task, threshold=threshold),
        pairwise_disagreement=pairwise_disagreement(p, task=task, threshold=threshold),
    )


def _check_task(task: Task, values: Float64[np.ndarray, " member *axes"]) -> None:
    if task not in get_args(Task):
        raise ValueOutOfRange(f"task {task!r}; expected one of {', '.join(get_args(Task))}")
    if values.ndim < 1 or not len(values):
        raise EmptyInput(f"members {values.shape}; the first axis is the member, and there must be one at least")
    if task == "multiclass" and (values.ndim < 2 or values.shape[-1] < 2):
        raise ShapeMismatch(f"members {values.shape}; for classes the last axis is the class, two or more: (member, ..., class)")


def _probabilities(members: Members, task: Task) -> Float64[np.ndarray, " member *axes"]:
    p = np.asarray(members, dtype=np.float64)
    _check_task(task, p)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueOutOfRange("a member's probability is NaN or outside [0, 1]; pass probabilities here, not logits")
    if task == "multiclass":
        total = p.sum(axis=-1, keepdims=True)
        if np.abs(total - 1).max(initial=0.0) > _SUM_TOLERANCE:
            raise ValueOutOfRange("the classes of a member do not sum to 1; take the softmax, or say task='multilabel'")
        p = p / total
    return p


def _divergence(
    above: Float64[np.ndarray, " member *axes"], mean: Float64[np.ndarray, "*axes"]
) -> Float64[np.ndarray, " member *axes"]:
    """Each p log(p / mean) - p + mean, never below 0, given p - mean; by its series where the plain form would only round."""
    ratio = np.divide(above, mean, out=np.zeros_like(above), where=mean > 0)
    near = np.where(np.abs(ratio) < _NEAR, ratio, 0.0)
    series = np.zeros_like(near)
    for power in range(9, 1, -1):  # the sum of (-r)^k / (k (k - 1)) from k = 2 on, by Horner's rule
        series = 1 / (power * (power - 1)) - near * series
    plain = np.maximum(xlog1py(1 + ratio, ratio) - ratio, 0.0)
    return np.asarray(mean * np.where(np.abs(ratio) < _NEAR, near**2 * series, plain))


def _entropy(p: Float64[np.ndarray, "*axes"], task: Task) -> Doubt:
    return np.asarray(entr(p).sum(axis=-1) if task == "multiclass" else entr(p) + entr(1 - p))


def _vote_counts(p: Float64[np.ndarray, " member *axes"], task: Task, threshold: float) -> Int64[np.ndarray, "choice ..."]:
    """How many members vote for each choice: absent and present, or each class."""
    if task == "multiclass":
        votes = p.argmax(axis=-1)
        return np.stack([(votes == choice).sum(axis=0) for choice in range(p.shape[-1])])
    present = (p >= threshold).sum(axis=0)
    return np.stack([len(p) - present, present])
