"""`vesalius audit` on a real bundle and a real store: the report, the card, the exit code, and the same answers as `predict`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vesalius
from tests.bundles import SIZE_PX, make_bundle, make_film, make_store
from vesalius.audit.answers import CODES, answer_store
from vesalius.bundle.verify import verify
from vesalius.cli import main
from vesalius.datasets.store import Store, write_store
from vesalius.dicom.resample import standardise

N_FILMS = 120


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audited") / "tiny"
    make_bundle(path, notices=("Noise on a slope, not chests.",))
    return path


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, two films a patient, one lateral film, labels with gaps."""
    films = [make_film(seed) for seed in range(1000, 1000 + N_FILMS)]
    patient = np.arange(N_FILMS) // 2
    random = np.random.default_rng(1)
    manifest = pd.DataFrame(
        {
            "patient_id": [f"hash{number:04d}" for number in patient],
            "site": np.where(patient % 3 == 0, "B", "A"),
            "split": np.where(patient % 4 == 0, "train", "test"),
            "bits_stored": 12,
            "rows": films[0].pixels.shape[0],
            "columns": films[0].pixels.shape[1],
            "view_position": ["LATERAL" if case == 2 else "PA" if case % 3 else "AP" for case in range(N_FILMS)],
            "sex": np.where(patient % 2 == 0, "F", "M"),
            "age_years": 20.0 + patient,
            "label:Effusion": np.where(random.random(N_FILMS) < 0.1, np.nan, np.arange(N_FILMS) % 2.0),
            "label:Nodule": np.where(random.random(N_FILMS) < 0.1, -1.0, np.arange(N_FILMS) % 3 == 0),
        }
    )
    path = tmp_path_factory.mktemp("stores") / "slopes"
    write_store(path, np.stack([standardise(film, SIZE_PX) for film in films]), manifest)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_report_card_and_bundle_agree(
    bundle_path: Path, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    id_before = verify(bundle).id
    code, said = run(capsys, "audit", bundle, "--store", store_path, "--resamples", 50, "--by", "sex,view_position")
    assert code == 0
    report = tmp_path / "report"
    assert said["report"] == str(report / "index.html")
    written = json.loads((report / "audit.json").read_text())
    assert {**written, "report": said["report"], "refused": []} == said

    assert verify(bundle).id == id_before == written["bundle"]["id"], "an audit does not change who answers"
    assert json.loads((bundle / "audit" / "audit.json").read_text()) == written
    card = (bundle / "card.md").read_text()
    auroc = written["cohorts"]["internal"]["macro"]["auroc"]
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in card
    assert "Not audited yet" not in card
    assert written["notices"][0] == "Noise on a slope, not chests."
    assert "Noise on a slope, not chests." in (report / "index.html").read_text()


def test_the_audit_answers_as_predict_does(bundle_path: Path, store_path: Path) -> None:
    predictor, store = vesalius.load(bundle_path), Store(store_path)
    rows = np.arange(len(store))
    answers = answer_store(predictor, store, rows, lambda n: None)
    for row in rows:
        prediction = predictor.predict(store.image(int(row)))
        assert [CODES[finding.decision] for finding in prediction.findings if finding.decision] == answers.decisions[row].tolist()
        assert [finding.reason or "" for finding in prediction.findings] == answers.reasons[row].tolist()
        assert bool(answers.flagged[row]) is (prediction.ood is not None and prediction.ood.out)


def test_a_film_read_from_dicom_or_store_stands_at_the_same_place(bundle_path: Path, store_path: Path) -> None:
    """The store's square and the film itself are one film to the bundle; else the audit would speak of other films."""
    predictor, store = vesalius.load(bundle_path), Store(store_path)
    from_store, from_film = predictor.predict(store.image(5)), predictor.predict(make_film(1005))
    assert [one.logit for one in from_store.findings] == [one.logit for one in from_film.findings]


def test_lateral_films_are_counted_but_not_judged(
    bundle_path: Path, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    _, said = run(capsys, "audit", bundle, "--store", store_path, "--resamples", 20, "--by", "")
    internal = said["cohorts"]["internal"]
    assert internal["n_films"] == internal["n_assessed"] + 1
    assert internal["abstention"]["by_reason"]["not_assessable"] == 2
    known = (
        Store(store_path).manifest.query("site == 'A' and split == 'test' and view_position != 'LATERAL'")["label:Effusion"].notna()
    )
    assert internal["findings"]["Effusion"]["n"] == known.sum()


def test_a_gate_that_refuses_ends_with_4_and_leaves_the_report(
    bundle_path: Path, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\nname = "useful"\nmeasure = "cohorts.internal.macro.auroc.low"\nat_least = 0.999\n')
    arguments = ["audit", bundle, "--store", store_path, "--resamples", 20, "--out", tmp_path / "here", "--gates", gates]
    code, said = run(capsys, *arguments)
    assert code == 4
    assert said["refused"] == ["useful"]
    assert "was not met: useful" in (tmp_path / "here" / "index.html").read_text()
    assert "REFUSED" in (bundle / "card.md").read_text()


def test_an_unreadable_gates_file_stops_before_any_work(
    bundle_path: Path, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\nmeasure = "cohorts.internal.macro.auroc.low"\n')
    code, said = run(capsys, "audit", bundle_path, "--store", store_path, "--out", tmp_path / "x", "--gates", gates)
    assert code == 2
    assert said["error"]["code"] == "gates"
    assert not (tmp_path / "x").exists()


def test_a_changed_bundle_is_not_audited(
    bundle_path: Path, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    description = bundle / "bundle.json"
    description.write_text(description.read_text().replace("0.", "1.", 1))
    code, said = run(capsys, "audit", bundle, "--store", store_path)
    assert code == 2
    assert said["error"]["code"] == "bundle_changed"


def test_a_site_of_laterals_is_left_out_and_said(bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every tenth film is a lateral, and all of them are of site B."""
    make_store(tmp_path / "store", films=100, sites=("A",) * 9 + ("B",), split="test")
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    code, said = run(capsys, "audit", bundle, "--store", tmp_path / "store", "--resamples", 20)
    assert code == 0
    assert said["cohorts"]["external"] is None
    assert said["cohorts"]["internal"]["n_films"] == 90
    assert "Films of other sites: none of 10 can be judged; they are left out." in said["notices"]
    assert "none of 10 can be judged" in (tmp_path / "report" / "index.html").read_text()
