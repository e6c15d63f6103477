"""What sentences of our own say, judged by their writer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.datasets.report_labels import MENTIONS, label_report, label_sentence

EFFUSION, PNEUMOTHORAX, CONSOLIDATION = "Pleural Effusion", "Pneumothorax", "Consolidation"


def say(text: str, finding: str = EFFUSION) -> float:
    return label_sentence(text, [finding])[finding]


@pytest.mark.parametrize(
    "text",
    [
        "Small left pleural effusion.",
        "There is no change in the moderate effusion.",
        "No significant interval increase in the left effusion.",
        "The effusion is not significantly changed.",
        "No pneumothorax, but a small effusion is seen.",
        "No pneumothorax; trace effusion on the right.",
        "No consolidation, small bilateral effusions.",
        "The effusion, probably of cardiac origin, is larger.",
        "Apart from an effusion the lungs are clear, however.",
    ],
)
def test_present(text: str) -> None:
    assert say(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "No pleural effusion.",
        "There is no consolidation, pneumothorax or pleural effusion.",
        "The lungs are free of consolidation without effusion.",
        "Neither pneumothorax nor effusion is seen.",
        "The right effusion has resolved.",
        "The previously seen effusion is no longer present.",
        "Pleural effusion is not identified.",
        "Negative for effusion.",
        "Resolution of the left effusion.",
    ],
)
def test_absent(text: str) -> None:
    assert say(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Possible small effusion.",
        "A small effusion cannot be excluded.",
        "Blunting may represent a trace effusion.",
        "Pleural thickening versus effusion.",
        "An effusion is suspected.",
        "Questionable effusion on the left.",
        "Blunted angle, suspicious for effusion.",
    ],
)
def test_doubtful(text: str) -> None:
    assert say(text) == -1


@pytest.mark.parametrize("text", ["Clear lungs.", "", "Pericardial effusion.", "The heart is normal."])
def test_nothing_is_said(text: str) -> None:
    assert math.isnan(say(text))


def test_denial_does_not_cross_into_the_next_statement() -> None:
    labels = label_sentence("No pneumothorax, mild bibasilar atelectasis with a new consolidation.", [PNEUMOTHORAX, "Atelectasis"])
    assert labels == {PNEUMOTHORAX: 0, "Atelectasis": 1}
    assert say("No focal opacity to suggest pneumonia.", "Pneumonia") == 0
    assert say("No suspicious nodule.", "Nodule") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Heart size is normal.", 0),
        ("The cardiac silhouette is within normal limits.", 0),
        ("The heart is mildly enlarged.", 1),
        ("Enlarged cardiac silhouette.", 1),
        ("Borderline cardiomegaly.", -1),
    ],
)
def test_wordings_without_the_word(text: str, expected: float) -> None:
    assert say(text, "Cardiomegaly") == expected


def test_names_of_other_lists_and_of_no_list() -> None:
    assert say("Small effusion.", "Effusion") == say("Small effusion.", "pleural_effusion") == 1
    assert say("A scimitar sign is seen.", "Scimitar sign") == 1
    assert say("No scimitar sign.", "Scimitar sign") == 0
    assert say("Biapical pleural thickening.", "Pleural_Thickening") == 1
    assert set(MENTIONS) >= {"edema", "lung opacity", "support devices", "hernia", "emphysema"}


def test_a_report_reads_findings_and_impression_only() -> None:
    report = (
        "INDICATION: Pneumonia? FINDINGS: No consolidation. Small effusion. IMPRESSION: Possible consolidation, small effusion."
    )
    labels = label_report(report, ["Pneumonia", EFFUSION, CONSOLIDATION, "No Finding"])
    assert math.isnan(labels["Pneumonia"])
    assert (labels[EFFUSION], labels[CONSOLIDATION], labels["No Finding"]) == (1, -1, 0), "present beats doubt, doubt beats denial"


def test_no_finding() -> None:
    assert label_report("FINDINGS: Heart size is normal. Lungs are clear. No effusion.", ["No Finding"])["No Finding"] == 1
    assert label_report("Central line in place. Otherwise normal.", ["No Finding", "Support Devices"]) == {
        "No Finding": 1,
        "Support Devices": 1,
    }
    assert label_report("Mild cardiomegaly.", ["No Finding"])["No Finding"] == 0
    assert math.isnan(label_report("", ["No Finding"])["No Finding"])
    assert label_sentence("The lungs are clear.", [CONSOLIDATION, "No Finding"]) == {CONSOLIDATION: 0, "No Finding": 1}


def test_reports_of_simulated_films_say_their_labels() -> None:
    """Written from the plan of each film by other code, with wordings of its own."""
    from vesalius.datasets.simulated_radiographs.reports import ASSERTED, DOUBTED, NEGATED, PAIRED

    filled = {"Grade": "Small", "grade": "small", "Side": "Left", "side": "left", "lobe": "left upper lobe", "Size": 12}
    filled |= {"Degree": "Mild", "degree": "mild"}
    for wordings, expected in ((ASSERTED, 1), (DOUBTED, -1), (NEGATED, 0)):
        for finding, each in wordings.items():
            for wording in each:
                assert say(wording.format(**filled), finding) == expected, wording
    for pair, each in PAIRED.items():
        for wording in each:
            np.testing.assert_array_equal([say(wording, finding) for finding in pair], [0, 0])
