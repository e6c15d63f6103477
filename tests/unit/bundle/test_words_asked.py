"""What a bundle was asked, told in its card and by `bundle inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bundles import make_bundle
from tests.image_text import make_image_text_bundle
from tests.unit.bundle.test_zero_shot import make_zero_shot
from vesalius.bundle.verify import verify
from vesalius.bundle.words_asked import Asked, asked_to_json, how_asked, words_asked
from vesalius.cli import main


def test_of_words_every_sentence_is_told_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image_text_bundle(tmp_path / "words", members=2)
    path = make_zero_shot(tmp_path)
    description = verify(path).description
    effusion, normal = words_asked(description)
    assert effusion == Asked("Effusion", ("Effusion",), ("no Effusion",))
    assert effusion.cells() == ("Effusion", "Effusion", "no Effusion")
    assert normal.finding == "No Finding"
    assert len(normal.positive) == len(normal.negative) == 5
    assert normal.cells()[1] == f"{normal.positive[0]} (+4 more)"
    assert how_asked(description).endswith(f"mean of embeddings; towers {verify(tmp_path / 'words').reference}")
    card = (path / "card.md").read_text()
    assert "| Effusion | Effusion | no Effusion |" in card
    assert f"| No Finding | {normal.positive[0]} (+4 more) | {normal.negative[0]} (+4 more) |" in card
    assert main(["bundle", "inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "what it was asked" in said
    assert f"  asked           {how_asked(description)}\n" in said
    assert "no Effusion" in said
    assert main(["bundle", "inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["description"] == description, "what was there stays"
    assert told["asked"]["kind"] == "pair"
    assert told["asked"]["findings"][0] == {"name": "Effusion", "for": ["Effusion"], "against": ["no Effusion"]}


def test_prompt_sets_are_counted_and_learned_prompts_are_told_by_what_they_begin_as() -> None:
    drawn = {
        "name": "renal",
        "kind": "classes",
        "findings": [{"name": "A", "synonyms": ["a", "b"]}, {"name": "B", "synonyms": ["c"]}],
    }
    of_sets = {"prompts": {**drawn, "templates": ["{}", "an image of {}"], "average": "logits", "towers": "t", "sets": [{}, {}]}}
    assert words_asked(of_sets)[0] == Asked("A", ("a", "b", "an image of a", "an image of b"), ())
    assert how_asked(of_sets) == ("prompts `renal` (classes, 2 templates), 2 prompt sets drawn from them, mean of logits; towers t")
    assert asked_to_json(of_sets) == {
        "kind": "classes",
        "of": "classes",
        "name": "renal",
        "templates": 2,
        "average": "logits",
        "prompt_sets": 2,
        "towers": "t",
        "findings": [
            {"name": "A", "for": ["a", "b", "an image of a", "an image of b"], "against": []},
            {"name": "B", "for": ["c", "an image of c"], "against": []},
        ],
    }
    design = {"kind": "pair", "findings": ["Mass"], "positive": ["mass"], "negative": ["no mass"]}
    learned = {"prompts": {"kind": "learned", "design": design, "towers": "t"}}
    assert words_asked(learned) == (Asked("Mass", ("mass",), ("no mass",)),)
    assert "learned (each finding against its denial)" in how_asked(learned)
    told = asked_to_json(learned)
    assert told is not None
    assert (told["kind"], told["of"], told["templates"], told["prompt_sets"]) == ("learned", "pair", None, 1)
    assert told["findings"] == [{"name": "Mass", "for": ["mass"], "against": ["no mass"]}]


def test_a_long_sentence_is_cut_in_a_table_and_whole_in_json() -> None:
    long = "there is " + "very " * 40 + "much"
    entry = {"name": "A", "positive": [long, "b"], "negative": ["c"]}
    prompts = {
        "name": "own",
        "kind": "pair",
        "templates": [["{}", "no {}"]],
        "findings": [entry],
        "average": "logits",
        "towers": "t",
    }
    (row,) = words_asked({"prompts": prompts})
    assert row.cells() == ("A", f"{long[:89]}… (+1 more)", "c")
    told = asked_to_json({"prompts": prompts})
    assert told is not None
    assert told["findings"][0]["for"] == [long, "b"]


def test_a_classifier_was_asked_nothing(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    description = verify(tmp_path / "b").description
    assert words_asked(description) == ()
    assert how_asked(description) == ""
    assert asked_to_json(description) is None
    assert "What it was asked" not in (tmp_path / "b" / "card.md").read_text()
