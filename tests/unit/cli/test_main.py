"""The door: help without weight, verbs found, errors in one clear line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vesalius.cli import VERBS, find_verb, main

HEAVY = ("torch", "transformers", "pandas", "monai", "highdicom", "matplotlib", "plotly", "scipy", "numba")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


def test_no_arguments_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "vesalius demo" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "hint"), [(["trian"], "--help"), (["train", "banana"], "train classifier")])
def test_unknown_verb_says_what_there_is(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert hint in capsys.readouterr().err


def test_the_longest_verb_wins() -> None:
    assert find_verb(["bundle", "verify", "x"]) == ("bundle verify", ["x"])
    assert find_verb(["predict", "verify"]) == ("predict", ["verify"])
    assert find_verb(["bundle"]) is None


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_a_verb_is_light_and_teaches(verb: str) -> None:
    code = (
        "import sys; from vesalius.cli import main\n"
        f"try: main({[*verb.split(), '--help']!r})\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"vesalius {verb}" in done.stdout
    assert len(done.stdout) > 300, "a help text that teaches is longer"
