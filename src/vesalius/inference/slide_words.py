"""How one slide becomes logits by words alone: features once, every prompt set at once, and one feature vector for the gate.

A logit is the pooled score of a class (or the pooled contrast of a pair), median over the prompt sets. The slide's own feature
vector is the mean over its patches of the vision tower's pooled features, before projection, members of an ensemble side by side:
the layer that speaks for a film too, and a mean that hangs neither on the order of the patches nor on their number nor on any word.

Sources: Lu 2023, arXiv:2306.07831 (MI-Zero). Zaheer 2017, arXiv:1703.06114, and Ilse 2018, arXiv:1802.04712 (the mean of instances
    as what stands for a bag). Lee 2018, arXiv:1807.03888 (a gate on features of the last layers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from vesalius.errors import ValueOutOfRange
from vesalius.inference.film import NetworkOutput
from vesalius.inference.slide import ExtractOptions, SlideEncoder, extract_features
from vesalius.slides.patches import PatchGrid
from vesalius.zeroshot.slide_scores import PoolOptions, SlideScores, TextColumns, rules_of, score_slide

if TYPE_CHECKING:
    from vesalius.inference.feature_file import SlideFeatures
    from vesalius.slides.read import Slide
    from vesalius.types import ProgressCallback

FEATURE = "mean over patches of the vision tower's pooled features, before projection"
"""What the out-of-distribution gate of a slide looks at, in words."""
AS_USUAL = ExtractOptions()


@dataclass(frozen=True)
class SlideRule:
    """What decides a slide's logits beside weights and words; locked in a bundle.

    Attributes:
        grid: How a slide is cut.
        pool: How patch scores become a slide's.
        pooling: Which of the pooled scores is the logit: `top-K` for a K that is pooled, or `mean`.

    Raises:
        ValueOutOfRange: A `pooling` that is not among what is pooled.
    """

    grid: PatchGrid
    pool: PoolOptions = field(default_factory=PoolOptions)
    pooling: str = "top-50"

    def __post_init__(self) -> None:
        rules = rules_of(self.pool.ks)
        if self.pooling not in rules:
            raise ValueOutOfRange(f"{self.pooling!r} is not among what is pooled; choose one of: {', '.join(rules)}")

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words, and `feature`: what the gate looks at."""
        pool = {"pooling": self.pooling, "of_the_greatest": self.pool.how}
        smoothing = {"smoothing": self.pool.smoothing, "neighbours": self.pool.neighbours}
        return {"grid": self.grid.to_json(), **pool, **smoothing, "feature": FEATURE}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> SlideRule:
        """Returns the rule that `to_json` described."""
        pool = PoolOptions(how=state["of_the_greatest"], smoothing=state["smoothing"], neighbours=state["neighbours"])
        return cls(PatchGrid(**state["grid"]), pool, state["pooling"])


@dataclass(frozen=True)
class SlideReading:
    """What one slide gave.

    Attributes:
        output: Logits and the slide's feature vector: one case.
        scores: Of every way of pooling, every prompt set, and every patch.
        features: Where the features of its patches lie.
    """

    output: NetworkOutput
    scores: SlideScores
    features: SlideFeatures


class SlideInference:
    """Vision towers, embedded words and a rule: from slides to logits.

    Args:
        encoder: From patches to features.
        columns: The words of every prompt set.
        rule: How a slide is cut and pooled.

    Source: Lu 2023 (MI-Zero).
    Checked against: the scores of `vesalius zeroshot` and the procedure written out (tests/unit/bundle/test_slide.py).
    """

    def __init__(self, encoder: SlideEncoder, columns: TextColumns, rule: SlideRule) -> None:
        self.encoder, self.columns, self.rule = encoder, columns, rule

    @property
    def findings(self) -> tuple[str, ...]:
        """What it answers to, in the order of the logits."""
        return self.columns.names

    def run(
        self,
        slide: Slide,
        out: str | Path,
        *,
        options: ExtractOptions = AS_USUAL,
        progress: ProgressCallback | None = None,
    ) -> SlideReading:
        """Reads one slide; the features of its patches are taken up from `out` where they are there, else written there.

        Raises:
            EmptyInput: No tissue, or no patch with enough of it.
            FeaturesError: What lies at `out` was made by another encoder or another cut.
            ValueOutOfRange: The slide is coarser than the patches ask for.
        """
        stored = extract_features(slide, self.encoder, out, grid=self.rule.grid, options=options, progress=progress)
        total = np.zeros(stored.dim)

        def embeddings() -> Iterator[Float32[np.ndarray, "member patch embedding"]]:
            for rows in stored.batches():
                np.add(total, rows.sum(axis=0, dtype=np.float64), out=total)
                yield self.encoder.project(rows)

        scores = score_slide(embeddings(), self.columns, stored.coordinates, self.rule.pool)
        logits: Float64[np.ndarray, " finding"] = np.median(scores.pooled[self.rule.pooling], axis=0)
        return SlideReading(NetworkOutput(logits[None], (total / len(stored))[None]), scores, stored)
