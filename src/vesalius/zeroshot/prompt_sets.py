"""Prompt sets drawn from a pool with a seed: how much of a score is the wording?

MI-Zero draws 50 sets, each of 1 to T templates without replacement and one name a class, and reports the median; it draws without a
seed. Here the same seed draws the same sets on every machine.

Source: Lu 2023, arXiv:2306.07831 (MI-Zero), section 4.2. Light: no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from vesalius.errors import PromptsError
from vesalius.zeroshot.prompts import Prompt, PromptSet

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
SPREAD = ("minimum", "lower_quartile", "median", "upper_quartile", "maximum")


def draw_prompt_sets(pool: PromptSet, *, n_sets: int = 50, seed: int = 0) -> list[PromptSet]:
    """Returns `n_sets` draws: U{1..T} of the pool's T templates without replacement, and one name a finding.

    Whole sentences stand in for names where a finding has no synonyms ("No Finding"): one for it and one against it a set.

    Args:
        pool: All templates and all synonyms.
        n_sets: How many.
        seed: Same seed, same sets.

    Raises:
        PromptsError: No set asked for.

    Source: Lu 2023, section 4.2.
    Checked against: the uniform number of templates and the rule above, over many draws (tests/unit/zeroshot/test_prompt_sets.py).
    """
    if n_sets < 1:
        raise PromptsError(f"{n_sets} prompt sets; expected at least 1")
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for number in range(1, n_sets + 1):
        count = int(random.integers(1, len(pool.templates) + 1))
        chosen = sorted(random.permutation(len(pool.templates))[:count].tolist())
        prompts = tuple(_draw_words(prompt, random) for prompt in pool.prompts)
        templates = tuple(pool.templates[place] for place in chosen)
        drawn.append(replace(pool, name=f"{pool.name} {number}", prompts=prompts, templates=templates))
    return drawn


def _draw_words(prompt: Prompt, random: np.random.Generator) -> Prompt:
    """One name, and no whole sentence beside it; or one sentence for and one against where there is no name."""
    if prompt.synonyms:
        return replace(prompt, synonyms=_one(prompt.synonyms, random), positive=(), negative=())
    return replace(prompt, positive=_one(prompt.positive, random), negative=_one(prompt.negative, random))


def _one(words: Sequence[str], random: np.random.Generator) -> tuple[str, ...]:
    return (words[int(random.integers(len(words)))],) if words else ()


@dataclass(frozen=True)
class Spread:
    """How one score moves with the wording.

    Attributes:
        values: Minimum, quartiles, maximum over the prompt sets, in the order of `SPREAD`.
        sets: How many prompt sets.
    """

    values: Float64[np.ndarray, "quantile finding"]
    sets: int

    @classmethod
    def of(cls, scores: Float64[np.ndarray, "set finding"]) -> Spread:
        """Returns the spread of scores over prompt sets."""
        return cls(np.quantile(scores, QUANTILES, axis=0), len(scores))

    @property
    def median(self) -> Float64[np.ndarray, " finding"]:
        """The middle score of each finding: what stands in the answer."""
        median: Float64[np.ndarray, " finding"] = self.values[SPREAD.index("median")]
        return median

    def to_json(self, findings: Sequence[str]) -> dict[str, dict[str, float]]:
        """Returns the five figures of each finding."""
        return {name: dict(zip(SPREAD, map(float, self.values[:, at]), strict=True)) for at, name in enumerate(findings)}
