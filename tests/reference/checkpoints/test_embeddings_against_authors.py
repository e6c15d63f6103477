"""Our embeddings of the authors' state dicts against those of the authors' own classes.

Goldens: `goldens/*.json`; `about` names repository, commit, licence, versions and how they were made. Both sides have the same
weights, which `weights.py` makes from the names of the tensors; only the numbers below travelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.reference.checkpoints.weights import golden_of, images_of, state_of
from vesalius.models.checkpoints import FamilyFacts, read_checkpoint, read_vision_checkpoint
from vesalius.models.clip import ImageTextModel, Vit

PAIRS = [
    ("openai-clip", "openai-clip"),
    ("biomedclip", "biomedclip"),
    ("mi-zero", "mi-zero"),
    ("medclip-swin", "medclip"),
    ("medclip-resnet", "medclip"),
    ("biovil", "biovil"),
]


def load(name: str, family: str, folder: Path, **wrap: Any) -> tuple[dict[str, Any], ImageTextModel, FamilyFacts]:
    golden = golden_of(name)
    state = state_of(golden)
    assert len(state) == golden["n_tensors"]
    assert sum(value.numel() for value in state.values()) == golden["n_elements"]
    if family == "mi-zero":
        wrap, state = {"state_dict": {f"module.{key}": value for key, value in state.items()}}, {}
    torch.save({**state, **wrap}, folder / "checkpoint.pt")
    config, ours, facts = read_checkpoint(folder / "checkpoint.pt", family)
    model = ImageTextModel(config)
    model.load_state_dict(ours, strict=True)
    return golden, model.eval().requires_grad_(False), facts


def assert_equal_rows(ours: Tensor, golden: list[list[float]]) -> None:
    expected = torch.tensor(golden)
    torch.testing.assert_close(ours[:, : expected.shape[1]], expected, rtol=0, atol=1e-5)


def assert_answers(golden: dict[str, Any], model: ImageTextModel) -> None:
    images = model.embed_images(images_of(golden))
    texts = model.embed_texts(torch.tensor(golden["tokens"]), torch.tensor(golden["mask"]))
    assert images.shape[1] == golden["dim"]
    assert_equal_rows(images, golden["images"])
    assert_equal_rows(texts, golden["texts"])
    assert_equal_rows(images @ texts.T, golden["cosines"])


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_embeddings(name: str, family: str, tmp_path: Path) -> None:
    golden, model, facts = load(name, family, tmp_path)
    assert_answers(golden, model)
    assert (facts.tensors, facts.elements) == (golden["n_tensors"], golden["n_elements"])
    scale = 1.0 if family == "biovil" else 1 / 0.07
    assert model.scale.item() == pytest.approx(scale, rel=1e-5)


def test_chexzero_at_full_size(tmp_path: Path) -> None:
    golden, model, facts = load("chexzero", "chexzero", tmp_path)
    assert (facts.tensors, facts.elements, facts.notes) == (302, 151_277_313, ())
    assert_answers(golden, model)


def test_patches_of_biovil_in_the_shared_space(tmp_path: Path) -> None:
    golden, model, _ = load("biovil", "biovil", tmp_path)
    patches = normalize(model.project_patches(model.image_features(images_of(golden)).patches), dim=1)
    assert_equal_rows(patches[:, :, 0, 0], golden["first_patch"])


def test_tokens_of_the_masked_autoencoder(tmp_path: Path) -> None:
    golden = golden_of("cxr-mae")
    torch.save({"model": state_of(golden)}, tmp_path / "a.pth")
    tower, state, facts = read_vision_checkpoint(tmp_path / "a.pth", "cxr-mae")
    encoder = Vit(tower)
    encoder.load_state_dict(state, strict=True)
    with torch.no_grad():
        features = encoder.eval()(images_of(golden))
    assert_equal_rows(features.pooled, golden["class_token"])
    assert_equal_rows(features.patches[:, :, 0, 0], golden["first_patch"])
    assert_equal_rows(features.patches[:, :, -1, -1], golden["last_patch"])
    left = set(facts.ignored)
    assert {"mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.attn.qkv.weight"} <= left
    assert len(left) + len(state) > golden["n_tensors"]  # query, key and value are three here
