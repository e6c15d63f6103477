"""Each family's traps, on its authors' layout: what is dropped, what is tolerated, what must be said, and what must be refused."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.reference.checkpoints.weights import golden_of, images_of, state_of
from vesalius.errors import CheckpointMismatch, CheckpointUnreadable
from vesalius.models.checkpoints import IMAGE_TEXT_FAMILIES, VISION_FAMILIES, FamilyFacts, Translated, read_checkpoint
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


FILES = {
    "openai-clip": ("openai-clip", 1),
    "biomedclip": ("biomedclip", 2),
    "mi-zero": ("mi-zero", 3),
    "medclip-swin": ("medclip", 4),
    "medclip-resnet": ("medclip", 5),
    "biovil": ("biovil", 6),
    "cxr-mae": ("cxr-mae", 7),
}
MODULES = IMAGE_TEXT_FAMILIES | VISION_FAMILIES


def translate(state: dict[str, Tensor], family: str) -> Translated:
    """What `read_checkpoint` does once the file is read."""
    return import_module(f"vesalius.models.checkpoints.{MODULES[family]}").translate(state, family)


def fault_of(state: dict[str, Tensor], family: str) -> CheckpointMismatch:
    with pytest.raises(CheckpointMismatch) as caught:
        translate(state, family)
    assert all(name in str(caught.value) for name in (*caught.value.missing, *caught.value.unexpected, *caught.value.reshaped))
    return caught.value


@pytest.mark.parametrize("name", FILES)
def test_any_tensor_that_is_missing_or_reshaped_is_named(name: str) -> None:
    """A few tensors drawn by lot, and those that sizes are read from."""
    family, seed = FILES[name]
    whole = _state(name)
    left = set(translate(whole, family).ignored)
    keys = [key for key in whole if key not in left]
    tables = [key for key in keys if key.endswith(("embeddings.weight", "pos_embed", "al_embedding", "bias_table"))][:4]
    for key in {*random.Random(seed).sample(keys, 5), *tables}:
        fault = fault_of({other: value for other, value in whole.items() if other != key}, family)
        assert (fault.missing, fault.unexpected, fault.reshaped) == ((key,), (), ())
        grown = torch.zeros((*whole[key].shape[:-1], whole[key].shape[-1] + 1) if whole[key].ndim else 1)
        fault = fault_of({**whole, key: grown}, family)
        assert (fault.missing, fault.unexpected) == ((), ())
        assert key in fault.reshaped


@pytest.mark.parametrize("name", FILES)
def test_faults_of_every_kind_come_in_one_error(name: str) -> None:
    family, seed = FILES[name]
    state = dict(_state(name))
    left = set(translate(state, family).ignored)
    weights = sorted(key for key in state if key.endswith("weight") and key not in left and state[key].ndim > 1)
    gone, other, cut = random.Random(seed).sample(weights, 3)
    del state[gone], state[other]
    state |= {cut: torch.zeros(1), "left.over": torch.ones(1), f"{cut}.more": torch.ones(1)}
    fault = fault_of(state, family)
    assert set(fault.missing) == {gone, other}
    assert fault.unexpected == ("left.over", f"{cut}.more")
    assert cut in fault.reshaped


def test_another_familys_file_is_refused() -> None:
    for name, (own, _) in FILES.items():
        for family in MODULES:
            if family != own and MODULES[family] != MODULES[own]:
                fault = fault_of(_state(name), family)
                assert fault.missing
                assert fault.unexpected or family == "biovil"  # which says that half of it is not there


def test_an_unknown_family(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match=", ".join(IMAGE_TEXT_FAMILIES)):
        read_checkpoint(tmp_path / "a.pt", "clip")


def test_facts_are_plain_data(read: Callable[..., Any]) -> None:
    facts = read(_state("openai-clip"), "openai-clip")[2].to_json()
    assert facts["family"] == "openai-clip"
    assert len(facts["sha256"][0]) == 64
