"""From words to the ids that a text encoder reads: CLIP's byte-level BPE, BERT's WordPiece, GPT's byte-level BPE.

The library `tokenizers` does the work; a bundle keeps its `tokenizer.json`. Vocabulary files of published models are the user's
own copies: none comes with this package. Light: no torch.

Sources:
    Sennrich 2016, arXiv:1508.07909 (BPE). Radford 2021, arXiv:2103.00020 (CLIP's: lower case, `</w>` at the end of a word).
    Devlin 2019, arXiv:1810.04805 (WordPiece, `[CLS]` and `[SEP]`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

from vesalius.errors import EmptyInput, TextTooLong, TokenizerError, ValueOutOfRange, name_places
from vesalius.models.vocabulary_files import (
    BERT_SPECIALS,
    CLIP_END,
    CLIP_START,
    END_OF_WORD,
    TokenizerKind,
    clean_clip_text,
    read_vocabulary,
    train_vocabulary,
)

TooLong = Literal["error", "cut"]
Padding = Literal["context", "longest"]
ENDS = (
    (BERT_SPECIALS[2], BERT_SPECIALS[3], BERT_SPECIALS[0]),
    (CLIP_START, CLIP_END, None),
    ("<start_of_text>", "<end_of_text>", "<pad>"),
    ("<s>", "</s>", "<pad>"),
    (CLIP_END, CLIP_END, None),
)
"""Start, end and padding by name, the first that a vocabulary has; without a padding token id 0 fills up, as CLIP's authors do."""


class Ends(NamedTuple):
    """Ids around every sentence, and of what is padded behind it."""

    start: int
    end: int
    padding: int


class Encoded(NamedTuple):
    """Sentences as a text encoder reads them: ids, padded on the right; the mask is 1 for a token and 0 for padding."""

    tokens: Int64[np.ndarray, "sentence token"]
    mask: Int64[np.ndarray, "sentence token"]


class Tokenizer:
    """One model's words: text in, ids out.

    Attributes:
        kind: `clip`, `bert` or `gpt`.
        vocabulary: Rows that the token embedding needs: greatest id + 1.
        ends: Ids of start, end and padding.
        unknown: Id of a word that the vocabulary cannot spell; None where it can spell any (byte by byte).

    Raises:
        TokenizerError: Not a tokenizer.json, or one without start and end of a sentence.

    Checked against: OpenAI's ids, transformers' tokenizers and a BPE written for the test (tests/reference/test_tokenizers.py).
    """

    def __init__(self, content: bytes) -> None:
        import tokenizers

        try:
            self._inner = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
            model: dict[str, Any] = json.loads(content)["model"]
        except Exception as error:  # the library raises bare Exception on a file of another shape
            raise TokenizerError(
                "this is not a tokenizer.json that the installed `tokenizers` can read; pass the model's own file"
            ) from error
        self._content = content
        self._inner.no_truncation()
        self._inner.no_padding()
        self._inner.encode_special_tokens = True  # "[SEP]" typed inside a sentence is a word, and does not end it
        words = self._inner.get_vocab(with_added_tokens=True)
        self.kind = _kind(model)
        self.vocabulary = max(words.values()) + 1
        self.ends = _ends(words)
        self.unknown = words.get(str(model.get("unk_token"))) if self.kind == "bert" else None
        named = {name for ends in ENDS for name in ends if name is not None} | set(BERT_SPECIALS)
        self._markers = {words[name] for name in named if name in words} - {self.unknown}

    @classmethod
    def from_bytes(cls, content: bytes) -> Tokenizer:
        """Reads a `tokenizer.json`, as a bundle keeps it."""
        return cls(content)

    @classmethod
    def from_file(
        cls, path: str | Path, *, kind: TokenizerKind | Literal["auto"] = "auto", lower_case: bool | None = None
    ) -> Tokenizer:
        """Reads a vocabulary as its authors publish it: see `vocabulary_files`.

        Args:
            path: `tokenizer.json`, `vocab.txt`, `vocab.json` (with `merges.txt` beside it), CLIP's
                `bpe_simple_vocab_16e6.txt.gz`, or a folder with one of them.
            kind: What it must be; `auto` takes what it is.
            lower_case: Of a `vocab.txt`; None decides by whether the vocabulary has capital letters. Bio_ClinicalBERT's has, and
                its published tokenizer lower-cases all the same: pass True for MedCLIP and MI-Zero.

        Raises:
            TokenizerError: None of those files, or of another kind.
        """
        tokenizer = cls(read_vocabulary(Path(path), kind, lower_case=lower_case))
        if kind not in {"auto", tokenizer.kind}:
            raise TokenizerError(f"{Path(path).name} is a vocabulary of kind {tokenizer.kind}; expected {kind}")
        return tokenizer

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        kind: TokenizerKind = "bert",
        vocabulary: int = 8192,
        patients: Sequence[object] | None = None,
        minimum_patients: int = 3,
    ) -> Tokenizer:
        """Learns a vocabulary from reports, of words that several patients share and no other.

        A name, a number or a place that stands in the reports of fewer patients leaves no trace: words are counted by patient
        first, and merges are learned from the words that remain.

        Args:
            texts: Reports or sentences; read once.
            kind: `clip` and `gpt` read any text byte by byte; `bert` gives `[UNK]` for letters it has not seen.
            vocabulary: Tokens at most; little text makes fewer.
            patients: Whose text each is. None counts every text as another patient's: safe only where each patient has one.
            minimum_patients: Patients that must share a word.

        Raises:
            EmptyInput: No word is shared by so many patients.
            ValueOutOfRange: A number out of its range, or not one patient a text.
        """
        made = train_vocabulary(texts, kind=kind, vocabulary=vocabulary, patients=patients, minimum_patients=minimum_patients)
        return cls(made)

    def encode(
        self, texts: Sequence[str], context_length: int, *, too_long: TooLong = "error", padding: Padding = "context"
    ) -> Encoded:
        """Returns ids between start and end of each sentence, padded on the right, and the mask.

        Args:
            texts: Sentences.
            context_length: Tokens at most, start and end among them.
            too_long: `error`, or `cut`: the first tokens stay and the last becomes the end, as in CLIP's training.
            padding: To `context` length, or to the `longest` sentence here (MedCLIP's embedding depends on it).

        Raises:
            EmptyInput: No sentence.
            TextTooLong: A sentence that does not fit; the message says which and by how much, never what it says.
            TokenizerError: A sentence in which this vocabulary reads a marker of its own, such as its end: leave "[SEP]" and the
                like out of it.
            ValueOutOfRange: A context length below 3.
        """
        if isinstance(texts, str) or not len(texts):
            raise EmptyInput("no sentence to encode; pass a list of at least one")
        if context_length < 3:
            raise ValueOutOfRange(f"a context of {context_length} tokens; expected at least 3: start, a word, end")
        rows = self._read(texts)
        room = context_length - 2
        over = [number for number, row in enumerate(rows, start=1) if len(row) > room]
        if over and too_long == "error":
            longest = max(len(row) for row in rows) + 2
            raise TextTooLong(
                f"{name_places(over, 'sentence')}: up to {longest} tokens where {context_length} fit; "
                "shorten them, or cut them with too_long='cut'"
            )
        width = context_length if padding == "context" else min(context_length, 2 + max(len(row) for row in rows))
        tokens = np.full((len(rows), width), self.ends.padding, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for case, row in enumerate(rows):
            ids = [self.ends.start, *row[:room], self.ends.end]
            tokens[case, : len(ids)] = ids
            mask[case, : len(ids)] = 1
        return Encoded(tokens, mask)

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each sentence, without start and end."""
        cleaned = [clean_clip_text(text) for text in texts] if self.kind == "clip" else list(texts)
        rows = [encoding.ids for encoding in self._inner.encode_batch_fast(cleaned, add_special_tokens=False)]
        marked = [number for number, row in enumerate(rows, start=1) if not self._markers.isdisjoint(row)]
        if marked:  # of a tokenizer.json whose rules keep "[SEP]" in one piece
            raise TokenizerError(
                f"{name_places(marked, 'sentence')}: this vocabulary reads a start, an end, padding or a mask inside, where the "
                f"words would be cut; leave markers such as {self._inner.id_to_token(self.ends.end)} out"
            )
        return rows

    def words(self, tokens: Sequence[int]) -> list[str]:
        """Returns what each id stands for, as the vocabulary spells it."""
        return [self._inner.id_to_token(int(token)) or "" for token in tokens]

    def to_bytes(self) -> bytes:
        """Returns its `tokenizer.json`; the same bytes as it was made of."""
        return self._content

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `to_bytes`, in hex."""
        return hashlib.sha256(self._content).hexdigest()

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[bytes]]:
        return Tokenizer, (self._content,)


def _kind(model: dict[str, Any]) -> TokenizerKind:
    if model.get("type") == "WordPiece":
        return "bert"
    return "clip" if model.get("end_of_word_suffix") == END_OF_WORD else "gpt"


def _ends(words: dict[str, int]) -> Ends:
    for start, end, padding in ENDS:
        if start in words and end in words:
            return Ends(words[start], words[end], 0 if padding is None else words.get(padding, 0))
    expected = ", ".join(f"{start} with {end}" for start, end, _ in ENDS)
    raise TokenizerError(f"this vocabulary has no start and end of a sentence; expected one of: {expected}")
