from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

import vesalius as vs
from tests.bundles import make_bundle, make_film
from tests.image_text import CONTRACT, make_config, make_image_text_bundle, make_model, make_tokenizer
from vesalius.bundle.film_words import FilmWords
from vesalius.bundle.format import MANIFEST
from vesalius.bundle.image_text import ImageTextBundle, load_image_text
from vesalius.bundle.load import load_predictor
from vesalius.bundle.predictor import Predictor
from vesalius.bundle.save import save_bundle
from vesalius.bundle.slide import SlideWords
from vesalius.bundle.verify import verify
from vesalius.bundle.zero_shot_files import read_locked, save_locked
from vesalius.cli import EXIT_OK, EXIT_USAGE, main
from vesalius.errors import BundleChanged, BundleError, TextTooLong, TokenizerError
from vesalius.models.contracts import family_contract
from vesalius.models.preprocessing import Preprocessing
from vesalius.zeroshot.prompts import prompts_for

SENTENCES = ["no pleural effusion", "the heart is large"]


def test_what_is_loaded_embeds_as_what_was_saved(tmp_path: Path) -> None:
    bundle_id = make_image_text_bundle(tmp_path / "b", members=2)
    bundle = load_image_text(tmp_path / "b")
    tokens, mask = map(torch.from_numpy, make_tokenizer().encode(SENTENCES, 16))
    films = torch.from_numpy(CONTRACT.apply([make_film(0), make_film(1)]))
    assert bundle.id == bundle_id
    for seed, loaded in enumerate(bundle.models):
        model = make_model(make_config(make_tokenizer()), seed)
        with torch.inference_mode():
            torch.testing.assert_close(
                loaded.embed_texts(*map(torch.from_numpy, bundle.encode(SENTENCES))), model.embed_texts(tokens, mask)
            )
            torch.testing.assert_close(
                loaded.embed_images(torch.from_numpy(bundle.contract.apply([make_film(0), make_film(1)]))),
                model.embed_images(films),
            )
        assert not loaded.training
    assert len(bundle.models) == 2


def test_load_answers_by_kind(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "words")
    make_bundle(tmp_path / "films")
    assert isinstance(vs.load(tmp_path / "words"), ImageTextBundle)
    assert isinstance(vs.load(tmp_path / "films"), Predictor)
    assert isinstance(load_predictor(tmp_path / "films"), Predictor)
    with pytest.raises(BundleError, match="of kind classifier; expected image-text"):
        load_image_text(tmp_path / "films")


def test_what_is_no_classifier_does_not_predict_and_says_what_to_do(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "words")
    with pytest.raises(BundleError, match=r"contrasts, not probabilities.*vesalius zeroshot.*vesalius calibrate"):
        vs.load(tmp_path / "words").predict(make_film(0))
    with pytest.raises(BundleError, match="vesalius zeroshot"):
        load_predictor(tmp_path / "words")


def test_equal_content_is_an_equal_bundle_wherever_its_weights_lie(tmp_path: Path) -> None:
    first = make_image_text_bundle(tmp_path / "a")
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(save(make_model(make_config(make_tokenizer())).state_dict()))
    assert make_image_text_bundle(tmp_path / "b") == first
    assert make_image_text_bundle(tmp_path / "c", weights=[weights]) == first
    assert make_image_text_bundle(tmp_path / "d", name="another") != first
    assert weights.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "weights.safetensors", "bundle.json"])
def test_a_changed_file_is_found_before_it_is_read(tmp_path: Path, name: str) -> None:
    make_image_text_bundle(tmp_path / "b")
    path = tmp_path / "b" / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(BundleChanged, match=name):
        vs.load(tmp_path / "b")


def test_the_manifest_covers_the_tokenizer_and_there_is_no_gate(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "b")
    assert set(json.loads((tmp_path / "b" / MANIFEST).read_bytes())["files"]) == {
        "bundle.json",
        "tokenizer.json",
        "weights.safetensors",
    }


def test_ids_without_a_row_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    small = make_config(make_tokenizer(60))
    assert int(small.text.settings["vocab_size"]) < tokenizer.vocabulary
    with pytest.raises(TokenizerError, match=r"\d+ tokens and the checkpoint's embedding \d+ rows"):
        make_image_text_bundle(tmp_path / "b", config=small)
    assert not (tmp_path / "b").exists()


def test_weights_of_other_towers_are_refused(tmp_path: Path) -> None:
    other = save({"log_scale": torch.zeros(())})
    make_image_text_bundle(tmp_path / "b", weights=[other])
    with pytest.raises(BundleError, match="does not fit its configuration"):
        _ = load_image_text(tmp_path / "b").models


def test_a_name_that_is_no_files_and_no_weights_are_refused(tmp_path: Path) -> None:
    for about in ({"name": "../up"}, {"weights": []}):
        with pytest.raises(BundleError):
            make_image_text_bundle(tmp_path / "b", **about)
        assert not (tmp_path / "b").exists()


def test_sentences_are_prepared_as_the_family_does_and_fit_the_tower(tmp_path: Path) -> None:
    contract = family_contract("biovil").at_size(64)
    make_image_text_bundle(tmp_path / "b", contract=contract)
    bundle = load_image_text(tmp_path / "b")
    assert bundle.text_rule.context_length == 16  # the tower's, not the family's 512
    np.testing.assert_array_equal(bundle.encode(["no effusion."]).tokens, bundle.encode(["no effusion"]).tokens)
    with pytest.raises(TextTooLong):
        bundle.encode(["effusion " * 20])
    assert bundle.encode(["effusion " * 20], too_long="cut").tokens.shape == (1, 16)


def test_a_sentence_that_holds_a_marker_is_quoted_and_refused_for_films_and_slides_alike(tmp_path: Path) -> None:
    """Of a vocabulary that keeps "[SEP]" in one piece; any other reads it letter by letter."""
    content = json.loads(make_tokenizer().to_bytes())
    content["added_tokens"] = [{**token, "special": False} for token in content["added_tokens"]]
    make_image_text_bundle(tmp_path / "b", tokenizer=json.dumps(content).encode())
    bundle = load_image_text(tmp_path / "b")
    asked = prompts_for(["nodule", "left [SEP] effusion"])
    for reader in (FilmWords, lambda bundle, asked: SlideWords(bundle, [asked])):
        with pytest.raises(TokenizerError, match=r"'left \[SEP\] effusion' cannot be asked: .* leave markers such as"):
            reader(bundle, asked)


def test_towers_trained_on_a_store_keep_its_contract(tmp_path: Path) -> None:
    contract = Preprocessing(store_size_px=96, size_px=64, channels=3)
    make_image_text_bundle(tmp_path / "b", contract=contract)
    bundle = load_image_text(tmp_path / "b")
    assert bundle.contract == contract
    assert bundle.text_rule.padding == "context"
    assert bundle.family == "vesalius"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kind": "volume"}, "this version reads: classifier, image-text, zero-shot"), ({"text": None}, "lacks: text")],
)
def test_a_description_of_another_make_is_refused(tmp_path: Path, change: dict[str, str | None], message: str) -> None:
    from vesalius.bundle import format as layout

    make_image_text_bundle(tmp_path / "b")
    path = tmp_path / "b" / layout.DESCRIPTION
    description = json.loads(path.read_bytes()) | change
    path.write_bytes(layout.to_bytes({key: value for key, value in description.items() if value is not None}))
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_bytes())["files"] | {path.name: layout.digest_file(path)}
    (tmp_path / "b" / MANIFEST).write_bytes(layout.manifest_bytes(manifest))
    audit = tmp_path / "b" / layout.AUDIT_MANIFEST
    files = json.loads(audit.read_bytes())["files"]
    audit.write_bytes(layout.manifest_bytes(files, bundle_id=layout.digest_file(tmp_path / "b" / MANIFEST)))
    with pytest.raises(BundleError, match=message):
        verify(tmp_path / "b")


def test_the_card_says_what_its_scores_are_not(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "b", members=2, notices=["Trained on made-up sentences."])
    card = (tmp_path / "b" / "card.md").read_text()
    for words in (
        "contrasts, not probabilities",
        "2 checkpoints",
        "tiny-1.pt, SHA-256",
        "> Trained on made-up sentences.",
        f"bert, {make_tokenizer().vocabulary} tokens",
    ):
        assert words in card


def test_inspect_and_verify_tell_of_it_and_predict_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image_text_bundle(tmp_path / "b")
    assert main(["bundle", "verify", str(tmp_path / "b")]) == EXIT_OK
    assert main(["bundle", "inspect", str(tmp_path / "b")]) == EXIT_OK
    shown = capsys.readouterr().out
    assert "intact, of kind image-text" in shown
    assert "tokenizer" in shown
    assert main(["bundle", "inspect", str(tmp_path / "b"), "--json"]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["description"]["family"]) == ("image-text", "vesalius")
    assert main(["predict", str(tmp_path / "b"), str(tmp_path / "film.png"), "--out", str(tmp_path / "o.jsonl")]) == EXIT_USAGE
    assert "vesalius zeroshot" in capsys.readouterr().err


def test_locked_prompts_are_a_bundle_with_the_rules_of_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_bundle(tmp_path / "films")
    films = verify(tmp_path / "films")
    config = make_config(make_tokenizer())
    prompts = {**prompts_for(["Effusion", "Nodule"]).to_json(), "average": "embeddings", "towers": "words@sha256:0"}
    description = films.description | {
        "kind": "zero-shot",
        "family": "vesalius",
        "encoder": config.to_json(),
        "preprocessing": CONTRACT.to_json(),
        "prompts": prompts,
    }
    texts = {"positive": np.arange(48, dtype=np.float32).reshape(2, 1, 24)}
    model = make_model(config)
    save_locked(tmp_path / "b", description, models=[model], texts=texts, statistics={"mean": np.zeros(3)})
    verified = verify(tmp_path / "b")
    read = read_locked(verified)
    np.testing.assert_array_equal(read.texts["positive"], texts["positive"])
    assert (read.prompts, read.contract, read.towers[0].config) == (prompts, CONTRACT, config)
    tensor = torch.from_numpy(CONTRACT.apply([make_film(3)]))
    torch.testing.assert_close(read.towers[0](tensor).embeddings, model.embed_images(tensor))
    assert not [name for name in read.towers[0].state_dict() if name.startswith("text")]  # no words can be asked of it
    assert verified.kind == "zero-shot"
    assert {"text.safetensors", "statistics.safetensors", "weights.safetensors"} <= set(verified.files)
    card = (tmp_path / "b" / "card.md").read_text()
    for words in (
        "Findings: Effusion, Nodule.",
        "Family: vesalius; 1 checkpoint.",
        "Calibration and decision rules",
        "Order, locked",
    ):
        assert words in card
    assert main(["bundle", "inspect", str(tmp_path / "b")]) == EXIT_OK
    assert "vit of vesalius, 64 px" in capsys.readouterr().out
    path = tmp_path / "b" / "text.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleChanged, match=r"text\.safetensors"):
        verify(tmp_path / "b")


def test_a_description_that_is_not_whole_makes_no_zero_shot_bundle(tmp_path: Path) -> None:
    make_bundle(tmp_path / "films")
    description = verify(tmp_path / "films").description | {"kind": "zero-shot", "family": "vesalius"}
    with pytest.raises(BundleError, match="lacks: prompts"):
        save_locked(tmp_path / "b", description, models=[make_model(make_config(make_tokenizer()))], texts={}, statistics={})


def test_a_file_that_points_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "films")
    description = verify(tmp_path / "films").description
    with pytest.raises(BundleError, match="stay inside the folder"):
        save_bundle(tmp_path / "b", description, weights=[b"w"], statistics=None, extra={"../out": b"x"})
    assert not (tmp_path / "out").exists()
