"""What is asked in words: each finding with its denial, or classes that stand against each other.

A prompt is a finding's synonyms under templates (`"{}"` against `"no {}"`), or whole sentences where a template would say the wrong
thing. "No Finding" is such a case: "no No Finding" turns the meaning round, and in CheXzero's own published run its AUROC is 0.07.
So a finding that names an absence has polarity -1: sentences of normality stand against sentences of abnormality, and a warning
says so.

The files that come with this package are our own: words of the field (their sources stand in each file), no author's prompts.

Sources: Tiu 2022 (CheXzero: positive and negative prompt, "{}" and "no {}"). Radford 2021, arXiv:2103.00020 (classes, templates).
Light: no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from vesalius.errors import PromptsError

PromptKind = Literal["pair", "classes"]
"""`pair`: findings that may occur together, each told from its denial; `classes`: of which an image has exactly one."""

SLOT = "{}"
ABSENCE = re.compile(r"(?:no|without|absence of|absent|negative for|free of)\s+(?:evidence of\s+|any\s+)?(?P<what>.+)", re.I)
NORMAL = re.compile(
    r"no (?:acute |abnormal |significant )*(?:cardiopulmonary )?(?:findings?|abnormalit(?:y|ies)|disease)"
    r"|(?:normal|healthy|unremarkable)(?: (?:chest|film|radiograph|x-?ray|study|examination))*"
)
NORMALITY = (
    "normal chest radiograph",
    "the lungs are clear",
    "heart and lungs are normal",
    "unremarkable chest film",
    "no abnormality is seen",
)
ABNORMALITY = (
    "abnormal chest radiograph",
    "the lungs are not clear",
    "heart or lungs are abnormal",
    "chest film with disease",
    "an abnormality is seen",
)
"""What "No Finding" and "normal" are asked as, and against what."""


class Sentences(NamedTuple):
    """All sentences of a finding: those that say it is there, and those that say it is not (none for a class)."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """A frame for a finding's name; `{}` stands once where the name goes.

    Attributes:
        positive: Says that it is there.
        negative: Says that it is not; None for classes.
    """

    positive: str
    negative: str | None = None

    def __post_init__(self) -> None:
        for text in (self.positive, self.negative):
            if text is not None and text.count(SLOT) != 1:
                raise PromptsError(f"the template {text!r} must hold {SLOT} exactly once: the finding's name goes there")


PLAIN = (Template(SLOT, f"no {SLOT}"),)
"""The name against "no" before it: what CheXzero asks, and what `--finding TEXT` asks."""


@dataclass(frozen=True)
class Prompt:
    """One finding or class in words.

    Attributes:
        finding: Its name in the answer.
        synonyms: Names that go into the templates.
        positive: Whole sentences that say it is there, used as they are, beside those of the templates.
        negative: Whole sentences that say it is not.
        polarity: 1 for something that is seen; -1 where the name itself says that nothing is ("No Finding"): no template is used.
        sources: Where its words come from.
    """

    finding: str
    synonyms: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    polarity: Literal[1, -1] = 1
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = (self.finding, *self.synonyms, *self.positive, *self.negative)
        if not all(word.strip() for word in words):
            raise PromptsError(f"the prompt of {self.finding!r} holds an empty text; leave it out")
        if self.polarity not in (1, -1):
            raise PromptsError(f"polarity of {self.finding!r} is {self.polarity!r}; expected 1, or -1 for the name of an absence")
        if self.polarity == -1 and (self.synonyms or not self.positive or not self.negative):
            raise PromptsError(
                f"{self.finding!r} has polarity -1, so no template can deny it: give whole sentences as `positive` (normal) and as "
                "`negative` (abnormal), and no `synonyms`"
            )

    def texts(self, templates: Sequence[Template]) -> Sentences:
        """Returns every sentence, for and against: templates with synonyms first, each sentence once."""
        used = templates if self.polarity == 1 else ()
        positive = [template.positive.replace(SLOT, name) for template in used for name in self.synonyms]
        negative = [template.negative.replace(SLOT, name) for template in used if template.negative for name in self.synonyms]
        return Sentences(_once([*positive, *self.positive]), _once([*negative, *self.negative]))

    @property
    def warning(self) -> str | None:
        """What to know of its polarity; None where there is nothing."""
        if self.polarity == -1:
            return (
                f"{self.finding}: the name says that nothing is there, so it is asked as {self.positive[0]!r} against "
                f"{self.negative[0]!r}; a high score means less is seen"
            )
        if absence_of(self.finding) is not None:
            return (
                f"{self.finding}: names an absence and is denied by a template all the same, which turns the meaning round "
                "(AUROC 0.07 in CheXzero's own run): give it polarity -1 and whole sentences"
            )
        return None


@dataclass(frozen=True)
class PromptSet:
    """What one question asks: findings or classes, each in all its words.

    Attributes:
        name: Of the set.
        kind: Pairs or classes.
        prompts: One a finding, in the order of the answer.
        templates: Frames for the synonyms; all of them with every synonym.
        about: What it is for, in a sentence.
        sources: Where the words come from.

    Raises:
        PromptsError: A finding twice, or one without words for or against it, or with the same words for both.
    """

    name: str
    kind: PromptKind
    prompts: tuple[Prompt, ...]
    templates: tuple[Template, ...] = PLAIN
    about: str = ""
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("pair", "classes"):
            raise PromptsError(f"kind {self.kind!r}; expected `pair` (each finding and its denial) or `classes` (one of several)")
        names = list(self.findings)
        plain = [plain_name(name) for name in names]
        twice = [name for name, one in zip(names, plain, strict=True) if plain.count(one) > 1]
        if not names or twice:
            raise PromptsError(f"prompts of {', '.join(twice) or 'nothing'}: each finding once, and at least one")
        for prompt in self.prompts:
            texts = prompt.texts(self.templates)
            if not texts.positive or (self.kind == "pair" and not texts.negative):
                raise PromptsError(
                    f"{prompt.finding!r} has no words for it, or none against it; give `synonyms` or whole sentences"
                )
            if self.kind == "classes" and (texts.negative or prompt.polarity == -1):
                raise PromptsError(f"{prompt.finding!r} is a class: classes stand against each other and have no denial")
        if self.kind == "classes" and len(names) < 2:
            raise PromptsError("one class alone cannot be told from anything; name at least 2, or use kind `pair`")
        self._check_words_differ()

    def _check_words_differ(self) -> None:
        """Refuses what can give nothing but 0, or the same for two classes, whatever the image."""
        seen: dict[str, str] = {}
        for finding, texts in self.texts().items():
            both = [text for text in texts.positive if text in texts.negative]
            if both:
                raise PromptsError(
                    f"{finding!r} is asked as {both[0]!r} both for and against; that tells nothing: change one of them"
                )
            for text in texts.positive if self.kind == "classes" else ():
                if (other := seen.setdefault(text, finding)) != finding:
                    raise PromptsError(f"{text!r} is asked for {other} and for {finding}; give each class words of its own")

    @property
    def findings(self) -> tuple[str, ...]:
        """Names in the answer."""
        return tuple(prompt.finding for prompt in self.prompts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of the polarity of its findings."""
        if self.kind == "classes":
            return ()
        return tuple(prompt.warning for prompt in self.prompts if prompt.warning is not None)

    def texts(self) -> dict[str, Sentences]:
        """Returns every sentence of every finding."""
        return {prompt.finding: prompt.texts(self.templates) for prompt in self.prompts}

    def only(self, findings: Sequence[str]) -> PromptSet:
        """Returns the prompts of some findings, in the order asked for; names are compared without case and underscores.

        Raises:
            PromptsError: A finding it has no prompt for; the message lists those it has.
        """
        known = {plain_name(prompt.finding): prompt for prompt in self.prompts}
        lacking = [finding for finding in findings if plain_name(finding) not in known]
        if lacking:
            raise PromptsError(f"{self.name} has no prompt for {', '.join(lacking)}; it has: {', '.join(self.findings)}")
        return replace(self, prompts=tuple(replace(known[plain_name(finding)], finding=finding) for finding in findings))

    def to_json(self) -> dict[str, Any]:
        """Returns plain data: what a prompt file and a bundle hold."""
        return {
            "name": self.name,
            "kind": self.kind,
            **({"about": self.about} if self.about else {}),
            **({"sources": list(self.sources)} if self.sources else {}),
            "templates": [_frame(template) for template in self.templates],
            "findings": [_entry(prompt) for prompt in self.prompts],
        }

    @property
    def sha256(self) -> str:
        """SHA-256 of what is asked, in hex; words about it (`about`, `sources`) do not count."""
        asked = {name: [list(texts.positive), list(texts.negative)] for name, texts in self.texts().items()}
        return hashlib.sha256(json.dumps([self.kind, asked], ensure_ascii=False).encode()).hexdigest()

    @classmethod
    def of_classes(
        cls, names: Mapping[str, Sequence[str]], templates: Iterable[str] = (SLOT,), *, name: str = "classes"
    ) -> PromptSet:
        """Returns classes from their synonyms: `{"LUAD": ["lung adenocarcinoma", ...], ...}`."""
        prompts = tuple(Prompt(one, tuple(synonyms)) for one, synonyms in names.items())
        return cls(name, "classes", prompts, tuple(Template(text) for text in templates))


def prompts_for(findings: Sequence[str], *, name: str = "asked") -> PromptSet:
    """Returns what `--finding TEXT` asks: each text against "no TEXT", letter for letter.

    A text that names an absence is not denied once more: "no effusion" stands against "effusion", and "No Finding" and "normal" are
    asked as sentences of normality against sentences of abnormality. The set's `warnings` say so.

    Raises:
        PromptsError: No text, an empty one, or one twice.
    """
    return PromptSet(name, "pair", tuple(prompt_for(finding) for finding in findings))


def prompt_for(finding: str) -> Prompt:
    """Returns the prompt of one text: see `prompts_for`."""
    text = " ".join(finding.split())
    what = absence_of(text)
    if what is None:
        return Prompt(text, (text,))
    if what == "":
        return Prompt(text, positive=NORMALITY, negative=ABNORMALITY, polarity=-1)
    return Prompt(text, positive=(text,), negative=(what,), polarity=-1)


def absence_of(finding: str) -> str | None:
    """Returns what a name says is not there: "no effusion" gives "effusion", "No Finding" gives ""; None for a thing seen."""
    name = " ".join(finding.replace("_", " ").split()).rstrip(" .!?;,:")
    if NORMAL.fullmatch(name.lower()):
        return ""
    found = ABSENCE.fullmatch(name)
    return found["what"] if found else None


def plain_name(finding: str) -> str:
    """Returns a name in lower case with spaces for underscores: `Pleural_Thickening` and "pleural thickening" are one."""
    return " ".join(finding.replace("_", " ").lower().split())


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _frame(template: Template) -> str | list[str]:
    return template.positive if template.negative is None else [template.positive, template.negative]


def _entry(prompt: Prompt) -> dict[str, Any]:
    held = {"synonyms": prompt.synonyms, "positive": prompt.positive, "negative": prompt.negative, "sources": prompt.sources}
    entry: dict[str, Any] = {"name": prompt.finding} | {name: list(words) for name, words in held.items() if words}
    return entry | ({"polarity": -1} if prompt.polarity == -1 else {})
