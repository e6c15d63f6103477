"""ODIN against torch's own losses and autograd, and against finite differences without torch."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.uncertainty import OdinOptions, odin_score
from vesalius.uncertainty.odin import loss_gradient, perturb

torch = pytest.importorskip("torch")
F = torch.nn.functional


def network() -> "torch.nn.Module":
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(2, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * 16, 5)]
    return torch.nn.Sequential(*layers).double().eval()


NETWORK = network()


def logits_of(images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return NETWORK(torch.from_numpy(images)).numpy()


def gradient_of(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(images).requires_grad_()
    return torch.autograd.grad((NETWORK(x) * torch.from_numpy(weights)).sum(), x)[0].numpy()


def images(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2, 6, 6))


@pytest.mark.parametrize("temperature", [1.0, 5.0, 1000.0])
def test_softmax_as_pytorch_ood_has_it(temperature: float) -> None:
    """pytorch-ood 0.4.0 written out: cross-entropy of z / T, step over std, greatest softmax at T of what comes out."""
    x = torch.from_numpy(images()).requires_grad_()
    scaled = NETWORK(x) / temperature
    (gradient,) = torch.autograd.grad(F.cross_entropy(scaled, scaled.argmax(dim=1)), x)
    stepped = x.detach() - 0.05 * gradient.sign() / torch.tensor([0.2, 0.4], dtype=torch.float64).view(1, 2, 1, 1)
    theirs = -(NETWORK(stepped) / temperature).softmax(dim=1).amax(dim=1).detach().numpy()
    options = OdinOptions(temperature=temperature, eps=0.05, std=(0.2, 0.4), form="softmax")
    assert odin_score(images(), logits_of, gradient_of, options) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 5.0, 1000.0])
@pytest.mark.parametrize("evidence", ["max", "sum", "both-states"])
def test_multi_label(temperature: float, evidence: str) -> None:
    x = torch.from_numpy(images()).requires_grad_()
    scaled = NETWORK(x) / temperature
    loss = F.binary_cross_entropy_with_logits(scaled, (scaled >= 0).double(), reduction="sum")
    stepped = x.detach() - 0.03 * torch.autograd.grad(loss, x)[0].sign()
    p = torch.sigmoid(NETWORK(stepped).detach() / temperature)
    read = {"max": p.amax(dim=1), "sum": p.sum(dim=1), "both-states": torch.maximum(p, 1 - p).sum(dim=1)}
    options = OdinOptions(temperature=temperature, eps=0.03, evidence=evidence)
    assert odin_score(images(), logits_of, gradient_of, options) == pytest.approx(-read[evidence].numpy(), rel=1e-12)


def test_the_temperature_changes_the_step_of_many_labels() -> None:
    """The public code for many labels takes the loss at T = 1 and moves a pixel of zero gradient by +eps: other images."""
    hot, cold = (perturb(images(), logits_of, gradient_of, OdinOptions(temperature=t, eps=0.03))[0] for t in (1000.0, 1.0))
    assert not np.array_equal(hot, cold)
    flat, _ = perturb(images(), lambda x: np.zeros((len(x), 5)), lambda x, weights: np.zeros_like(x), OdinOptions())
    assert np.array_equal(flat, images())
    theirs = images() - 0.0014 * ((np.zeros_like(images()) >= 0) * 2 - 1)
    assert np.abs(theirs - images()) == pytest.approx(0.0014)


@pytest.mark.parametrize("form", ["softmax", "multi-label"])
def test_gradient_of_the_loss_by_finite_differences(form: str) -> None:
    z = np.random.default_rng(1).normal(size=(9, 4)) * 3
    step = 1e-6

    def loss(logits: np.ndarray) -> np.ndarray:
        if form == "softmax":
            return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(9), z.argmax(axis=1)]
        return (np.log1p(np.exp(logits)) - logits * (z >= 0)).sum(axis=1)

    numeric = np.stack([(loss(z + step * unit) - loss(z - step * unit)) / (2 * step) for unit in np.eye(4)], axis=1)
    assert loss_gradient(z, form) == pytest.approx(numeric, abs=1e-8)


def test_the_networks_parameters_collect_no_gradient() -> None:
    odin_score(images(), logits_of, gradient_of)
    assert all(parameter.grad is None for parameter in NETWORK.parameters())
