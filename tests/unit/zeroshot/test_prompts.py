"""Prompts: what stands against what, and the names of absences that must not be denied once more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vesalius.errors import PromptsError
from vesalius.zeroshot.prompts import (
    ABNORMALITY,
    NORMALITY,
    PLAIN,
    Prompt,
    PromptSet,
    Template,
    absence_of,
    prompt_for,
    prompts_for,
)


def test_a_text_is_asked_letter_for_letter_against_its_denial() -> None:
    asked = prompts_for(["Pleural Effusion", " pneumothorax  on the left "])
    assert asked.findings == ("Pleural Effusion", "pneumothorax on the left")
    texts = asked.texts()
    assert texts["Pleural Effusion"] == (("Pleural Effusion",), ("no Pleural Effusion",))
    assert texts["pneumothorax on the left"].negative == ("no pneumothorax on the left",)
    assert asked.warnings == ()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("No Finding", ""),
        ("no_findings", ""),
        ("NO ACUTE CARDIOPULMONARY ABNORMALITY", ""),
        ("normal", ""),
        ("Normal chest radiograph", ""),
        ("unremarkable", ""),
        ("No Finding.", ""),
        ("Normal!", ""),
        ("no pleural effusion.", "pleural effusion"),
        ("no pleural effusion", "pleural effusion"),
        ("No evidence of Pneumothorax", "Pneumothorax"),
        ("without consolidation", "consolidation"),
        ("absence of edema", "edema"),
        ("nodule", None),
        ("normal heart size", None),
        ("nonspecific opacity", None),
        ("Support Devices", None),
        ("abnormality", None),
    ],
)
def test_names_of_absences_are_told_from_things_seen(name: str, what: str | None) -> None:
    assert absence_of(name) == what


def test_no_finding_is_asked_as_normal_against_abnormal_and_says_so() -> None:
    prompt = prompt_for("No Finding")
    assert prompt.polarity == -1
    texts = prompt.texts(PLAIN)
    assert texts == (NORMALITY, ABNORMALITY)
    assert not any("no No Finding" in text for text in (*texts.positive, *texts.negative))
    (warning,) = prompts_for(["No Finding", "Edema"]).warnings
    assert warning.startswith("No Finding: ")
    assert "normal chest radiograph" in warning


def test_a_denied_text_is_turned_round_once() -> None:
    prompt = prompt_for("no Pleural Effusion")
    assert prompt.texts(PLAIN) == (("no Pleural Effusion",), ("Pleural Effusion",))
    assert prompt.polarity == -1


def test_templates_take_every_synonym_and_never_a_sentence_that_is_whole() -> None:
    prompt = Prompt("Edema", ("edema", "oedema"), positive=("wet lungs",), negative=("dry lungs",))
    texts = prompt.texts((Template("{}", "no {}"), Template("there is {}", "there is no {}")))
    assert texts.positive == ("edema", "oedema", "there is edema", "there is oedema", "wet lungs")
    assert texts.negative == ("no edema", "no oedema", "there is no edema", "there is no oedema", "dry lungs")


def test_braces_in_a_name_stay_as_they_are() -> None:
    asked = PromptSet.of_classes({"a": ["a {b} {} c"], "b": ["b"]}, ["tissue: {}"])
    assert asked.texts()["a"].positive == ("tissue: a {b} {} c",)


def test_a_denial_by_template_of_an_absence_is_possible_and_warned_of() -> None:
    authors = PromptSet("authors", "pair", (Prompt("No Finding", ("No Finding",)),))
    assert authors.texts()["No Finding"].negative == ("no No Finding",), "as CheXzero's authors ask"
    assert "0.07" in authors.warnings[0]


def test_classes_stand_against_each_other() -> None:
    asked = PromptSet.of_classes({"LUAD": ["lung adenocarcinoma"], "LUSC": ["lung squamous cell carcinoma"]}, ["{}", "H&E of {}"])
    assert asked.texts()["LUSC"] == (("lung squamous cell carcinoma", "H&E of lung squamous cell carcinoma"), ())
    with pytest.raises(PromptsError, match="one class alone"):
        PromptSet.of_classes({"LUAD": ["lung adenocarcinoma"]})
    with pytest.raises(PromptsError, match="have no denial"):
        PromptSet("x", "classes", (Prompt("a", ("a",), negative=("not a",)), Prompt("b", ("b",))), (Template("{}"),))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: prompts_for([]), "at least one"),
        (lambda: prompts_for(["Edema", "Edema"]), "Edema"),
        (lambda: prompts_for(["  "]), "empty text"),
        (lambda: Template("no slot"), "exactly once"),
        (lambda: Template("{} and {}"), "exactly once"),
        (lambda: Prompt("No Finding", ("No Finding",), polarity=-1), "no template can deny it"),
        (lambda: Prompt("Edema", ("edema",), polarity=0), "polarity"),  # type: ignore[arg-type]
        (lambda: PromptSet("x", "pair", (Prompt("Edema", positive=("edema",)),)), "no words for it"),
        (lambda: PromptSet("x", "both", (Prompt("Edema", ("edema",)),)), "kind"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_asked_says_why(make: object, words: str) -> None:
    with pytest.raises(PromptsError, match=words):
        make()  # type: ignore[operator]


def test_only_some_findings_under_the_names_asked_for() -> None:
    asked = prompts_for(["Pleural_Thickening", "edema", "Hernia"])
    some = asked.only(["Edema", "Pleural Thickening"])
    assert some.findings == ("Edema", "Pleural Thickening")
    assert some.texts()["Edema"].positive == ("edema",)
    with pytest.raises(PromptsError, match="no prompt for Mass"):
        asked.only(["Mass"])


def test_the_hash_is_of_what_is_asked_and_of_nothing_else() -> None:
    first = prompts_for(["Edema"])
    told = PromptSet("other", "pair", first.prompts, about="words about it", sources=("somewhere",))
    assert told.sha256 == first.sha256
    assert prompts_for(["edema"]).sha256 != first.sha256
    more = PromptSet("asked", "pair", first.prompts, (*PLAIN, Template("signs of {}", "no signs of {}")))
    assert more.sha256 != first.sha256


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: PromptSet("x", "pair", (Prompt("Edema", positive=("wet",), negative=("dry", "wet")),)),
            "'wet' both for and against",
        ),
        (lambda: PromptSet("x", "pair", (Prompt("a", ("a",)),), (Template("{}", "{}"),)), "'a' both for and against"),
        (lambda: PromptSet.of_classes({"a": ["q", "r"], "b": ["r", "s"]}), "'r' is asked for a and for b"),
        (lambda: prompts_for(["Effusion", "effusion"]), "each finding once"),
        (lambda: prompts_for(["Pleural_Effusion", "pleural effusion"]), "each finding once"),
    ],
)
def test_words_that_can_only_give_zero_or_the_same_twice_are_refused(make: Callable[[], PromptSet], words: str) -> None:
    """A contrast of a sentence with itself is 0 for every film, and looks like an answer."""
    with pytest.raises(PromptsError, match=words):
        make()
