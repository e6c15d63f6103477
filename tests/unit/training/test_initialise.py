"""Earlier weights: what fits is taken, what does not is said, what cannot be is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.stores import square_films
from vesalius.errors import CheckpointMismatch, RunError
from vesalius.models.classifier import Classifier, build_classifier
from vesalius.models.config import ClassifierConfig
from vesalius.training.classifier import train_classifier
from vesalius.training.initialise import initialise, interpolate_positions
from vesalius.training.options import ClassifierOptions
from vesalius.training.run import load_run


def network_of(seed: int, **changes: object) -> tuple[Classifier, ClassifierConfig]:
    config = ClassifierConfig(**{"findings": ("Upper", "Lower"), "encoder": "vit-tiny-16", "size_px": 32, **changes})
    torch.manual_seed(seed)
    return build_classifier(config), config


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    store = square_films(folder / "store")
    shape = {"encoder": "vit-tiny-16", "size_px": 32, "steps": 1, "batch_size": 2, "accelerator": "cpu"}
    train_classifier(ClassifierOptions(store=store.path, out=folder / "run", **shape))
    return folder / "run"


def test_the_same_network_is_taken_whole(earlier: Path) -> None:
    network, config = network_of(1)
    assert initialise(network, config, earlier) == []
    torch.manual_seed(0)
    same, _ = network_of(2)
    initialise(same, config, earlier)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name


def test_findings_are_taken_by_name(earlier: Path) -> None:
    whole, config = network_of(1)
    initialise(whole, config, earlier)
    network, config = network_of(5, findings=("Nodule", "Upper"))
    fresh = network.evidence.weight[0].clone()
    notes = initialise(network, config, earlier)
    assert torch.equal(network.evidence.weight[1], whole.evidence.weight[0])
    assert torch.equal(network.evidence.weight[0], fresh)
    assert any("anew for Nodule" in note for note in notes)
    assert any("head of Lower was not taken" in note for note in notes)


def test_another_size_interpolates_positions_and_says_so(earlier: Path) -> None:
    network, config = network_of(1, size_px=64)
    notes = initialise(network, config, earlier)
    assert notes == ["position embeddings were interpolated from 4 to 16 patches"]
    assert network(torch.zeros(1, 1, 64, 64)).patch_logits.shape == (1, 2, 4, 4)


def test_interpolation_is_that_of_transformers() -> None:
    from transformers import ViTConfig, ViTModel

    vit = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=64))
    embeddings = vit.embeddings
    torch.nn.init.normal_(embeddings.position_embeddings, generator=torch.Generator().manual_seed(0))
    positions = embeddings.position_embeddings.detach()
    expected = embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + 64, 8), 128, 128).detach()
    torch.testing.assert_close(interpolate_positions(positions, 1 + 64), expected)
    assert torch.equal(interpolate_positions(positions, 1 + 16)[:, 0], positions[:, 0])


def test_channels_are_summed_or_spread_so_that_a_grey_film_looks_the_same(earlier: Path) -> None:
    grey, config = network_of(1)
    initialise(grey, config, earlier)
    colour, config = network_of(2, channels=3)
    notes = initialise(colour, config, earlier)
    assert notes == ["the first layer was brought from 1 to 3 channels"]
    film = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, seen = grey.eval()(film).logits, colour.eval()(film.expand(-1, 3, -1, -1)).logits
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4)


def test_a_bare_file_gives_its_encoder_only(earlier: Path) -> None:
    network, config = network_of(7)
    head = network.evidence.weight.clone()
    notes = initialise(network, config, load_run(earlier).weights)
    assert torch.equal(network.evidence.weight, head)
    assert notes == ["the head begins anew for every finding: the file does not say which findings it has"]


def test_another_pooling_begins_its_own_part_anew(earlier: Path) -> None:
    network, config = network_of(7, pooling="attention")
    assert initialise(network, config, earlier) == ["not in the earlier run, so begun anew: attention.bias, attention.weight"]


def test_another_encoder_is_refused(earlier: Path, tmp_path: Path) -> None:
    network, config = network_of(0, encoder="resnet-small")
    with pytest.raises(RunError, match="has the encoder vit-tiny-16, this run resnet-small"):
        initialise(network, config, earlier)
    with pytest.raises(RunError, match=r"no place for|lacks"):
        initialise(network, config, load_run(earlier).weights)
    wide = {name: tensor.clone() for name, tensor in network_of(0)[0].state_dict().items()}
    wide["encoder.vit.layernorm.weight"] = torch.ones(5)
    save_file(wide, tmp_path / "odd.safetensors")
    with pytest.raises(RunError, match=r"layernorm.weight .* has shape \(5,\)"):
        initialise(*network_of(0), tmp_path / "odd.safetensors")


def test_no_weights_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("text.safetensors", "none.safetensors"):
        with pytest.raises(RunError, match="no weights at"):
            initialise(*network_of(0), tmp_path / name)


def masked_autoencoder(path: Path, dim: int = 192, depth: int = 12, tokens: int = 5) -> dict[str, Tensor]:
    """A checkpoint in the layout of CXR-MAE: timm's names under `model`, a decoder, and training's arguments beside them."""
    torch.manual_seed(3)
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, tokens, dim), "mask_token": (1, 1, 8), "decoder_pos_embed": (1, tokens, 8)}
    shapes |= {
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    layers = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in range(depth):
        for name, (rows, columns) in layers.items():
            shapes |= {f"blocks.{block}.{name}.weight": (rows, columns), f"blocks.{block}.{name}.bias": (rows,)}
        shapes |= {f"blocks.{block}.norm{i}.{part}": (dim,) for i in (1, 2) for part in ("weight", "bias")}
    state = {name: torch.randn(shape) * 0.05 for name, shape in shapes.items()}
    torch.save({"model": state, "epoch": 799, "args": argparse.Namespace(lr=1.5e-4)}, path)
    return state


def test_the_encoder_of_a_masked_autoencoder(tmp_path: Path) -> None:
    theirs = masked_autoencoder(tmp_path / "mae.pth")
    network, config = network_of(1, channels=3)
    head = network.evidence.weight.clone()
    notes = initialise(network, config, tmp_path / "mae.pth")
    layer = network.encoder.vit.layers[11]
    assert torch.equal(layer.attention.k_proj.weight, theirs["blocks.11.attn.qkv.weight"][192:384])
    assert torch.equal(network.encoder.vit.layernorm.bias, theirs["norm.bias"])
    assert torch.equal(network.evidence.weight, head)
    assert any("2 tensors of its decoder were not" in note for note in notes)
    grey, config = network_of(1)
    assert any("from 3 to 1 channels" in note for note in initialise(grey, config, tmp_path / "mae.pth"))


def test_a_file_of_torch_that_is_no_masked_autoencoder(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    network, config = network_of(1)
    with pytest.raises(CheckpointMismatch, match=r"patch_embed\.proj\.weight"):
        initialise(network, config, tmp_path / "other.pt")
