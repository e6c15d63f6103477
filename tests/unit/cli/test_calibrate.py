"""`vesalius calibrate`: which films it takes, what it refuses, and that the same inputs give the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import CONFIG, make_film, make_run, make_store
from vesalius.bundle.load import load
from vesalius.cli import main
from vesalius.datasets.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("calibrate")
    store = make_store(folder / "store")
    make_run(folder / "run", store)
    make_run(folder / "run2", store, seed=1)
    return folder, store


def calibrate(folder: Path, out: Path, *more: str, runs: tuple[str, ...] = ("run",), store: str = "store") -> int:
    where = ["--store", str(folder / store), "--out", str(out)]
    return main(["calibrate", *(str(folder / run) for run in runs), *where, *more])


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_a_run_becomes_a_bundle(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(made[0], tmp_path / "mine", "--notice", "Simulated films only.", "--date", "2025-01-02") == 0
    said = capsys.readouterr().out
    bundle = load(tmp_path / "mine")
    assert bundle.name == "mine"
    assert bundle.notices == ("Simulated films only.",)
    assert bundle.reference in said
    assert "6 films, not assessable" in said
    assert "2025-01-02" in (tmp_path / "mine" / "card.md").read_text()
    calibration = bundle.description["provenance"]["calibration"]
    assert calibration["left_out"] == {"not_assessable": 6}
    assert bundle.description["provenance"]["films"] == {"train": 10, "validation": 5, "calibration": 54}
    assert bundle.description["provenance"]["store_fingerprint"] == made[1].fingerprint
    assert bundle.predict(make_film(0)).findings[0].probability is not None


def test_what_is_unknown_or_uncertain_is_not_counted(
    made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(made[0], tmp_path / "b", "--json") == 0
    table = result(capsys)["description"]["calibration"]
    labels = made[1].labels()[np.arange(60) % 10 != 9]
    for row, column in zip(table, labels.T, strict=True):
        assert (row["n"], row["n_positive"]) == (int((column >= 0).sum()), int((column == 1).sum()))
    assert [row["n"] for row in table] == [53, 53]


def test_the_same_inputs_give_the_same_bytes_and_no_path(made: tuple[Path, Store], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert calibrate(made[0], tmp_path / name, "--name", "same") == 0
    for file in ("MANIFEST.json", "bundle.json", "card.md", "audit/MANIFEST.json"):
        first = (tmp_path / "a" / file).read_bytes()
        assert first == (tmp_path / "b" / file).read_bytes()
        assert str(made[0]).encode() not in first
        assert b"patient 1" not in first


def test_only_the_calibration_split_of_the_training_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / "store", sites=("A", "B"), films=80)
    make_run(tmp_path / "run", store)
    assert calibrate(tmp_path, tmp_path / "a", "--json") == 0
    provenance = result(capsys)["description"]["provenance"]
    a_frontal = [seed for seed in range(80) if seed % 2 == 0 and seed % 10 != 9]
    assert provenance["films"]["calibration"] == len(a_frontal)
    assert provenance["training_sites"] == ["A"]
    assert calibrate(tmp_path, tmp_path / "b", "--json", "--sites", "A,B") == 0
    assert result(capsys)["description"]["provenance"]["training_sites"] == ["A", "B"], "calibrated on B: no longer external"


@pytest.mark.parametrize(("split", "sites"), [("test", ("A",)), ("train", ("A",)), ("calibration", ("B",))])
def test_no_film_to_calibrate_on(tmp_path: Path, split: str, sites: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / "store", split=split, sites=sites, films=12)
    make_run(tmp_path / "run", store)
    assert calibrate(tmp_path, tmp_path / "b") == 2
    assert "no film of split `calibration` and of site A" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_an_ensemble_answers_with_the_mean_logit(made: tuple[Path, Store], tmp_path: Path) -> None:
    folder = made[0]
    assert calibrate(folder, tmp_path / "two", runs=("run", "run2")) == 0
    assert calibrate(folder, tmp_path / "first") == 0
    assert calibrate(folder, tmp_path / "second", runs=("run2",)) == 0
    film = make_film(200)
    two, first, second = (load(tmp_path / name).predict(film) for name in ("two", "first", "second"))
    for both, one, other in zip(two.findings, first.findings, second.findings, strict=True):
        assert both.logit == pytest.approx((one.logit + other.logit) / 2, abs=1e-6)
    assert (tmp_path / "two" / "weights-2.safetensors").read_bytes() == (tmp_path / "second" / "weights.safetensors").read_bytes()


def test_members_that_differ_are_refused(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_run(tmp_path / "other", made[1], config=replace(CONFIG, pooling="mean"))
    assert calibrate(made[0], tmp_path / "b", runs=("run", str(other))) == 2
    assert "differ in findings, encoder or preprocessing" in capsys.readouterr().err


def test_a_store_of_another_size_is_refused(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = make_store(tmp_path / "small", side=80, films=10)
    assert calibrate(made[0], tmp_path / "b", store=str(small.path)) == 2
    assert "80 px and the run was trained on 64 px" in capsys.readouterr().err


def test_another_store_is_used_but_the_card_says_so(made: tuple[Path, Store], tmp_path: Path) -> None:
    make_store(tmp_path / "later", films=40)
    assert calibrate(made[0], tmp_path / "b", store=str(tmp_path / "later")) == 0
    assert "no patient of this calibration split was trained on" in (tmp_path / "b" / "card.md").read_text()


def test_a_bundle_is_not_replaced_by_accident(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(made[0], tmp_path / "b", "--coverage", "0.8") == 0
    assert calibrate(made[0], tmp_path / "b") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert load(tmp_path / "b").description["policy"]["coverage"] == 0.8
    assert calibrate(made[0], tmp_path / "b", "--overwrite") == 0
    assert load(tmp_path / "b").description["policy"]["coverage"] == 0.9


def test_no_run(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(made[0], tmp_path / "b", runs=()) == 2
    assert "no run given" in capsys.readouterr().err
    assert calibrate(made[0], tmp_path / "b", runs=("nowhere",)) == 2
    assert "no training run at" in capsys.readouterr().err


def test_views_and_precision_are_part_of_the_contract(made: tuple[Path, Store], tmp_path: Path) -> None:
    more = ("--tta", "rotate", "--precision", "bfloat16", "--views", "PA", "--ood-scores", "mahalanobis,energy")
    assert calibrate(made[0], tmp_path / "b", *more) == 0
    bundle = load(tmp_path / "b")
    assert [view.rotate_deg for view in bundle.inference.views] == [0.0, -4.0, 4.0]
    assert bundle.inference.precision == "bfloat16"
    assert bundle.description["assessable_views"] == ["PA"]
    assert bundle.gate.scores == ("mahalanobis", "energy")


def test_a_target_risk_is_promised_or_said_to_be_none(
    made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(made[0], tmp_path / "seen", "--target-risk", "0.4") == 0
    assert "not a promise; --risk-confidence 0.9 makes one" in capsys.readouterr().out
    assert "guarantee" not in load(tmp_path / "seen").description["policy"]
    assert calibrate(made[0], tmp_path / "promised", "--target-risk", "0.4", "--risk-confidence", "0.8") == 0
    assert "not a promise" not in capsys.readouterr().out
    bundle = load(tmp_path / "promised")
    assert bundle.description["policy"]["guarantee"] == bundle.policy.guarantee == 0.8
    assert bundle.description["provenance"]["calibration"]["options"]["risk_confidence"] == 0.8
    for promise, note, low, high in zip(
        bundle.policy.promises, bundle.policy.notes, bundle.policy.low, bundle.policy.high, strict=True
    ):
        if promise is None:
            assert "never answered" in note
            assert (low, high) == (0.0, 1.0)
        else:
            assert promise["upper"] <= 0.4
            assert "with confidence 0.8" in note


def test_a_confidence_of_nothing_is_refused(made: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(made[0], tmp_path / "b", "--risk-confidence", "0.9") == 2
    assert "of a target_risk or of the rule 'sensitivity'" in capsys.readouterr().err
