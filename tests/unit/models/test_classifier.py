"""A classifier's shapes, its evidence, and its way through configuration and resolution."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from vesalius.errors import BundleError
from vesalius.models.classifier import build_classifier
from vesalius.models.config import ClassifierConfig, Encoder, Pooling
from vesalius.models.encoders import ENCODERS

LIGHT = ["vit-tiny-16", "vit-conv-small", "resnet-small", "resnet-small-8", "resnet-18"]
PATCH_PX = {"resnet-small-8": 8, "resnet-18": 32}  # 16 for the others


def build(encoder: str = "resnet-small", **options):
    torch.manual_seed(0)
    return build_classifier(ClassifierConfig(findings=("a", "b", "c"), encoder=encoder, size_px=64, **options)).eval()


def test_every_encoder_word_has_its_network() -> None:
    assert set(ENCODERS) == set(get_args(Encoder))


@pytest.mark.parametrize("encoder", LIGHT)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(encoder: str, channels: int) -> None:
    network = build(encoder, channels=channels)
    with torch.inference_mode():
        output = network(torch.randn(2, channels, 64, 64))
        larger = network(torch.randn(1, channels, 128, 128))
    assert output.logits.shape == (2, 3)
    assert output.features.shape[0] == 2
    side = 64 // PATCH_PX.get(encoder, 16)
    assert output.patch_logits.shape == (2, 3, side, side)
    assert larger.patch_logits.shape[2:] == tuple(2 * side for side in output.patch_logits.shape[2:])


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_film_logit_is_made_of_patch_logits(pooling: str) -> None:
    """Raise every patch logit by 1 and the film's logit rises by 1: nothing else speaks."""
    network, images = build(pooling=pooling), torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        before = network(images)
        network.evidence.bias += 1.0
        after = network(images)
    torch.testing.assert_close(after.patch_logits, before.patch_logits + 1)
    torch.testing.assert_close(after.logits, before.logits + 1)


@pytest.mark.parametrize("encoder", ["vit-tiny-16", "resnet-small"])
def test_one_by_one_is_as_all_together(encoder: str) -> None:
    network, images = build(encoder), torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        together = network(images).logits
        single = torch.cat([network(image[None]).logits for image in images])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_configuration_survives_json() -> None:
    config = ClassifierConfig(findings=("a", "b"), encoder="vit-conv-small", size_px=96, channels=3, pooling="max", dropout=0.1)
    assert ClassifierConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"findings": ()}, "finding"),
        ({"findings": ("a", "a")}, "once"),
        ({"findings": ("a",), "encoder": "vgg"}, "vit-base-16"),
        ({"findings": ("a",), "pooling": "median"}, "logsumexp"),
        ({"findings": ("a",), "size_px": 8}, "32"),
        ({"findings": ("a",), "channels": 2}, "1 or 3"),
        ({"findings": ("a",), "dropout": 1.0}, "share"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(wrong: dict, word: str) -> None:
    with pytest.raises(BundleError, match=word):
        ClassifierConfig(**wrong)


def test_another_versions_configuration_is_refused() -> None:
    with pytest.raises(BundleError, match="another version"):
        ClassifierConfig.from_json({"findings": ["a"], "colour": "blue"})
    with pytest.raises(BundleError, match="another version"):
        ClassifierConfig.from_json({"encoder": "resnet-18"})


def test_a_size_no_patch_fits_is_refused() -> None:
    with pytest.raises(BundleError, match="multiple of 16"):
        build_classifier(ClassifierConfig(findings=("a",), encoder="vit-tiny-16", size_px=100))


@pytest.mark.parametrize("encoder", LIGHT)
@pytest.mark.parametrize("quadrant", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_patch_lies_where_its_pixels_lie(encoder: str, quadrant: tuple[int, int]) -> None:
    """A heat map that is mirrored or transposed would pass every test of shapes."""
    network, (down, across) = build(encoder), quadrant
    images = torch.randn(1, 1, 128, 128)
    changed = images.clone()
    changed[..., 64 * down : 64 * down + 64, 64 * across : 64 * across + 64] += 3.0
    with torch.inference_mode():
        moved = (network.encoder(changed) - network.encoder(images)).norm(dim=1)
    by_quadrant = torch.nn.functional.adaptive_avg_pool2d(moved, 2)[0]
    assert divmod(int(by_quadrant.argmax()), 2) == quadrant


def test_positions_of_a_vit_are_stretched_to_a_larger_film() -> None:
    """Positions that fall linearly across the film still do so over twice as many patches."""
    network = build("vit-tiny-16")
    embeddings = network.encoder.vit.embeddings
    with torch.no_grad():
        slope = torch.arange(4.0).repeat(4)  # the column of each of 4 x 4 patches
        embeddings.position_embeddings[:] = 0
        embeddings.position_embeddings[0, 1:, 0] = slope
        embeddings.cls_token[:] = 0
        embeddings.patch_embeddings.projection.weight[:] = 0
        embeddings.patch_embeddings.projection.bias[:] = 0
        tokens = embeddings(torch.zeros(1, 1, 128, 128), interpolate_pos_encoding=True)
    columns = tokens[0, 1:, 0].view(8, 8)
    torch.testing.assert_close(columns, columns[:1].expand(8, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(columns[0, 2:6], (torch.arange(2.0, 6.0) + 0.5) / 2 - 0.5, atol=0.1, rtol=0)
