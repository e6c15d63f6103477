"""A gate reads one number of audit.json; what was not shown refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.audit.gates import Gate, check_gates, read_gates
from vesalius.errors import GatesError

DOCUMENT = {"cohorts": {"internal": {"macro": {"auroc": {"value": 0.9, "low": 0.84, "high": None}}}, "external": None}, "gates": []}


def write(folder: Path, text: str) -> Path:
    path = folder / "gates.toml"
    path.write_text(text)
    return path


def test_both_limits_are_read_and_a_path_may_be_a_list(tmp_path: Path) -> None:
    text = """
    [[gate]]
    name = "tells films apart"
    measure = "cohorts.internal.macro.auroc.low"
    at_least = 0.8
    at_most = 1

    [[gate]]
    measure = ["cohorts", "internal", "findings", "St. p. surgery", "n"]
    at_least = 20
    """
    first, second = read_gates(write(tmp_path, text))
    assert first == Gate("tells films apart", ("cohorts", "internal", "macro", "auroc", "low"), 0.8, 1.0)
    assert first.rule == "≥ 0.8 and ≤ 1"
    assert second.measure[3] == "St. p. surgery"
    assert second.name == "cohorts.internal.findings.St. p. surgery.n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "[[gate]]"),
        ("gate = 3", "[[gate]]"),
        ("[[gate]]\nmeasure = 'a.b'", "no limit"),
        ("[[gate]]\nat_least = 0.8", "measure"),
        ("[[gate]]\nmeasure = 'a.b'\nat_leats = 0.8", "at_leats"),
        ("[[gate]]\nmeasure = 'a.b'\nat_least = true", "must be a number"),
        ("[[gate]]\nmeasure = 'a.b'\nat_least = nan", "must be a number"),
        ("[[gate]\n", "TOML"),
    ],
)
def test_a_gates_file_that_says_too_little_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(GatesError, match=word.replace("[", r"\[")):
        read_gates(write(tmp_path, text))


def test_a_missing_file_says_where_to_begin(tmp_path: Path) -> None:
    with pytest.raises(GatesError, match=r"docs/gates\.md"):
        read_gates(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("place", "limits", "passed", "why"),
    [
        (("macro", "auroc", "value"), {"at_least": 0.9}, True, None),
        (("macro", "auroc", "value"), {"at_least": 0.91}, False, "below"),
        (("macro", "auroc", "value"), {"at_most": 0.89}, False, "above"),
        (("macro", "auroc", "high"), {"at_least": 0.0}, False, "not be estimated"),
    ],
)
def test_verdicts(place: tuple[str, ...], limits: dict[str, float], passed: bool, why: str | None) -> None:
    (row,) = check_gates((Gate("g", ("cohorts", "internal", *place), **limits),), DOCUMENT)
    assert row["passed"] is passed
    assert why is None if passed else why in row["why"]


def test_a_cohort_the_store_lacks_refuses_and_does_not_crash() -> None:
    (row,) = check_gates((Gate("g", ("cohorts", "external", "macro", "auroc", "low"), at_least=0.5),), DOCUMENT)
    assert row["passed"] is False
    assert row["value"] is None


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (("cohorts", "internal", "micro"), "no 'micro' in cohorts.internal; there is: macro"),
        (("cohorts", "internal", "macro", "auroc", "low", "deep"), "cohorts.internal.macro.auroc.low has nothing below it"),
        (("cohorts", "internal", "macro", "auroc"), "not a number"),
        (("gates",), "not a number"),
        (("cohort",), "no 'cohort' in audit.json"),
    ],
)
def test_a_misspelt_place_refuses_and_says_what_there_is(place: tuple[str, ...], why: str) -> None:
    (row,) = check_gates((Gate("g", place, at_most=1e9),), DOCUMENT)
    assert row["passed"] is False
    assert why in row["why"]


def test_the_example_file_names_figures_that_an_audit_has(document: dict[str, object]) -> None:
    gates = read_gates(Path(__file__).parents[3] / "examples" / "gates.toml")
    rows = check_gates(gates, document)
    assert all(row["value"] is not None for row in rows)
