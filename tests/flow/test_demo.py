"""The main job, end to end, as a newcomer runs it: from nothing to a report, through every verb."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

import vesalius as vs

FINDINGS = {"Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly"}


def test_it_leaves_what_it_promises(small_demo: Path) -> None:
    for name in ("labels.csv", "store/manifest.parquet", "store/images.h5", "run/run.toml", "bundle/bundle.json", "bundle/card.md"):
        assert (small_demo / name).stat().st_size > 0, name
    assert list((small_demo / "cohort").glob("*.dcm"))
    said = (small_demo.parent / "stdout.txt").read_text()
    for verb in ("ingest", "train classifier", "calibrate", "audit", "predict"):
        assert f"$ vesalius {verb} " in said, "the demo teaches the commands it runs"
    assert "index.html" in said
    assert "one CT" in said


def test_the_page_and_the_card_say_that_all_patients_descend_from_one_ct(small_demo: Path) -> None:
    for name in ("report/index.html", "bundle/card.md"):
        assert "descends from one CT" in (small_demo / name).read_text(), name


def test_the_page_needs_no_network(small_demo: Path) -> None:
    page = (small_demo / "report" / "index.html").read_text()
    assert 'src="http' not in page
    assert '<link rel="stylesheet" href="http' not in page


def test_no_site_b_film_was_learned_from(small_demo: Path) -> None:
    manifest = vs.Store(small_demo / "store").manifest
    trained = json.loads((small_demo / "bundle" / "bundle.json").read_text())["provenance"]
    assert "B" not in json.dumps(trained.get("sites", trained))
    assert set(manifest.site) == {"A", "B"}
    assert (manifest.groupby("patient_id").split.nunique() == 1).all()


def test_answers_are_the_same_at_the_command_line_in_python_and_in_dicom(small_demo: Path) -> None:
    bundle = vs.load(small_demo / "bundle")
    lines = [json.loads(line) for line in (small_demo / "predictions.jsonl").read_text().splitlines()]
    assert lines
    reports = {path.name.removesuffix(".sr.dcm"): path for path in (small_demo / "sr").rglob("*.sr.dcm")}
    for line in lines:
        assert {finding["name"] for finding in line["findings"]} == FINDINGS
        result = bundle.predict(vs.read(small_demo / "cohort" / Path(line["case"]).name))
        for finding in line["findings"]:
            again = result[finding["name"]]
            assert again.decision == finding["decision"]
            assert again.reason == finding["reason"]
            assert again.logit == pytest.approx(finding["logit"], abs=1e-3)
        report = pydicom.dcmread(reports[Path(line["case"]).name])
        assert report.SOPClassUID.name == "Comprehensive SR Storage"
        film = pydicom.dcmread(small_demo / "cohort" / Path(line["case"]).name, stop_before_pixels=True)
        assert report.StudyInstanceUID == film.StudyInstanceUID
        undetermined = sum(finding["decision"] == "abstain" for finding in line["findings"])
        assert report.to_json().count("Presence Undetermined") == undetermined


def test_heat_maps_are_pictures(small_demo: Path) -> None:
    from PIL import Image

    pictures = list((small_demo / "heatmaps").rglob("*.png"))
    assert pictures
    with Image.open(pictures[0]) as picture:
        assert np.asarray(picture).std() > 5


@pytest.mark.dciodvfy
def test_films_and_reports_are_dicom_without_errors(small_demo: Path) -> None:
    films = sorted((small_demo / "cohort").glob("*.dcm"))
    for path in [films[0], films[-1], *sorted((small_demo / "sr").rglob("*.dcm"))[:2]]:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
        assert not errors, errors


def test_a_changed_bundle_is_refused_by_name(small_demo: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_demo / "bundle", bundle)
    description = bundle / "bundle.json"
    description.write_text(description.read_text().replace("0.", "0.0", 1))
    with pytest.raises(vs.VesaliusError, match=r"bundle\.json"):
        vs.load(bundle)
