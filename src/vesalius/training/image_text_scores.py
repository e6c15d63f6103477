"""How good a space of images and words is, on films that did not teach it: retrieval, information, zero-shot ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from vesalius.metrics.classification import auroc


def prompt_pair(finding: str) -> tuple[str, str]:
    """Returns what is asked for and against a finding: its name, and `no` before it, in lower case.

    A name that begins with `no` is turned round: against `no finding` stands `finding`, and not `no no finding`.

    Source: Tiu et al. 2022 (CheXzero), whose polarity of `No Finding` is mended.
    """
    name = finding.strip().lower()
    return (name, name.removeprefix("no ")) if name.startswith("no ") else (name, f"no {name}")


def contrast_of_pairs(
    images: Float64[np.ndarray, "case dim"], prompts: Float64[np.ndarray, "prompt dim"]
) -> Float64[np.ndarray, "case finding"]:
    """Returns the cosine with the prompt for each finding less that with the one against it.

    Args:
        images: Unit vectors.
        prompts: Unit vectors: all that speak for, then all that speak against, in the same order.
    """
    cosines = images @ prompts.T
    half = len(prompts) // 2
    contrasts: Float64[np.ndarray, "case finding"] = cosines[:, :half] - cosines[:, half:]
    return contrasts


def zero_shot_figures(
    truth: Float64[np.ndarray, "case finding"], contrasts: Float64[np.ndarray, "case finding"], findings: Sequence[str]
) -> dict[str, object]:
    """Returns AUROC of each finding, and their mean over those that have one; labels are 1, 0 and NaN."""
    areas = {name: auroc(truth[:, column], contrasts[:, column]) for column, name in enumerate(findings)}
    defined = [area for area in areas.values() if not math.isnan(area)]
    return {"zero_shot_macro_auroc": sum(defined) / len(defined) if defined else math.nan, "zero_shot_auroc": areas}


def retrieval_figures(
    images: Float64[np.ndarray, "pair dim"],
    texts: Float64[np.ndarray, "pair dim"],
    scale: float,
    right: Bool[np.ndarray, "text image"],
) -> dict[str, float]:
    """Returns how well films find their reports among all of these, and reports their films.

    Args:
        images: Unit vectors.
        texts: Unit vectors of their reports.
        scale: 1 / temperature.
        right: Does the text hold for the film? Its own, and reports of the same words.

    Returns:
        `validation_loss`: symmetric contrast in nats, every other pair a negative. `information_nats`: ln(pairs) less this loss, a
        lower bound of what films and reports tell of each other. `recall_at_1`, `recall_at_5`: share of films with a right report
        among the nearest so many, and `recall_at_1_of_films` the same of reports looking for films.

    Source: van den Oord et al. 2018, section 2.3 (the bound).
    """
    cosines = images @ texts.T
    loss = 0.5 * (_cross_entropy(scale * cosines) + _cross_entropy(scale * cosines.T))
    own_way = right.T
    return {
        "validation_loss": loss,
        "information_nats": math.log(len(images)) - loss,
        "recall_at_1": _recall(cosines, own_way, 1),
        "recall_at_5": _recall(cosines, own_way, 5),
        "recall_at_1_of_films": _recall(cosines.T, right, 1),
    }


def _cross_entropy(logits: Float64[np.ndarray, "row column"]) -> float:
    highest = logits.max(axis=1, keepdims=True)
    normaliser = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return float((normaliser - np.diag(logits)).mean())


def _recall(cosines: Float64[np.ndarray, "row column"], right: Bool[np.ndarray, "row column"], nearest: int) -> float:
    """Share of rows with a right column among the nearest; of equal cosines the wrong ones come first."""
    best_right = np.where(right, cosines, -np.inf).max(axis=1)
    before = ((cosines >= best_right[:, None]) & ~right).sum(axis=1)
    return float((before < nearest).mean())
