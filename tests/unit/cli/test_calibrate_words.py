"""`vesalius calibrate` of towers and words: which findings and films it takes; `predict` and `audit` work on what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bundles import make_film, make_run, make_store
from tests.films import film, save
from tests.image_text import CONTRACT, make_image_text_bundle
from vesalius.bundle.load import load_predictor
from vesalius.cli import main
from vesalius.datasets.store import Store, write_store
from vesalius.dicom.read import read
from vesalius.dicom.resample import standardise
from vesalius.models.contracts import FAMILY_CONTRACTS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate-words")
    make_image_text_bundle(folder / "words", context_length=64)
    make_store(folder / "store")
    make_store(folder / "other", films=24, sites=("B",), split="test")
    return folder


def calibrate(folder: Path, out: Path, *more: str, bundle: str = "words") -> int:
    return main(["calibrate", str(folder / bundle), "--store", str(folder / "store"), "--out", str(out), *more])


@pytest.fixture(scope="module")
def locked(made: Path) -> Path:
    assert calibrate(made, made / "locked", "--prompts", "nih") == 0
    return made / "locked"


def test_findings_are_those_the_store_has_labels_of_under_its_names(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(made, tmp_path / "cal", "--finding", "nodule", "--finding", "mass", "EFFUSION", "--date", "2025-01-02") == 0
    said = capsys.readouterr().out
    assert "no label in the store: mass" in said
    predictor = load_predictor(tmp_path / "cal")
    assert predictor.findings == ("Nodule", "Effusion")
    description = predictor.description
    assert description["kind"] == "zero-shot"
    assert description["prompts"]["findings"][1]["synonyms"] == ["EFFUSION"]
    assert description["provenance"]["training_sites"] == ["A"]
    assert description["provenance"]["date"] == "2025-01-02"
    assert "make sure that no patient" in description["provenance"]["warnings"][0]
    assert str(made) not in json.dumps(description), "no place on this machine"
    assert description["preprocessing"]["store_size_px"] == 64, "store and DICOM must become the same tensor"


@pytest.mark.parametrize("family", ["biomedclip", "chexzero"])
def test_towers_that_were_shown_a_crop_see_the_whole_film_through_a_store_and_the_card_says_so(
    made: Path, tmp_path: Path, family: str
) -> None:
    make_image_text_bundle(tmp_path / "words", contract=FAMILY_CONTRACTS[family].at_size(64))
    out = tmp_path / "cal"
    assert (
        main(["calibrate", str(tmp_path / "words"), "--store", str(made / "store"), "--out", str(out), "--finding", "nodule"]) == 0
    )
    said = " ".join(load_predictor(out).description["provenance"]["warnings"])
    assert ("central square" in said) is (family == "biomedclip")


def test_predict_and_audit_work_on_it_unchanged(made: Path, locked: Path, tmp_path: Path) -> None:
    assert load_predictor(locked).findings == ("Effusion", "Nodule"), "of the 15 asked, those that are labelled"
    levels = np.rint(make_film(71).pixels * 4095).astype(np.uint16)
    save(film(levels), tmp_path, "IM1.dcm")
    out = tmp_path / "answers.jsonl"
    assert main(["predict", str(locked), str(tmp_path / "IM1.dcm"), "--out", str(out), "--heatmap", str(tmp_path / "maps")]) == 0
    (line,) = map(json.loads, out.read_text().splitlines())
    for finding in line["findings"]:
        assert 0 < finding["probability"] < 1
        assert finding["decision"] in {"present", "absent", "abstain"}
    assert line["ood"] is not None
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 2
    audit = [
        "audit",
        str(locked),
        "--store",
        str(made / "other"),
        "--out",
        str(tmp_path / "report"),
        "--resamples",
        "20",
        "--images",
    ]
    assert main(audit) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "patches agree with the words" in page
    assert "itself pooled into its answer" not in page, "that is a classifier's map"


def test_a_film_of_a_store_and_the_same_film_from_dicom_get_the_same_answer(locked: Path, tmp_path: Path) -> None:
    predictor = load_predictor(locked)
    image = read(save(film(np.rint(make_film(4).pixels * 4095).astype(np.uint16)), tmp_path, "IM1.dcm"))
    square = standardise(image, 64)
    store = write_store(tmp_path / "store", square[None], pd.DataFrame({"bits_stored": [image.bits_stored]}))
    from_store, from_dicom = predictor.predict(store.image(0)), predictor.predict(image)
    assert [one.logit for one in from_store.findings] == [one.logit for one in from_dicom.findings], "to the last bit"


def test_the_same_inputs_give_the_same_bytes(made: Path, locked: Path, tmp_path: Path) -> None:
    assert calibrate(made, tmp_path / "locked", "--prompts", "nih") == 0
    assert (tmp_path / "locked" / "MANIFEST.json").read_bytes() == (locked / "MANIFEST.json").read_bytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--finding TEXT ... or --prompts FILE"),
        (("--finding", "fracture"), "it has: Effusion, Nodule"),
        (("--finding", "nodule", "--tta", "rotate"), "leave --tta out"),
        (("--finding", "nodule", "--sites", "Z"), "no film of split"),
    ],
)
def test_what_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str) -> None:
    assert calibrate(made, tmp_path / "cal", *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cal").exists()


def test_towers_of_another_store_size_are_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image_text_bundle(made / "large", contract=CONTRACT.through_store(128))
    assert calibrate(made, tmp_path / "cal", "--finding", "nodule", bundle="large") == 2
    assert "64 px" in capsys.readouterr().err


def test_a_trained_run_is_not_asked_in_words(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(made / "run", Store(made / "store"))
    assert calibrate(made, tmp_path / "cal", "--finding", "nodule", bundle="run") == 2
    assert "answers its own findings" in capsys.readouterr().err
