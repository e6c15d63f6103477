"""The half that sees gives what the whole model gives, laid out or not, from its own weights alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vesalius.errors import BundleError
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower, build_config
from vesalius.models.image_tower import ImageTower, tower_state

TEXT = TextTower(
    "bert", 16, {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
)


def config(vision: str, projection: str = "linear") -> ImageTextConfig:
    built = build_config("vit-tiny", "bert-tiny", size_px=32, vocabulary=50, context_length=16, embedding_dim=12)
    if vision == "resnet":
        sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        tower = VisionTower("resnet", 32, 3, sizes, pooling="mean")
    elif vision == "clip-vit":
        layers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        tower = VisionTower("clip-vit", 32, 3, {**layers, "patch_size": 16, "hidden_act": "quick_gelu"})
    else:
        tower = built.vision
    return ImageTextConfig(replace(tower, projection=projection), TEXT, 12)  # type: ignore[arg-type]


CASES = [("vit", "linear"), ("clip-vit", "linear"), ("resnet", "mlp"), ("resnet", "conv-mlp"), ("vit", "linear-bias")]


@pytest.mark.parametrize(("vision", "projection"), CASES)
def test_the_tower_sees_what_the_model_sees(vision: str, projection: str) -> None:
    torch.manual_seed(0)
    model = ImageTextModel(config(vision, projection)).eval()
    images = torch.randn(3, model.config.vision.channels, 32, 32)
    with torch.inference_mode():
        whole, features = model.embed_images(images), model.image_features(images)
        patches = torch.nn.functional.normalize(model.project_patches(features.patches), dim=1)
    state = tower_state(model)
    apart = ImageTower.from_state(model.config, state)
    for tower in (ImageTower.of(model), apart.answer_in(torch.float32, torch.device("cpu"))):
        with torch.inference_mode():
            seen = tower(images, patches=True)
            plain = tower(images)
        for got, expected in zip(seen, (whole, features.pooled, patches), strict=True):
            assert got is not None
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        assert plain.patches is None
        torch.testing.assert_close(plain.embeddings, seen.embeddings, atol=1e-6, rtol=0)
    assert not any(name.startswith(("text.", "text_projection.")) for name in state)


def test_in_bfloat16_unit_vectors_stay_near_and_are_float32() -> None:
    torch.manual_seed(1)
    model = ImageTextModel(config("clip-vit")).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        exact = model.embed_images(images)
        tower = ImageTower.of(model).answer_in(torch.bfloat16, torch.device("cpu"))
        seen = tower(images.bfloat16())
    assert seen.embeddings.dtype == torch.float32
    np.testing.assert_allclose(seen.embeddings.norm(dim=1), 1, atol=1e-6)
    assert float((seen.embeddings * exact).sum(dim=1).min()) > 0.999


def test_the_scale_is_the_models_and_at_most_100() -> None:
    model = ImageTextModel(config("vit"))
    assert ImageTower.of(model).scale == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    assert ImageTower.of(model).scale == pytest.approx(float(model.scale.detach())) == 100


def test_weights_of_another_model_are_refused() -> None:
    state = tower_state(ImageTextModel(config("vit")))
    with pytest.raises(BundleError, match="do not fit"):
        ImageTower.from_state(config("clip-vit"), state)


@pytest.mark.parametrize("vision", ["vit", "clip-vit", "resnet", "swin-tiny", "resnet-small", "vit-conv-small"])
def test_no_random_number_is_drawn_for_weights_that_are_loaded_next(vision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten checkpoints of a ViT-B/32 took half a minute to open, for numbers that nobody saw."""
    if vision in {"vit", "clip-vit", "resnet"}:
        given = config(vision)
    else:
        side = 224 if vision == "swin-tiny" else 64  # the least that its windows allow is 196
        built = build_config(vision, "bert-tiny", size_px=side, vocabulary=50, embedding_dim=12)  # type: ignore[arg-type]
        given = replace(built, text=TEXT)
    torch.manual_seed(0)
    model = ImageTextModel(given).eval()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a random number was drawn")

    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    tower = ImageTower.from_state(given, tower_state(model))
    images = torch.linspace(-1, 1, 2 * given.vision.channels * given.vision.size_px**2)
    images = images.reshape(2, given.vision.channels, given.vision.size_px, -1)
    with torch.inference_mode():
        torch.testing.assert_close(tower(images).embeddings, model.embed_images(images), atol=1e-6, rtol=0)
