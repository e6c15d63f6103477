"""How good a space of images and words is, on films that did not teach it: retrieval, information, zero-shot ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from vesalius.metrics.classification import auroc
from vesalius.zeroshot.prompts import plain_name

AT_ONCE = 256
"""Rows of all pairs with all that are in memory at once."""


def prompt_pair(finding: str) -> tuple[str, str]:
    """Returns what is asked for and against a finding: its name, and `no` before it, in lower case.

    A name that begins with `no` is turned round: against `no finding` stands `finding`, and not `no no finding`.

    Source: Tiu et al. 2022 (CheXzero), whose polarity of `No Finding` is mended.
    """
    name = plain_name(finding)
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
    words: Int64[np.ndarray, " pair"],
) -> dict[str, float]:
    """Returns how well films find their reports among all of these, and reports their films.

    Memory is that of a few rows of all pairs with all, however many there are.

    Args:
        images: Unit vectors.
        texts: Unit vectors of their reports.
        scale: 1 / temperature.
        words: Number of what each report says: a text is right for every film whose report says the same.

    Returns:
        `validation_loss`: symmetric contrast in nats, every other pair a negative. `information_nats`: ln(pairs) less this loss, a
        lower bound of what films and reports tell of each other. `recall_at_1`, `recall_at_5`: share of films with a right report
        among the nearest so many, and `recall_at_1_of_films` the same of reports looking for films.

    Source: van den Oord et al. 2018, section 2.3 (the bound).
    """
    there, before_texts = _search(images, texts, scale, words)
    back, before_films = _search(texts, images, scale, words)
    loss = 0.5 * (there + back)
    return {
        "validation_loss": loss,
        "information_nats": math.log(len(images)) - loss,
        "recall_at_1": float((before_texts < 1).mean()),
        "recall_at_5": float((before_texts < 5).mean()),
        "recall_at_1_of_films": float((before_films < 1).mean()),
    }


def _search(
    rows: Float64[np.ndarray, "pair dim"], columns: Float64[np.ndarray, "pair dim"], scale: float, words: Int64[np.ndarray, " pair"]
) -> tuple[float, Int64[np.ndarray, " pair"]]:
    """Mean cross-entropy of finding the own column, and how many wrong ones come before a right one; of equals the wrong first."""
    losses, before = [], []
    for start in range(0, len(rows), AT_ONCE):
        few = slice(start, start + AT_ONCE)
        cosines = rows[few] @ columns.T
        own = cosines[np.arange(len(cosines)), np.arange(len(cosines)) + start]
        highest = cosines.max(axis=1)
        spread = np.exp(scale * (cosines - highest[:, None])).sum(axis=1)
        losses.append(scale * (highest - own) + np.log(spread))
        right = words[few, None] == words[None]
        best = np.where(right, cosines, -np.inf).max(axis=1)
        before.append(((cosines >= best[:, None]) & ~right).sum(axis=1))
    return float(np.concatenate(losses).mean()), np.concatenate(before)
