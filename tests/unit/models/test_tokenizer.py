from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vesalius.errors import EmptyInput, TextTooLong, TokenizerError, ValueOutOfRange
from vesalius.models.tokenizer import Tokenizer, TokenizerKind

REPORTS = [
    "The heart is enlarged. No pleural effusion.",
    "No pleural effusion. The lungs are clear.",
    "The heart is enlarged. Pleural effusion on the left.",
    "Mr Zygmuntowicz of Quixbury, MRN 7741902, has a pleural effusion. Zygmuntowicz Zygmuntowicz.",
]
PATIENTS = ["a", "b", "c", "d"]
KINDS: tuple[TokenizerKind, ...] = ("bert", "clip", "gpt")


def learn(kind: TokenizerKind = "bert", vocabulary: int = 700, minimum_patients: int = 2) -> Tokenizer:
    return Tokenizer.train(REPORTS * 4, kind=kind, vocabulary=vocabulary, patients=PATIENTS * 4, minimum_patients=minimum_patients)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_stand_between_start_and_end_and_are_padded_on_the_right(kind: TokenizerKind) -> None:
    tokenizer = learn(kind)
    tokens, mask = tokenizer.encode(["pleural effusion", "no"], 12)
    assert tokens.shape == mask.shape == (2, 12)
    assert tokens.dtype == mask.dtype == np.int64
    assert (tokens[:, 0] == tokenizer.ends.start).all()
    for row, seen in zip(tokens, mask, strict=True):
        length = seen.sum()
        assert seen.tolist() == [1] * length + [0] * (12 - length)
        assert row[length - 1] == tokenizer.ends.end
        assert (row[length:] == tokenizer.ends.padding).all()
    assert tokens.max() < tokenizer.vocabulary


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_keeps_the_first_words_and_the_end(kind: TokenizerKind) -> None:
    tokenizer = learn(kind)
    whole, mask = tokenizer.encode([REPORTS[0]], 60)
    length = int(mask.sum())
    cut, seen = tokenizer.encode([REPORTS[0]], 6, too_long="cut")
    assert length > 6
    assert seen.tolist() == [[1] * 6]
    assert cut[0, :5].tolist() == whole[0, :5].tolist()
    assert cut[0, 5] == tokenizer.ends.end
    exact, _ = tokenizer.encode([REPORTS[0]], length)
    assert exact.tolist() == whole[:, :length].tolist()


def test_a_sentence_too_long_is_named_by_its_number_and_never_quoted() -> None:
    with pytest.raises(TextTooLong, match=r"sentences 2, 4: up to \d+ tokens where 9 fit") as caught:
        learn("clip").encode(["no", REPORTS[3], "no", REPORTS[0] * 3], 9)
    assert "Zygmunt" not in str(caught.value)


def test_padding_to_the_longest_sentence() -> None:
    tokenizer = learn()
    tokens, mask = tokenizer.encode(["no", "the heart is enlarged"], 40, padding="longest")
    assert tokens.shape == (2, 6)
    assert mask.sum(axis=1).tolist() == [3, 6]
    assert tokenizer.encode(["the heart is enlarged"], 4, too_long="cut", padding="longest").tokens.shape == (1, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_few_patients_share_leaves_no_trace_in_a_vocabulary(kind: TokenizerKind) -> None:
    tokenizer = learn(kind)
    spelled = [word.replace("</w>", "").replace("##", "").replace("Ġ", "") for word in tokenizer.words(range(tokenizer.vocabulary))]
    learned = [word.lower() for word in spelled if len(word) > 1 and not word.startswith(("[", "<|"))]
    shared = {
        "the",
        "heart",
        "is",
        "enlarged",
        "no",
        "pleural",
        "effusion",
        "lungs",
        "are",
        "clear",
        "on",
        "left",
        "has",
        "a",
        "of",
    }
    private = ("zygmuntowicz", "quixbury", "7741902", "mrn")
    assert {"effusion", "pleural", "heart"} <= set(learned)
    for word in learned:
        assert any(word in known for known in shared), word
        assert not any(word in name and word not in "".join(shared) for name in private)


def test_a_word_enters_with_its_third_patient() -> None:
    texts = ["quixotic effusion"] * 6 + ["effusion"]
    for patients, enters in ((["a", "a", "a", "b", "b", "b", "c"], False), (["a", "b", "c", "c", "c", "c", "d"], True)):
        tokenizer = Tokenizer.train(texts, vocabulary=200, patients=patients, minimum_patients=3)
        assert ("quixotic" in tokenizer.words(range(tokenizer.vocabulary))) is enters


def test_no_shared_word_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(EmptyInput, match="3 or more patients"):
        Tokenizer.train(["alpha", "beta"], patients=["a", "b"])
    with pytest.raises(ValueOutOfRange, match="at least 514 tokens"):
        learn("clip", vocabulary=513)
    for patients in (["a"], ["a"] * 9):
        with pytest.raises(ValueOutOfRange, match="expected one a text"):
            Tokenizer.train(["alpha"] * 4, patients=patients, minimum_patients=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_is_no_larger_than_asked_and_special_tokens_are_where_the_towers_look(kind: TokenizerKind) -> None:
    tokenizer = learn(kind, vocabulary=560)
    assert tokenizer.vocabulary <= 560
    assert tokenizer.kind == kind
    expected = {
        "bert": (2, 3, 0),
        "clip": (tokenizer.vocabulary - 2, tokenizer.vocabulary - 1, 0),
        "gpt": (0, 0, 0),
    }
    assert tuple(tokenizer.ends) == expected[kind]


def test_equal_texts_give_equal_bytes_in_another_process() -> None:
    code = "from tests.unit.models.test_tokenizer import learn, KINDS\nprint(*(learn(kind).sha256 for kind in KINDS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert done.stdout.split() == [learn(kind).sha256 for kind in KINDS]


def test_bytes_and_pickles_come_back_as_they_were() -> None:
    tokenizer = learn("clip")
    for again in (Tokenizer.from_bytes(tokenizer.to_bytes()), pickle.loads(pickle.dumps(tokenizer))):
        assert again.to_bytes() == tokenizer.to_bytes()
        assert again.sha256 == tokenizer.sha256
        assert again.encode(REPORTS, 99).tokens.tolist() == tokenizer.encode(REPORTS, 99).tokens.tolist()


def test_a_file_of_transformers_with_its_own_padding_and_cutting_is_read_without_them() -> None:
    content = json.loads(learn().to_bytes())
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 30}, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    content["padding"] = {**padding, "pad_to_multiple_of": None}
    tokenizer = Tokenizer(json.dumps(content).encode())
    assert (
        tokenizer.encode(["the heart is enlarged"], 8).tokens.tolist()
        == learn().encode(["the heart is enlarged"], 8).tokens.tolist()
    )


def test_every_layout_is_told_apart_and_a_wrong_one_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(learn("gpt").to_bytes())
    assert Tokenizer.from_file(tmp_path).kind == "gpt"
    with pytest.raises(TokenizerError, match="of kind gpt; expected clip"):
        Tokenizer.from_file(tmp_path / "tokenizer.json", kind="clip")
    with pytest.raises(TokenizerError, match="no file at"):
        Tokenizer.from_file(tmp_path / "absent.txt")
    wrong = {
        "words.txt": b"the\nheart\n",
        "pixels.bin": b"\xff\x00\xfe",
        "list.json": b'{"a": "b"}',
        "half.gz": gzip.compress(b"#version: 0.2\nt h\n")[:-9],
        "merges.txt": b"#version: 0.2\nt h\nth e\n",
        "broken.json": b'{"model": ',
        "other.json": b'{"model": {"type": "Unheard"}}',
    }
    for name, content in wrong.items():
        (tmp_path / "wrong").mkdir(exist_ok=True)
        (tmp_path / "wrong" / name).write_bytes(content)
        with pytest.raises(TokenizerError):
            Tokenizer.from_file(tmp_path / "wrong" / name)


def test_a_vocabulary_json_needs_its_merges(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "<|endoftext|>": 1}')
    with pytest.raises(TokenizerError, match=r"needs its merges\.txt"):
        Tokenizer.from_file(tmp_path / "vocab.json")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nx y\n")
    with pytest.raises(TokenizerError, match="do not belong together"):
        Tokenizer.from_file(tmp_path)


def test_a_vocabulary_without_ends_is_refused() -> None:
    import tokenizers

    bare = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(TokenizerError, match="no start and end of a sentence"):
        Tokenizer(bare.to_str().encode())


def test_capitals_decide_whether_a_wordpiece_vocabulary_is_cased(tmp_path: Path) -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*specials, "heart"]))
    assert Tokenizer.from_file(path).encode(["Heart"], 3).tokens[0, 1] == 6
    path.write_text("\n".join([*specials, "heart", "Heart"]))
    assert Tokenizer.from_file(path).encode(["Heart"], 3).tokens[0, 1] == 7
    assert Tokenizer.from_file(path, lower_case=True).encode(["Heart"], 3).tokens[0, 1] == 6


def test_nothing_to_encode_is_refused() -> None:
    tokenizer = learn()
    with pytest.raises(EmptyInput):
        tokenizer.encode([], 8)
    with pytest.raises(EmptyInput):
        tokenizer.encode("a bare string", 8)
    with pytest.raises(ValueOutOfRange):
        tokenizer.encode(["no"], 2)
    assert tokenizer.encode([""], 3).mask.tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("split", [True, False])
def test_a_vocabulary_that_keeps_a_marker_in_one_piece_refuses_the_sentence(split: bool) -> None:
    """A tokenizer.json of other rules: words split at blanks alone, or a marker that is not said to be special."""
    content = json.loads(learn("bert").to_bytes())
    if split:
        content["pre_tokenizer"] = {"type": "WhitespaceSplit"}
        content["normalizer"] = None
    else:
        content["added_tokens"] = [{**token, "special": False} for token in content["added_tokens"]]
    tokenizer = Tokenizer.from_bytes(json.dumps(content).encode())
    with pytest.raises(TokenizerError, match=r"sentence 2: .* leave markers such as \[SEP\] out"):
        tokenizer.encode(["no effusion", "no [SEP] effusion"], 64)
    with pytest.raises(TokenizerError, match="sentences 1, 2"):
        tokenizer.encode(["[MASK] effusion", "[PAD]"], 64)
    assert tokenizer.unknown in tokenizer.encode(["no effusion 胸水"], 64).tokens[0], "a word that it cannot spell is no marker"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marker", ["[SEP]", "[PAD]", "[MASK]", "<|endoftext|>", "<|startoftext|>", "<end_of_text>", "</s>"])
def test_a_marker_that_is_typed_in_a_sentence_is_a_word_and_does_not_end_it(kind: TokenizerKind, marker: str) -> None:
    tokenizer = learn(kind)
    tokens, mask = tokenizer.encode([f"no {marker} effusion"], 64)
    inside = tokens[0, 1 : int(mask.sum()) - 1].tolist()
    plain, length = tokenizer.encode(["no effusion"], 64)
    assert inside[-1] == plain[0, int(length.sum()) - 2], "what stands behind it is read"
    assert not {tokenizer.ends.start, tokenizer.ends.end, tokenizer.ends.padding} & set(inside)
