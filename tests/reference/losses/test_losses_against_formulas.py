"""Every loss against its formula, written anew in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.losses.asymmetric import asymmetric_loss
from vesalius.losses.evidence import evidence_loss
from vesalius.losses.focal import focal_loss
from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.losses.partial_labels import marginal_likelihood_loss

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(0, 3, (40, 5))
HARD = (GENERATOR.random((40, 5)) < 0.4).astype(float)
SOFT = GENERATOR.random((40, 5))
KNOWN = GENERATOR.random((40, 5)) < 0.7
P = 1 / (1 + np.exp(-LOGITS))


def tensors(targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unknown targets are NaN: a loss must not touch them."""
    return torch.tensor(LOGITS), torch.tensor(np.where(KNOWN, targets, np.nan)), torch.tensor(KNOWN)


@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["hard", "soft"])
def test_binary_cross_entropy(targets: np.ndarray) -> None:
    expected = -(targets * np.log(P) + (1 - targets) * np.log(1 - P))[KNOWN].mean()
    assert float(binary_cross_entropy(*tensors(targets))) == pytest.approx(expected, rel=1e-5)


def test_positive_weight_counts_present_labels_more() -> None:
    weight = np.arange(1.0, 6.0)
    expected = -(weight * HARD * np.log(P) + (1 - HARD) * np.log(1 - P))[KNOWN].mean()
    given = binary_cross_entropy(*tensors(HARD), positive_weight=torch.tensor(weight, dtype=torch.float32))
    assert float(given) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize(("gamma_negative", "gamma_positive", "margin"), [(4.0, 1.0, 0.05), (2.0, 0.0, 0.2), (1.0, 3.0, 0.0)])
def test_asymmetric(targets: np.ndarray, gamma_negative: float, gamma_positive: float, margin: float) -> None:
    shifted = np.maximum(P - margin, 0)
    expected = -(targets * (1 - P) ** gamma_positive * np.log(P) + (1 - targets) * shifted**gamma_negative * np.log(1 - shifted))[
        KNOWN
    ].mean()
    given = asymmetric_loss(*tensors(targets), gamma_negative=gamma_negative, gamma_positive=gamma_positive, margin=margin)
    assert float(given) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, None), (2.0, 0.25), (0.5, 0.8)])
def test_focal(gamma: float, alpha: float | None) -> None:
    one, rest = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    expected = -(one * SOFT * (1 - P) ** gamma * np.log(P) + rest * (1 - SOFT) * P**gamma * np.log(1 - P))[KNOWN].mean()
    assert float(focal_loss(*tensors(SOFT), gamma=gamma, alpha=alpha)) == pytest.approx(expected, rel=1e-4)


def test_asymmetric_and_focal_without_focus_are_cross_entropy() -> None:
    plain = float(binary_cross_entropy(*tensors(SOFT)))
    assert float(asymmetric_loss(*tensors(SOFT), gamma_negative=0, gamma_positive=0, margin=0)) == pytest.approx(plain, rel=1e-5)
    assert float(focal_loss(*tensors(SOFT), gamma=0)) == pytest.approx(plain, rel=1e-5)


def test_marginal_likelihood() -> None:
    expected = -np.log(SOFT * P + (1 - SOFT) * (1 - P))[KNOWN].mean()
    assert float(marginal_likelihood_loss(*tensors(SOFT))) == pytest.approx(expected, rel=1e-5)
    hard = float(marginal_likelihood_loss(*tensors(HARD)))
    assert hard == pytest.approx(float(binary_cross_entropy(*tensors(HARD))), rel=1e-5)
    assert abs(expected - float(binary_cross_entropy(*tensors(SOFT)))) > 0.1, "a soft label is another thing"


def test_an_even_prior_teaches_nothing() -> None:
    logits = torch.tensor(LOGITS, requires_grad=True)
    marginal_likelihood_loss(logits, torch.full((40, 5), 0.5), torch.tensor(KNOWN)).backward()
    assert float(logits.grad.abs().max()) < 1e-7


def test_evidence() -> None:
    patches = GENERATOR.normal(0, 2, (3, 2, 4, 4))
    masks = np.zeros((3, 2, 16, 16))
    masks[0, 0, 2:9, 3:11] = 1
    masks[1, 1, :, :] = 0.25
    known = np.array([[True, True], [False, True], [True, True]])
    masks[1, 0] = np.nan  # unknown
    share = masks.reshape(3, 2, 4, 4, 4, 4).mean(axis=(3, 5))
    p = 1 / (1 + np.exp(-patches))
    each = []
    for case, finding in zip(*np.nonzero(known), strict=True):
        inside, there = share[case, finding], p[case, finding]
        imagined = np.average(-np.log(1 - there), weights=1 - inside)
        each.append(0.5 * np.average(-np.log(there), weights=inside) + 0.5 * imagined if inside.any() else imagined)
    logits = torch.tensor(patches, requires_grad=True)
    given = evidence_loss(logits, torch.tensor(masks), torch.tensor(known))
    assert given.item() == pytest.approx(np.mean(each), rel=1e-5)
    given.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[1, 0] == 0).all()


def test_evidence_of_a_finding_smaller_than_a_patch_still_rises() -> None:
    """A fifth of one patch: held to that share, the patch would end below 0 and say that nothing is there."""
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, 1, 2] = 0.2
    optimizer = torch.optim.SGD([logits], lr=2.0)
    for _ in range(300):
        optimizer.zero_grad()
        evidence_loss(logits, masks, torch.tensor([[True]])).backward()
        optimizer.step()
    assert float(logits.detach()[0, 0, 1, 2]) > 1.0
    assert int((logits > 0).sum()) == 1


def test_a_crumb_left_at_the_edge_is_almost_no_finding() -> None:
    logits, known = torch.zeros(1, 1, 4, 4), torch.tensor([[True]])
    crumb, nothing = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    crumb[0, 0, 0, 0] = 1e-4
    logits[0, 0, 0, 0] = -8.0
    assert abs(float(evidence_loss(logits, crumb, known) - evidence_loss(logits, nothing, known))) < 0.03


def test_no_known_mask_is_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    logits = torch.ones(2, 1, 4, 4, requires_grad=True)
    value = evidence_loss(logits, torch.full((2, 1, 8, 8), torch.nan), torch.zeros(2, 1, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss, focal_loss, marginal_likelihood_loss])
@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["usual", "extreme"])
def test_gradients_are_finite_and_zero_where_unknown(loss, scale: float) -> None:
    logits = torch.tensor(LOGITS * scale, requires_grad=True)
    _, targets, known = tensors(HARD)
    loss(logits, targets, known).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).any()


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss, focal_loss, marginal_likelihood_loss])
def test_nothing_known_is_a_loss_of_zero_with_a_gradient_of_zero(loss) -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    value = loss(logits, torch.full((3, 2), torch.nan), torch.zeros(3, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert (logits.grad == 0).all()
