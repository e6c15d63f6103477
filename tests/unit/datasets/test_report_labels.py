"""What sentences of our own say, judged by their writer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.datasets.report_labels import ABSENT, DOUBTFUL, MENTIONS, PRESENT, label_report, label_sentence

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


NOTHING = math.nan


@pytest.mark.parametrize(
    ("text", "finding", "expected"),
    [
        ("No pneumothorax or effusion, and the heart is enlarged.", "Cardiomegaly", PRESENT),
        ("No pneumothorax or effusion, and the heart is enlarged.", "Effusion", ABSENT),
        ("The effusion has not resolved.", "Effusion", PRESENT),
        ("The effusion is small and pneumothorax is not seen.", "Effusion", PRESENT),
        ("The effusion is small and pneumothorax is not seen.", "Pneumothorax", ABSENT),
        ("Effusion or pneumothorax is not seen.", "Effusion", ABSENT),
        ("Heart is not enlarged.", "Cardiomegaly", ABSENT),
        ("The heart is borderline enlarged.", "Cardiomegaly", DOUBTFUL),
        ("Borderline heart size.", "Cardiomegaly", DOUBTFUL),
        ("Heart size and mediastinal contours are within normal limits.", "Cardiomegaly", ABSENT),
        ("The heart, pulmonary vasculature and mediastinum are normal.", "Cardiomegaly", ABSENT),
        ("The heart is enlarged but the mediastinum is normal.", "Cardiomegaly", PRESENT),
        ("No acute interval change in the cardiomegaly.", "Cardiomegaly", PRESENT),
        ("No pleural or pericardial effusion.", "Pleural Effusion", ABSENT),
        ("Pericardial effusion.", "Pleural Effusion", NOTHING),
        ("Subcutaneous emphysema on the left.", "Emphysema", NOTHING),
        ("History of pneumonia.", "Pneumonia", NOTHING),
        ("Collapse of the left lower lobe.", "Atelectasis", PRESENT),
        ("The left lower lobe is collapsed.", "Atelectasis", PRESENT),
        ("Interval removal of the chest tube.", "Support Devices", ABSENT),
        ("The endotracheal tube has been removed.", "Support Devices", ABSENT),
        ("Left chest tube in place, no pneumothorax.", "Support Devices", PRESENT),
        ("Left chest tube in place, no pneumothorax.", "Pneumothorax", ABSENT),
        ("Nodular opacity in the right base.", "Nodule", DOUBTFUL),
        ("Central vascular congestion.", "Edema", DOUBTFUL),
        ("Vascular congestion without frank edema.", "Edema", DOUBTFUL),
        ("No vascular congestion.", "Edema", ABSENT),
        ("Pneumonia would be a consideration.", "Pneumonia", DOUBTFUL),
        ("Lungs clear, heart normal, no effusion.", "Effusion", ABSENT),
        ("No effusion is seen; however there is left lower lobe consolidation.", "Consolidation", PRESENT),
        ("No resolution of the effusion.", "Effusion", PRESENT),
        ("No enlargement of the nodule.", "Nodule", PRESENT),
        ("No enlargement of the heart.", "Cardiomegaly", ABSENT),
        ("The nodule has not changed.", "Nodule", PRESENT),
        ("The nodule is not larger.", "Nodule", PRESENT),
        ("Pneumothorax is not excluded.", "Pneumothorax", DOUBTFUL),
        ("Cannot exclude a small pneumothorax.", "Pneumothorax", DOUBTFUL),
        ("Pneumothorax can not be ruled out.", "Pneumothorax", DOUBTFUL),
        ("Pneumothorax can't be excluded.", "Pneumothorax", DOUBTFUL),
        ("No definite pneumothorax.", "Pneumothorax", ABSENT),
        ("Without focal consolidation, large effusion, or pneumothorax.", "Effusion", ABSENT),
        ("No focal consolidation, pleural effusion, pneumothorax.", "Pneumothorax", ABSENT),
        ("No focal consolidation, large pleural effusion, pneumothorax.", "Pneumothorax", ABSENT),
        ("Not only effusion but also consolidation is seen.", "Effusion", PRESENT),
        ("There is no longer any pneumothorax.", "Pneumothorax", ABSENT),
        ("No pneumothorax post removal of the chest tube.", "Pneumothorax", ABSENT),
        ("Effusions have resolved.", "Effusion", ABSENT),
        ("Resolving consolidation.", "Consolidation", PRESENT),
        ("Interval resolution of pneumothorax with small residual effusion.", "Effusion", PRESENT),
        ("No pneumothorax with a small effusion on the left.", "Effusion", PRESENT),
        ("Pneumothorax: none.", "Pneumothorax", ABSENT),
        ("Pleural effusions: small left.", "Effusion", PRESENT),
        ("The lungs are clear of consolidation.", "Consolidation", ABSENT),
        ("Atelectasis or scarring is likely.", "Atelectasis", DOUBTFUL),
        ("Atelectasis likely due to effusion.", "Atelectasis", PRESENT),
        ("Opacity likely represents atelectasis.", "Atelectasis", DOUBTFUL),
        ("No mass effect.", "Mass", NOTHING),
        ("Lungs are hyperexpanded, no mass or nodule.", "Mass", ABSENT),
        ("Low probability of pneumonia.", "Pneumonia", DOUBTFUL),
        ("Multiple calcified granulomas.", "Lung Lesion", PRESENT),
        ("Cystic fibrosis.", "Fibrosis", NOTHING),
        ("Increased heart size.", "Cardiomegaly", PRESENT),
        ("No displaced rib fracture.", "Fracture", ABSENT),
        ("Healed rib fractures.", "Fracture", PRESENT),
        ("Unremarkable pleura, no thickening of the pleura.", "Pleural Thickening", ABSENT),
        ("If there is concern for pneumothorax, obtain expiratory film.", "Pneumothorax", DOUBTFUL),
        ("Mediastinum is not widened.", "Enlarged Cardiomediastinum", ABSENT),
        ("Small hiatal hernia.", "Hernia", PRESENT),
        ("No evidence for pneumonia, atelectasis, effusion, edema, or pneumothorax.", "Edema", ABSENT),
        ("Pneumothorax, which was seen before, is no longer visible.", "Pneumothorax", ABSENT),
        ("Effusion decreased but not resolved.", "Effusion", PRESENT),
        ("PICC tip in the SVC, unchanged.", "Support Devices", PRESENT),
        ("No effusion and no pneumothorax but bibasilar atelectasis.", "Atelectasis", PRESENT),
        ("Heart size normal without cardiomegaly or effusion.", "Cardiomegaly", ABSENT),
        ("There is no focal airspace consolidation, and small bilateral effusions are present.", "Effusion", PRESENT),
    ],
)
def test_hard_sentences(text: str, finding: str, expected: float) -> None:
    np.testing.assert_equal(say(text, finding), expected)


def test_a_body_without_a_heading_is_read_whatever_stands_over_it() -> None:
    report = "FINAL REPORT\n CHEST RADIOGRAPH\n\n HISTORY: Pneumothorax?\n\n There is moderate cardiomegaly.\n No pneumothorax."
    assert label_report(report, ["Cardiomegaly", "Pneumothorax", "No Finding"]) == {
        "Cardiomegaly": 1.0,
        "Pneumothorax": 0.0,
        "No Finding": 0.0,
    }
    assert math.isnan(label_report("___", ["No Finding"])["No Finding"]), "all of it was blanked out"
