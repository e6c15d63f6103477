"""Gradient caching gives the gradient of the whole batch; shares of the contrast add up to the contrast."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from vesalius.losses.contrastive import cached_contrast, info_nce, symmetric_info_nce
from vesalius.losses.semantic_matching import semantic_matching_loss, semantic_targets


class Towers(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.images = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Dropout(dropout), nn.Linear(24, 8))
        self.texts = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Dropout(dropout), nn.Linear(24, 8))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return normalize(self.images(images), dim=1), normalize(self.texts(texts), dim=1)


def setting(dropout: float = 0.0) -> tuple[Towers, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return Towers(dropout).double(), torch.randn(24, 12).double(), torch.randn(24, 6).double()


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("size", [1, 5, 24])
def test_caching_gives_the_whole_batch_s_gradient(size: int) -> None:
    model, images, texts = setting()
    info_nce(*model(images, texts), model.log_scale.exp()).backward()
    whole = gradients(model)
    model.zero_grad()
    slices = [slice(start, start + size) for start in range(0, 24, size)]
    loss = cached_contrast(
        lambda part: model(images[slices[part]], texts[slices[part]]),
        len(slices),
        lambda seen, said: info_nce(seen, said, model.log_scale.exp()),
    )
    torch.testing.assert_close(gradients(model), whole, rtol=1e-5, atol=1e-6)
    assert not loss.requires_grad


def test_caching_repeats_the_same_dropout() -> None:
    model, images, texts = setting(0.4)
    halves = (slice(0, 12), slice(12, 24))
    torch.manual_seed(7)
    parts = [model(images[half], texts[half]) for half in halves]
    info_nce(torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts]), model.log_scale.exp()).backward()
    whole = gradients(model)
    model.zero_grad()
    torch.manual_seed(7)
    cached_contrast(
        lambda part: model(images[halves[part]], texts[halves[part]]),
        2,
        lambda seen, said: info_nce(seen, said, model.log_scale.exp()),
    )
    torch.testing.assert_close(gradients(model), whole, rtol=1e-5, atol=1e-6)


def test_shares_of_two_processes_average_to_the_whole() -> None:
    model, images, texts = setting()
    seen, said = model(images, texts)
    scale = model.log_scale.exp()
    shares = [symmetric_info_nce(seen[k : k + 12], said[k : k + 12], seen, said, scale, first=k) for k in (0, 12)]
    torch.testing.assert_close(sum(shares) / 2, info_nce(seen, said, scale))


def test_one_hot_labels_make_the_soft_target_a_contrast() -> None:
    model, images, texts = setting()
    seen, said = model(images, texts)
    one_hot = torch.eye(24)
    torch.testing.assert_close(
        semantic_matching_loss(seen, said, model.log_scale.exp(), (one_hot, one_hot)), info_nce(seen, said, model.log_scale.exp())
    )


def test_targets_by_hand() -> None:
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, float("nan")]])
    sentences = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    rows, columns = semantic_targets(labels, sentences)
    e = torch.e
    torch.testing.assert_close(rows, torch.tensor([[e, 1.0], [(e + 1) / 2, (e + 1) / 2], [e, 1.0]]) / (e + 1))
    assert columns.shape == (2, 3)
    torch.testing.assert_close(columns.sum(1), torch.ones(2))
    dot, _ = semantic_targets(labels, sentences, similarity="dot")
    assert dot[0, 0] == pytest.approx(e**2 / (e**2 + 1), rel=1e-6), "the plain product is not bounded by 1"
