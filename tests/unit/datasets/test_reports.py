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
    assert (found.technique, found.recommendation, found.other) == ("Chest, two views", "None.", "")


def test_headings_within_one_line_and_in_any_case() -> None:
    found = sections(
        "Findings: small effusion. Impression: Effusion. IMPRESSION: Addended: no effusion. Notifications: Dr. Roe at 5."
    )
    assert found.findings == "small effusion."
    assert found.impression == "Addended: no effusion.", "the last impression counts, and an unknown word with a colon is text"
    assert (found.notification, found.other) == ("Dr. Roe at 5.", "")


def test_headings_without_stops_before_them() -> None:
    found = sections("TECHNIQUE: PA FINDINGS: Effusion Impression: Effusion Recommendation(s): CT")
    assert (found.technique, found.findings, found.impression, found.recommendation) == ("PA", "Effusion", "Effusion", "CT")


def test_headings_alone_on_their_lines() -> None:
    found = sections("FINAL REPORT\r\nINDICATION\r\nFall.\r\n\r\nIMPRESSION\r\n1. Fracture.\r\n2. No effusion.")
    assert (found.indication, found.impression) == ("Fall.", "1. Fracture. 2. No effusion.")


@pytest.mark.parametrize(
    "text",
    [
        "On this examination: the lungs are clear.",
        "There are these findings: an effusion.",
        "An effusion is the main\nfinding\nof all.",
    ],
)
def test_words_that_only_look_like_headings(text: str) -> None:
    assert sections(text).other == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "impression"),
    [
        ("IMPRESSION: Effusion. impression: None.", "None."),
        ("IMPRESSION: Effusion.\nIMPRESSION:", "Effusion."),
        ("CONCLUSION: Effusion.", "Effusion."),
        ("FINDINGS AND IMPRESSION: Effusion.", "Effusion."),
        ("FINAL IMPRESSION: Effusion. NOTIFICATION: Dr. Roe.", "Effusion."),
    ],
)
def test_the_last_impression_with_words_counts(text: str, impression: str) -> None:
    assert sections(text).impression == impression


def test_a_body_without_heading_after_an_empty_line() -> None:
    found = sections("INDICATION: Cough.\n\nCOMPARISON: None.\n  \nThe lungs are clear.\n\nNo effusion.")
    assert (found.indication, found.comparison, found.other) == ("Cough.", "None.", "The lungs are clear. No effusion.")


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
        ("1) Nodule, 4 mm. (2) Clear.", ["Nodule, 4 mm.", "Clear."]),
        ("Measures 2.5 x 1.0 cm. Unchanged, e.g. stable.", ["Measures 2.5 x 1.0 cm.", "Unchanged, e.g. stable."]),
        ("Fracture of rib 5. No effusion.", ["Fracture of rib 5.", "No effusion."]),
        ("", []),
        (" .\n. ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


BANNER = """                                 FINAL REPORT
 CHEST RADIOGRAPH, ___

 HISTORY:  Shortness of breath, rule out pneumothorax.

 COMPARISON:  Chest radiograph, ___.

 As compared to the previous radiograph, there is no relevant change.  Moderate cardiomegaly.
 No pneumothorax.
"""
"""The layout of many a report of MIMIC-CXR: a banner, a title, and a body that was given no heading."""


def test_a_banner_is_no_heading_of_findings() -> None:
    found = sections(BANNER)
    assert found.findings == ""
    assert found.other == (
        "CHEST RADIOGRAPH, ___ As compared to the previous radiograph, there is no relevant change. Moderate cardiomegaly. "
        "No pneumothorax."
    )
    assert found.indication == "Shortness of breath, rule out pneumothorax."
    with_findings = sections(BANNER.replace(" As compared", " FINDINGS:\n As compared"))
    assert with_findings.findings.startswith("As compared")
    assert with_findings.other == "CHEST RADIOGRAPH, ___"
    for banner in ("PRELIMINARY REPORT", "Final report:", "ADDENDED REPORT"):
        assert sections(f"{banner}\nClear lungs.").other == "Clear lungs."
    assert sections("FINAL REPORT: Clear lungs. IMPRESSION: Normal.").findings == "Clear lungs."
    assert sections("REPORT\nClear lungs.\nIMPRESSION\nNormal.").findings == "Clear lungs."


def test_what_was_blanked_out_is_no_sentence() -> None:
    assert sentences("___") == []
    assert sentences("No effusion.\n_______________\n___. Clear.") == ["No effusion.", "Clear."]
