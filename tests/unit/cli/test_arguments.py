"""How flags that may be left out read and what they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vesalius.cli import VERBS, parse
from vesalius.cli.console import Console
from vesalius.errors import EXTRAS, MissingDependency


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_no_help_speaks_of_none_in_braces(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(verb, ["--help"])
    said = capsys.readouterr().out
    assert "{None}" not in said
    assert "None" not in said


def test_a_flag_that_may_be_left_out_takes_its_type() -> None:
    given = parse("uq", ["x.csv", "--out", "folder", "--target-risk", "0.05"])
    assert (given.out, given.target_risk, given.rule, given.risk_confidence) == (Path("folder"), 0.05, None, None)
    given = parse("calibrate", ["run", "--store", "s", "--out", "b", "--name", "None"])
    assert given.name == "None"
    assert parse("ingest", ["films", "--out", "s", "--workers", "3"]).workers == 3


def test_a_wrong_number_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse("uq", ["x.csv", "--target-risk", "little"])
    assert end.value.code == 2
    assert "--target-risk" in capsys.readouterr().err


def test_words_in_square_brackets_reach_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("a [title]", ("[bold]", "x"), [("pip install 'vesalius[films]'", None)])
    said = capsys.readouterr().out
    for words in ("a [title]", "[bold]", "vesalius[films]"):
        assert words in said


def test_a_missing_part_is_named_with_its_extra_and_another_module_is_not() -> None:
    error = MissingDependency.of(ModuleNotFoundError("no", name="torch.nn"), "`vesalius predict`")
    assert str(error) == "`vesalius predict` needs torch, which is not installed here; get it with: pip install 'vesalius[films]'"
    assert MissingDependency.of(ModuleNotFoundError("no", name="a_typo_of_ours"), "x") is None


def test_the_extras_bring_what_the_message_says_they_bring() -> None:
    import tomllib
    from importlib.metadata import packages_distributions

    table = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    brought = {name: [part.split(">")[0].lower() for part in parts] for name, parts in table["optional-dependencies"].items()}
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        found = {distribution.lower().replace("_", "-") for module in modules for distribution in distributions[module]}
        assert found == set(brought[extra])
    light = {part.split(">")[0].lower() for part in table["dependencies"]}
    assert not light & {name for extra in EXTRAS for name in brought[extra]}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_needs_none_of_the_extras(verb: str) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.absent import forget_extras; forget_extras()\n"
        f"from vesalius.cli import parse; parse({verb!r}, ['--help'])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert f"vesalius {verb}" in done.stdout


def test_a_flag_of_several_words_may_come_twice() -> None:
    from vesalius.cli.arguments import gather

    given = ["bundle", "film", "--finding", "a", "b", "--out", "o", "--finding", "c", "--finding=d"]
    assert gather(given, "--finding") == ["bundle", "film", "--out", "o", "--finding", "a", "b", "c", "d"]
    assert gather(["bundle", "--out", "o"], "--finding") == ["bundle", "--out", "o"]
    assert gather(["bundle", "--finding"], "--finding") == ["bundle", "--finding"], "left for the parser to complain of"
