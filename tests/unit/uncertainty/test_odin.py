"""ODIN: which way the step goes and how far, in which unit, and what is read after it. All known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auroc
from vesalius.uncertainty import OdinOptions, odin_score
from vesalius.uncertainty.odin import loss_gradient, perturb

WEIGHT = np.random.default_rng(0).normal(size=(3, 2 * 4 * 4))
WEIGHT[:, 5] = 0  # a pixel that does not matter


def logits_of(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) @ WEIGHT.T


def gradient_of(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ WEIGHT).reshape(images.shape)


def images(n: int = 12) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 2, 4, 4))


def test_each_pixel_moves_by_eps_or_not_at_all() -> None:
    x = images()
    for form in ("softmax", "multi-label"):
        stepped, whole = perturb(x, logits_of, gradient_of, OdinOptions(eps=0.01, form=form))
        moved = (stepped - x).reshape(len(x), -1)
        assert whole.all()
        assert not moved[:, 5].any()  # sign(0) = 0
        assert np.abs(np.delete(moved, 5, axis=1)) == pytest.approx(0.01)


def test_the_step_makes_the_network_surer() -> None:
    x = images()
    for form, evidence in (("softmax", "max"), ("multi-label", "both-states")):
        plain, stepped = (
            odin_score(x, logits_of, gradient_of, OdinOptions(temperature=2, eps=eps, form=form, evidence=evidence))
            for eps in (0.0, 0.02)
        )
        assert (stepped < plain).all()


def test_eps_is_in_the_unit_of_the_pixels_where_std_is_given() -> None:
    x = images()
    stepped, _ = perturb(x, logits_of, gradient_of, OdinOptions(eps=0.01, std=(0.5, 0.25)))
    size = np.abs(stepped - x).reshape(len(x), 2, 16).max(axis=2)
    assert size == pytest.approx(np.tile([0.02, 0.04], (len(x), 1)))


def test_temperature_is_in_the_loss() -> None:
    """A pixel raises the third class most. Cold, only the second rivals the first; hot, all three weigh the same."""
    gradient = np.array([1.0, 0.5, 4.0])  # of the three logits by the pixel
    z = np.array([[3.0, 2.0, -2.0]])
    cold, hot = ((loss_gradient(z / t, "softmax") @ gradient)[0] for t in (0.5, 1000.0))
    assert cold < 0 < hot
    softmax = np.exp(z[0] / 1000) / np.exp(z[0] / 1000).sum()
    assert hot == pytest.approx((softmax - [1, 0, 0]) @ gradient)


def test_temperature_is_in_what_is_read() -> None:
    x = images()
    scores = odin_score(x, logits_of, gradient_of, OdinOptions(temperature=1000, eps=0, form="softmax"))
    z = logits_of(x) / 1000
    assert scores == pytest.approx(-(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).max(axis=1))


def test_normal_films_under_each_evidence() -> None:
    """The network says -4 for absent and +4 for present; two in three films are normal."""
    random = np.random.default_rng(2)
    labels = (random.random((300, 3)) < 0.13).astype(float)
    x = np.linalg.lstsq(WEIGHT, (8 * labels - 4 + random.normal(0, 0.5, labels.shape)).T, rcond=None)[0].T.reshape(-1, 2, 4, 4)
    normal = (labels.sum(axis=1) == 0).astype(float)
    found = {
        evidence: auroc(normal, odin_score(x, logits_of, gradient_of, OdinOptions(temperature=2, evidence=evidence)))
        for evidence in ("max", "sum", "both-states")
    }
    assert found["max"] > 0.95
    assert found["sum"] > 0.95
    assert found["both-states"] == pytest.approx(0.5, abs=0.07)


def test_batches_and_number_types() -> None:
    x = images(150).astype(np.float32)
    sizes, kinds = [], []

    def watched(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        kinds.append(batch.dtype)
        return logits_of(batch)

    scores = odin_score(x, watched, gradient_of)
    assert scores.shape == (150,)
    assert max(sizes) == 64
    assert set(kinds) == {np.dtype(np.float32)}
    assert np.allclose(scores[100:], odin_score(x[100:], logits_of, gradient_of), atol=1e-9)
    assert odin_score(x[:0], logits_of, gradient_of).shape == (0,)


def test_what_is_not_finite_never_passes() -> None:
    x = images(4)

    def broken(batch: np.ndarray, weights: np.ndarray) -> np.ndarray:
        gradient = gradient_of(batch, weights)
        gradient[1, 0, 0, 0] = np.nan
        return gradient

    scores = odin_score(x, logits_of, broken)
    assert scores[1] == np.inf
    assert np.isfinite(np.delete(scores, 1)).all()
    x[2, 0, 1, 1] = np.inf
    with np.errstate(invalid="ignore"):
        assert odin_score(x, logits_of, gradient_of)[2] == np.inf


def test_wrong_use() -> None:
    x = images()
    for wrong in (
        {"temperature": 0},
        {"eps": -0.1},
        {"std": (1.0, 0.0)},
        {"form": "triple"},
        {"evidence": "mean"},
    ):
        with pytest.raises(ValueOutOfRange):
            OdinOptions(**wrong)
    with pytest.raises(ShapeMismatch, match="one a channel"):
        odin_score(x, logits_of, gradient_of, OdinOptions(std=(1.0,)))
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        odin_score(x, logits_of, lambda batch, weights: weights)
