"""The labels of slides: classes in one column or several, findings, splits, patients; complaints name lines and no values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.datasets.slide_labels import read_slide_labels
from vesalius.errors import EmptyInput, LabelsError

CLASSES = ("CCRCC", "PRCC")


def write(folder: Path, *lines: str) -> Path:
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_one_column_of_classes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "file,patient_id,split,class",
        "a.svs,p,calibration,ccrcc",
        "./b/c.svs,p,Calibration,",
        "/x/d.svs,,calibration,PRCC",
    )
    found = read_slide_labels(path, CLASSES, classes=True)
    assert [slide.path for slide in found.slides] == [tmp_path / "a.svs", tmp_path / "b/c.svs", Path("/x/d.svs")]
    np.testing.assert_array_equal(found.table(), [[1, 0], [np.nan, np.nan], [0, 1]])
    first, second, third = found.patients()
    assert first == second != third
    assert (found.patients_known, found.split_known) == (True, True)


def test_classes_as_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "file,prcc,CCRCC", "a,0,1", "b,1,", "c,0,0")
    found = read_slide_labels(path, CLASSES, classes=True)
    np.testing.assert_array_equal(found.table(), [[1, 0], [0, 1], [np.nan, np.nan]])
    assert len(set(found.patients())) == 3, "each a patient of its own"
    with pytest.raises(LabelsError, match="line 3: a slide of two classes"):
        read_slide_labels(write(tmp_path, "file,PRCC,CCRCC", "a,0,1", "b,1,1"), CLASSES, classes=True)


def test_findings(tmp_path: Path) -> None:
    path = write(tmp_path, "file,site,Blood_Vessel,Necrosis", "a,N,1,0", "b,S,-1,1", "c,N,,")
    found = read_slide_labels(path, ("necrosis", "mitosis", "blood vessel"), classes=False)
    assert found.findings == ("necrosis", "blood vessel")
    np.testing.assert_array_equal(found.table(), [[0, 1], [1, np.nan], [np.nan, np.nan]])
    assert [slide.case for slide in read_slide_labels(path, ("necrosis",), classes=False, sites=("N",)).slides] == ["a", "c"]


def test_only_the_split_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "file,split,class", "a,calibration,PRCC", "b,test,PRCC", "c,,PRCC")
    assert [slide.case for slide in read_slide_labels(path, CLASSES, classes=True).slides] == ["a"]
    assert [slide.case for slide in read_slide_labels(path, CLASSES, classes=True, split="test").slides] == ["b"]
    blank = write(tmp_path, "file,split,class", "a,,PRCC")
    with pytest.raises(EmptyInput, match="leave that column out"):
        read_slide_labels(blank, CLASSES, classes=True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("file,class", "a,CCRCC", "b,Smith"), r"line 3: an unknown class; the classes are: CCRCC, PRCC"),
        (("file,PRCC", "a,1"), r"nor one of CCRCC; add a column `class`"),
        (("sop_instance_uid,class", "1.2,PRCC"), r"need a column `file`"),
        (("file,class", "a,PRCC", "a,PRCC"), r"line 3: a file that stood above"),
    ],
)
def test_what_is_refused(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(LabelsError, match=said) as raised:
        read_slide_labels(write(tmp_path, *lines), CLASSES, classes=True)
    assert "Smith" not in str(raised.value)


def test_no_column_of_what_is_asked(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="no column of mitosis; it has: Necrosis"):
        read_slide_labels(write(tmp_path, "file,Necrosis", "a,1"), ("mitosis",), classes=False)


def test_what_else_is_known_of_a_slide_is_no_finding_and_never_whose_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "file,patient_id,scanner,stain,age_years,Necrosis", "a,p,Alpha,pale,61,1", "b,q,,dark,,0")
    found = read_slide_labels(path, ("necrosis",), classes=False)
    assert found.findings == ("necrosis",)
    first, second = (dict(slide.facts) for slide in found.slides)
    assert (first, second) == ({"scanner": "Alpha", "stain": "pale", "age_years": 61.0}, {"stain": "dark"})
    assert "pale" not in repr(found)


@pytest.mark.parametrize("classes", [True, False])
def test_two_columns_of_one_name_are_refused_and_not_the_last_taken(tmp_path: Path, classes: bool) -> None:
    path = write(tmp_path, "file,PRCC,prcc,CCRCC", "a,1,0,0")
    with pytest.raises(LabelsError, match=r"'PRCC' and 'prcc' .* the same finding"):
        read_slide_labels(path, CLASSES, classes=classes)
