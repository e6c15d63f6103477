"""Ids of CLIP, BERT and GPT tokenizers against the authors' own code, transformers, and a BPE written here from the paper.

Goldens: openai/CLIP at d05afc4 (MIT), `simple_tokenizer.SimpleTokenizer(bpe_path)` and `clip.tokenize` with ftfy 6.3.1 and
regex 2026.11.15, run on the merges that `tiny_merges` makes, and on the published vocabulary of SHA-256 924691ac...
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
from pathlib import Path

import pytest

from vesalius.models.tokenizer import Tokenizer
from vesalius.models.vocabulary_files import byte_alphabet

WORDS = ("no", "pleural", "effusion", "effusions", "the", "heart", "hearts", "is", "enlarged", "left", "lung", "larger", "mass")
SENTENCES = (
    "No pleural effusions.",
    "The heart's enlarged; the LEFT lung isn't.",
    "  larger\tmass,\n3.5 cm  ",
    "&lt;5 mm “mass”",
    "épleural μm",
    "hearts&amp;lungs!!",
)
OPENAI_IDS_OF_TINY = [
    [512, 518, 523, 520, 528, 338, 269],
    [535, 539, 6, 338, 552, 282, 535, 75, 526, 339, 558, 72, 82, 333, 6, 339, 269],
    [75, 64, 547, 68, 337, 566, 267, 274, 269, 276, 66, 332],
    [283, 276, 76, 332, 257, 566, 257],
    [127, 102, 518, 138, 120, 332],
    [538, 83, 338, 261, 75, 84, 77, 70, 338, 0, 256],
]


def tiny_merges() -> list[tuple[str, str]]:
    """Merges that rebuild a few words, from the inside out; no two words alike."""
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            at = (len(symbols) * 7 + len(word)) % (len(symbols) - 1)
            pair = (symbols[at], symbols[at + 1])
            merges += [pair] * (pair not in merges)
            symbols[at : at + 2] = ["".join(pair)]
    return merges


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    text = "#version: tiny\n" + "".join(f"{first} {second}\n" for first, second in tiny_merges())
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def inner_ids(tokenizer: Tokenizer, text: str, context: int = 77) -> list[int]:
    """Ids between start and end."""
    tokens, mask = tokenizer.encode([text], context)
    ids = tokens[0][mask[0] == 1].tolist()
    assert (ids[0], ids[-1]) == (tokenizer.ends.start, tokenizer.ends.end)
    return ids[1:-1]


def test_tiny_merges_give_the_ids_of_openais_own_code(tiny: Path) -> None:
    tokenizer = Tokenizer.from_file(tiny)
    assert (tokenizer.kind, tokenizer.vocabulary) == ("clip", 512 + len(tiny_merges()) + 2)
    assert [inner_ids(tokenizer, text) for text in SENTENCES] == OPENAI_IDS_OF_TINY


def bpe_by_the_paper(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Sennrich 2016, algorithm 1, applied: the earliest merge first, everywhere, until none is left."""
    symbols = [*word[:-1], f"{word[-1]}</w>"]
    while True:
        pairs = {pair: merges.index(pair) for pair in itertools.pairwise(symbols) if pair in merges}
        if not pairs:
            return symbols
        best, joined, at = min(pairs, key=pairs.__getitem__), [], 0
        while at < len(symbols):
            hit = tuple(symbols[at : at + 2]) == best
            joined.append("".join(best) if hit else symbols[at])
            at += 2 if hit else 1
        symbols = joined


def test_every_word_is_cut_as_the_paper_says(tiny: Path) -> None:
    tokenizer, merges = Tokenizer.from_file(tiny), tiny_merges()
    alphabet = byte_alphabet()
    words = [*alphabet, *(character + "</w>" for character in alphabet), *("".join(pair) for pair in merges)]
    for text in ("lefts heartless massive enlargement", "unpleural, effusional (the lungs) 12 theis!", "noeffusionsleft"):
        expected = [
            words.index(piece)
            for word in re.findall(r"'s|'t|[a-z]+|[0-9]|[^\sa-z0-9]+", text)
            for piece in bpe_by_the_paper(word, merges)
        ]
        assert inner_ids(tokenizer, text) == expected


def test_transformers_reads_the_same_vocabulary_alike(tiny: Path, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    ours = Tokenizer.from_file(tiny)
    written = json.loads(ours.to_bytes())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(written["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in tiny_merges()))
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    again = Tokenizer.from_file(tmp_path / "vocab.json")
    for text in ("No pleural effusions.", "The heart's enlarged; the LEFT lung isn't.", "mass 3.5 cm"):
        assert inner_ids(ours, text) == theirs(text)["input_ids"][1:-1] == inner_ids(again, text)


BERT_WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "heart",
    "##s",
    "is",
    "en",
    "##large",
    "##d",
    ".",
    "e",
    "##ff",
    "naive",
)


@pytest.mark.parametrize("cased", [False, True])
def test_wordpiece_is_that_of_transformers(tmp_path: Path, cased: bool) -> None:
    from transformers import BertTokenizer

    words = [*BERT_WORDS, *(("The", "Heart", "naïve") if cased else ())]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    ours = Tokenizer.from_file(tmp_path / "vocab.txt")
    theirs = BertTokenizer.from_pretrained(tmp_path, do_lower_case=not cased)
    texts = ["The hearts is enlarged.", "Naïve heart naïve", "HEART, effusion ?", "the\theart\x00."]
    assert ours.vocabulary == len(words)
    for text in texts:
        assert inner_ids(ours, text) == theirs(text)["input_ids"][1:-1]
    tokens, mask = ours.encode(texts, 16)
    padded = theirs(texts, padding="max_length", max_length=16)
    assert tokens.tolist() == padded["input_ids"]
    assert mask.tolist() == padded["attention_mask"]


def test_a_cased_vocabulary_read_in_lower_case_as_bio_clinicalberts_is(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_WORDS, "The", "Heart"]) + "\n")
    theirs = BertTokenizer.from_pretrained(tmp_path, do_lower_case=True)
    lowered = Tokenizer.from_file(tmp_path / "vocab.txt", lower_case=True)
    kept = Tokenizer.from_file(tmp_path / "vocab.txt")
    assert inner_ids(lowered, "The Heart") == theirs("The Heart")["input_ids"][1:-1] == [5, 6]
    assert inner_ids(kept, "The Heart") == [16, 17]


def test_gpts_bytes_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    ours = Tokenizer.train(["The heart is large; no effusion."] * 3, kind="gpt", vocabulary=290)
    model = json.loads(ours.to_bytes())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    theirs = GPT2Tokenizer.from_pretrained(tmp_path)
    again = Tokenizer.from_file(tmp_path)
    assert again.kind == "gpt"
    for text in ("The heart is large.", " no  effusions\n", "Größe 3 µm", "it's"):
        assert inner_ids(ours, text) == theirs(text)["input_ids"] == inner_ids(again, text)


PUBLISHED = {
    "a diagram": [320, 22697],
    "no Atelectasis": [871, 992, 944, 6538, 533],
    "Enlarged Cardiomediastinum": [38136, 3480, 6211, 3693, 570, 1761, 512, 1008],
    "no Pleural Effusion": [871, 926, 33948, 1490, 9364],
    "There's a 3.5 cm mass; it isn't new.": [997, 568, 320, 274, 269, 276, 3741, 4854, 282, 585, 2923, 713, 686, 269],
    "&lt;5 mm “mass” µm": [283, 276, 2848, 257, 4854, 257, 126, 113, 332],
}


@pytest.mark.real
def test_the_published_vocabulary_gives_openais_ids(real_data: Path) -> None:
    path = Path(os.environ.get("VESALIUS_CLIP_VOCABULARY", real_data / "vocabularies" / "bpe_simple_vocab_16e6.txt.gz"))
    if not path.is_file():
        pytest.skip("no copy of CLIP's vocabulary here: vesalius pull clip-vocabulary, then name it in VESALIUS_CLIP_VOCABULARY")
    tokenizer = Tokenizer.from_file(path)
    assert (tokenizer.vocabulary, tokenizer.ends) == (49408, (49406, 49407, 0))
    assert {text: inner_ids(tokenizer, text) for text in PUBLISHED} == PUBLISHED
