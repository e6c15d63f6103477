"""What surrounds the reading of a checkpoint: digests, ensembles, tokenizers, files that are something else.

The layouts of the families themselves are held in tests/reference/checkpoints; here a stand-in reads states that are ours already.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.image_text import SENTENCES, make_config, make_model, make_tokenizer
from vesalius.bundle import import_checkpoints as importing
from vesalius.bundle.image_text import load_image_text
from vesalius.bundle.import_checkpoints import group_files, import_checkpoints, read_tokenizer
from vesalius.cli import EXIT_OK, EXIT_USAGE, main
from vesalius.errors import BundleError, CheckpointMismatch, CheckpointUnreadable, TokenizerError, WrongDigest
from vesalius.models.checkpoints import FamilyFacts, read_checkpoint
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.preprocessing import Preprocessing
from vesalius.models.tokenizer import Tokenizer


def stand_in(files: tuple[Path, ...], family: str) -> tuple[ImageTextConfig, dict[str, torch.Tensor], FamilyFacts]:
    """Reads what `write` wrote, of its own family only."""
    held = torch.load(files[0], weights_only=True)
    if held["family"] != family:
        raise CheckpointMismatch("other keys", missing=["visual.proj"])
    notes = tuple(f"read {len(files)} file(s)" for _ in files[1:])
    facts = FamilyFacts(family, "tiny", 0, 0, (), (), (), (), notes)
    return ImageTextConfig.from_json(held["config"]), held["state"], facts


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "read_checkpoint", stand_in)


def write(
    path: Path, *, seed: int = 0, family: str = "medclip", config: ImageTextConfig | None = None, **change: torch.Tensor
) -> Path:
    config = config or make_config(make_tokenizer())
    state = dict(make_model(config, seed).state_dict()) | change
    torch.save({"family": family, "config": config.to_json(), "state": state}, path)
    return path


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """The tokenizer of the tiny towers as a vocab.txt."""
    words = json.loads(make_tokenizer().to_bytes())["model"]["vocab"]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(sorted(words, key=words.__getitem__)) + "\n")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_become_a_bundle_that_embeds_as_they_do(tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path / f"{seed}.pt", seed=seed) for seed in (4, 2)]
    command = ["bundle", "import", *map(str, files), "--family", "medclip", "--tokenizer", str(vocabulary)]
    assert main([*command, "--out", str(tmp_path / "b"), "--sha256", *map(digest, files), "--json"]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    bundle = load_image_text(tmp_path / "b")
    assert answer["id"] == bundle.id
    assert answer["warnings"] == []
    assert bundle.description["provenance"]["files"] == [{"name": path.name, "sha256": digest(path), "note": ""} for path in files]
    assert bundle.contract.size_px == 64
    tokens, mask = map(torch.from_numpy, bundle.encode(SENTENCES))
    for seed, model in zip((4, 2), bundle.models, strict=True):
        torch.testing.assert_close(model.embed_texts(tokens, mask), make_model(bundle.config, seed).embed_texts(tokens, mask))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".b.")]  # nothing is left beside it
    assert main([*command, "--out", str(tmp_path / "again"), "--name", "b", "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["id"] == answer["id"]


@pytest.mark.parametrize(
    ("family", "asked"), [("medclip", 'FILM --finding "pleural effusion"'), ("mi-zero", "SLIDE --prompts lung")]
)
def test_what_to_do_next_is_what_the_towers_were_made_for(
    tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str], family: str, asked: str
) -> None:
    path = write(tmp_path / "a.pt", family=family)
    command = ["bundle", "import", str(path), "--family", family, "--tokenizer", str(vocabulary), "--out", str(tmp_path / "b")]
    assert main(command) == EXIT_OK
    assert f"next: vesalius zeroshot {tmp_path / 'b'} {asked} --out" in capsys.readouterr().out


def test_a_digest_that_differs_stops_it_before_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x80\x02never read")
    with pytest.raises(WrongDigest, match="it is another file"):
        import_checkpoints([tmp_path / "a.pt"], "medclip", tmp_path, sha256=["0" * 64])
    with pytest.raises(WrongDigest, match="1 digests were given for 2 files"):
        import_checkpoints([tmp_path / "a.pt"] * 2, "medclip", tmp_path, sha256=["0" * 64])


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("open('ran', 'w')",))


def test_a_file_that_would_run_code_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importing, "read_checkpoint", read_checkpoint)
    torch.save({"state": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointUnreadable, match=r"evil\.pt holds Python objects .* could run any code"):
        import_checkpoints([tmp_path / "evil.pt"], "medclip", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_wrong_family_names_the_right_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", family="biomedclip")
    with pytest.raises(CheckpointMismatch, match="it reads as a checkpoint of biomedclip: try --family biomedclip") as caught:
        import_checkpoints([path], "chexzero", tmp_path)
    assert caught.value.missing == ("visual.proj",)
    assert "--family biomedclip" in str(caught.value).splitlines()[0], "what helps stands before the names"
    with pytest.raises(CheckpointMismatch, match=r"b\.pt is no checkpoint of chexzero: other keys; it is of no other family"):
        import_checkpoints([write(tmp_path / "b.pt", family="unheard")], "chexzero", tmp_path)
    with pytest.raises(BundleError, match="no checkpoint of family 'cxr-mae' holds both towers"):
        import_checkpoints([path], "cxr-mae", tmp_path)  # type: ignore[arg-type]


def test_of_no_family_every_name_is_told_and_of_another_a_dozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"visual.block.{number}" for number in range(30)]

    def differing(files: tuple[Path, ...], family: str) -> tuple[ImageTextConfig, dict[str, torch.Tensor], FamilyFacts]:
        if family == torch.load(files[0], weights_only=True)["family"]:
            return stand_in(files, family)
        raise CheckpointMismatch("other keys", missing=names)

    monkeypatch.setattr(importing, "read_checkpoint", differing)
    for family, told in (("unheard", 30), ("biomedclip", importing.NAMES_SHOWN)):
        with pytest.raises(CheckpointMismatch) as caught:
            import_checkpoints([write(tmp_path / f"{family}.pt", family=family)], "chexzero", tmp_path)
        said = str(caught.value)
        assert sum(name in said.replace(";", " ").split() for name in names) == told
        assert ("--json" in said) is (told < 30)
        assert caught.value.missing == tuple(names)


def test_a_published_file_is_known_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    path = write(tmp_path / "a.pt", family="chexzero")
    line = next(line for line in importing.public_weights() if line.family == "openai-clip")
    monkeypatch.setattr(importing, "public_weights", lambda: (replace(line, sha256=digest(path)),))
    with pytest.raises(BundleError, match="by its SHA-256, no checkpoint of chexzero: use --family openai-clip"):
        import_checkpoints([path], "chexzero", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("clip-vocabulary", "no checkpoint: give it with --tokenizer"), ("biovil-t-images", "which is not read here")],
)
def test_a_published_file_that_is_no_checkpoint_of_any_family_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    from dataclasses import replace

    path = write(tmp_path / "a.pt", family="chexzero")
    table = tuple(replace(line, sha256=digest(path)) if line.name == name else line for line in importing.public_weights())
    monkeypatch.setattr(importing, "public_weights", lambda: table)
    with pytest.raises(BundleError, match=said) as caught:
        import_checkpoints([path], "chexzero", tmp_path)
    assert "None" not in str(caught.value)


def test_an_ensemble_is_of_different_files_and_equal_networks(tmp_path: Path) -> None:
    first = write(tmp_path / "a.pt")
    (tmp_path / "copy.pt").write_bytes(first.read_bytes())
    with pytest.raises(BundleError, match=r"copy\.pt and a\.pt are the same file"):
        import_checkpoints([first, tmp_path / "copy.pt"], "medclip", tmp_path)
    other = write(tmp_path / "other.pt", config=make_config(make_tokenizer(60)))
    with pytest.raises(BundleError, match="networks of different sizes"):
        import_checkpoints([first, other], "medclip", tmp_path)
    with pytest.raises(BundleError, match="no checkpoint was given"):
        import_checkpoints([], "medclip", tmp_path)
    with pytest.raises(BundleError, match="no checkpoint at"):
        import_checkpoints([tmp_path / "absent.pt"], "medclip", tmp_path)


def test_towers_in_two_files_are_one_checkpoint_and_so_is_a_folder(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{seed}.pt", seed=seed, family="biovil") for seed in range(2)]
    read = import_checkpoints(files, "biovil", tmp_path)
    assert (len(read.weights), len(read.files)) == (1, 2)
    assert read.notes == ("read 2 file(s)",)
    (tmp_path / "one").mkdir()
    assert group_files([tmp_path / "one", files[0]], "biovil") == [(tmp_path / "one",), (files[0],)]
    assert group_files(files, "medclip") == [(files[0],), (files[1],)]


def test_the_zip_that_medclip_comes_in_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", seed=3)
    with zipfile.ZipFile(tmp_path / "medclip.zip", "w") as archive:
        archive.write(path, "medclip-vit/pytorch_model.bin")
    read = import_checkpoints([tmp_path / "medclip.zip"], "medclip", tmp_path)
    torch.testing.assert_close(load_file(read.weights[0])["log_scale"], torch.load(path, weights_only=True)["state"]["log_scale"])
    assert read.files[0]["name"] == "medclip.zip"


def test_the_vocabulary_of_another_model_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    config = make_config(make_tokenizer())
    rows = int(config.text.settings["vocab_size"])
    lines = vocabulary.read_text().split()
    more, fewer = tmp_path / "more.txt", tmp_path / "fewer.txt"
    more.write_text("\n".join([*lines, "another"]))
    fewer.write_text("\n".join(lines[:-2]))
    with pytest.raises(TokenizerError, match=f"{rows + 1} tokens and the checkpoint's embedding {rows} rows"):
        read_tokenizer(more, "medclip", config, smaller=True)
    with pytest.raises(TokenizerError, match=r"the tokenizer it was trained with$"):
        read_tokenizer(fewer, "medclip", config)
    with pytest.raises(TokenizerError, match=r"28996 tokens by its authors.*--smaller-vocabulary"):
        read_tokenizer(fewer, "mi-zero", config)
    tokenizer, warnings = read_tokenizer(fewer, "mi-zero", config, smaller=True)
    assert tokenizer.vocabulary == rows - 2
    assert "on purpose" in warnings[0]


def test_the_kind_of_vocabulary_is_the_familys(tmp_path: Path, vocabulary: Path) -> None:
    with pytest.raises(TokenizerError, match="of kind bert; checkpoints of chexzero read clip"):
        read_tokenizer(vocabulary, "chexzero", make_config(make_tokenizer()))


def test_a_cased_vocabulary_is_read_in_lower_case_where_the_authors_do(tmp_path: Path, vocabulary: Path) -> None:
    words = [*vocabulary.read_text().split(), "Effusion"]
    cased = tmp_path / "cased.txt"
    cased.write_text("\n".join(words))
    config = make_config(Tokenizer.from_file(cased))
    tokenizer, warnings = read_tokenizer(cased, "medclip", config)
    assert tokenizer.encode(["Effusion"], 3).tokens[0, 1] == words.index("effusion")
    assert warnings == []
    (tmp_path / "tokenizer.json").write_bytes(Tokenizer.from_file(cased).to_bytes())  # one that tells capitals apart
    _, warnings = read_tokenizer(tmp_path / "tokenizer.json", "medclip", config)
    assert "reads capitals as small letters and this one does not" in warnings[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say whose it is with --family"),
        (["--family", "medclip", "--tokenizer", "absent.txt"], "no tokenizer at absent.txt"),
    ],
)
def test_what_is_missing_on_the_command_line_is_said(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.pt")
    assert main(["bundle", "import", str(path), *arguments, "--out", str(tmp_path / "b")]) == EXIT_USAGE
    assert words in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_bundle_that_is_there_stays_unless_told_otherwise(
    tmp_path: Path, vocabulary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write(tmp_path / "a.pt"), write(tmp_path / "c.pt", seed=9)
    rest = ["--family", "medclip", "--tokenizer", str(vocabulary), "--out", str(tmp_path / "b")]
    assert main(["bundle", "import", str(first), *rest]) == EXIT_OK
    before = load_image_text(tmp_path / "b").id
    assert main(["bundle", "import", str(second), *rest]) == EXIT_USAGE
    assert load_image_text(tmp_path / "b").id == before
    assert main(["bundle", "import", str(second), *rest, "--overwrite"]) == EXIT_OK
    assert load_image_text(tmp_path / "b").id != before


def write_run(path: Path, *, members: int = 1, **change: object) -> Path:
    """What a finished run of `vesalius train image-text` leaves."""
    tokenizer = make_tokenizer()
    config = make_config(tokenizer)
    (path / "checkpoints").mkdir(parents=True)
    names = [f"best-{seed}.safetensors" for seed in range(members)]
    for seed, name in enumerate(names):
        save_file(make_model(config, seed).state_dict(), path / "checkpoints" / name)
    (path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    (path / "run.toml").write_text("")
    about = {"sites": ["A"], "store_fingerprint": "0" * 64, "options": {"steps": 2}, "best": {"step": 1}, "films": {"train": 9}}
    model = {"format": 1, "kind": "image-text", "seconds": 1.0, "findings": [], "weights": names, "config": config.to_json()}
    contract = Preprocessing(store_size_px=80, size_px=64, channels=3)
    (path / "model.json").write_text(json.dumps(model | about | {"preprocessing": contract.to_json()} | change))
    return path


def test_a_run_brings_its_own_words_and_its_own_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", members=2)
    assert main(["bundle", "import", str(run), "--out", str(tmp_path / "b"), "--json"]) == EXIT_OK
    bundle = load_image_text(tmp_path / "b")
    assert (bundle.family, bundle.members, bundle.contract.size_px) == ("vesalius", 2, 64)
    assert bundle.tokenizer.sha256 == make_tokenizer().sha256
    assert bundle.description["provenance"]["training_sites"] == ["A"]
    tokens, mask = map(torch.from_numpy, bundle.encode(SENTENCES))
    for seed, model in enumerate(bundle.models):
        torch.testing.assert_close(model.embed_texts(tokens, mask), make_model(bundle.config, seed).embed_texts(tokens, mask))
    assert json.loads(capsys.readouterr().out)["id"] == bundle.id


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"kind": "classifier"}, [], "expected one of `vesalius train image-text`"),
        ({}, ["--family", "chexzero"], "a run brings its own family and tokenizer"),
        ({}, ["--sha256", "0" * 64], "--sha256 is for authors' files"),
    ],
)
def test_a_run_of_another_recipe_and_flags_that_are_not_for_runs_are_refused(
    tmp_path: Path, change: dict[str, object], arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", **change)
    assert main(["bundle", "import", str(run), "--out", str(tmp_path / "b"), *arguments]) == EXIT_USAGE
    assert words in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
