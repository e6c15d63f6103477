"""Films read by words: `vesalius.zeroshot`, what is computed once, the spread over prompt sets, the question's hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesalius as vs
from tests.bundles import make_bundle, make_film
from tests.image_text import make_image_text_bundle
from vesalius.bundle.film_words import FilmWords, WordOptions, question_of, unread_words
from vesalius.bundle.image_text import ImageTextBundle, load_image_text
from vesalius.errors import BundleError, PromptsError, TextTooLong
from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.models.tokenizer import Tokenizer
from vesalius.zeroshot.heads import contrast, text_weights
from vesalius.zeroshot.prompt_sets import draw_prompt_sets
from vesalius.zeroshot.prompts import PLAIN, Prompt, PromptSet, Template, prompts_for

POOL = PromptSet(
    "pool",
    "pair",
    (Prompt("Heart", ("heart", "large heart", "the heart")), Prompt("Effusion", ("effusion", "pleural effusion"))),
    (*PLAIN, Template("seen: {}", "not seen: {}"), Template("a {}", "not a {}")),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words")
    make_image_text_bundle(path / "one")
    make_image_text_bundle(path / "two", members=2)
    return path


@pytest.fixture
def bundle(folder: Path) -> ImageTextBundle:
    return load_image_text(folder / "two")


def test_words_in_contrasts_out(folder: Path) -> None:
    from vesalius.zeroshot import prompts  # noqa: F401  # binds `vesalius.zeroshot` to the package, which must answer all the same

    bundle = vs.load(folder / "two")
    answer = vs.zeroshot(bundle, make_film(3), ["pleural effusion", "nodule"])
    assert [finding.name for finding in answer.findings] == ["pleural effusion", "nodule"]
    for finding in answer.findings:
        assert (finding.probability, finding.uncertainty, finding.decision, finding.reason) == (None,) * 4
    assert answer.ood is None
    assert answer.case == answer.image_id == make_film(3).image_id
    assert answer.bundle == bundle.reference
    assert list(answer.to_json()) == ["case", "image_id", "bundle", "seconds", "findings", "ood", "warnings", "error"]
    by_hand = []
    for model in bundle.models:
        head = text_weights(model, bundle.encode, prompts_for(["pleural effusion", "nodule"]))
        import torch

        with torch.inference_mode():
            image = model.embed_images(torch.from_numpy(bundle.contract.apply([make_film(3)])))
        by_hand.append(contrast(image.numpy(), head)[0])
    np.testing.assert_allclose([f.logit for f in answer.findings], np.mean(by_hand, axis=0), atol=1e-5)


def test_texts_are_embedded_once_and_towers_read_once(bundle: ImageTextBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    each = ImageTextBundle.each_model

    def counting(self: ImageTextBundle) -> Any:
        reads.append(1)
        return each(self)

    monkeypatch.setattr(ImageTextBundle, "each_model", counting)
    first = vs.zeroshot(bundle, make_film(0), ["nodule", "heart"])
    assert len(reads) == 1, "towers and sentences in one reading of the weights"
    again = vs.zeroshot(bundle, make_film(0), ["nodule", "heart"])
    assert len(reads) == 1
    assert [f.logit for f in again.findings] == [f.logit for f in first.findings]
    more = vs.zeroshot(bundle, make_film(0), ["heart", "effusion"])
    assert len(reads) == 2, "new words: the text towers once more"
    assert more["heart"].logit == pytest.approx(first["heart"].logit, abs=1e-6), "whatever else is asked"
    towers = bundle.memory._embedders["float32", "auto"].towers
    assert not any(name.startswith("text") for tower in towers for name, _ in tower.named_modules()), "text towers are let go"


def test_a_name_of_an_absence_is_turned_round_and_said(bundle: ImageTextBundle) -> None:
    answer = vs.zeroshot(bundle, make_film(1), ["effusion", "no effusion"])
    assert answer["no effusion"].logit == pytest.approx(-answer["effusion"].logit, abs=1e-6)
    (warning,) = answer.warnings
    assert "no effusion" in warning
    assert answer.to_json()["warnings"] == [warning]


def test_the_median_over_prompt_sets_with_its_spread(bundle: ImageTextBundle) -> None:
    options = WordOptions(prompt_sets=7, seed=5)
    answer = FilmWords(bundle, POOL, options).predict(make_film(2))
    drawn = draw_prompt_sets(POOL, n_sets=7, seed=5)
    scores = [[f.logit for f in FilmWords(bundle, one).predict(make_film(2)).findings] for one in drawn]
    np.testing.assert_allclose([f.logit for f in answer.findings], np.median(scores, axis=0), atol=1e-7)
    spread = answer.to_json()["spread"]
    assert list(spread) == ["Heart", "Effusion"]
    assert spread["Heart"]["minimum"] == pytest.approx(np.min(scores, axis=0)[0], abs=1e-7)
    assert spread["Heart"]["maximum"] == pytest.approx(np.max(scores, axis=0)[0], abs=1e-7)
    assert spread["Heart"]["minimum"] < spread["Heart"]["maximum"]
    other = FilmWords(bundle, POOL, replace(options, seed=6)).predict(make_film(2))
    assert [f.logit for f in other.findings] != [f.logit for f in answer.findings]


def test_scores_by_name_beside_the_contrast(bundle: ImageTextBundle) -> None:
    asked = prompts_for(["heart", "nodule"])
    line = FilmWords(bundle, asked, WordOptions(score="paired")).predict(make_film(0)).to_json()
    assert list(line["paired_score"]) == ["heart", "nodule"]
    assert 0.119 < line["paired_score"]["heart"] < 0.881
    assert all(finding["probability"] is None for finding in line["findings"])
    alone = FilmWords(bundle, prompts_for(["heart"]), WordOptions(score="standardised")).predict(make_film(0)).to_json()
    assert alone["standardised_score"] == {"heart": None}
    classes = PromptSet.of_classes({"a": ["heart"], "b": ["nodule"]})
    shares = FilmWords(bundle, classes, WordOptions(score="class")).predict(make_film(0)).to_json()["class_score"]
    assert sum(shares.values()) == pytest.approx(1)
    for prompts, score in ((asked, "class"), (classes, "paired"), (classes, "standardised")):
        with pytest.raises(PromptsError, match="does not go with"):
            FilmWords(bundle, prompts, WordOptions(score=score))  # type: ignore[arg-type]


def test_words_that_are_too_long_are_named_before_weights_are_read(
    bundle: ImageTextBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageTextBundle, "each_model", lambda _: pytest.fail("no weight may be read"))
    with pytest.raises(TextTooLong, match="'heart heart"):
        vs.zeroshot(bundle, make_film(0), ["nodule", "heart " * 20])


def test_a_bundle_of_its_own_findings_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "classifier")
    with pytest.raises(BundleError, match="use its `predict`"):
        vs.zeroshot(vs.load(tmp_path / "classifier"), make_film(0), ["nodule"])


def test_prompts_by_set_and_by_file(bundle: ImageTextBundle, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nfindings: [heart]\n")
    by_file = vs.zeroshot(bundle, make_film(0), tmp_path / "mine.yaml")
    by_set = vs.zeroshot(bundle, make_film(0), prompts_for(["heart"]))
    by_text = vs.zeroshot(bundle, make_film(0), ["heart"])
    assert by_file["heart"].logit == by_set["heart"].logit == by_text["heart"].logit


def test_the_question_is_hashed_with_all_that_decides_a_score() -> None:
    asked, options = prompts_for(["heart"]), WordOptions()
    first = question_of(asked, options)
    assert first.startswith("asked@sha256:")
    assert len(first) == len("asked@sha256:") + 12
    assert question_of(prompts_for(["heart"]), WordOptions()) == first
    for other in (replace(options, average="logits"), replace(options, prompt_sets=3), replace(options, precision="bfloat16")):
        assert question_of(asked, other) != first
    assert question_of(prompts_for(["Heart"]), options) != first
    assert question_of(asked, options, pooling="mean") != first


def test_a_poor_film_is_scored_and_said(bundle: ImageTextBundle) -> None:
    film = make_film(0)
    grey = replace(film, pixels=np.full_like(film.pixels, 0.5))
    answer = FilmWords(bundle, prompts_for(["heart"])).predict_batch([film, grey], ["a", "b"])
    assert answer[0].warnings == ()
    assert answer[1].warnings != ()
    assert [one.case for one in answer] == ["a", "b"]
    assert FilmWords(bundle, prompts_for(["heart"])).predict_batch([]) == []


def test_checkpoints_of_slides_say_so_of_films(tmp_path: Path) -> None:
    make_image_text_bundle(tmp_path / "slides", contract=FAMILY_CONTRACTS["mi-zero"].at_size(64))
    answer = FilmWords(load_image_text(tmp_path / "slides"), prompts_for(["heart"])).predict(make_film(0))
    assert "trained on patches of slides" in answer.warnings[0]
    (finding,) = answer.findings
    assert np.isfinite(finding.logit), "it is said and not refused"


def test_words_that_the_vocabulary_cannot_spell_are_said(bundle: ImageTextBundle) -> None:
    """A WordPiece gives one token to every word it cannot spell: two findings in another script get one score, and no complaint."""
    asked = prompts_for(["胸水", "heart", "气胸"])
    reader = FilmWords(bundle, asked)
    answer = reader.predict(make_film(0))
    assert answer["胸水"].logit == pytest.approx(answer["气胸"].logit, abs=1e-9) != answer["heart"].logit
    said = unread_words(bundle, asked)
    assert [warning.partition(":")[0] for warning in said] == ["胸水", "气胸"]
    assert "2 of its 2 sentences" in said[0]
    assert set(said) <= set(answer.warnings)
    assert unread_words(bundle, prompts_for(["heart", "no heart"])) == ()


def test_a_vocabulary_of_bytes_spells_every_word() -> None:
    words = Tokenizer.train(["the heart is large", "no effusion"] * 3, kind="clip", vocabulary=600)
    assert words.unknown is None
