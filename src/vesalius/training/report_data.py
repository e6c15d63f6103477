"""What reports say, as a run learns it: sections, sentences drawn anew each time, labelled sentences of MedCLIP.

Report text stays in memory: it is in no message, no log line and no file of a run. The tokenizer keeps words that several patients
share, and nothing else of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from vesalius.datasets.report_labels import label_report, label_sentence
from vesalius.datasets.reports import sections, sentences
from vesalius.errors import EmptyInput, RunError
from vesalius.training.image_text_scores import prompt_pair
from vesalius.zeroshot.prompts import absence_of

if TYPE_CHECKING:
    from vesalius.datasets.store import Store
    from vesalius.training.image_text_options import LabelCoding, Section, TextView

Name = TypeVar("Name", bound=str)
HELD_OUT_EVERY = 20
"""Of texts in a file without a column `split`, one in so many is held out for validation, by patient or else by its words."""


@dataclass(frozen=True)
class Texts:
    """Texts, and whose they are.

    Attributes:
        texts: One a report; a report without words is an empty one.
        patients: A key a text; texts of one patient have the same.
    """

    texts: tuple[str, ...]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def fingerprint(*several: Texts) -> str:
    """Names texts by all of their words, in hex: other texts, another name."""
    digest = hashlib.sha256()
    for texts in several:
        digest.update(len(texts).to_bytes(8, "big"))
        for text in texts.texts:
            content = text.encode()
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def store_texts(store: Store, rows: Int64[np.ndarray, " case"], section: Section) -> Texts:
    """Returns the chosen section of each film's report, empty where there is none; without a patient a film is its own."""
    manifest = store.manifest.iloc[rows]
    given = [text if isinstance(text, str) else "" for text in manifest["report"]]
    patients = [who if isinstance(who, str) else f"film {row}" for row, who in zip(rows, manifest["patient_id"], strict=True)]
    return Texts(tuple(choose_section(text, section) for text in given), tuple(patients))


def choose_section(report: str, section: Section) -> str:
    """Returns the words of a report that are learned; without findings and impression, what stands under no heading at all.

    Indication, comparison and technique are what was asked and done, not what is seen: only `whole` has them.
    """
    if section == "whole":
        return " ".join(report.split())
    found = sections(report)
    findings, impression = found.findings.strip(), found.impression.strip()
    if not (findings or impression):
        return found.other
    chosen = {"impression": impression or findings, "findings": findings or impression, "both": f"{findings} {impression}"}
    return " ".join(chosen[section].split())


def read_texts(path: Path, split: Literal["train", "validation"]) -> Texts:
    """Reads reports without films: a table with a column `report` (and `patient_id`, `split`), or any text file, a line a text.

    Without a column `split`, one text in twenty is for validation: all of a patient's, where patients are given. What ends in .csv
    or .tsv is a table; any other file is one if its first line says so.

    Raises:
        RunError: No such file, not text, or a table that is broken or has no column `report`.
        EmptyInput: No text of that split.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RunError(f"no file at {path}; expected a CSV with a column `report`, or a text file") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise RunError(f"{path} is not UTF-8 text ({type(error).__name__}); save it as UTF-8") from None
    rows = _rows(path, content)
    chosen = [row for row in rows if row["report"].strip() and _split_of(row) == split]
    if not chosen:
        raise EmptyInput(f"{path} has no text for {split}; give more texts, or a column `split` with {split!r} in it")
    return Texts(
        tuple(" ".join(row["report"].split()) for row in chosen),
        tuple(row.get("patient_id") or f"text {number}" for number, row in enumerate(chosen)),
    )


def _rows(path: Path, content: str) -> list[dict[str, str]]:
    tabs = path.suffix.lower() == ".tsv"
    lines = content.splitlines()
    header = next(csv.reader(lines[:1], delimiter="\t" if tabs else ","), [])
    if "report" not in header:
        if tabs or path.suffix.lower() == ".csv":
            raise RunError(
                f"{path} has no column `report` (its first line has {len(header)} columns); name the column of the texts so, in "
                "small letters; or give texts one a line, in a file that ends in .txt"
            )
        return [{"report": line} for line in lines]
    table = csv.DictReader(io.StringIO(content, newline=""), delimiter="\t" if tabs else ",", strict=True)
    try:
        return [{name: value or "" for name, value in row.items() if name} for row in table]
    except csv.Error:  # its words may quote the file
        raise RunError(
            f"{path} is no whole table: line {table.line_num} or one before it opens a quote that is not closed, or goes on behind "
            "one; mend it, or write the table anew"
        ) from None


def _split_of(row: Mapping[str, str]) -> str:
    if "split" in row:
        return row["split"]
    key = row.get("patient_id") or row["report"]
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return "validation" if number % HELD_OUT_EVERY == 0 else "train"


class ReportSentences:
    """The reports of some films, cut into sentences that are known by number.

    Attributes:
        whole: The chosen section of each film.
        sentences: Of each film, in order.
    """

    def __init__(self, texts: Texts) -> None:
        self.whole = texts.texts
        self.sentences = tuple(tuple(sentences(text)) or (text,) for text in texts.texts)
        numbers: dict[str, int] = {}
        self._numbers = tuple(tuple(numbers.setdefault(plain(one), len(numbers)) for one in of_film) for of_film in self.sentences)

    def __len__(self) -> int:
        return len(self.whole)

    def draw(
        self, cases: Int64[np.ndarray, " pair"], view: TextView, generator: np.random.Generator
    ) -> tuple[list[str], Bool[np.ndarray, "pair pair"]]:
        """Returns a text of each film, and for which of these films each text holds: those that say every sentence of it."""
        texts, drawn = [], []
        for case in cases:
            chosen = _draw(len(self.sentences[case]), view, generator)
            texts.append(" ".join(self.sentences[case][place] for place in chosen))
            drawn.append({self._numbers[case][place] for place in chosen})
        return texts, _holds(drawn, [set(self._numbers[case]) for case in cases])

    def entire(self) -> tuple[list[str], Int64[np.ndarray, " film"]]:
        """Returns every text whole, and a number of what it says: equal where two say the same sentences, in any order."""
        numbers: dict[frozenset[int], int] = {}
        said = [numbers.setdefault(frozenset(of_film), len(numbers)) for of_film in self._numbers]
        return [" ".join(of_film) for of_film in self.sentences], np.array(said, dtype=np.int64)


def plain(sentence: str) -> str:
    """Returns a sentence without what does not change its meaning: case, spaces, the stop at its end."""
    return " ".join(sentence.lower().split()).rstrip(".")


def _draw(count: int, view: TextView, generator: np.random.Generator) -> list[int]:
    if view == "all":
        return list(range(count))
    many = 1 if view == "one" else int(generator.integers(1, count + 1))
    return [int(place) for place in generator.permutation(count)[:many]]


def _holds(drawn: Sequence[set[int]], said: Sequence[set[int]]) -> Bool[np.ndarray, "text film"]:
    """Is everything in a text said of the film? As one product of who says what."""
    columns = {number: place for place, number in enumerate(sorted(set().union(*drawn)))}
    asked = np.zeros((len(drawn), len(columns)), dtype=np.float32)
    told = np.zeros((len(said), len(columns)), dtype=np.float32)
    for table, sets in ((asked, drawn), (told, said)):
        for row, numbers in enumerate(sets):
            table[row, [columns[number] for number in numbers if number in columns]] = 1
    holds: Bool[np.ndarray, "text film"] = (asked @ told.T) >= asked.sum(axis=1, keepdims=True) - 0.5
    return holds


@dataclass(frozen=True)
class LabelledSentences:
    """Sentences that speak of at least one finding.

    Attributes:
        sentences: Each once.
        labels: 1 present, 0 absent, -1 uncertain, NaN not mentioned.
        share: How often each is drawn; adds up to 1.
    """

    sentences: tuple[str, ...]
    labels: Float64[np.ndarray, "sentence finding"]
    share: Float64[np.ndarray, " sentence"]

    def __len__(self) -> int:
        return len(self.sentences)

    def draw(self, count: int, generator: np.random.Generator) -> Int64[np.ndarray, " drawn"]:
        """Returns the places of so many sentences, with replacement."""
        return np.asarray(generator.choice(len(self), size=count, p=self.share), dtype=np.int64)


def label_sentences(texts: Sequence[str], findings: Sequence[str], *, names: bool = False) -> LabelledSentences:
    """Cuts texts into sentences and labels them; what says nothing of `findings` is left out.

    All that says the same counts together, and is drawn as often as the square root of its number: denials are most of what is
    written, and would be most of what is learned. With `names` the bare name of each finding and its denial are sentences too, one
    wording more of what they say: findings are asked for by name later, and reports hardly ever name one so.

    Raises:
        EmptyInput: No sentence speaks of any finding.
    """
    counts: Counter[str] = Counter()
    spelt: dict[str, str] = {}
    for text in texts:
        for one in sentences(text):
            counts[plain(one)] += 1
            spelt.setdefault(plain(one), one)
    rows = {spelt[key]: _row(label_sentence(spelt[key], findings), findings) for key in counts}
    said = [(text, count, row) for (text, row), count in zip(rows.items(), counts.values(), strict=True) if not np.isnan(row).all()]
    if not said:
        raise EmptyInput(f"no sentence of these reports speaks of {', '.join(findings)}; name other --findings")
    said += [(text, 1, row) for text, row in _name_rows(findings) if names and text not in rows]
    meanings = [np.nan_to_num(row, nan=9.0).tobytes() for _, _, row in said]
    occurrences: Counter[bytes] = Counter()
    wordings = Counter(meanings)
    for meaning, (_, count, _) in zip(meanings, said, strict=True):
        occurrences[meaning] += count
    weight = np.array([np.sqrt(occurrences[meaning]) / wordings[meaning] for meaning in meanings])
    return LabelledSentences(tuple(text for text, _, _ in said), np.stack([row for _, _, row in said]), weight / weight.sum())


def _name_rows(findings: Sequence[str]) -> Iterator[tuple[str, Float64[np.ndarray, " finding"]]]:
    """Yields the name of each finding and its denial, with what either says; the name of an absence (No Finding) has no denial."""
    for place, finding in enumerate(findings):
        if absence_of(finding) is not None:
            continue
        for text, says in zip(prompt_pair(finding), (1.0, 0.0), strict=True):
            row = _row(label_sentence(text, findings), findings)
            row[place] = says
            yield text, row


def labels_of_reports(texts: Sequence[str], findings: Sequence[str]) -> Float64[np.ndarray, "case finding"]:
    """Returns what each report says of each finding: 1, 0, -1, NaN where it is silent."""
    rows = [_row(label_report(text, findings), findings) if text else np.full(len(findings), np.nan) for text in texts]
    return np.stack(rows) if rows else np.zeros((0, len(findings)))


def code_labels(labels: Float64[np.ndarray, "row finding"], coding: LabelCoding) -> Float32[np.ndarray, "row code"]:
    """Returns labels as vectors whose product says how far two of them agree.

    `signed` has two numbers a finding: 1 present, -1 absent, 0 otherwise; and 1 where it is uncertain. So what denies a finding
    speaks against a film that shows it, and is not the same as silence. `published` is the label itself, 0 where nothing is known.

    Source: Wang et al. 2022, section 3.2 (`published`); `signed` is ours.
    """
    known = np.nan_to_num(labels, nan=0.0)
    if coding == "published":
        published: Float32[np.ndarray, "row code"] = known.astype(np.float32)
        return published
    signed = np.where(labels == 1, 1.0, np.where(labels == 0, -1.0, 0.0))
    both: Float32[np.ndarray, "row code"] = np.concatenate([signed, known == -1], axis=1).astype(np.float32)
    return both


def _row(said: Mapping[str, float], findings: Sequence[str]) -> Float64[np.ndarray, " finding"]:
    return np.array([said[name] for name in findings], dtype=np.float64)
