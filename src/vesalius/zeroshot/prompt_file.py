"""Prompt files: YAML that a physician can write, and the sets that come with the package, by name.

    name: chest            # in every answer
    kind: pair             # pair: each finding with its denial; classes: exactly one of them
    templates:             # every template with every synonym; always in quotation marks
      - ["{}", "no {}"]
      - ["there is {}", "there is no {}"]
    findings:
      - name: Pleural Effusion
        synonyms: [pleural effusion, fluid in the pleural space]
      - name: No Finding   # the name of an absence: no template can deny it
        polarity: -1
        positive: [normal chest radiograph]
        negative: [abnormal chest radiograph]

Light: no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from vesalius.errors import PromptsError
from vesalius.zeroshot.prompts import PLAIN, SLOT, Prompt, PromptSet, Template, prompt_for

KEYS = ("name", "kind", "about", "sources", "templates", "findings")
FINDING_KEYS = ("name", "synonyms", "positive", "negative", "polarity", "sources")
QUOTE = f'in YAML a bare {SLOT} is an empty table and a bare no is a false: write "{SLOT}" and "no" in quotation marks'


def library() -> tuple[str, ...]:
    """Returns the names of the prompt files that come with the package."""
    names = (entry.name for entry in files("vesalius.zeroshot").joinpath("library").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_prompts(path: str | Path) -> PromptSet:
    """Reads a prompt file, or one of the package's own by name: `load_prompts("chexpert")`.

    Args:
        path: A YAML file; or a word of `library()` where no such file exists.

    Raises:
        PromptsError: No such file, not YAML, or something in it that cannot be asked; the message says what and where.
    """
    given = Path(path)
    if not given.is_file() and str(path) in library():
        content = files("vesalius.zeroshot").joinpath("library", f"{path}.yaml").read_text(encoding="utf-8")
        return parse_prompts(content, str(path))
    try:
        content = given.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PromptsError(f"no prompt file at {path}; name a YAML file, or one of: {', '.join(library())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(f"{path} cannot be read as text ({type(error).__name__}); a prompt file is YAML in UTF-8") from error
    return parse_prompts(content, given.name)


def parse_prompts(content: str, where: str) -> PromptSet:
    """Reads the text of a prompt file.

    Args:
        content: YAML.
        where: Its name, for messages.

    Raises:
        PromptsError: See `load_prompts`.
    """
    import yaml

    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        raise PromptsError(f"{where} is not YAML{line} ({getattr(error, 'problem', None) or 'broken'}); {QUOTE}") from error
    try:
        return _prompt_set(_table(value, KEYS, "the file"))
    except PromptsError as error:
        raise PromptsError(f"{where}: {error}") from error


def save_prompts(path: str | Path, prompt_set: PromptSet) -> None:
    """Writes a prompt file that `load_prompts` reads back as the same set."""
    import yaml

    Path(path).write_text(yaml.safe_dump(prompt_set.to_json(), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def prompts_from_json(value: Mapping[str, Any]) -> PromptSet:
    """Reads what `PromptSet.to_json` returned.

    Raises:
        PromptsError: It cannot be asked.
    """
    return _prompt_set(_table(dict(value), KEYS, "the prompts"))


def _prompt_set(value: dict[str, Any]) -> PromptSet:
    findings = value.get("findings")
    if not isinstance(findings, list):
        raise PromptsError("`findings` must be a list, each entry with at least a `name`")
    kind = value.get("kind", "pair")
    templates = value.get("templates")
    if templates is None:
        frames: tuple[Template, ...] = PLAIN if kind == "pair" else (Template(SLOT),)
    else:
        frames = tuple(_template(one, kind) for one in _list(templates, "templates"))
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        raise PromptsError("`name` is missing: every answer says which prompts it was asked with")
    return PromptSet(
        name,
        kind,
        tuple(_prompt(one, kind) for one in findings),
        frames,
        str(value.get("about") or "").strip(),
        _words(value.get("sources"), "sources"),
    )


def _prompt(value: Any, kind: str) -> Prompt:
    if isinstance(value, str):
        return prompt_for(value) if kind == "pair" else Prompt(value, (value,))
    entry = _table(value, FINDING_KEYS, "an entry of `findings`")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise PromptsError(f"an entry of `findings` has no `name`, or one that is no text; {QUOTE}")
    held = {key: _words(entry.get(key), f"{key} of {name}") for key in ("synonyms", "positive", "negative", "sources")}
    if not held["synonyms"] and not held["positive"] and not held["negative"] and "polarity" not in entry:
        asked = prompt_for(name) if kind == "pair" else Prompt(name, (name,))
        return Prompt(name, asked.synonyms, asked.positive, asked.negative, asked.polarity, held["sources"])
    return Prompt(name, **held, polarity=entry.get("polarity", 1))


def _template(value: Any, kind: str) -> Template:
    if kind == "classes":
        if not isinstance(value, str):
            raise PromptsError(f"a template of classes is one text; got {value!r}; {QUOTE}")
        return Template(value)
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(text, str) for text in value):
        raise PromptsError(f'a template of pairs is two texts, ["{SLOT}", "no {SLOT}"]; got {value!r}; {QUOTE}')
    return Template(value[0], value[1])


def _table(value: Any, keys: Sequence[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PromptsError(f"{what} is not a table of: {', '.join(keys)}")
    unknown = [str(key) for key in value if key not in keys]
    if unknown:
        raise PromptsError(f"{what} has unknown entries: {', '.join(unknown)}; there are: {', '.join(keys)}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise PromptsError(f"`{what}` must be a list of at least one")
    return value


def _words(value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else _list(value, what)
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise PromptsError(f"`{what}` holds something that is no text; {QUOTE}")
    return tuple(" ".join(word.split()) for word in words)
