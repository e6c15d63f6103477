"""How a flag that may be left out reads in `--help`: `--gates PATH`, not `--gates {None}|PATH`."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

WORDS = {Path: "PATH", str: "TEXT", int: "INT", float: "FLOAT"}
"""What stands for each type that a flag which may be left out can take."""


def registry() -> ConstructorRegistry:
    """Returns tyro's rules with ours before them: `T | None` takes a T, and is not given unless it is."""
    rules = ConstructorRegistry()
    rules.primitive_rule(_optional)
    return rules


def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    of = get_args(info.type)
    if get_origin(info.type) not in {Union, types.UnionType} or len(of) != 2 or type(None) not in of:
        return None
    wanted = of[0] if of[1] is type(None) else of[1]
    if wanted not in WORDS:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=WORDS[wanted],
        instance_from_str=lambda words: wanted(words[0]),
        is_instance=lambda value: value is None or isinstance(value, wanted) or (wanted is float and isinstance(value, int)),
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


CONFIG = (tyro.conf.FlagCreatePairsOff,)
"""A flag is on when it is there; there is no `--no-flag` beside it."""


def gather(arguments: Sequence[str], flag: str) -> list[str]:
    """Returns the arguments with every occurrence of a flag of several words as one, at the end: `--finding a --finding b c`.

    A parser takes the last occurrence and drops the others without a word.
    """
    rest: list[str] = []
    words: list[str] = []
    taking = False
    for word in arguments:
        if word == flag or word.startswith(f"{flag}="):
            taking = True
            words += [word.partition("=")[2]] if "=" in word else []
        elif word.startswith("--"):
            taking = False
            rest.append(word)
        else:
            (words if taking else rest).append(word)
    return [*rest, flag, *words] if words else [*rest, *([flag] if flag in arguments else [])]


def settings_file(arguments: Sequence[str]) -> Path | None:
    """Returns the FILE of `--config FILE` or `--config=FILE`; None without it."""
    for place, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag == "--config" and (equals or place + 1 < len(arguments)):
            return Path(value if equals else arguments[place + 1])
    return None
