"""Tiny towers over-fit eight pairs: gradients reach both, and each film finds its own words."""

from __future__ import annotations

import pytest
import torch

from vesalius.losses.contrastive import info_nce
from vesalius.losses.semantic_matching import semantic_matching_loss, semantic_targets
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import build_config

TOKENS = torch.tensor([[1, 5 + case % 4, 10 + case // 4, 2] for case in range(8)])
MASK = torch.ones_like(TOKENS)
RATE = {"clip-text": 1e-4}
STEPS = {"clip-text": 70}


def overfit(vision: str, text: str, targets: tuple[torch.Tensor, torch.Tensor] | None) -> tuple[list[float], torch.Tensor]:
    torch.manual_seed(0)
    config = build_config(vision, text, size_px=64, vocabulary=20, context_length=8, embedding_dim=32)
    model = ImageTextModel(config).train()
    images = torch.randn(8, config.vision.channels, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE.get(text, 1e-3))
    losses = []
    for _ in range(STEPS.get(text, 140)):
        seen, said, scale = model(images, TOKENS, MASK)
        loss = info_nce(seen, said, scale) if targets is None else semantic_matching_loss(seen, said, scale, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing, f"no gradient reaches {missing}"
    with torch.inference_mode():
        seen, said, _ = model.eval()(images, TOKENS, MASK)
    return losses, seen @ said.T


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ("vit-tiny", "bert-tiny"),
        ("resnet-small", "gpt-tiny"),
        pytest.param("vit-tiny", "clip-text", marks=pytest.mark.slow),
    ],
)
def test_every_film_finds_its_own_words(vision: str, text: str) -> None:
    losses, cosines = overfit(vision, text, None)
    assert losses[0] > 1.5
    assert min(losses[-5:]) < 0.2
    assert (cosines.argmax(1) == torch.arange(8)).all()
    assert (cosines.argmax(0) == torch.arange(8)).all()


def test_films_and_sentences_match_as_their_labels_do() -> None:
    """Two films of each kind and two sentences of each: the nearest sentences of a film are the two that say what it shows."""
    labels = torch.eye(4).repeat(2, 1)
    targets = semantic_targets(labels, labels, sharpness=10.0)
    floor = float(-(targets[0] * targets[0].log()).sum(1).mean())
    losses, cosines = overfit("vit-tiny", "bert-tiny", targets)
    assert losses[0] > floor + 0.5
    assert min(losses[-5:]) < floor + 0.1
    right = labels @ labels.T > 0
    assert (cosines[right].view(8, 2).amin(1) > cosines[~right].view(8, 6).amax(1)).all()
