"""Learned prompts over-fit eight images through frozen towers, in each form; the towers do not move."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.image_text import make_config, make_model, make_tokenizer
from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.models.image_tower import ImageTower
from vesalius.models.tokenizer import Encoded
from vesalius.zeroshot.learned_prompts import contrast, design_for, embed_prompts, freeze, prompt_generator
from vesalius.zeroshot.prompts import PromptKind, PromptSet, prompts_for


def encode(texts: Any) -> Encoded:
    return make_tokenizer().encode(list(texts), 16)


@pytest.mark.parametrize(("reads", "hidden"), [("embedding", 16), ("features", 16), ("embedding", 0)])
@pytest.mark.parametrize("kind", ["pair", "classes"])
def test_eight_images(kind: PromptKind, reads: str, hidden: int) -> None:
    model = freeze(make_model(make_config(make_tokenizer())))
    for parameter in model.text.parameters():
        if parameter.ndim > 1:
            parameter.mul_(5)  # a tower of untrained weights hardly mixes its tokens; one that was trained does
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    with torch.no_grad():
        seen = ImageTower.of(model)(3 * torch.randn(8, 3, 64, 64))
    asked = prompts_for("ab") if kind == "pair" else PromptSet.of_classes({"a": "a", "b": "b"})
    generator = prompt_generator(design_for(asked, hidden=hidden, reads=reads), model, encode)
    targets = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]] * 2).float() if kind == "pair" else torch.eye(2)[torch.arange(8) % 2]
    optimizer = torch.optim.AdamW(generator.parameters(), lr=0.005)
    losses = []
    for _ in range(150):
        logits = contrast(kind, seen.embeddings, embed_prompts(model, generator(seen.embeddings, seen.features))) * 100
        if kind == "pair":
            loss = binary_cross_entropy(logits, targets, torch.ones(8, 2, dtype=torch.bool))
        else:
            loss = torch.nn.functional.cross_entropy(logits, targets.argmax(dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert min(losses[-5:]) < 0.1
    right = (logits > 0).float() == targets if kind == "pair" else logits.argmax(dim=1) == targets.argmax(dim=1)
    assert bool(right.all())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
