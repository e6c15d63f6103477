"""From a file in CheXzero's layout and a vocabulary in CLIP's to a bundle: the whole way, by the command line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

import vesalius as vs
from tests.bundles import make_film
from vesalius.bundle.image_text import ImageTextBundle, load_image_text
from vesalius.cli import EXIT_OK, EXIT_USAGE, main
from vesalius.models.contracts import FAMILY_CONTRACTS

MERGES = [("n", "o</w>"), ("e", "f"), ("ef", "f"), ("u", "s"), ("eff", "us"), ("i", "o"), ("io", "n</w>"), ("effus", "ion</w>")]
VOCABULARY = 2 * 256 + len(MERGES) + 2
WIDTH, LAYERS, CONTEXT = 64, 2, 12


def openai_state(seed: int, vocabulary: int = VOCABULARY) -> dict[str, Tensor]:
    """Random weights under the names and shapes of openai/CLIP's state dict, for the smallest network of that make."""
    generator = torch.Generator().manual_seed(seed)

    def block(prefix: str) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"attn.in_proj_weight": (3 * WIDTH, WIDTH), "attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= {"attn.out_proj.weight": (WIDTH, WIDTH), "attn.out_proj.bias": (WIDTH,)}
        shapes |= {f"ln_{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")}
        shapes |= {"mlp.c_fc.weight": (4 * WIDTH, WIDTH), "mlp.c_fc.bias": (4 * WIDTH,)}
        shapes |= {"mlp.c_proj.weight": (WIDTH, 4 * WIDTH), "mlp.c_proj.bias": (WIDTH,)}
        return {f"{prefix}.{name}": shape for name, shape in shapes.items()}

    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (CONTEXT, WIDTH),
        "text_projection": (WIDTH, 32),
        "logit_scale": (),
    }
    shapes |= {"visual.class_embedding": (WIDTH,), "visual.positional_embedding": (1 + 7 * 7, WIDTH), "visual.proj": (WIDTH, 32)}
    shapes |= {"visual.conv1.weight": (WIDTH, 3, 32, 32), "token_embedding.weight": (vocabulary, WIDTH)}
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= block(f"visual.transformer.resblocks.{layer}") | block(f"transformer.resblocks.{layer}")
    return {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress(("#version: tiny\n" + "\n".join(map(" ".join, MERGES))).encode()))
    return path


def test_an_ensemble_of_checkpoints_becomes_one_bundle(
    tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"best_{seed}.pt" for seed in range(2)]
    for seed, path in enumerate(files):
        torch.save(openai_state(seed), path)
    command = ["bundle", "import", *map(str, files), "--family", "chexzero", "--tokenizer", str(vocabulary), "--json"]
    assert main([*command, "--out", str(tmp_path / "bundle")]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    bundle = vs.load(tmp_path / "bundle")
    assert isinstance(bundle, ImageTextBundle)
    assert (bundle.id, bundle.members, bundle.family) == (answer["id"], 2, "chexzero")
    assert bundle.contract == FAMILY_CONTRACTS["chexzero"]
    assert bundle.config.text.context_length == CONTEXT
    assert main(["bundle", "verify", str(tmp_path / "bundle")]) == EXIT_OK

    tokens, mask = map(torch.from_numpy, bundle.encode(["effusion", "no effusion"]))
    assert tokens[1, :4].tolist() == [VOCABULARY - 2, 512, 512 + len(MERGES) - 1, VOCABULARY - 1]
    films = torch.from_numpy(bundle.contract.apply([make_film(seed) for seed in range(3)]))
    contrasts = []
    for model in bundle.each_model():
        with torch.inference_mode():
            images, texts = model.embed_images(films), model.embed_texts(tokens, mask)
        np.testing.assert_allclose(images.norm(dim=1), 1.0, atol=1e-5)
        contrasts.append((images @ texts.T).numpy())
    assert np.abs(contrasts[0] - contrasts[1]).max() > 1e-3  # two checkpoints, two answers


AUTHORS_CONTRASTS = [[-0.0215457, -0.0210049, -0.0218585], [-0.0614501, -0.0613594, -0.0612663]]
"""cos("effusion") - cos("no effusion") of three pictures and two checkpoints, all of it by CheXzero's own code at 5c341db: its
`preprocess`, its `CLIP` with `openai_state` in it, its tokenizer on MERGES, its zero-shot scores. torch 2.13.0, Pillow 13.0.0,
torchvision 0.28.0 with antialias=False."""


def test_films_and_words_score_as_by_the_authors_code_from_end_to_end(tmp_path: Path, vocabulary: Path) -> None:
    files = [tmp_path / f"best_{seed}.pt" for seed in range(2)]
    for seed, path in enumerate(files):
        torch.save(openai_state(seed), path)
    command = ["bundle", "import", *map(str, files), "--family", "chexzero", "--tokenizer", str(vocabulary)]
    assert main([*command, "--out", str(tmp_path / "bundle")]) == EXIT_OK
    bundle = load_image_text(tmp_path / "bundle")
    pictures = [picture(*shape) for shape in ((641, 480), (350, 777), (224, 224))]
    films = [vs.Image(pixels=(pixels / 255.0).astype(np.float32), image_id="0" * 16) for pixels in pictures]
    tensor = torch.from_numpy(bundle.contract.apply(films))
    tokens, mask = map(torch.from_numpy, bundle.encode(["effusion", "no effusion"]))
    for model, expected in zip(bundle.each_model(), AUTHORS_CONTRASTS, strict=True):
        with torch.inference_mode():
            cosines = model.embed_images(tensor) @ model.embed_texts(tokens, mask).T
        np.testing.assert_allclose((cosines[:, 0] - cosines[:, 1]).numpy(), expected, atol=1e-5)


def picture(height: int, width: int) -> np.ndarray:
    """Slopes, edges and a checkerboard, as in tests/reference/test_contracts.py."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    return ((x * 7 + y * 3 + (x * y) // 11 + ((x // 9 + y // 13) % 2) * 90) % 223 + 15).astype(np.uint8)


def test_the_vocabulary_of_another_model_stops_it(tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(openai_state(0, vocabulary=VOCABULARY + 5), tmp_path / "a.pt")
    command = ["bundle", "import", str(tmp_path / "a.pt"), "--family", "openai-clip", "--tokenizer", str(vocabulary)]
    assert main([*command, "--out", str(tmp_path / "b")]) == EXIT_USAGE
    assert f"{VOCABULARY} tokens and the checkpoint's embedding {VOCABULARY + 5} rows" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_every_key_that_differs_is_named(tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = openai_state(0)
    state["visual.extra"] = state.pop("visual.ln_post.bias")
    state["visual.proj"] = state["visual.proj"][:, :-1]
    torch.save(state, tmp_path / "a.pt")
    command = ["bundle", "import", str(tmp_path / "a.pt"), "--family", "chexzero", "--tokenizer", str(vocabulary)]
    assert main([*command, "--out", str(tmp_path / "b")]) == EXIT_USAGE
    said = capsys.readouterr().err
    for words in ("visual.extra", "visual.ln_post.bias", "visual.proj"):
        assert words in said


@pytest.mark.parametrize("family", ["medclip", "mi-zero"])
def test_a_wrong_family_is_mended_by_the_first_line_and_every_name_is_there_on_demand(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = openai_state(0)
    torch.save(state, tmp_path / "a.pt")
    command = ["bundle", "import", str(tmp_path / "a.pt"), "--family", family, "--out", str(tmp_path / "b")]
    assert main(command) == EXIT_USAGE
    said = capsys.readouterr().err
    first = said.splitlines()[0]
    assert f"a.pt is no checkpoint of {family}" in first
    assert "try --family openai-clip or --family chexzero" in first, "they have one layout, and only the user knows whose it is"
    theirs = {"logit_scale", "text_projection"} if family == "mi-zero" else {"logit_scale"}
    others = [key for key in state if key not in theirs]
    assert f"unexpected ({len(others)}): " in said
    assert f" and {len(others) - 12} more" in said
    assert "the same command with --json" in said
    assert main([*command, "--json"]) == EXIT_USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "checkpoint_mismatch"
    assert error["unexpected"] == others
    assert len(error["missing"]) > 300
    assert error["reshaped"] == {}


def test_a_broken_file_under_a_wrong_family_is_sent_to_the_family_it_is_nearest_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = openai_state(0)
    del state["visual.proj"]
    torch.save(state | {"odd": torch.ones(1)}, tmp_path / "a.pt")
    command = ["bundle", "import", str(tmp_path / "a.pt"), "--out", str(tmp_path / "b"), "--family"]
    assert main([*command, "mi-zero"]) == EXIT_USAGE
    assert "nearest to openai-clip, from which 2 tensors differ: --family openai-clip names them" in capsys.readouterr().err
    assert main([*command, "openai-clip"]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert "of no other family that is read here either" in said
    assert said.splitlines()[1:] == ["  missing (1): visual.proj", "  unexpected (1): odd"]


@pytest.mark.parametrize("where", ["beside", "pulled"])
def test_a_vocabulary_that_lies_where_it_should_is_found_and_said(
    where: str, tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    torch.save(openai_state(0), tmp_path / "weights" / "a.pt")
    goal = tmp_path / "weights" if where == "beside" else tmp_path / "cache" / "vesalius" / "weights"
    goal.mkdir(parents=True, exist_ok=True)
    vocabulary.rename(goal / vocabulary.name)
    command = ["bundle", "import", str(tmp_path / "weights" / "a.pt"), "--family", "chexzero", "--json"]
    assert main([*command, "--out", str(tmp_path / "bundle")]) == EXIT_OK
    said = " ".join(json.loads(capsys.readouterr().out)["warnings"])
    assert vocabulary.name in said
    assert where in said
    assert load_image_text(tmp_path / "bundle").words.vocabulary == VOCABULARY


def test_without_a_vocabulary_it_embeds_and_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.save(openai_state(0), tmp_path / "a.pt")
    bundle = str(tmp_path / "bundle")
    assert main(["bundle", "import", str(tmp_path / "a.pt"), "--family", "chexzero", "--out", bundle]) == EXIT_OK
    assert "--tokenizer bpe_simple_vocab_16e6.txt.gz" in "".join(capsys.readouterr())
    assert main(["bundle", "verify", bundle]) == EXIT_OK
    assert main(["bundle", "inspect", bundle]) == EXIT_OK
    assert "no words" in capsys.readouterr().out
    film = tmp_path / "film.png"
    PIL.Image.fromarray(picture(90, 80)).save(film)
    assert main(["zeroshot", bundle, str(film), "--finding", "effusion", "--out", str(tmp_path / "a.jsonl")]) == EXIT_USAGE
    assert "made without a tokenizer" in capsys.readouterr().err
    with torch.inference_mode():
        (model,) = load_image_text(bundle).each_model()
        assert model.embed_images(torch.zeros(1, 3, 224, 224)).shape == (1, 32)
