"""What a bundle was asked, told in its card and by `bundle inspect`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import make_bundle
from tests.image_text import make_image_text_bundle
from tests.unit.bundle.test_zero_shot import make_zero_shot
from vesalius.bundle.verify import verify
from vesalius.bundle.words_asked import Asked, how_asked, words_asked
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
    assert "no Effusion" in said


def test_prompt_sets_are_counted_and_learned_prompts_are_told_by_what_they_begin_as() -> None:
    drawn = {
        "name": "renal",
        "kind": "classes",
        "findings": [{"name": "A", "synonyms": ["a", "b"]}, {"name": "B", "synonyms": ["c"]}],
    }
    of_sets = {"prompts": {**drawn, "templates": ["{}", "an image of {}"], "average": "logits", "towers": "t", "sets": [{}, {}]}}
    assert words_asked(of_sets)[0] == Asked("A", ("a", "b", "an image of a", "an image of b"), ())
    assert how_asked(of_sets) == "prompts `renal`, 2 prompt sets drawn from them, mean of logits; towers t"
    design = {"kind": "pair", "findings": ["Mass"], "positive": ["mass"], "negative": ["no mass"]}
    learned = {"prompts": {"kind": "learned", "design": design, "towers": "t"}}
    assert words_asked(learned) == (Asked("Mass", ("mass",), ("no mass",)),)
    assert "learned" in how_asked(learned)


def test_a_classifier_was_asked_nothing(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    description = verify(tmp_path / "b").description
    assert words_asked(description) == ()
    assert how_asked(description) == ""
    assert "What it was asked" not in (tmp_path / "b" / "card.md").read_text()
