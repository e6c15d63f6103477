from __future__ import annotations

import pytest

from vesalius.reporting.file_names import file_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Pleural Effusion", "Pleural_Effusion"),
        ("Pleural_Thickening", "Pleural_Thickening"),
        ("x-ray", "x-ray"),
        ("胸水", "胸水"),
        ("épanchement pleural", "épanchement_pleural"),
    ],
)
def test_words_stay_as_they_are_in_any_script(name: str, expected: str) -> None:
    assert file_name(name) == expected


def test_two_names_never_share_a_file() -> None:
    names = [
        "effusion",
        "effusion?",
        "effusion!",
        "effusion (left)",
        "effusion left",
        "胸水",
        "气胸",
        "../effusion",
        "a" * 300,
        "a" * 301,
    ]
    assert len({file_name(name) for name in names}) == len(names)


def test_a_name_is_no_path_and_no_longer_than_a_file_system_takes() -> None:
    for name in ("../../etc/passwd", "a/b\\c", "x" * 1000, "胸" * 200, "con\x00trol", "."):
        made = file_name(name)
        assert not set(made) & set("/\\.\x00")
        assert len(made.encode()) <= 90
