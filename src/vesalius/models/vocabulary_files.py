"""Vocabularies as their authors publish them, read into one tokenizer of the library `tokenizers`; and vocabularies learned here.

| file | model |
|---|---|
| `tokenizer.json` | any |
| `vocab.txt` | WordPiece: BERT, PubMedBERT, Bio_ClinicalBERT, CXR-BERT |
| `vocab.json` with `merges.txt` beside it | byte-level BPE: GPT-2's layout, or CLIP's |
| `bpe_simple_vocab_16e6.txt.gz` | CLIP's merges |

Light: no torch.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vesalius.errors import EmptyInput, TokenizerError, ValueOutOfRange

if TYPE_CHECKING:
    import tokenizers

TokenizerKind = Literal["clip", "bert", "gpt"]

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLIP_MERGES = 49152 - 256 - 2
"""Of the merges in CLIP's file only these many are used."""
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
END_OF_WORD = "</w>"
GZIP = b"\x1f\x8b"
MARK = 0xF0000
"""First code point of the plane of private use that marks a letter while a vocabulary is learned."""
_UNSEEN = (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
_LIGATURES = "\u0132\u0133\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc\u01f1\u01f2\u01f3" + "".join(
    map(chr, range(0xFB00, 0xFB07))
)
_WIDE = [0x3000, *range(0xFF01, 0xFFF0)]
PLAIN: dict[int, str | None] = (
    dict.fromkeys(_UNSEEN)
    | {0x0149: "'n"}
    | dict.fromkeys((0x02BC, *range(0x2018, 0x201C)), "'")
    | dict.fromkeys(range(0x201C, 0x2020), '"')
    | {ord(character): unicodedata.normalize("NFKC", character) for character in [*_LIGATURES, *map(chr, _WIDE)]}
)
"""Characters that CLIP never sees: control characters go, curled quotes are straightened, ligatures and wide forms taken apart."""
READABLE = "tokenizer.json, vocab.txt, vocab.json with merges.txt beside it, or CLIP's bpe_simple_vocab_16e6.txt.gz"


def byte_alphabet() -> list[str]:
    """Returns the 256 characters that stand for bytes in a byte-level BPE, in the order of CLIP's ids.

    Bytes that print stand for themselves; the others get the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place, _ in enumerate(hidden)]


def clean_clip_text(text: str) -> str:
    """Returns a text as CLIP reads it: plain characters, HTML's `&lt;` as `<`, one space between words, lower case.

    The authors also repair text that was decoded with the wrong code page (library ftfy); that is not done here.
    """
    text = unicodedata.normalize("NFC", html.unescape(text).translate(PLAIN))
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def read_vocabulary(path: Path, kind: str = "auto", *, lower_case: bool | None = None) -> bytes:
    """Returns a `tokenizer.json` made of a published vocabulary.

    Args:
        path: One of the files of the table above, or a folder that holds one.
        kind: `auto` tells by the content; `clip`, `bert` or `gpt` says what it must be.
        lower_case: Of a `vocab.txt`; None decides by the vocabulary: no capital letter in it means lower case.

    Raises:
        TokenizerError: No such file, or none of those; the message lists what is read.
    """
    if kind not in {"auto", *get_args(TokenizerKind)}:
        raise TokenizerError(f"unknown kind of tokenizer {kind!r}; there are: auto, {', '.join(get_args(TokenizerKind))}")
    path = _file_of(Path(path))
    content = path.read_bytes()
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise TokenizerError(f"{path.name} is a broken gzip file; copy it again from where it came") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise TokenizerError(f"{path.name} is no vocabulary; expected {READABLE}") from None
    made = _parse(path, text, lower_case)
    return content if made is None else made.to_str().encode()


def clip_tokenizer(merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Returns CLIP's tokenizer: byte alphabet, the same at the end of a word, one token a merge, then start and end of text."""
    alphabet = byte_alphabet()
    words = [*alphabet, *(character + END_OF_WORD for character in alphabet), *("".join(pair) for pair in merges)]
    return _clip({word: place for place, word in enumerate([*words, CLIP_START, CLIP_END])}, merges)


def train_vocabulary(
    texts: Iterable[str], *, kind: TokenizerKind, vocabulary: int, patients: Sequence[object] | None, minimum_patients: int
) -> bytes:
    """Returns the `tokenizer.json` of a vocabulary learned from reports; see `Tokenizer.train`.

    Raises:
        ValueOutOfRange: A size or a number of patients that cannot be, or as many patients as texts are not given.
        EmptyInput: No word was seen in enough patients.
    """
    smallest = {"clip": 2 * 256 + 2, "gpt": 256 + 1, "bert": len(BERT_SPECIALS) + 1}
    if kind not in smallest:
        raise TokenizerError(f"unknown kind of tokenizer {kind!r}; there are: {', '.join(smallest)}")
    if vocabulary < smallest[kind] or minimum_patients < 1:
        raise ValueOutOfRange(
            f"a {kind} vocabulary has at least {smallest[kind]} tokens, and words of at least 1 patient; "
            f"got {vocabulary} and {minimum_patients}"
        )
    real = {"clip": lambda: clip_tokenizer([]), "gpt": lambda: _gpt({}, []), "bert": lambda: _bert({}, lower_case=True)}[kind]()
    counts = _count_words(real, texts, patients, minimum_patients, clean=kind == "clip")
    if not counts:
        raise EmptyInput(
            f"no word was seen in {minimum_patients} or more patients; give more reports, or a smaller minimum_patients"
        )
    return _assembled(kind, _learn(kind, vocabulary, counts)).to_str().encode()


def _file_of(path: Path) -> Path:
    if path.is_dir():
        names = ("tokenizer.json", "vocab.txt", "vocab.json", "bpe_simple_vocab_16e6.txt.gz")
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise TokenizerError(f"no vocabulary in {path}; expected {READABLE}")
        return found[0]
    if not path.is_file():
        raise TokenizerError(f"no file at {path}; pass the model's own {READABLE}")
    if path.name == "merges.txt" and (path.parent / "vocab.json").is_file():
        return path.parent / "vocab.json"
    return path


def _parse(path: Path, text: str, lower_case: bool | None) -> tokenizers.Tokenizer | None:
    """Returns the tokenizer, or None where the text is a tokenizer.json already."""
    if text.lstrip().startswith("{"):
        return _parse_json(path, text)
    lines = text.split("\n")
    words = [line.rstrip("\r") for line in lines]
    if {"[CLS]", "[SEP]", "[UNK]", "[PAD]"} <= set(words):
        while words and not words[-1]:
            words.pop()
        capitals = any(word != word.lower() for word in words if not re.fullmatch(r"\[.*\]|<.*>", word))
        return _bert(
            {word: place for place, word in enumerate(words)}, lower_case=not capitals if lower_case is None else lower_case
        )
    if "#version" in lines[0]:
        merges = [tuple(line.split()) for line in words[1 : CLIP_MERGES + 1] if line.strip()]
        if merges and all(len(pair) == 2 for pair in merges) and any(pair[1].endswith(END_OF_WORD) for pair in merges):
            return clip_tokenizer([(first, second) for first, second in merges])
        raise TokenizerError(f"{path.name} holds merges of a GPT but no vocab.json is beside it; pass both in one folder")
    raise TokenizerError(f"{path.name} is no vocabulary; expected {READABLE}")


def _parse_json(path: Path, text: str) -> tokenizers.Tokenizer | None:
    try:
        value = json.loads(text)
    except ValueError:
        raise TokenizerError(f"{path.name} is not JSON; copy it again from where it came") from None
    if "model" in value:
        return None
    if not value or not all(isinstance(place, int) for place in value.values()):
        raise TokenizerError(f"{path.name} is no vocabulary; expected {READABLE}")
    beside = path.parent / "merges.txt"
    if not beside.is_file():
        raise TokenizerError(f"{path.name} needs its merges.txt beside it, and none is there")
    lines = [line for line in beside.read_text(encoding="utf-8").split("\n") if line.strip() and not line.startswith("#version")]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    make = _clip if any(word.endswith(END_OF_WORD) for word in value) else _gpt
    try:
        return make(value, merges)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"{path.name} and merges.txt do not belong together ({error})") from error


def _clip(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    model = models.BPE(
        vocab=vocabulary, merges=list(merges), unk_token=CLIP_END, continuing_subword_prefix="", end_of_word_suffix=END_OF_WORD
    )
    made = tokenizers.Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(tokenizers.Regex(CLIP_WORDS), behavior="removed", invert=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return _finished(made, CLIP_START, CLIP_END)


def _gpt(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    import tokenizers
    from tokenizers import models, pre_tokenizers

    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    start, end = ("<s>", "</s>") if "</s>" in vocabulary else (CLIP_END, CLIP_END)
    return _finished(made, start, end)


def _bert(vocabulary: dict[str, int], *, lower_case: bool) -> tokenizers.Tokenizer:
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    made = tokenizers.Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([word for word in BERT_SPECIALS if word in vocabulary])
    finished = _finished(made, "[CLS]", "[SEP]")
    finished.decoder = decoders.WordPiece()
    return finished


def _finished(made: tokenizers.Tokenizer, start: str, end: str) -> tokenizers.Tokenizer:
    """Adds what stands around a sentence, so that other readers of the file put it there too."""
    from tokenizers import decoders, processors

    made.decoder = decoders.ByteLevel()
    words = made.get_vocab()
    if start in words and end in words:
        made.add_special_tokens([start, end])
        ends = [(start, words[start]), (end, words[end])]
        made.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    return made


def _count_words(
    real: tokenizers.Tokenizer, texts: Iterable[str], patients: Sequence[object] | None, minimum: int, *, clean: bool
) -> dict[str, int]:
    """Returns how often each word was seen, of those that `minimum` different patients have; in a fixed order."""
    counts: Counter[str] = Counter()
    seen: dict[str, set[object]] = {}
    number = -1
    for number, text in enumerate(texts):
        if patients is not None and number >= len(patients):
            break
        who = number if patients is None else patients[number]
        plain = clean_clip_text(text) if clean else text
        plain = plain if real.normalizer is None else real.normalizer.normalize_str(plain)
        for word, _ in real.pre_tokenizer.pre_tokenize_str(plain):
            counts[word] += 1
            of = seen.setdefault(word, set())
            if len(of) < minimum:
                of.add(who)
    if patients is not None and number + 1 != len(patients):
        raise ValueOutOfRange(f"{len(patients)} patients were given for another number of texts; expected one a text")
    shared = {word: counts[word] for word in sorted(counts) if len(seen[word]) >= minimum}
    return {word: count for word, count in shared.items() if all(ord(letter) <= 0xFFFF for letter in word)}


def _learn(kind: TokenizerKind, vocabulary: int, counts: dict[str, int]) -> dict[str, Any]:
    """Returns the words and merges of a byte-pair encoding, in the order learned, letters still marked (see `_marked`).

    The library numbers letters with a prefix or suffix of their own in the order its hash table has them, which differs from
    process to process and decides ties; letters that are marked by another code point are numbered by that.
    """
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    alphabet = byte_alphabet() if kind != "bert" else []
    alphabet += [chr(ord(letter) + MARK) for letter in alphabet] if kind == "clip" else []
    specials = {"bert": list(BERT_SPECIALS), "gpt": [CLIP_END], "clip": [CLIP_START, CLIP_END]}[kind]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeated({_marked(word, kind): count for word, count in counts.items()}), trainer)
    model: dict[str, Any] = json.loads(learner.to_str())["model"]
    if len(model["vocab"]) > vocabulary:
        raise ValueOutOfRange(
            f"these texts have more letters than a vocabulary of {vocabulary} holds; give it {len(model['vocab'])}"
        )
    return model


def _marked(word: str, kind: TokenizerKind) -> str:
    """Returns the word with its last letter (CLIP) or all but its first (BERT) moved to a plane of Unicode that no text uses."""
    if kind == "clip":
        return word[:-1] + chr(ord(word[-1]) + MARK)
    return word[0] + "".join(chr(ord(letter) + MARK) for letter in word[1:]) if kind == "bert" else word


def _unmarked(token: str, kind: TokenizerKind) -> str:
    """Returns a learned token as its model spells it: `fusion</w>`, `##fusion`."""
    plain = "".join(chr(ord(letter) - MARK) if ord(letter) >= MARK else letter for letter in token)
    if kind == "clip" and ord(token[-1]) >= MARK:
        return plain + END_OF_WORD
    return f"##{plain}" if kind == "bert" and ord(token[0]) >= MARK else plain


def _repeated(counts: dict[str, int], at_once: int = 1000) -> Iterator[str]:
    for word, count in counts.items():
        for start in range(0, count, at_once):
            yield " ".join([word] * min(at_once, count - start))


def _assembled(kind: TokenizerKind, model: dict[str, Any]) -> tokenizers.Tokenizer:
    if kind == "gpt":
        return _gpt(model["vocab"], [(first, second) for first, second in model["merges"]])
    if kind == "bert":
        return _bert({_unmarked(token, kind): place for token, place in model["vocab"].items()}, lower_case=True)
    return clip_tokenizer([(_unmarked(first, kind), _unmarked(second, kind)) for first, second in model["merges"]])
