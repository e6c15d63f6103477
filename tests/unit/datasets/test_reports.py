"""Sections and sentences of reports written for these tests."""

from __future__ import annotations

import pytest

from vesalius.datasets.reports import impression_or_findings, sections, sentences

REPORT = """EXAM: Chest, two views
CLINICAL HISTORY: Cough.
COMPARISON: None.
FINDINGS: Heart size is normal. The lungs are clear.
IMPRESSION:
1. No acute disease.
2. Old fracture of the 5th rib.
RECOMMENDATION(S): None."""


def test_headings_on_lines_of_their_own() -> None:
    found = sections(REPORT)
    assert found.findings == "Heart size is normal. The lungs are clear."
    assert found.impression == "1. No acute disease. 2. Old fracture of the 5th rib."
    assert (found.indication, found.comparison) == ("Cough.", "None.")
    assert "two views" in found.other
    assert "RECOMMENDATION" not in str(found)


def test_headings_within_one_line_and_in_any_case() -> None:
    found = sections(
        "Findings: small effusion. Impression: Effusion. IMPRESSION: Addended: no effusion. Notifications: Dr. Roe at 5."
    )
    assert found.findings == "small effusion."
    assert found.impression == "Addended: no effusion.", "the last impression counts, and an unknown word with a colon is text"
    assert found.other == "Dr. Roe at 5."


@pytest.mark.parametrize("text", ["", "   \n ", "No heading here, only words."])
def test_without_headings_all_is_other(text: str) -> None:
    found = sections(text)
    assert found.other == " ".join(text.split())
    assert found.findings == found.impression == ""


def test_what_is_read_where_parts_are_missing() -> None:
    assert impression_or_findings(REPORT).startswith("1. No acute")
    assert impression_or_findings("FINDINGS: Clear lungs.") == "Clear lungs."
    assert impression_or_findings("Clear lungs.") == "Clear lungs."
    assert impression_or_findings("IMPRESSION: FINDINGS: Clear lungs.") == "Clear lungs."
    assert impression_or_findings("") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Clear lungs. No effusion.", ["Clear lungs.", "No effusion."]),
        ("1. Nodule of 4.5 mm. 2. No effusion.", ["Nodule of 4.5 mm.", "No effusion."]),
        ("- Nodule\n- No effusion", ["Nodule", "No effusion"]),
        ("Discussed with Dr. Roe by phone. Clear.", ["Discussed with Dr. Roe by phone.", "Clear."]),
        ("Atelectasis vs. infiltrate at the base! Follow up?", ["Atelectasis vs. infiltrate at the base!", "Follow up?"]),
        ("Seen by J. Roe. Stable.", ["Seen by J. Roe.", "Stable."]),
        ("No effusion.. .", ["No effusion.."]),
        ("", []),
        (" .\n. ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
