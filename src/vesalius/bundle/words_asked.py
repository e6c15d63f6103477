"""What a bundle was asked before it was locked: the words of each finding, for its card and for `vesalius bundle inspect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vesalius.zeroshot.prompt_file import prompts_from_json

COLUMNS = ("finding", "asked for", "against")
SHOWN = 90
"""Letters of a sentence that a table shows."""
ABOUT_THE_BUNDLE = ("average", "towers", "sets")
"""Of `prompts` in bundle.json: what stands beside the words."""
KINDS = {"pair": "each finding against its denial", "classes": "classes"}


class Asked(NamedTuple):
    """The sentences of one finding; nothing stands against a class but the other classes."""

    finding: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]

    def cells(self) -> tuple[str, str, str]:
        """Returns a row of `COLUMNS`: the first sentence of either side, and how many more."""
        return self.finding, _in_short(self.positive), _in_short(self.negative)


def words_asked(description: Mapping[str, Any]) -> tuple[Asked, ...]:
    """Returns what was asked, a row a finding; nothing of a bundle that was not asked in words.

    Args:
        description: What `bundle.json` says.

    Raises:
        PromptsError: Words that no version of this package has written.
    """
    prompts = description.get("prompts")
    if not isinstance(prompts, Mapping):
        return ()
    if "design" in prompts:
        design = prompts["design"]
        against = design["negative"] or [None] * len(design["findings"])
        rows = zip(design["findings"], design["positive"], against, strict=True)
        return tuple(Asked(finding, (words,), () if denial is None else (denial,)) for finding, words, denial in rows)
    texts = prompts_from_json({name: value for name, value in prompts.items() if name not in ABOUT_THE_BUNDLE}).texts()
    return tuple(Asked(finding, tuple(words.positive), tuple(words.negative)) for finding, words in texts.items())


def how_asked(description: Mapping[str, Any]) -> str:
    """Returns in a line how the words became the answer; empty for a bundle that was not asked in words."""
    prompts = description.get("prompts")
    if not isinstance(prompts, Mapping):
        return ""
    if "design" in prompts:
        kind = KINDS[prompts["design"]["kind"]]
        return f"prompts that were learned ({kind}), and begin with these words; towers {prompts['towers']}"
    sets, templates = len(prompts.get("sets", ())), len(prompts["templates"])
    drawn = f", {sets} prompt sets drawn from them" if sets > 1 else ""
    asked = f"prompts `{prompts['name']}` ({KINDS[prompts['kind']]}, {templates} template{'s' if templates > 1 else ''})"
    return f"{asked}{drawn}, mean of {prompts['average']}; towers {prompts['towers']}"


def asked_to_json(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what was asked as plain data: every sentence, and how they became the answer; None where nothing was.

    `kind` is `pair`, `classes` or `learned`; what learned prompts have not (`name`, `templates`, `average`) is None. `prompt_sets`
    is 1 where all words were taken at once.
    """
    prompts = description.get("prompts")
    if not isinstance(prompts, Mapping):
        return None
    learned = "design" in prompts
    return {
        "kind": "learned" if learned else prompts["kind"],
        "of": prompts["design"]["kind"] if learned else prompts["kind"],
        "name": prompts.get("name"),
        "templates": None if learned else len(prompts["templates"]),
        "average": prompts.get("average"),
        "prompt_sets": len(prompts.get("sets", ())) or 1,
        "towers": prompts["towers"],
        "findings": [
            {"name": one.finding, "for": list(one.positive), "against": list(one.negative)} for one in words_asked(description)
        ],
    }


def _in_short(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    more = f" (+{len(sentences) - 1} more)" if len(sentences) > 1 else ""
    first = sentences[0] if len(sentences[0]) <= SHOWN else f"{sentences[0][: SHOWN - 1]}…"
    return f"{first}{more}"
