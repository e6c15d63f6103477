from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.films import film, ramp, save
from vesalius.cli import main
from vesalius.cli.ingest import parse_fractions, parse_structures
from vesalius.errors import LabelsError


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    for number in range(3):
        save(film(ramp(seed=number), PatientID=f"P{number}"), tmp_path / "films", f"{number}.dcm")
    return tmp_path / "films"


def test_words_for_people(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("file,Nodule\n0.dcm,1\nx.dcm,0\n")
    (films / "bad.dcm").write_text("bad")
    (films / "notes.txt").write_text("notes")
    assert main(["ingest", str(films), "--out", str(tmp_path / "s"), "--size", "32", "--labels", str(tmp_path / "labels.csv")]) == 3
    said = capsys.readouterr()
    assert "4 films: 3 taken in, 0 were there before, 1 refused; 1 other files passed over" in said.out
    assert "refused: not_an_image 1; see" in said.out
    assert "labels: 2 films without a line (kept, their labels unknown), 1 lines without a film" in said.out
    assert "the store has 3 images of 3 patients" in said.out
    assert "Nodule" in said.out
    assert "ingest: 4/4 films" in said.err


def test_one_object_for_machines(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(films), "--out", str(tmp_path / "s"), "--size", "32", "--split", "train=.5,test=.5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_films"], report["n_done"], report["n_rejected"], report["n_skipped"]) == (3, 3, 0, 0)
    assert sum(report["splits"].values()) == 3
    assert report["splits"]["validation"] == 0


def test_wrong_usage_is_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(tmp_path / "none"), "--out", str(tmp_path / "s")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "no such file or folder" in said.err


def test_structures_and_shares_are_read() -> None:
    assert parse_structures("1=Pleural effusion, 20=Nodule") == {1: "Pleural effusion", 20: "Nodule"}
    assert parse_fractions("train=.8, test=0.2") == {"train": 0.8, "test": 0.2}
    for wrong in ("Nodule", "1=", "x=Nodule", "1=A,1=B", ""):
        with pytest.raises(LabelsError, match="--structures"):
            parse_structures(wrong)
    for wrong in ("train", "train=half", ""):
        with pytest.raises(LabelsError, match="--split"):
            parse_fractions(wrong)
