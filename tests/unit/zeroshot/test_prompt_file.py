"""Prompt files: ours are whole and say their sources; a user's says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.errors import PromptsError
from vesalius.zeroshot.prompt_file import library, load_prompts, parse_prompts, prompts_from_json, save_prompts
from vesalius.zeroshot.prompts import absence_of, prompts_for

CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
NIH = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Consolidation",
    "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding",
)  # fmt: skip
NAMES = {
    "chexpert": CHEXPERT,
    "nih": NIH,
    "lung": ("LUAD", "LUSC"),
    "renal": ("CHRCC", "CCRCC", "PRCC"),
    "organs": ("breast", "kidney", "lung", "prostate", "bladder", "colon", "stomach"),
}


@pytest.mark.parametrize("name", list(NAMES))
def test_our_own_files_are_whole(name: str) -> None:
    asked = load_prompts(name)
    assert asked.findings == NAMES[name], "the labels' own names, in their order"
    assert asked.kind == ("pair" if name in {"chexpert", "nih"} else "classes")
    assert asked.sources
    assert len(asked.templates) >= 8
    for prompt in asked.prompts:
        assert max(len(prompt.synonyms), len(prompt.positive)) >= 4, "several ways to say it"
        assert (prompt.polarity == -1) == (absence_of(prompt.finding) is not None)
    sentences = [text for words in asked.texts().values() for text in words.positive]
    assert len(set(sentences)) == len(sentences), "no sentence speaks for two findings"
    for words in asked.texts().values():
        assert not set(words.positive) & set(words.negative)
        assert not any("no no " in text.lower() for text in words.negative)


def test_the_library_lists_what_there_is() -> None:
    assert set(library()) == set(NAMES)


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        'name: mine\ntemplates:\n  - ["{}", "no {}"]\nfindings:\n  - Hernia\n  - name: Edema\n    synonyms: wet lungs\n'
        "  - No Finding\n"
        "  - name: Quiet\n    polarity: -1\n    positive: [calm]\n    negative: [storm]\n"
    )
    asked = load_prompts(path)
    assert asked.findings == ("Hernia", "Edema", "No Finding", "Quiet")
    assert asked.texts()["Hernia"] == (("Hernia",), ("no Hernia",))
    assert asked.texts()["Edema"] == (("wet lungs",), ("no wet lungs",))
    assert "no No Finding" not in asked.texts()["No Finding"].negative
    assert len(asked.warnings) == 2


@pytest.mark.parametrize("name", list(NAMES))
def test_written_and_read_back(name: str, tmp_path: Path) -> None:
    asked = load_prompts(name)
    save_prompts(tmp_path / "again.yaml", asked)
    assert load_prompts(tmp_path / "again.yaml") == asked
    assert prompts_from_json(asked.to_json()) == asked


def test_what_finding_asks_can_be_kept() -> None:
    asked = prompts_for(["Edema", "No Finding", "no hernia"])
    assert prompts_from_json(asked.to_json()) == asked


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: x\nfindings:\n  - name: Edema\n    synonyms: [edema]\n    colour: red\n", "unknown entries: colour"),
        ("name: x\nfindings: Edema\n", "must be a list"),
        ("findings: [Edema]\n", "`name` is missing"),
        ("- Edema\n", "not a table"),
        ("name: x\ntemplates: [{}]\nfindings: [Edema]\n", "quotation marks"),
        ("name: x\ntemplates:\n  - ['{}', no]\nfindings: [Edema]\n", "quotation marks"),
        ("name: x\ntemplates:\n  - {} is seen\nfindings: [Edema]\n", "line 3"),
        ("name: x\nfindings:\n  - name: no\n", "no `name`"),
        ("name: x\nkind: classes\ntemplates:\n  - ['{}', 'no {}']\nfindings: [a, b]\n", "one text"),
        ("name: x\nfindings:\n  - name: Edema\n    synonyms: []\n", "at least one"),
        ("name: x\nfindings:\n  - name: Edema\n    polarity: up\n    synonyms: [edema]\n", "polarity"),
    ],
)
def test_a_wrong_file_says_what_and_where(content: str, words: str) -> None:
    with pytest.raises(PromptsError, match=words) as caught:
        parse_prompts(content, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml")


def test_a_file_that_is_not_there_names_ours(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="chexpert"):
        load_prompts(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptsError, match="UTF-8"):
        load_prompts(tmp_path / "bytes.yaml")
