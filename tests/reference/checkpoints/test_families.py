"""Each family's traps, on its authors' layout: what is dropped, what is tolerated, what must be said, and what must be refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.reference.checkpoints.weights import golden_of, images_of, state_of
from vesalius.errors import CheckpointMismatch, CheckpointUnreadable
from vesalius.models.checkpoints import IMAGE_TEXT_FAMILIES, FamilyFacts, read_checkpoint
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig

Read = tuple[ImageTextConfig, dict[str, Tensor], FamilyFacts]


@cache
def _state(name: str) -> dict[str, Tensor]:
    return state_of(golden_of(name))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    def of(state: dict[str, Tensor], family: str) -> Read:
        torch.save(state, tmp_path / "a.pt")
        return read_checkpoint(tmp_path / "a.pt", family)

    return of


def embed(config: ImageTextConfig, state: dict[str, Tensor], images: Tensor) -> Tensor:
    model = ImageTextModel(config)
    model.load_state_dict(state, strict=True)
    with torch.inference_mode():
        return model.eval().embed_images(images)


def test_clip_has_the_quick_gelu_and_the_usual_one_gives_other_numbers(read: Callable[..., Read]) -> None:
    golden = golden_of("openai-clip")
    config, state, _ = read(_state("openai-clip"), "openai-clip")
    assert config.vision.settings["hidden_act"] == config.text.settings["hidden_act"] == "quick_gelu"
    wrong = replace(config, vision=replace(config.vision, settings={**config.vision.settings, "hidden_act": "gelu"}))
    expected = torch.tensor(golden["images"])
    right, other = (embed(each, state, images_of(golden))[:, :12] for each in (config, wrong))
    assert (right - expected).abs().max() < 1e-5
    assert (other - expected).abs().max() > 1e-3


def test_clip_sizes_come_from_the_tensors(read: Callable[..., Read]) -> None:
    config, _, facts = read(_state("openai-clip"), "openai-clip")
    seen = config.vision
    assert (config.embedding_dim, seen.size_px, seen.settings["patch_size"], seen.settings["num_hidden_layers"]) == (32, 64, 16, 3)
    assert (seen.settings["hidden_size"], seen.settings["num_attention_heads"]) == (128, 2)
    assert (config.text.context_length, config.text.settings["vocab_size"], config.text.settings["num_hidden_layers"]) == (
        16,
        200,
        2,
    )
    assert (facts.ignored, facts.left, facts.notes) == ((), (), ())


def test_an_archive_of_openai_in_half_precision(read: Callable[..., Read]) -> None:
    halves = {name: value.half() for name, value in _state("openai-clip").items()}
    extra = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(16), "vocab_size": torch.tensor(200)}
    _, state, facts = read({**halves, **extra}, "openai-clip")
    assert facts.ignored == ("input_resolution", "context_length", "vocab_size")
    assert facts.dtypes == ("float16", "int64")
    assert all(value.dtype == torch.float32 for value in state.values())
    torch.testing.assert_close(state["text_projection.weight"], halves["text_projection"].float().T)


def test_chexzero_of_other_sizes_is_told(read: Callable[..., Read]) -> None:
    assert "302 tensors" in read(_state("openai-clip"), "chexzero")[2].notes[0]


def test_a_residual_clip_is_refused_by_name(read: Callable[..., Read]) -> None:
    with pytest.raises(CheckpointMismatch, match="attention pooling"):
        read({**_state("openai-clip"), "visual.attnpool.c_proj.weight": torch.ones(2, 2)}, "openai-clip")


def test_biomedclip_with_and_without_position_ids(read: Callable[..., Read]) -> None:
    key = "text.transformer.embeddings.position_ids"
    config, _, facts = read({**_state("biomedclip"), key: torch.arange(96)[None]}, "biomedclip")
    assert facts.ignored == (key,)
    assert config.vision.settings["layer_norm_eps"] == 1e-6
    assert config.text.hidden_dim == (128 + 96) // 2


def test_mi_zero_under_either_numbering_of_timm(read: Callable[..., Read]) -> None:
    def renumber(key: str) -> str:
        return re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", key)

    old = _state("mi-zero")
    new = {renumber(key): value for key, value in old.items() if not key.endswith(("attn_mask", "relative_position_index"))}
    assert set(new) - set(old)
    first, second = read(old, "mi-zero"), read(new, "mi-zero")
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    assert second[2].ignored == ()


def test_mi_zero_leaves_out_masks_of_any_size_and_nothing_else(read: Callable[..., Read]) -> None:
    state = dict(_state("mi-zero"))
    mask = "visual.trunk.layers.0.blocks.1.attn_mask"
    state[mask] = torch.zeros(256, 49, 49)  # of 448 px
    config, _, facts = read(state, "mi-zero")
    assert mask in facts.ignored
    assert all(key.endswith(("attn_mask", "relative_position_index")) for key in facts.ignored)
    assert config.vision.settings["window_size"] == 7
    assert config.vision.settings["depths"] == [2, 2, 6, 2]
    assert config.vision.settings["num_heads"] == [3, 6, 12, 24]


@pytest.mark.parametrize("rows", [30522, 28996])
def test_mi_zero_table_of_words_is_as_large_as_its_tensor(read: Callable[..., Read], rows: int) -> None:
    table = "transformer.embeddings.word_embeddings.weight"
    config, state, facts = read({**_state("mi-zero"), table: torch.zeros(rows, 128)}, "mi-zero")
    assert config.text.settings["vocab_size"] == rows
    assert state["text.network.embeddings.word_embeddings.weight"].shape == (rows, 128)
    assert any("PubMedBERT" in note for note in facts.notes) == (rows == 30522)


def test_module_inside_a_name_stays(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in _state("mi-zero").items()}
    state["module.visual.module.odd"] = torch.ones(1)
    torch.save({"state_dict": state, "epoch": 50}, tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch) as caught:
        read_checkpoint(tmp_path / "a.pt", "mi-zero")
    assert caught.value.unexpected == ("visual.module.odd",)


@pytest.mark.parametrize(("name", "variant"), [("medclip-swin", "Swin"), ("medclip-resnet", "ResNet")])
def test_medclip_drops_what_old_transformers_saved_beside_weights(read: Callable[..., Read], name: str, variant: str) -> None:
    config, _, facts = read(_state(name), "medclip")
    assert facts.variant == variant
    assert {"text_model.model.embeddings.position_ids", "text_model.model.pooler.dense.weight"} <= set(facts.ignored)
    assert config.text.pooling == "mean-layers-1-2-last"
    less = {key: value for key, value in _state(name).items() if key not in facts.ignored}
    assert read(less, "medclip")[2].ignored == ()


def test_biovil_in_two_files_or_their_folder(tmp_path: Path) -> None:
    whole = _state("biovil")
    images = {key: value for key, value in whole.items() if key.startswith(("encoder.", "projector."))}
    words = {key: value.contiguous() for key, value in whole.items() if key not in images}
    torch.save(images, tmp_path / "images.pt")
    save_file(words, tmp_path / "words.safetensors")
    files = [tmp_path / "images.pt", tmp_path / "words.safetensors"]
    one, two = read_checkpoint(files, "biovil"), read_checkpoint(tmp_path, "biovil")
    assert one[0] == two[0]
    assert len(one[2].sha256) == 2
    assert {"encoder.encoder.fc.weight", "cls.predictions.decoder.weight"} <= set(one[2].ignored)
    assert any("no temperature" in note for note in one[2].notes)
    for file, absent in ((files[0], "words"), (files[1], "images")):
        with pytest.raises(CheckpointMismatch, match=f"encoder of {absent} is a file of its own"):
            read_checkpoint(file, "biovil")


LAST = {
    "openai-clip": ("openai-clip", "transformer.resblocks.1.ln_2.bias"),
    "biomedclip": ("biomedclip", "visual.trunk.blocks.7.attn.qkv.bias"),
    "mi-zero": ("mi-zero", "visual.trunk.layers.1.downsample.norm.weight"),
    "medclip": ("medclip-swin", "vision_model.model.encoder.layers.1.blocks.0.output.dense.bias"),
    "biovil": ("biovil", "encoder.encoder.layer3.2.bn2.running_mean"),
}


@pytest.mark.parametrize("family", LAST)
def test_one_fault_of_each_kind_is_named(read: Callable[..., Read], family: str) -> None:
    name, key = LAST[family]
    state = dict(_state(name))
    scaled = next(each for each in state if each.endswith("word_embeddings.weight") or each == "token_embedding.weight")
    del state[key]
    state["left.over"] = torch.ones(1)
    other = next(each for each in state if each.endswith(("LayerNorm.weight", "ln_final.bias")))
    state[other] = torch.ones(7)
    with pytest.raises(CheckpointMismatch) as caught:
        read(state, family)
    error = caught.value
    assert (error.missing, error.unexpected, error.reshaped) == ((key,), ("left.over",), (other,))
    assert all(word in str(error) for word in (key, "left.over", other))
    assert scaled not in str(error)


@pytest.mark.parametrize("family", LAST)
def test_another_familys_file_is_refused(read: Callable[..., Read], family: str) -> None:
    for other in set(LAST) - {family}:
        with pytest.raises(CheckpointMismatch) as caught:
            read(_state(LAST[other][0]), family)
        assert caught.value.missing


def test_an_unknown_family(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match=", ".join(IMAGE_TEXT_FAMILIES)):
        read_checkpoint(tmp_path / "a.pt", "clip")


def test_facts_are_plain_data(read: Callable[..., Any]) -> None:
    facts = read(_state("openai-clip"), "openai-clip")[2].to_json()
    assert facts["family"] == "openai-clip"
    assert len(facts["sha256"][0]) == 64
