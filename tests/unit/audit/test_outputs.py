"""A file of outputs: what it becomes, and what is said of every wrong one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from vesalius.audit.outputs import Outputs, read_outputs
from vesalius.errors import OutputsError

SECRET = "Wilhelmina-4711"


def csv_file(folder: Path, text: str, name: str = "outputs.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def arrays(n: int = 6, **more: Any) -> dict[str, Any]:
    logits = np.linspace(-2, 2, n)
    return {"label:Effusion": (logits > 0).astype(int), "logit:Effusion": logits} | more


def npz_file(folder: Path, given: dict[str, Any], name: str = "outputs.npz") -> Path:
    np.savez(folder / name, **given)
    return folder / name


GOOD = """patient_id,label:Effusion,logit:Effusion,label:Mass,probability:Mass,sex
p1,1,2.5,0,0.25,F
p1,0,-1,,0.5,M

p2,-1,0.125,1,1,
"""


def test_a_csv_becomes_arrays(tmp_path: Path) -> None:
    found = read_outputs(csv_file(tmp_path, GOOD))
    assert found.findings == ("Effusion", "Mass")
    assert found.kinds == ("logit", "probability")
    assert found.places.tolist() == [2, 3, 5]  # as an editor counts: the header is line 1, the empty line counts
    np.testing.assert_array_equal(found.labels, [[1, 0], [0, np.nan], [np.nan, 1]])
    np.testing.assert_array_equal(found.logits[:, 0], [2.5, -1, 0.125])
    np.testing.assert_allclose(found.probabilities[:, 0], expit([2.5, -1, 0.125]))
    np.testing.assert_array_equal(found.probabilities[:, 1], [0.25, 0.5, 1])
    np.testing.assert_allclose(found.logits[:, 1], logit([0.25, 0.5, 1 - 1e-7]))
    assert found.columns["sex"].tolist() == ["F", "M", None]
    assert found.patients is not None
    assert found.patients.tolist() == ["p1", "p1", "p2"]


def test_numbers_of_a_csv_are_read_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=200) * 10.0 ** random.integers(-12, 12, 200)
    lines = [f"{index % 2},{value!r}" for index, value in enumerate(logits.tolist())]
    found = read_outputs(csv_file(tmp_path, "\n".join(["label:a,logit:a", *lines])))
    np.testing.assert_array_equal(found.logits[:, 0], logits)


def test_a_file_of_arrays_becomes_the_same_as_its_csv(tmp_path: Path) -> None:
    from_csv = read_outputs(csv_file(tmp_path, GOOD))
    given = {
        "patient_id": np.array(["p1", "p1", "p2"]),
        "label:Effusion": np.array([1, 0, -1]),
        "logit:Effusion": np.array([2.5, -1, 0.125], dtype=np.float32),
        "label:Mass": np.array([0, np.nan, 1]),
        "probability:Mass": np.array([0.25, 0.5, 1]),
        "sex": np.array([b"F", b"M", b""]),
    }
    from_arrays = read_outputs(npz_file(tmp_path, given))
    for name in ("findings", "kinds"):
        assert getattr(from_csv, name) == getattr(from_arrays, name)
    for name in ("logits", "probabilities", "labels", "patients"):
        np.testing.assert_array_equal(getattr(from_csv, name), getattr(from_arrays, name))
    assert from_arrays.columns["sex"].tolist() == ["F", "M", None]
    assert (from_arrays.place, from_arrays.places.tolist()) == ("row", [0, 1, 2])


def test_members_answer_with_the_mean_of_their_logits_and_are_put_in_the_order_of_the_findings(tmp_path: Path) -> None:
    members = np.random.default_rng(1).normal(size=(3, 6, 2))
    given = {"label:a": [0, 1] * 3, "label:b": [1, 0] * 3, "member_logits": members, "findings": np.array(["b", "a"])}
    found = read_outputs(npz_file(tmp_path, given))
    assert found.findings == ("b", "a")
    np.testing.assert_allclose(found.logits, members.mean(axis=0))
    assert found.member_logits is not None
    mixed = npz_file(tmp_path, arrays(**{"label:b": [1, 0] * 3, "logit:b": np.zeros(6), "member_logits": members}))
    np.testing.assert_array_equal(read_outputs(mixed).member_logits, members)


def test_both_kinds_of_answer_take_the_logit_and_a_finding_without_label_is_left_out(tmp_path: Path) -> None:
    given = arrays(**{"probability:Effusion": np.full(6, 0.5), "logit:Mass": np.zeros(6)})
    found = read_outputs(npz_file(tmp_path, given))
    assert found.findings == ("Effusion",)
    np.testing.assert_array_equal(found.logits[:, 0], given["logit:Effusion"])
    assert any("both logit and probability" in notice for notice in found.notices)
    assert any("Mass" in notice and "left out" in notice for notice in found.notices)


def test_splits_of_training_are_left_out_and_counted(tmp_path: Path) -> None:
    split = np.array(["train", "Calibration", "test", "validation", "test", "calibration"])
    found = read_outputs(npz_file(tmp_path, arrays(split=split)))
    assert found.split is not None
    assert found.split.tolist() == ["calibration", "test", "test", "calibration"]
    assert found.places.tolist() == [1, 2, 4, 5]
    assert any(notice.startswith("2 cases") for notice in found.notices)


def test_new_cases_need_no_label(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "logit:a,logit:b\n1,2\n3,\n")
    found = read_outputs(path, labelled=False)
    assert found.findings == ("a", "b")
    assert np.isnan(found.labels).all()
    with pytest.raises(OutputsError, match="label:NAME"):
        read_outputs(path)


def test_no_patient_stands_in_the_words_of_outputs(tmp_path: Path) -> None:
    found = read_outputs(csv_file(tmp_path, GOOD.replace("p1", SECRET)))
    assert isinstance(found, Outputs)
    assert SECRET not in repr(found)


HEAD = "patient_id,label:Effusion,logit:Effusion\n"
WRONG_TABLES = {
    "nothing at all": ("", "is empty"),
    "a header alone": (HEAD, "no case below"),
    "no outputs": ("label:Effusion,age\n1,40\n", "logit:NAME or probability:NAME.*label:Effusion, age.*logit:Effusion"),
    "no labels": ("logit:Effusion\n1\n", "label:NAME.*Add label:Effusion"),
    "a label of another name": ("label:Efusion,logit:Effusion\n1,2\n", "did you mean label:Effusion"),
    "a label without output": ("label:a,logit:a,label:Zebra\n1,2,1\n", "label:Zebra has no logit:Zebra.*remove the label"),
    "a column that stands twice": ("label:a,logit:a,logit:a\n1,2,3\n", "twice.*logit:a"),
    "text among numbers": (HEAD + f"p,1,2\np,0,{SECRET}\np,1,high\n", r"lines 3, 4: text in column 'logit:Effusion'.*0\.25"),
    "a decimal comma": (HEAD + 'p,1,"0,5"\n', "line 2: text.*with a point"),
    "another label": (HEAD + "p,1,2\np,2,1\n", "line 3: another label than 1, 0, -1 or blank in column 'label:Effusion'"),
    "a label that is half": (HEAD + "p,0.5,2\n", "line 2: another label"),
    "a label without answer": (HEAD + "p,1,\np,0,1\n", "line 2: a label but no logit:Effusion"),
    "a probability above 1": ("label:a,probability:a\n1,0.5\n0,1.5\n", r"line 3: a number outside \[0, 1\].*logit:a"),
    "a negative probability": ("label:a,probability:a\n1,-0.5\n", r"outside \[0, 1\]"),
    "an infinite logit": (HEAD + "p,1,inf\n", "line 2: an infinite number"),
    "no known label": (HEAD + "p,,1\nq,-1,2\n", "no known label"),
    "absent only": (HEAD + "p,0,1\nq,0,2\n", r"0 \(absent\).*both 1 and 0"),
    "present only": (HEAD + "p,1,1\nq,1,2\n", r"1 \(present\)"),
    "a case of nobody": (HEAD + "p,1,1\n,0,2\n", "line 3: no patient in column 'patient_id'"),
    "another split": ("label:a,logit:a,split\n1,2,dev\n0,1,test\n", "line 2: neither calibration nor test in column 'split'"),
    "semicolons": ("label:a;logit:a\n1;2\n", "semicolons.*commas"),
    "a short line": (HEAD + "p,1\n", "line 2: more or fewer fields than the 3"),
    "a long line": (HEAD + "p,1,2,3\n", "line 2: more or fewer fields than the 3"),
    "a quote that never ends": (HEAD + '"p,1,2\n', "cannot be read as CSV"),
}


@pytest.mark.parametrize("case", sorted(WRONG_TABLES))
def test_a_wrong_csv_is_refused_in_clear_words(case: str, tmp_path: Path) -> None:
    text, words = WRONG_TABLES[case]
    with pytest.raises(OutputsError, match=f"(?s){words}") as refused:
        read_outputs(csv_file(tmp_path, text))
    assert "outputs.csv" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_many_wrong_lines_are_counted_not_listed(tmp_path: Path) -> None:
    text = HEAD + "".join(f"p,{index % 2},x\n" for index in range(40))
    with pytest.raises(OutputsError, match="lines 2, 3, 4, 5, 6 and 35 more"):
        read_outputs(csv_file(tmp_path, text))


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "different lengths": ({"patient_id": np.array(["p"] * 5)}, r"different lengths \(6: .*5: patient_id"),
    "an array of two axes": ({"label:b": np.zeros((6, 2))}, r"'label:b' has shape \(6, 2\); expected \(case,\)"),
    "Python objects": ({"patient_id": np.array([SECRET, None] * 3, dtype=object)}, "Python objects.*nothing is unpickled"),
    "words for numbers": ({"logit:Effusion": np.array(list("abcdef"))}, "expected numbers"),
    "members of other cases": ({"member_logits": np.zeros((3, 5, 1))}, r"member_logits.*\(3, 5, 1\); expected .*\(any, 6, 1\)"),
    "members with cases first": ({"member_logits": np.zeros((6, 3, 1))}, r"\(member, case, finding\)"),
    "features of other cases": (
        {"features": np.zeros((5, 4))},
        r"features is float64 \(5, 4\); expected \(case, dim\) = \(6, any\)",
    ),
    "features that are not finite": ({"features": np.full((6, 2), np.nan)}, "features'.*"),
    "members that are not finite": ({"member_logits": np.full((2, 6, 1), np.inf)}, "not finite"),
}


@pytest.mark.parametrize("case", sorted(WRONG_ARRAYS))
def test_a_wrong_file_of_arrays_is_refused_in_clear_words(case: str, tmp_path: Path) -> None:
    more, words = WRONG_ARRAYS[case]
    with pytest.raises(OutputsError, match=f"(?s){words}") as refused:
        read_outputs(npz_file(tmp_path, arrays(**more)))
    assert SECRET not in str(refused.value)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    (tmp_path / "outputs.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(OutputsError, match=r"not a \.npz of plain arrays"):
        read_outputs(tmp_path / "outputs.npz")
    np.savez(tmp_path / "outputs.npz", **arrays(patient_id=np.array([Bomb()] * 6, dtype=object)))
    with pytest.raises(OutputsError, match="nothing is unpickled"):
        read_outputs(tmp_path / "outputs.npz")
    assert not (tmp_path / "exploded").exists()


def test_other_wrong_files(tmp_path: Path) -> None:
    for name, words in (("outputs.xlsx", r"ends in \.xlsx; expected \.csv or \.npz"), ("outputs", "ends in nothing")):
        (tmp_path / name).write_text("x")
        with pytest.raises(OutputsError, match=words):
            read_outputs(tmp_path / name)
    with pytest.raises(OutputsError, match="not there; check the spelling"):
        read_outputs(tmp_path / "missing.csv")
    with pytest.raises(OutputsError, match="is a folder"):
        read_outputs(tmp_path)
    (tmp_path / "latin.csv").write_bytes("label:a,logit:a,name\n1,2,Ren\xe9\n".encode("latin-1"))
    with pytest.raises(OutputsError, match="not UTF-8"):
        read_outputs(tmp_path / "latin.csv")
    (tmp_path / "text.npz").write_text("label:a,logit:a\n1,2\n")
    with pytest.raises(OutputsError, match=r"not a \.npz"):
        read_outputs(tmp_path / "text.npz")
    with (tmp_path / "bare.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(OutputsError, match="one bare array"):
        read_outputs(tmp_path / "bare.npz")
    with (tmp_path / "none.npz").open("wb") as file:
        np.savez(file)
    with pytest.raises(OutputsError, match="is empty"):
        read_outputs(tmp_path / "none.npz")
