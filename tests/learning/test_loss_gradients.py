"""Every loss's gradient agrees with finite differences."""

from __future__ import annotations

import pytest
import torch

from vesalius.losses import asymmetric, contrastive, evidence, focal, multilabel, partial_labels, semantic_matching


@pytest.mark.parametrize(
    "loss",
    [
        multilabel.binary_cross_entropy,
        asymmetric.asymmetric_loss,
        focal.focal_loss,
        partial_labels.marginal_likelihood_loss,
    ],
)
def test_gradient(loss) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64) * 2
    targets, known = torch.rand(4, 3), torch.rand(4, 3) < 0.8
    check(lambda z: loss(z, targets, known), logits)


def test_gradient_of_evidence() -> None:
    torch.manual_seed(0)
    masks = (torch.rand(2, 2, 8, 8) < 0.3).float()
    known = torch.tensor([[True, False], [True, True]])
    check(lambda z: evidence.evidence_loss(z, masks, known), torch.randn(2, 2, 4, 4, dtype=torch.float64))


def test_gradient_of_the_contrast() -> None:
    torch.manual_seed(0)
    texts, scale = torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1), torch.tensor(3.0).double()
    check(lambda images: contrastive.info_nce(images, texts, scale), torch.randn(5, 4, dtype=torch.float64))
    images = torch.randn(5, 4, dtype=torch.float64)
    check(lambda rows: contrastive.info_nce(images, rows, scale), texts)
    check(lambda one: contrastive.info_nce(images, texts, one[0]), scale[None])


def test_gradient_of_semantic_matching() -> None:
    torch.manual_seed(0)
    labels, said = torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0]]), torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    targets = semantic_matching.semantic_targets(labels, said)
    texts, scale = torch.randn(3, 4, dtype=torch.float64), torch.tensor(3.0).double()
    images = torch.randn(4, 4, dtype=torch.float64)
    check(lambda rows: semantic_matching.semantic_matching_loss(rows, texts, scale, targets), images)
    check(lambda rows: semantic_matching.semantic_matching_loss(images, rows, scale, targets), texts)
    check(lambda one: semantic_matching.semantic_matching_loss(images, texts, one[0], targets), scale[None])


def check(loss, logits: torch.Tensor, step: float = 1e-2) -> None:
    """Central differences; the losses compute in float32, so the step is wide and the tolerance follows."""
    point = logits.clone().requires_grad_()
    loss(point).backward()
    flat = logits.flatten()
    for index in range(len(flat)):
        up, down = flat.clone(), flat.clone()
        up[index] += step
        down[index] -= step
        slope = (float(loss(up.view_as(logits))) - float(loss(down.view_as(logits)))) / (2 * step)
        assert float(point.grad.flatten()[index]) == pytest.approx(slope, abs=2e-4)
