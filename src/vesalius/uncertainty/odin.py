"""ODIN: how sure the network still is after each pixel took a small step that makes it surer. Needs gradients, but no framework.

Films of home gain more from that step than foreign ones. The network comes in as two callables, so any framework will do; the
loss, its temperature and its sign are taken here, where they cannot be got wrong twice.

Sources: Liang 2018, arXiv:1706.02690 (one class of many); Wang 2021, arXiv:2111.12797 (many labels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Real

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.ood_scores import LogitForm, Scores, finite_rows, greatest_probability

Images = Real[np.ndarray, "case *space"]
LogitsOf = Callable[[np.ndarray], np.ndarray]
"""From images (case, *space) to logits (case, finding)."""
GradientOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From images and weights (case, finding) to the gradient (case, *space) of the sum of weights x logits by the images."""
Evidence = Literal["max", "sum", "both-states"]

_CASES = 64  # images in memory at a time, as given to the network


@dataclass(frozen=True)
class OdinOptions:
    """How the step is made and what is read after it.

    Attributes:
        temperature: T, above 0; it divides the logits in the loss *and* in the probability that is read.
        eps: Length of the step of each pixel, 0 or more. In the unit of the images given, or, with `std`, in that of the pixels
            before they were normalised.
        std: Standard deviation that each channel (axis 1) was divided by when the images were normalised; the step is eps / std.
        form: "softmax" (one class of many) or "multi-label" (findings by themselves).
        evidence: What a multi-label score reads after the step: the greatest probability ("max"), their "sum", or the sum of the
            probability of the likelier state of each finding ("both-states", ours), for which a sure "absent" counts as well.
    """

    temperature: float = 1000.0
    eps: float = 0.0014
    std: tuple[float, ...] | None = None
    form: LogitForm = "multi-label"
    evidence: Evidence = "both-states"

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ValueOutOfRange: An unknown word, a temperature or std that is not above 0, or a step below 0.
        """
        if self.form not in get_args(LogitForm) or self.evidence not in get_args(Evidence):
            words = f"{', '.join(get_args(LogitForm))}; {', '.join(get_args(Evidence))}"
            raise ValueOutOfRange(f"form {self.form!r}, evidence {self.evidence!r}; expected {words}")
        numbers = [self.temperature, *(self.std or ())]
        if not (all(np.isfinite(number) and number > 0 for number in numbers) and np.isfinite(self.eps) and self.eps >= 0):
            raise ValueOutOfRange(f"temperature and std {numbers}, eps {self.eps}; expected above 0, above 0, and 0 or more")


def odin_score(images: Images, logits_of: LogitsOf, gradient_of: GradientOf, options: OdinOptions | None = None) -> Scores:
    """Minus the evidence after the step, higher = more foreign; +infinity where a gradient or logit is not finite.

    Softmax: x' = x - eps sign(d/dx CE(z(x) / T, argmax z)), score -max softmax(z(x') / T), in [-1, 0].
    Multi-label: x' = x - eps sign(d/dx sum of BCE(z(x) / T, z >= 0)), score from sigma(z(x') / T) by `options.evidence`; "max" and
    "sum" take normal films for foreign ones.

    Args:
        images: What the network takes, normalised as it wants them.
        logits_of: The network, in evaluation mode; called twice for each batch of 64.
        gradient_of: Its product of weights and Jacobian. In torch: `torch.autograd.grad((network(x) * weights).sum(), x)[0]`,
            which touches no parameter's gradient. The weights are T times the loss's gradient by the logits: the sign of the
            result is what counts, and a factor of 1 / T could be lost in float32.
        options: Temperature, step and form.

    Raises:
        ShapeMismatch: A gradient of another shape than the images, or not one std a channel.

    Source: Liang 2018, eq. 2 and 3; Wang 2021, section 3. sign(0) = 0: a pixel that does not matter does not move (the public code
        for many labels moves it by +eps and takes the loss at T = 1).
    Checked against: torch.autograd through torch's own losses, and finite differences (tests/reference).
    """
    chosen = options or OdinOptions()
    x = np.asarray(images)
    scores = np.empty(len(x))
    for at in range(0, len(x), _CASES):
        block = x[at : at + _CASES]
        stepped, whole = perturb(block, logits_of, gradient_of, chosen)
        logits, finite = finite_rows(logits_of(stepped), "logits")
        found = _evidence(logits / chosen.temperature, chosen)
        scores[at : at + len(block)] = np.where(finite & whole, -found, np.inf)
    return scores


def perturb(
    images: Images, logits_of: LogitsOf, gradient_of: GradientOf, options: OdinOptions
) -> tuple[Images, Bool[np.ndarray, " case"]]:
    """The images after the step, in their own number type, and where it could be taken; for other scores after ODIN's step.

    Raises:
        ShapeMismatch: A gradient of another shape than the images, or not one std a channel.
    """
    logits, finite = finite_rows(logits_of(images), "logits")
    weights = loss_gradient(logits / options.temperature, options.form)
    gradient = np.asarray(gradient_of(images, weights.astype(images.dtype)))
    if gradient.shape != images.shape:
        raise ShapeMismatch(f"gradient {gradient.shape} of images {images.shape}; expected equal shapes")
    whole = finite & np.isfinite(gradient).reshape(len(images), -1).all(axis=1)
    step = options.eps * _per_channel(options.std, images.shape) * np.sign(np.nan_to_num(gradient))
    return np.asarray(images - step, dtype=images.dtype), whole


def loss_gradient(scaled: Float64[np.ndarray, "case finding"], form: LogitForm) -> Float64[np.ndarray, "case finding"]:
    """Gradient of the loss of the network's own answer by z / T: cross-entropy of the likeliest class, or each finding's."""
    if form == "softmax":
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        gradient: Float64[np.ndarray, "case finding"] = exponents / exponents.sum(axis=1, keepdims=True)
        gradient[np.arange(len(scaled)), scaled.argmax(axis=1)] -= 1
        return gradient
    # sigma(z) - [z >= 0], without the cancellation of that difference
    size = np.exp(-np.abs(scaled))
    return np.asarray(np.where(scaled >= 0, -1.0, 1.0) * size / (1 + size))


def _evidence(scaled: Float64[np.ndarray, "case finding"], options: OdinOptions) -> Float64[np.ndarray, " case"]:
    if options.form == "softmax" or options.evidence == "max":
        return greatest_probability(scaled, options.form)
    if options.evidence == "both-states":
        scaled = np.abs(scaled)
    total: Float64[np.ndarray, " case"] = np.exp(-np.logaddexp(0.0, -scaled)).sum(axis=1)
    return total


def _per_channel(std: tuple[float, ...] | None, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    if std is None:
        return np.ones(())
    if len(shape) < 2 or shape[1] != len(std):
        raise ShapeMismatch(f"{len(std)} standard deviations for images {shape}; expected one a channel, on axis 1")
    return 1 / np.asarray(std, dtype=np.float64).reshape(-1, *[1] * (len(shape) - 2))
