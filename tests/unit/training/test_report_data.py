"""Reports as sentences: sections, draws, which text holds for which film, labelled sentences, files of texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reports import square_reports
from vesalius.errors import EmptyInput, RunError
from vesalius.training.report_data import (
    ReportSentences,
    Texts,
    choose_section,
    code_labels,
    label_sentences,
    labels_of_reports,
    read_texts,
    store_texts,
)

REPORT = "TECHNIQUE: PA view. FINDINGS: No pleural effusion. A nodule is seen. IMPRESSION: Nodule."


def reports_of(*texts: str) -> ReportSentences:
    return ReportSentences(Texts(texts, tuple(map(str, range(len(texts))))))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("impression", "Nodule."),
        ("findings", "No pleural effusion. A nodule is seen."),
        ("both", "No pleural effusion. A nodule is seen. Nodule."),
        ("whole", REPORT),
    ],
)
def test_section(section: str, expected: str) -> None:
    assert choose_section(REPORT, section) == expected


def test_a_missing_section_is_the_other_one_and_no_heading_is_the_whole() -> None:
    assert choose_section("FINDINGS: Clear lungs.", "impression") == "Clear lungs."
    assert choose_section("IMPRESSION: Clear lungs.", "findings") == "Clear lungs."
    assert choose_section("Clear  lungs,\n as before.", "impression") == "Clear lungs, as before."


def test_a_film_without_a_report_is_silent(tmp_path: Path) -> None:
    store = square_reports(tmp_path / "store", n=12, without_report=(3, 4))
    texts = store_texts(store, np.array([2, 3, 5]), "both")
    assert [bool(text) for text in texts.texts] == [True, False, True]
    assert len(set(texts.patients)) == 3


def test_all_sentences_in_order_and_a_text_holds_where_all_of_it_is_said() -> None:
    reports = reports_of("No effusion. A nodule.", "A NODULE. Large heart.", "A nodule. no effusion. Large heart.")
    texts, holds = reports.draw(np.array([0, 1, 2]), "all", np.random.default_rng(0))
    assert texts == ["No effusion. A nodule.", "A NODULE. Large heart.", "A nodule. no effusion. Large heart."]
    assert holds.tolist() == [[True, False, True], [False, True, True], [False, False, True]]


def test_reports_that_say_the_same_in_any_order_are_one() -> None:
    reports = reports_of("No effusion. A nodule.", "A NODULE. no effusion", "A nodule.", "A nodule. A nodule.", "Clear.")
    texts, said = reports.entire()
    _, holds = reports.draw(np.arange(5), "all", np.random.default_rng(0))
    assert texts[1] == "A NODULE. no effusion"
    assert ((said[:, None] == said[None]) == (holds & holds.T)).all()
    assert said.tolist() == [0, 0, 1, 1, 2]


def test_one_sentence_at_a_time_reaches_every_sentence() -> None:
    reports = reports_of("Alpha. Beta. Gamma.")
    drawn = {reports.draw(np.array([0]), "one", np.random.default_rng(seed))[0][0] for seed in range(40)}
    assert drawn == {"Alpha.", "Beta.", "Gamma."}


def test_some_sentences_are_a_part_of_the_report_and_change() -> None:
    reports = reports_of("Alpha. Beta. Gamma.")
    seen = set()
    for seed in range(60):
        (text,), holds = reports.draw(np.array([0]), "some", np.random.default_rng(seed))
        words = text.split(" ")
        assert set(words) <= {"Alpha.", "Beta.", "Gamma."}
        assert len(words) == len(set(words))
        assert holds.all()
        seen.add(frozenset(words))
    assert len(seen) == 7, "every part of three sentences but none"


def test_the_same_generator_draws_the_same() -> None:
    reports = reports_of("Alpha. Beta. Gamma.", "Delta. Epsilon.")
    draws = [reports.draw(np.array([1, 0]), "some", np.random.default_rng(7)) for _ in range(2)]
    assert draws[0][0] == draws[1][0]
    assert np.array_equal(draws[0][1], draws[1][1])


def test_labelled_sentences_say_something_once_and_meanings_weigh_by_the_root_of_their_number() -> None:
    texts = ["No nodule. The weather is fine."] * 9 + ["A nodule is seen.", "Large nodule."] * 2
    found = label_sentences(texts, ["Nodule"])
    assert sorted(found.sentences) == ["A nodule is seen.", "Large nodule.", "No nodule."]
    by_sentence = dict(zip(found.sentences, zip(found.labels[:, 0], found.share, strict=True), strict=True))
    assert by_sentence["No nodule."] == (0.0, pytest.approx(3 / (3 + 2)))  # roots of 9 and of 4
    assert by_sentence["A nodule is seen."] == (1.0, pytest.approx(1 / (3 + 2)))  # two wordings share their meaning's 2
    drawn = found.draw(4000, np.random.default_rng(0))
    assert np.mean([found.sentences[place] == "No nodule." for place in drawn]) == pytest.approx(0.6, abs=0.03)


def test_names_and_their_denials_are_one_wording_more_of_what_they_say() -> None:
    texts = ["Large left effusion."] * 16 + ["No nodule."] * 4
    findings = ["Pleural_Effusion", "Nodule", "No Finding"]
    found = label_sentences(texts, findings, names=True)
    rows = dict(zip(found.sentences, zip(found.labels, found.share, strict=True), strict=True))
    assert set(rows) == {"Large left effusion.", "No nodule.", "pleural effusion", "no pleural effusion", "nodule", "no nodule"}
    np.testing.assert_array_equal(rows["pleural effusion"][0][:2], [1.0, np.nan])
    np.testing.assert_array_equal(rows["no nodule"][0][:2], [np.nan, 0.0])
    roots = np.sqrt(17) + 1 + 1 + np.sqrt(5)  # meanings: said 16 times and named; a name each; denied 4 times and by name
    assert rows["pleural effusion"][1] == pytest.approx(np.sqrt(17) / 2 / roots)
    assert rows["no nodule"][1] == pytest.approx(np.sqrt(5) / 2 / roots)
    assert set(label_sentences(texts, findings).sentences) == {"Large left effusion.", "No nodule."}


def test_no_labelled_sentence_names_the_findings_and_no_text() -> None:
    with pytest.raises(EmptyInput, match="Fracture") as caught:
        label_sentences(["Secret words."], ["Fracture"])
    assert "Secret" not in str(caught.value)


def test_labels_of_reports() -> None:
    labels = labels_of_reports(["A nodule. No pneumothorax.", "", "Possible nodule."], ["Nodule", "Pneumothorax"])
    np.testing.assert_array_equal(labels, [[1, 0], [np.nan, np.nan], [-1, np.nan]])


def test_signed_codes_tell_denied_from_silent_and_published_ones_do_not() -> None:
    labels = np.array([[1.0, np.nan], [0.0, np.nan], [-1.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(code_labels(labels, "signed"), [[1, 0, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(code_labels(labels, "published"), [[1, 0], [0, 0], [-1, 0], [0, 0]])


def test_a_csv_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "reports.csv"
    file.write_text('patient_id,report,split\na,"No nodule.\nClear.",train\nb,,train\nc,Large heart.,validation\n')
    train = read_texts(file, "train")
    assert (train.texts, train.patients) == (("No nodule. Clear.",), ("a",))
    assert read_texts(file, "validation").texts == ("Large heart.",)


def test_a_file_of_lines_holds_out_the_same_texts_each_time_and_all_of_a_patient(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(f"Text number {number}." for number in range(400)))
    train, validation = (read_texts(lines, split) for split in ("train", "validation"))
    assert len(train) + len(validation) == 400
    assert 5 <= len(validation) <= 45
    table = tmp_path / "table.csv"
    table.write_text("patient_id,report\n" + "\n".join(f"p{number // 4},Text {number}." for number in range(400)))
    sides = [set(read_texts(table, split).patients) for split in ("train", "validation")]
    assert not sides[0] & sides[1]


def test_a_file_that_cannot_be_read_is_named_without_its_text(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere\.csv"):
        read_texts(tmp_path / "nowhere.csv", "train")
    (tmp_path / "latin.txt").write_bytes("Müller, schon wieder".encode("latin-1"))
    with pytest.raises(RunError, match="UTF-8") as caught:
        read_texts(tmp_path / "latin.txt", "train")
    assert "ller" not in str(caught.value)
    (tmp_path / "one.csv").write_text("report,split\nSecret.,test\n")
    with pytest.raises(EmptyInput, match="train") as empty:
        read_texts(tmp_path / "one.csv", "train")
    assert "Secret" not in str(empty.value)


def test_what_was_asked_is_not_learned_as_what_is_seen() -> None:
    """A body without a heading of its own is the report; the indication before it is not."""
    report = "INDICATION: Fever, pneumothorax?\n\nThe lungs are clear.\nHeart size normal.\n\nCOMPARISON: None."
    for section in ("impression", "findings", "both"):
        assert choose_section(report, section) == "The lungs are clear. Heart size normal."  # type: ignore[arg-type]
    assert choose_section("INDICATION: Pneumothorax? COMPARISON: None.", "both") == ""
    assert "pneumothorax" in choose_section(report, "whole")


@pytest.mark.parametrize("header", ["Report,patient_id", "words,patient_id", "impression"])
def test_a_table_without_a_column_of_reports_is_not_read_line_by_line(tmp_path: Path, header: str) -> None:
    """Its numbers and names of columns would be taken for words of reports."""
    for name in ("table.csv", "table.TSV"):
        (tmp_path / name).write_text(f"{header}\n" + "No nodule.,10000032\n" * 60)
        with pytest.raises(RunError, match="no column `report`") as error:
            read_texts(tmp_path / name, "train")
        assert "10000032" not in str(error.value)
        assert header.partition(",")[0] not in str(error.value), "the first line may be a report"


def test_a_table_with_tabs(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("patient_id\treport\tsplit\na\tNo nodule, no mass.\ttrain\n")
    assert read_texts(tmp_path / "table.tsv", "train").texts == ("No nodule, no mass.",)


def test_a_quote_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text('report\n"Secret, and no end\n' + "x" * 140_000 + "\n")
    with pytest.raises(RunError, match="line") as error:
        read_texts(tmp_path / "table.csv", "train")
    assert "Secret" not in str(error.value)
    assert "quote" in str(error.value)
