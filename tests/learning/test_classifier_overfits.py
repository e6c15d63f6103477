"""Every encoder over-fits eight cases: gradients reach where they must."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from vesalius.losses.evidence import evidence_loss
from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.models.classifier import build_classifier
from vesalius.models.config import ClassifierConfig, Encoder, Pooling

SLOW = {"vit-small-16", "vit-base-16", "vit-large-16", "resnet-50", "densenet-121"}
STEPS = {"vit-base-16": 30, "vit-large-16": 30}
RATE = {"vit-tiny-16": 5e-4, "vit-small-16": 3e-4, "vit-base-16": 1e-4, "vit-large-16": 5e-5}


def overfit(encoder: str, pooling: str) -> tuple[float, float, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=("a", "b"), encoder=encoder, size_px=64, pooling=pooling))
    images = torch.randn(8, 1, 64, 64)
    targets = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]] * 2).float()
    known = torch.ones(8, 2, dtype=torch.bool)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE.get(encoder, 3e-3))
    losses = []
    for _ in range(STEPS.get(encoder, 40)):
        loss = binary_cross_entropy(network(images).logits, targets, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert not missing, f"no gradient reaches {missing}"
    return losses[0], min(losses[-5:]), network(images).logits, targets


@pytest.mark.parametrize(
    "encoder", [pytest.param(word, marks=pytest.mark.slow) if word in SLOW else word for word in get_args(Encoder)]
)
def test_encoder(encoder: str) -> None:
    first, last, logits, targets = overfit(encoder, "attention")
    assert last < 0.1
    assert first > 0.4
    assert ((logits > 0).float() == targets).all()


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_pooling(pooling: str) -> None:
    first, last, _, _ = overfit("resnet-small", pooling)
    assert last < 0.1
    assert first > 0.4


def test_patch_logits_learn_where_a_finding_is() -> None:
    """Bright squares at known places: the evidence lands on them, on films it was not shown too."""
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=("square",), encoder="resnet-small", size_px=64))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    known = torch.ones(16, 1, dtype=torch.bool)
    for _ in range(40):
        images, masks = squares(16)
        loss = evidence_loss(network(images).patch_logits, masks, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, masks = squares(32)
    with torch.inference_mode():
        evidence = network.eval()(images).patch_logits
    inside = torch.nn.functional.adaptive_avg_pool2d(masks, evidence.shape[2:]) > 0.5
    outside = torch.nn.functional.adaptive_avg_pool2d(masks, evidence.shape[2:]) == 0
    assert float(evidence[inside].mean()) > 1 > -1 > float(evidence[outside].mean())


def squares(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, masks = 0.3 * torch.randn(count, 1, 64, 64), torch.zeros(count, 1, 64, 64)
    for index in range(count):
        top, left = (16 * int(torch.randint(0, 3, (1,))) for _ in range(2))
        masks[index, 0, top : top + 24, left : left + 24] = 1
    return images + 2 * masks, masks
