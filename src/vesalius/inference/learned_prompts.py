"""How one film becomes logits by prompts that were learned and adapt to it: the text tower stays, because it reads them.

A logit is the raw contrast, as of prompts in words: cosine with the prompt for a finding less cosine with the one against it, mean
over the checkpoints; no probability. Where the prompts do not adapt to the image they are embedded once, when the model is loaded.
Source and reading: `zeroshot.learned_prompts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vesalius.errors import ShapeMismatch
from vesalius.inference.film import NetworkOutput, Precision
from vesalius.inference.zero_shot import Embedded, ImageEmbedder, TowerInference
from vesalius.zeroshot.learned_prompts import PromptGenerator, contrast, embed_prompts, freeze

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.models.contracts import Contract
    from vesalius.zeroshot.prompts import PromptKind

FILMS_AT_ONCE = 16
"""Films whose prompts pass the text tower together: each film has its own, one a finding and one against it."""


class LearnedPromptInference(TowerInference):
    """Frozen towers and learned prompts: from films to contrasts, in the place of a trained classifier's networks.

    Args:
        models: Checkpoints of an ensemble; taken over.
        contract: From Image to tensor, one for all checkpoints.
        generators: One a checkpoint, in the same order.
        precision: What the vision encoders are held in; the text tower and everything after it are float32.
        device: `auto` takes an accelerator where there is one.

    Raises:
        ShapeMismatch: Not one generator a checkpoint, or generators of different findings.

    Checked against: the recipe's own scores of the same films (tests/flow/test_learned_prompts.py).
    """

    def __init__(
        self,
        models: Sequence[ImageTextModel],
        contract: Contract,
        generators: Sequence[PromptGenerator],
        *,
        precision: Precision = "float32",
        device: str = "auto",
    ) -> None:
        if len(models) != len(generators) or len({(one.design.kind, one.design.findings) for one in generators}) != 1:
            raise ShapeMismatch(
                f"{len(models)} checkpoint(s), {len(generators)} generator(s); expected one each, all of the same findings"
            )
        self.embedder = ImageEmbedder(models, contract, precision=precision, device=device)
        self.models = [freeze(model).to(self.embedder.device) for model in models]
        for model in self.models:
            model.text.float()
            model.text_projection.float()
        self.generators = [
            generator.eval().requires_grad_(requires_grad=False).to(self.embedder.device) for generator in generators
        ]
        self._fixed = [self._embed_once(*pair) for pair in zip(self.models, self.generators, strict=True)]

    @property
    def findings(self) -> tuple[str, ...]:
        """What it answers to, in the order of the logits."""
        return self.generators[0].design.findings

    @property
    def kind(self) -> PromptKind:
        """Findings, each for itself, or classes that exclude each other."""
        return self.generators[0].design.kind

    def read(self, films: Embedded) -> NetworkOutput:
        """Returns what the prompts say of films that are embedded already."""
        logits, maps, before = [], [], 0
        for member, rows in enumerate(films.members):
            width = self.networks[member].width
            texts = self.texts(member, rows, films.features[:, before : before + width].astype(np.float32))
            before += width
            kind = self.generators[member].design.kind
            logits.append(contrast(kind, torch.from_numpy(rows).to(texts.device), texts).double().cpu().numpy())
            if films.patches:
                against = torch.from_numpy(films.patches[member]).to(texts.device)
                count = texts.shape[1] // 2
                of_classes = texts - texts.mean(dim=1, keepdim=True)  # the cosine above their mean, as of classes in words
                difference = texts[:, :count] - texts[:, count:] if kind == "pair" else of_classes
                cosines = torch.einsum("cdhw,cfd->cfhw", against, difference.expand(len(rows), -1, -1))
                maps.append(self.embedder.scales[member] * cosines.cpu().numpy())
        evidence = np.mean(maps, axis=0).astype(np.float32) if maps else None
        return NetworkOutput(np.mean(logits, axis=0), films.features, evidence)

    def texts(self, member: int, images: Float32[np.ndarray, "case dim"], features: Float32[np.ndarray, "case width"]) -> Tensor:
        """Returns the unit vector of every prompt for each film (case, prompt, dim); one row that fits all where none adapts."""
        fixed = self._fixed[member]
        if fixed is not None:
            return fixed
        model, generator, device = self.models[member], self.generators[member], self.embedder.device
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), FILMS_AT_ONCE):
                few = slice(start, start + FILMS_AT_ONCE)
                seen = (torch.from_numpy(np.ascontiguousarray(array[few])).to(device) for array in (images, features))
                parts.append(embed_prompts(model, generator(*seen)))
        return torch.cat(parts)

    def _embed_once(self, model: ImageTextModel, generator: PromptGenerator) -> Tensor | None:
        if generator.meta is not None:
            return None
        nothing = torch.zeros(1, 1, device=self.embedder.device)
        with torch.inference_mode():
            return embed_prompts(model, generator(nothing, nothing))
