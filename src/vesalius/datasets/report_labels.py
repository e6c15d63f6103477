"""What a report says of each finding: present, absent, doubtful or nothing; by rules one can read. Standard library only.

A mention of a finding is present unless words of denial or of doubt reach it. Denial reaches forward from "no", "without" to the
end of its clause, over lists ("no consolidation, effusion or pneumothorax"), and back from "has resolved", "is not seen"; "no
change in the effusion" denies nothing. Doubt ("possible", "cannot be excluded", "suggests") beats denial. In a report, present
beats doubt, and doubt beats denial.

Sources: the order of decisions is that of NegEx (Chapman 2001) and the CheXpert labeler (Irvin 2019, arXiv:1901.07031); the words
    are ours. It labels for training and for sentences, it does not read: docs/reports.md says how often it is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from vesalius.datasets import report_words as words
from vesalius.datasets.report_words import MENTIONS
from vesalius.datasets.reports import sections, sentences

__all__ = ["ABSENT", "DOUBTFUL", "MENTIONS", "PRESENT", "label_report", "label_sentence"]

PRESENT, DOUBTFUL, ABSENT = 1.0, -1.0, 0.0


def label_sentence(text: str, findings: Sequence[str]) -> dict[str, float]:
    """What one sentence says of each finding: 1 present, -1 doubtful, 0 absent, NaN nothing.

    Args:
        text: A sentence.
        findings: Names: CheXpert's, NIH's, or any other word, which then stands for itself. "No Finding" is 1 where the sentence
            denies or leaves out all disease, 0 where it names one, NaN for a sentence without words.
    """
    return _label([text] if text.strip() else [], findings)


def label_report(text: str, findings: Sequence[str]) -> dict[str, float]:
    """What a report's findings and impression say of each finding; indication, comparison and technique are not read.

    Args:
        text: A report, with or without headings.
        findings: As in `label_sentence`. "No Finding" is 1 where nothing known here is present or doubtful and the report says
            something at all.
    """
    found = sections(text)
    read = f"{found.findings}\n{found.impression}" if found.findings or found.impression else found.other
    return _label(sentences(read), findings)


def _label(every: Sequence[str], findings: Sequence[str]) -> dict[str, float]:
    read = [_Sentence(one) for one in every]
    labels: dict[str, float] = {}
    for name in findings:
        key = _key(name)
        labels[name] = _healthy(read) if key in words.HEALTHY else _strongest([value for one in read for value in one.say(key)])
    return labels


def _strongest(said: Sequence[float]) -> float:
    """Present beats doubt, doubt beats denial; NaN if nothing is said."""
    return next((value for value in (PRESENT, DOUBTFUL, ABSENT) if value in said), math.nan)


def _healthy(read: Sequence[_Sentence]) -> float:
    """1 where no disease is present or doubtful in any sentence, 0 where one is, NaN without a sentence."""
    if not read:
        return math.nan
    diseases = [name for name in MENTIONS if name not in words.NOT_A_DISEASE]
    return ABSENT if any({PRESENT, DOUBTFUL} & set(one.say(name)) for one in read for name in diseases) else PRESENT


def _key(name: str) -> str:
    word = " ".join(name.lower().replace("_", " ").split())
    return words.ALIASES.get(word, word)


class _Sentence:
    """A sentence and its clauses, which words of denial and doubt do not cross."""

    def __init__(self, text: str) -> None:
        self.text = words.ASIDE.sub(" ", " ".join(text.split()))
        cuts = [0, *(cut.start() for cut in words.CUT.finditer(self.text)), len(self.text)]
        self.clauses = [self.text[start:end] for start, end in pairwise(cuts)]

    def say(self, key: str) -> list[float]:
        """Everything that is said of a finding."""
        said = [_judge(clause, mention) for clause in self.clauses for mention in words.naming(key).finditer(clause)]
        hints, clear = words.hinting(key), words.clearing(key)
        if hints:
            hinted = [_judge(clause, mention) for clause in self.clauses for mention in hints.finditer(clause)]
            said += [DOUBTFUL if value == PRESENT else value for value in hinted]
        if clear and clear.search(self.text):
            said.append(ABSENT)
        return [value for value in said if not math.isnan(value)]


def _judge(clause: str, mention: re.Match[str]) -> float:
    """Is this mention present, doubtful or absent? NaN if it tells of the past."""
    plain = clause
    for change in words.NOT_A_DENIAL.finditer(clause):
        if change.end() <= mention.start() or change.start() >= mention.end():
            plain = plain[: change.start()] + "-" * len(change.group()) + plain[change.end() :]
    before, after = plain[: mention.start()], plain[mention.end() :]
    if words.HISTORY.search(before):
        return math.nan
    inside = words.INSIDE.search(mention.group())
    denied = words.DENIAL_BEFORE.search(before) or words.DENIAL_AFTER.search(after) or (inside and inside.group(1))
    doubted = words.DOUBT_BEFORE.search(words.DOUBTLESS.sub("no", before)) or words.DOUBT_AFTER.search(after)
    if (doubted and not (denied and _only_reason(before))) or (inside and inside.group(2)):
        return DOUBTFUL
    return ABSENT if denied else PRESENT


def _only_reason(before: str) -> bool:
    """Is the doubt inside a denial: "no opacity to suggest pneumonia", "no finding suspicious for"?"""
    denial, doubt = words.DENIAL_BEFORE.search(before), words.DOUBT_BEFORE.search(before)
    return (
        denial is not None and doubt is not None and denial.start() < doubt.start() and not re.search(r"exclude|ruled out", before)
    )
