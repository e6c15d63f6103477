"""The file of answers keeps what is finished, drops what a stop cut off, and takes no other bundle's answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from vesalius.bundle.answers_file import AnswersFile
from vesalius.errors import BundleError
from vesalius.types import Decision, Failure, Finding, OutOfDistribution, Prediction, Reason

BUNDLE = "tiny@sha256:0123456789ab"


def answer(case: str, *decisions: Decision, reason: Reason | None = None) -> Prediction:
    findings = tuple(Finding(f"f{at}", 1.0, 0.7, 0.3, decision, reason) for at, decision in enumerate(decisions))
    return Prediction(case, "0" * 16, BUNDLE, findings, OutOfDistribution(1.0, 2.0, out=False), seconds=0.1)


def failed(case: str, code: str = "truncated") -> Prediction:
    return Prediction(case, None, BUNDLE, error=Failure(code, "why"), seconds=0.1)


def write(path: Path, *predictions: Prediction) -> AnswersFile:
    answers = AnswersFile(path, BUNDLE)
    with answers.appending() as append:
        for prediction in predictions:
            append(prediction)
    return answers


def test_one_line_a_case_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    answers = AnswersFile(path, BUNDLE)
    with answers.appending() as append:
        append(answer("a.dcm", Decision.PRESENT))
        assert len(path.read_bytes().splitlines()) == 1, "there before the next case is begun"
        append(failed("b.dcm"))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["findings"][0]["decision"] == "present"
    assert second["findings"] == []
    assert second["error"] == {"code": "truncated", "message": "why"}


def test_going_on_keeps_the_old_and_adds_the_new(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, answer("a", Decision.PRESENT), failed("b"))
    again = write(path, answer("c", Decision.ABSENT))
    assert again.finished == {"a", "b", "c"}
    assert [json.loads(line)["case"] for line in path.read_text().splitlines()] == ["a", "b", "c"]


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_dropped(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, answer("a", Decision.PRESENT), answer("b", Decision.ABSENT))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    answers = AnswersFile(path, BUNDLE)
    assert answers.finished == {"a"}
    assert path.read_bytes() == first


def test_answers_of_another_bundle(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, answer("a", Decision.PRESENT))
    before = path.read_bytes()
    with pytest.raises(BundleError, match=r"tiny@sha256:0123456789ab and this is other@sha256:ffff.*--out"):
        AnswersFile(path, "other@sha256:ffff")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not json\n", b"[1, 2]\n", b'{"case": "a"}\n', b"17\n", b"\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"line 1 .* is no answer"):
        AnswersFile(path, BUNDLE)
    assert path.read_bytes() == content


def test_the_tally_counts_old_and_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, answer("a", Decision.PRESENT, Decision.ABSENT), failed("b"), failed("c", "not_an_image"))
    uncertain = answer("d", Decision.ABSTAIN, Decision.ABSTAIN, reason=Reason.UNCERTAIN)
    foreign = answer("e", Decision.ABSTAIN, Decision.ABSTAIN, reason=Reason.OUT_OF_DISTRIBUTION)
    half = answer("f", Decision.ABSTAIN, Decision.PRESENT, reason=Reason.UNCERTAIN)
    tally = write(path, uncertain, foreign, half).tally.to_json()
    assert tally == {
        "cases": 6,
        "answered": 2,
        "abstained": {"uncertain": 1, "out_of_distribution": 1},
        "failed": {"truncated": 1, "not_an_image": 1},
        "findings": {"f0": {"present": 1, "absent": 0, "abstain": 3}, "f1": {"present": 1, "absent": 1, "abstain": 2}},
    }


def test_numbers_without_a_value_are_null(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    broken = Prediction("a", "0" * 16, BUNDLE, (Finding("f", math.nan),), OutOfDistribution(math.inf, 2.0, out=True))
    write(path, broken)
    line = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert line["findings"][0]["logit"] is None
    assert line["ood"]["score"] is None


def test_a_folder_in_its_place_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is a folder; give --out"):
        AnswersFile(tmp_path, BUNDLE)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder should be")
    answers = AnswersFile(tmp_path / "a" / "answers.jsonl", BUNDLE)
    with pytest.raises(BundleError, match="cannot be written"), answers.appending():
        pass
