from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.datasets.labels_table import match_files, read_labels
from vesalius.errors import LabelsError

SECRET = "Doe^Jane-1234567"


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return path


def test_facts_and_labels_are_read(tmp_path: Path) -> None:
    read = read_labels(
        table(
            tmp_path,
            "\ufefffile,patient_id,sex,age_years,view_position,split,report,Pleural effusion,Nodule\r\n"
            'sub\\a.dcm,P1,f,61,LL,Train,"two\r\nlines, quoted",1,-1\r\n'
            "\r\n"
            "./b.dcm,,,,,,,0.0,\r\n"
            "c.dcm,P3,M,0.5,PA,test,,-1.0,+1\r\n",
        )
    )
    assert read.key == "file"
    assert read.findings == ("Pleural effusion", "Nodule")
    first, second, third = read.rows
    assert first.key == "sub/a.dcm"
    assert first.facts == {
        "patient_id": "P1",
        "sex": "F",
        "age_years": 61.0,
        "view_position": "LATERAL",
        "split": "train",
        "report": "two\r\nlines, quoted",
    }
    assert [row.labels for row in read.rows] == [(1, -1), (0, None), (-1, 1)]
    assert second.facts == {}
    assert (first.line, second.line, third.line) == (2, 5, 6), "the report spans two lines and a line is blank"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "sop_instance_uid"]),
        ("name,Nodule\na,1\n", ["no key column", "one of: file, sop_instance_uid, study_instance_uid"]),
        ("file,sop_instance_uid,Nodule\na,1.2,1\n", ["several key columns (file, sop_instance_uid)"]),
        ("file,Nodule,Nodule\na,1,1\n", ["stand twice", "'Nodule'"]),
        ("file,,Nodule\na,1,1\n", ["column 2", "no name"]),
        ("file;Nodule\na;1\n", ["semicolons"]),
        ("file,Nodule\n", ["no line below"]),
        ("file,Nodule\na,1\nb,2\nc,yes\n", ["lines 3, 4", "unknown label in column 'Nodule'", "expected 1, 0, -1 or blank"]),
        (f"file,Patient,Nodule\na,{SECRET},1\n", ["line 2", "'Patient'", "if it is no finding"]),
        (f"file,PatientID,Nodule\na,{SECRET},1\n", ["'PatientID'", "rename it to 'patient_id'"]),
        ("file,device,Nodule\na,0,1\n", ["'device'", "remove it"]),
        ("file,Nodule\na,1\n,0\n", ["line 3", "no file"]),
        ("file,Nodule\na,1\nb,1\na,0\n./b,0\n", ["lines 4, 5", "stood above"]),
        ("file,Nodule\na,1,extra\n", ["line 2", "more fields"]),
        (f"file,sex\na,{SECRET}\n", ["line 2", "'sex'", "M, F, O"]),
        (f"file,age_years\na,{SECRET}\nb,131\nc,-1\nd,nan\n", ["lines 2, 3, 4, 5", "0 to 130"]),
        (f"file,view_position\na,{SECRET}\n", ["line 2", "PA, AP, LATERAL"]),
        (f"file,split\na,{SECRET}\n", ["line 2", "train, validation, calibration, test"]),
        ("file,Nodule\n" + "".join(f"f{number},9\n" for number in range(9)), ["lines 2, 3, 4, 5, 6 and 4 more"]),
        ('file,Nodule\na,"1\n', ["cannot be read as CSV"]),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_without_its_value(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(LabelsError) as caught:
        read_labels(table(tmp_path, text))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="check the spelling"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("file,Erguß\na,1\n".encode("latin-1"))
    with pytest.raises(LabelsError, match="UTF-8"):
        read_labels(tmp_path / "latin.csv")


def test_films_are_found_by_path_or_by_a_name_that_is_theirs_alone(tmp_path: Path) -> None:
    read = read_labels(table(tmp_path, "file,X\na/1.dcm,1\n2.dcm,0\nelsewhere.dcm,1\n"))
    rows = match_files(read, ["a/1.dcm", "b/1.dcm", "c/2.dcm"])
    assert {path: row.line for path, row in rows.items()} == {"a/1.dcm": 2, "c/2.dcm": 3}


def test_a_name_of_several_films_is_refused(tmp_path: Path) -> None:
    read = read_labels(table(tmp_path, "file,X\n1.dcm,1\n"))
    with pytest.raises(LabelsError, match=r"line 2: a file name that several films have"):
        match_files(read, ["a/1.dcm", "b/1.dcm"])
    assert match_files(read, ["1.dcm", "b/1.dcm"])["1.dcm"].line == 2, "the exact path comes first"


def test_two_lines_for_one_film_are_refused(tmp_path: Path) -> None:
    read = read_labels(table(tmp_path, "file,X\na/1.dcm,1\n1.dcm,0\n"))
    with pytest.raises(LabelsError, match=r"line 3.*another line names too"):
        match_files(read, ["a/1.dcm"])


def test_values_do_not_show_in_a_repr(tmp_path: Path) -> None:
    read = read_labels(table(tmp_path, f"file,patient_id,X\n{SECRET}.dcm,{SECRET},1\n"))
    assert SECRET not in repr(read)
