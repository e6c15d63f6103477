"""Packed layers answer as the layers they came from."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vesalius.models.classifier import build_classifier
from vesalius.models.clip import ImageTextModel, build_projection
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionKind, VisionTower
from vesalius.models.config import ClassifierConfig
from vesalius.models.packed import PackedClipLayer, PackedLinear, PackedVitLayer, can_pack, pack_for_inference

pytestmark = pytest.mark.skipif(not can_pack(), reason="this build of torch has no packed layout")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_one_layer(dtype: torch.dtype, tolerance: float, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 160, bias=bias).to(dtype)
    inputs = torch.randn(3, 7, 96, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(linear)(inputs), linear(inputs), rtol=tolerance, atol=tolerance)


def test_a_whole_vit_and_its_weights_are_not_saved_in_that_layout() -> None:
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=("a", "b"), encoder="vit-tiny-16", size_px=64)).eval()
    packed = pack_for_inference(copy.deepcopy(network))
    assert any(isinstance(module, PackedVitLayer) for module in packed.modules())
    images = torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        for one, other in zip(packed(images), network(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not [name for name, value in packed.state_dict().items() if value.layout is not torch.strided]


def test_a_small_network_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(8, 8))
    assert pack_for_inference(network)[0] is network[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_one_layer_of_a_vit(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=("a",), encoder="vit-tiny-16", size_px=64)).eval()
    layer = network.encoder.vit.layers[3]
    for value in layer.parameters():
        value.data = torch.randn_like(value) / value.shape[-1] ** 0.5  # large enough that attention is far from uniform
    layer, tokens = layer.to(dtype), torch.randn(2, 17, 192, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(PackedVitLayer(layer)(tokens), layer(tokens), rtol=tolerance, atol=tolerance)


def test_layers_side_by_side_keep_missing_biases_at_zero() -> None:
    torch.manual_seed(0)
    one, other = nn.Linear(96, 64), nn.Linear(96, 128, bias=False)
    inputs = torch.randn(2, 5, 96)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(one, other)(inputs), torch.cat([one(inputs), other(inputs)], dim=-1))


def test_an_answer_does_not_hang_on_the_others_of_its_batch() -> None:
    torch.manual_seed(0)
    network = pack_for_inference(build_classifier(ClassifierConfig(findings=("a", "b"), encoder="vit-tiny-16", size_px=64)).eval())
    images = torch.randn(5, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(images[3:4]).logits, network(images).logits[3:4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", ["resnet-small", "vit-conv-small"])
def test_convolutions_answer_the_same_in_their_new_layout(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=("a", "b"), encoder=encoder, size_px=64)).eval()
    packed = pack_for_inference(copy.deepcopy(network))
    moved = [w for w in packed.parameters() if w.ndim == 4 and w.is_contiguous(memory_format=torch.channels_last)]
    assert len(moved) > 4
    images = torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        for one, other in zip(packed(images), network(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


SIZES = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 512, "patch_size": 16}


def tower_of(kind: VisionKind, **settings: object) -> ImageTextModel:
    torch.manual_seed(0)
    words = {**SIZES, "vocab_size": 50}
    del words["patch_size"]
    vision = VisionTower(kind, 64, 3, settings or SIZES, pooling="mean" if kind in {"swin", "resnet"} else "class")
    model = ImageTextModel(ImageTextConfig(vision, TextTower("bert", 16, words, "first"), 64)).eval()
    for value in model.vision.parameters():
        if value.ndim > 1:
            value.data = torch.randn_like(value) * 1.2 / value[0].numel() ** 0.5  # attention far from uniform, GELU far from a line
    return model


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)])
def test_one_layer_of_clip(dtype: torch.dtype, tolerance: float, activation: str) -> None:
    layer = tower_of("clip-vit", **SIZES, hidden_act=activation).vision.network.encoder.layers[1].to(dtype)
    tokens = torch.randn(2, 17, 128, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(PackedClipLayer(layer)(tokens), layer(tokens, None), rtol=tolerance, atol=tolerance)


def test_quick_gelu_is_not_taken_for_gelu() -> None:
    quick, usual = (tower_of("clip-vit", **SIZES, hidden_act=activation) for activation in ("quick_gelu", "gelu"))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        ours = pack_for_inference(copy.deepcopy(quick.vision))(images).pooled
        assert (ours - quick.vision(images).pooled).abs().max() < 1e-4
        assert (ours - usual.vision(images).pooled).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("kind", "settings", "layer"),
    [
        ("clip-vit", {**SIZES, "hidden_act": "quick_gelu"}, PackedClipLayer),
        ("vit", SIZES, PackedVitLayer),
        ("swin", {"embed_dim": 96, "depths": [2, 2], "num_heads": [3, 6], "patch_size": 4, "window_size": 7}, PackedLinear),
        ("ctranspath", {"embed_dim": 96, "depths": [2, 2], "num_heads": [3, 6], "patch_size": 4, "window_size": 7}, PackedLinear),
        ("resnet", {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic"}, None),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_vision_tower_alone_or_within_its_model(
    kind: VisionKind, settings: dict[str, object], layer: type[nn.Module] | None, whole: bool
) -> None:
    model = tower_of(kind, **settings)
    packed = copy.deepcopy(model)
    pack_for_inference(packed if whole else packed.vision)
    assert layer is None or any(isinstance(module, layer) for module in packed.vision.modules())
    images, tokens = torch.randn(3, 3, 64, 64), torch.randint(1, 50, (2, 5))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        for one, other in zip(packed.image_features(images), model.image_features(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        for one, other in zip(packed(images, tokens, mask), model(images, tokens, mask), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["none", "linear", "linear-bias", "mlp", "mlp-bias-norm", "conv-mlp"])
def test_every_projection_answers_the_same(kind: str) -> None:
    torch.manual_seed(0)
    projection = build_projection(kind, 128, 64, 96).eval()
    features = torch.randn(7, 128)
    with torch.inference_mode():
        torch.testing.assert_close(
            pack_for_inference(copy.deepcopy(projection))(features), projection(features), rtol=1e-5, atol=1e-5
        )
