"""`vesalius calibrate --slides`, and `vesalius predict` with what it makes: painted slides of three kinds, words to decisions."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

import vesalius
from tests.bundles import make_bundle, make_film
from tests.films import film, picture_bytes, save
from tests.tissue import KINDS, MPP, SIDE, make_tissue_bundle, painter, write_prompts, write_slides
from vesalius.bundle.slide_predictor import SlidePredictor
from vesalius.bundle.verify import verify
from vesalius.bundle.zero_shot_slides import COLUMNS
from vesalius.cli import main
from vesalius.errors import OtherKind
from vesalius.slides.read import open_slide
from vesalius.uncertainty import OodGate

CUT = ("--patch-px", str(SIDE), "--patch-mpp", str(MPP))
SETS = ("--prompt-sets", "5")
PER_CLASS = 13


def write_labels(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def calibrate(folder: Path, labels: Path, out: Path, *more: str) -> int:
    words = ("--prompts", str(folder / "classes.yaml"), "--features", str(folder / "features"))
    return main(["calibrate", str(folder / "bundle"), "--slides", str(labels), "--out", str(out), *words, *CUT, *SETS, *more])


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "seconds": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Towers, slides to calibrate on, others to ask about, and what makes no slide; in `locked` the bundle."""
    folder = tmp_path_factory.mktemp("calibrate-slides")
    make_tissue_bundle(folder / "bundle")
    write_prompts(folder / "classes.yaml")
    known = write_slides(folder / "known", 3 * PER_CLASS, seed=1)
    lines = [
        {"file": f"known/{name}", "patient_id": f"Doe^{at // 6}^{kind}", "split": "calibration", "class": kind}
        for at, (name, kind) in enumerate(known)
    ]
    lines.append({"file": "nowhere.tif", "patient_id": "Roe^Ann", "split": "test", "class": KINDS[0]})
    write_labels(folder / "labels.csv", lines)
    write_slides(folder / "new", 12, seed=2)
    assert calibrate(folder, folder / "labels.csv", folder / "locked", "--name", "painted") == 0
    assert main(["predict", str(folder / "locked"), str(folder / "new"), "--out", str(folder / "answers.jsonl")]) == 0
    return folder


def test_what_is_locked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = vesalius.load(made / "locked")
    assert isinstance(predictor, SlidePredictor)
    description = predictor.description
    assert (description["kind"], predictor.findings) == ("zero-shot-slides", KINDS)
    assert description["slide"]["grid"] == {"side_px": SIDE, "mpp": MPP, "overlap": 0.0, "least_tissue": 0.25}
    assert (description["slide"]["pooling"], description["slide"]["smoothing"]) == ("top-50", "none")
    assert len(description["prompts"]["sets"]) == 5
    assert load_file(made / "locked" / "text.safetensors")[COLUMNS].shape == (1, 24, 15)
    assert {row["n"] for row in description["calibration"]} == {3 * PER_CLASS}
    about = description["provenance"]
    assert (about["slides"], about["calibration"]["patients"]) == ({"calibration": 3 * PER_CLASS}, 21)
    assert len(set(about["calibration"]["slide_ids"])) == 3 * PER_CLASS
    held = (made / "locked" / "bundle.json").read_text()
    assert "Doe" not in held, "no patient"
    assert str(made) not in held, "no place on this machine"
    card = (made / "locked" / "card.md").read_text()
    assert f"patches of {SIDE} px at 4 micrometres per pixel" in card
    assert "exclude each other" in card
    assert "film" not in card.replace("film of", ""), "it is of slides"
    assert main(["bundle", "inspect", str(made / "locked")]) == 0
    assert "at 4 micrometres per pixel" in capsys.readouterr().out
    assert main(["bundle", "verify", str(made / "locked")]) == 0


def test_probabilities_add_up_and_the_likeliest_class_is_said_or_none(made: Path) -> None:
    lines = lines_of(made / "answers.jsonl")
    assert [line["case"] for line in lines] == [f"new/{number:02d}.tif" for number in range(12)]
    table = np.array([[finding["probability"] for finding in line["findings"]] for line in lines])
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-9)
    truth = np.arange(12) % 3
    assert (table.argmax(axis=1) == truth).mean() > 0.7
    own = table[np.arange(12), truth].mean()
    assert own > 2 * (1 - own) / 2
    cut = vesalius.load(made / "locked").policy.cut
    for line, row in zip(lines, table, strict=True):
        said = [finding["decision"] for finding in line["findings"]]
        if line["ood"]["out"] or row.max() < cut:
            assert said == ["abstain"] * 3
        else:
            assert said[int(row.argmax())] == "present"
            assert sorted(said) == ["absent", "absent", "present"]
    assert any("present" in [finding["decision"] for finding in line["findings"]] for line in lines)


def test_the_answer_by_hand(made: Path) -> None:
    """From the words' scores and the numbers in bundle.json: softmax of the line; from the stored features: the gate."""
    description = json.loads((made / "locked" / "bundle.json").read_text())
    fitted = description["calibrator"]
    gate = OodGate.from_state(load_file(made / "locked" / "statistics.safetensors"), description["gate"])
    for line in lines_of(made / "answers.jsonl"):
        logits = np.array([finding["logit"] for finding in line["findings"]])
        by_hand = softmax(logits * np.array(fitted["slopes"]) + np.array(fitted["intercepts"]))
        np.testing.assert_allclose([finding["probability"] for finding in line["findings"]], by_hand, atol=1e-9)
        with h5py.File(made / "features" / f"{line['case']}.h5") as file:
            mean = file["features"][:].astype(np.float64).mean(axis=0)
        assert line["ood"]["score"] == pytest.approx(float(gate.score(mean[None], logits[None])[0]), rel=1e-9)


def test_the_logit_is_the_score_of_zeroshot(made: Path, tmp_path: Path) -> None:
    words = ("--prompts", str(made / "classes.yaml"), *SETS, *CUT, "--features", str(tmp_path / "own"))
    assert main(["zeroshot", str(made / "bundle"), str(made / "new"), "--out", str(tmp_path / "scores.jsonl"), *words]) == 0
    for score, answer in zip(lines_of(tmp_path / "scores.jsonl"), lines_of(made / "answers.jsonl"), strict=True):
        for before, after in zip(score["findings"], answer["findings"], strict=True):
            assert after["logit"] == pytest.approx(before["logit"], abs=1e-6)
    # the towers are the same, so their features are taken up
    taken = {path: path.stat().st_mtime_ns for path in (tmp_path / "own").rglob("*.h5")}
    out = tmp_path / "answers.jsonl"
    assert main(["predict", str(made / "locked"), str(made / "new"), "--out", str(out), "--features", str(tmp_path / "own")]) == 0
    assert len(taken) == 12
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "own").rglob("*.h5")} == taken


def test_the_gate_stops_what_it_was_not_calibrated_on(made: Path, tmp_path: Path) -> None:
    random, painted = np.random.default_rng(3), painter()
    own = painted.paint_small_slide("collagen", random, share=0.8, side=SIDE)
    painted.write_tiff(tmp_path / "stain.tif", painted.restain(own), MPP)
    painted.write_tiff(tmp_path / "blurred.tif", gaussian_filter(own, (5, 5, 0)), MPP)
    painted.write_tiff(tmp_path / "noise.tif", noise_in_tissue(own, random), MPP)
    predictor = vesalius.load(made / "locked")
    for name in ("stain", "blurred", "noise"):
        answer = predictor.predict(tmp_path / f"{name}.tif")
        assert answer.ood.out, name
        assert {str(finding.reason) for finding in answer.findings} == {"out_of_distribution"}
        assert "unlike the slides" in answer.warnings[-1]


def noise_in_tissue(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pink noise, in the place of tissue."""
    noisy = picture.copy()
    inside = noisy[SIDE:-SIDE, SIDE:-SIDE]
    inside[...] = np.clip(np.array([220, 120, 180]) + random.normal(0, 25, inside.shape), 0, 255)
    return noisy


def test_python_says_what_the_command_says(made: Path) -> None:
    predictor, (line, *_) = vesalius.load(made / "locked"), lines_of(made / "answers.jsonl")
    path = made / "new" / "00.tif"
    by_path = predictor.predict(path, "new/00.tif").to_json()
    with open_slide(path) as slide:
        by_slide = predictor.predict(slide, "new/00.tif", features=made / "features").to_json()
    assert without_time(by_path) == without_time(by_slide) == without_time(line)
    assert not list(made.glob("new/*.h5")), "nothing is kept that nobody asked for"
    with pytest.raises(OtherKind, match="pass the path of a slide"):
        predictor.predict(make_film(1))


def test_a_heat_map_of_each_class(made: Path, tmp_path: Path) -> None:
    one = ["predict", str(made / "locked"), str(made / "new/00.tif"), "--out", str(tmp_path / "a.jsonl")]
    assert main([*one, "--heatmap", str(tmp_path / "maps")]) == 0
    assert sorted(path.name for path in (tmp_path / "maps").rglob("*.png")) == [f"00.tif.{kind}.png" for kind in sorted(KINDS)]


def test_a_run_that_was_stopped_goes_on_to_the_same_lines(made: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "answers.jsonl", (made / "answers.jsonl").read_text().splitlines(keepends=True)
    out.write_text("".join(whole[:4]) + whole[4][:50])
    assert main(["predict", str(made / "locked"), str(made / "new"), "--out", str(out)]) == 0
    assert list(map(without_time, lines_of(out))) == list(map(without_time, lines_of(made / "answers.jsonl"))), "to the bit"


def test_the_same_inputs_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert calibrate(made, made / "labels.csv", tmp_path / "again", "--name", "painted") == 0
    assert (tmp_path / "again" / "MANIFEST.json").read_bytes() == (made / "locked" / "MANIFEST.json").read_bytes()


def test_a_changed_byte_is_caught(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "locked", tmp_path / "locked")
    words = bytearray((tmp_path / "locked" / "text.safetensors").read_bytes())
    words[-1] ^= 1
    (tmp_path / "locked" / "text.safetensors").write_bytes(words)
    for verb in (
        ["bundle", "verify", str(tmp_path / "locked")],
        ["predict", str(tmp_path / "locked"), str(made / "new"), "--out", "a"],
    ):
        assert main(verb) == 2
        assert "text.safetensors" in capsys.readouterr().err


PAIRS = ("--pooling", "mean", "--smoothing", "scores", *CUT)


@pytest.fixture(scope="module")
def pairs(made: Path) -> Path:
    """A bundle of findings that may occur together; uncertain, unknown, and one asked that nobody labelled."""
    held = {"0": ("1", "0"), "1": ("0", "-1"), "2": ("0", "1")}
    lines = [
        {"file": str(made / f"known/{at:02d}.tif"), "Nodule": held[str(at % 3)][0], "clear_lungs": held[str(at % 3)][1]}
        for at in range(30)
    ]
    lines[0]["Nodule"] = ""
    words = ["--slides", str(write_labels(made / "pairs.csv", lines)), "--finding", "nodule", "clear lungs", "mass"]
    more = ["--features", str(made / "features-of-pairs"), "--prompt-sets", "0", *PAIRS]
    assert main(["calibrate", str(made / "bundle"), "--out", str(made / "pairs"), *words, *more]) == 0
    return made / "pairs"


def test_findings_that_may_occur_together_have_columns(made: Path, pairs: Path, tmp_path: Path) -> None:
    predictor = vesalius.load(pairs)
    assert predictor.findings == ("nodule", "clear lungs")
    assert [(row["n"], row["n_positive"]) for row in predictor.description["calibration"]] == [(29, 9), (20, 10)]
    warnings = " ".join(predictor.description["provenance"]["warnings"])
    assert "each slide was taken as a patient of its own" in warnings
    assert "no label of mass; left out" in warnings
    scores = ["--finding", "nodule", "clear lungs", "mass", *PAIRS]
    assert main(["zeroshot", str(made / "bundle"), str(made / "new/00.tif"), "--out", str(tmp_path / "s.jsonl"), *scores]) == 0
    (line,) = lines_of(tmp_path / "s.jsonl")
    answer = predictor.predict(made / "new/00.tif")
    for finding, score in zip(answer.findings, line["findings"], strict=False):
        # "mass" was in the text tower's batch there, and this projection, fitted to six sentences, makes rounding larger
        assert finding.logit == pytest.approx(score["logit"], abs=1e-5)
        assert finding.decision in {"present", "absent", "abstain"}


def test_slides_that_cannot_be_read_are_named_and_counted(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader((made / "labels.csv").open()))
    for row in rows:
        row["file"], row["split"] = str(made / row["file"]), "calibration"
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and no more")
    rows += [{**rows[0], "file": "broken.tif"}, {**rows[0], "file": "copy.tif"}]
    shutil.copy(made / "known" / "00.tif", tmp_path / "copy.tif")
    labels = write_labels(tmp_path / "labels.csv", rows)
    assert calibrate(made, labels, tmp_path / "locked") == 3
    said = capsys.readouterr().out
    assert "left out: broken.tif: " in said
    assert "left out: nowhere.tif: " in said
    assert "stands above under another name" in said
    assert "Roe" not in said
    assert str(made / "known") not in said
    left_out = vesalius.load(tmp_path / "locked").description["provenance"]["calibration"]["left_out"]
    assert left_out == {"duplicate_image": 1, "file_missing": 1, "not_an_image": 1}


def test_an_audit_measures_the_answers_to_other_slides(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "locked", tmp_path / "locked")
    (tmp_path / "gates.toml").write_text(
        '[[gate]]\nmeasure = "cohorts.internal.classes.balanced_accuracy.value"\nat_least = 1.01\n'
    )
    rows = [{"file": str(made / f"new/{at:02d}.tif"), "patient_id": f"Doe^{at // 2}", "class": KINDS[at % 3]} for at in range(12)]
    rows.append({"file": str(made / "known/00.tif"), "patient_id": "Doe^0", "class": KINDS[0]})
    labels = write_labels(tmp_path / "labels.csv", rows)
    one = ["audit", str(tmp_path / "locked"), "--slides", str(labels), "--out", str(tmp_path / "report"), "--resamples", "50"]
    assert main([*one, "--gates", str(tmp_path / "gates.toml")]) == 4
    assert "left out: 1 slides, calibrated on" in capsys.readouterr().out
    document = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert "Doe" not in json.dumps(document)
    answers = lines_of(made / "answers.jsonl")
    table = np.array([[finding["probability"] for finding in line["findings"]] for line in answers])
    said = np.array([[finding["decision"] for finding in line["findings"]] for line in answers])
    truth = np.arange(12) % 3
    internal = document["cohorts"]["internal"]
    recalls = [(table.argmax(axis=1) == truth)[truth == kind].mean() for kind in range(3)]
    assert internal["classes"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    given = (said != "abstain").all(axis=1)
    assert internal["classes"]["coverage"]["value"] == pytest.approx(given.mean())
    wrong = said[given, truth[given]] != "present"
    assert internal["classes"]["error_answered"]["value"] == pytest.approx(wrong.mean())
    assert (internal["n_films"], internal["n_patients"]) == (12, 6)
    assert "sensitivity" not in internal["findings"]["keratin"], "classes have no threshold of their own"
    verified = verify(tmp_path / "locked")
    assert verified.audited
    assert verified.id == vesalius.load(made / "locked").id, "an audit changes nothing of what answers"
    card = (tmp_path / "locked" / "card.md").read_text()
    assert (tmp_path / "report" / "audit.md").read_text() in card
    assert "12 slides of 6 patients" in card
    assert "Left out: 1 calibrated on" in card
    assert main(["bundle", "inspect", str(tmp_path / "locked")]) == 0
    assert "Balanced accuracy, internal" in capsys.readouterr().out


def test_an_audit_of_findings(made: Path, pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs, tmp_path / "pairs")
    rows = [
        {"file": f"{at:02d}.tif", "site": "North" if at < 8 else "South", "nodule": str(int(at % 3 == 0)), "Mass": "1"}
        for at in range(12)
    ]
    labels = write_labels(made / "new" / "labels.csv", [*rows, {**rows[0], "file": "nowhere.tif"}])
    one = ["audit", str(tmp_path / "pairs"), "--slides", str(labels), "--out", str(tmp_path / "report"), "--resamples", "50"]
    assert main(one) == 3, "one could not be read"
    document = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert document["slides"]["left_out"] == {"file_missing": 1}
    found = document["cohorts"]["internal"]["findings"]
    assert (found["nodule"]["n"], found["nodule"]["n_positive"], found["clear lungs"]["n"]) == (12, 4, 0)
    assert document["cohorts"]["external"] is None, "it knows no site, so none is another"
    assert any("patient_id" in notice for notice in document["notices"])


def test_films_and_slides_are_not_mixed_up(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    study.mkdir()
    levels = np.arange(72 * 72, dtype=np.uint16).reshape(72, 72) % 4096
    save(film(levels), study, "IM1.dcm")
    (study / "IM2.png").write_bytes(picture_bytes((levels >> 4).astype(np.uint8), "png"))
    out, slide = tmp_path / "a.jsonl", str(made / "new" / "00.tif")
    named = [str(study / "IM1.dcm"), str(study / "IM2.png"), str(tmp_path / "nowhere.svs"), slide]
    assert main(["predict", str(made / "locked"), *named, "--out", str(out)]) == 3
    lines = lines_of(out)
    codes = [line["error"] and line["error"]["code"] for line in lines]
    assert codes == ["other_kind", "other_kind", "file_missing", None]
    assert "give it to a bundle of films" in lines[0]["error"]["message"]
    assert main(["predict", str(made / "locked"), str(study), "--out", str(tmp_path / "b.jsonl")]) == 2
    assert "films are for a bundle of films" in capsys.readouterr().err
    shutil.copy(slide, study / "slide.tif")
    assert main(["predict", str(made / "locked"), str(study), "--out", str(tmp_path / "c.jsonl")]) == 0
    assert "2 files in folders are no slides and were passed over" in capsys.readouterr().out
    make_bundle(tmp_path / "films")
    own = tmp_path / "own"
    (own / "features").mkdir(parents=True)
    shutil.copy(study / "IM1.dcm", own / "features" / "IM3.dcm")
    assert main(["predict", str(tmp_path / "films"), slide, str(own), "--out", str(own / "d.jsonl")]) == 3
    line, film_called_features = lines_of(own / "d.jsonl")
    assert film_called_features["error"] is None, "a folder of films may be called so"
    assert line["error"]["code"] == "other_kind"
    assert "vesalius zeroshot" in line["error"]["message"]


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (["audit", "LOCKED", "--store", "nowhere"], "vesalius audit BUNDLE --slides"),
        (["audit", "LOCKED"], "--slides LABELS.csv for whole slides"),
        (["audit", "FILMS", "--slides", "LABELS"], "audit it with --store STORE"),
        (["audit", "LOCKED", "--slides", "LABELS", "--store", "s"], "leave it out"),
        (["audit", "LOCKED", "--slides", "LABELS"], "none of 1 slides is readable"),
        (["zeroshot", "LOCKED", "x", "--finding", "y", "--out", "z"], "expected image-text"),
        (["predict", "LOCKED", "NEW", "--out", "z", "--sr", "reports"], "leave --sr out"),
        (["predict", "FILMS", "NEW", "--out", "z", "--mpp", "1"], "--features and --mpp are of slides"),
        (["calibrate", "BUNDLE", "--out", "z", "--finding", "y"], "--slides LABELS.csv for whole slides"),
        (["calibrate", "BUNDLE", "--out", "z", "--finding", "y", "--store", "s", "--mpp", "1"], "name them with --slides"),
    ],
)
def test_other_verbs_say_the_next_step(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "films")
    (tmp_path / "x").write_text("no film")
    places = {"LOCKED": made / "locked", "BUNDLE": made / "bundle", "NEW": made / "new", "FILMS": tmp_path / "films"}
    places["LABELS"] = made / "labels.csv"
    assert main([str(places.get(word, word)) for word in verb]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "z").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--store", "stores/cxr"), "one of the two"),
        (("--tta", "rotate"), "leave --tta out"),
        (("--pooling", "top-7"), "choose one of: top-1, top-5"),
        (("--threshold-rule", "youden"), "leave --threshold-rule out"),
        (("--target-risk", "0.1", "--risk-confidence", "0.9"), "leave --risk-confidence out"),
        (("--coverage", "2"), "coverage is 2"),
        (("--ood-scores", "luck"), "expected mahalanobis"),
        (("--sites", "Z"), "of site Z"),
        (("--finding", "keratin"), "one of the two"),
        (("--patch-mpp", "0.5"), "none of 39 slides could be read (39 value out of range)"),
    ],
)
def test_what_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str) -> None:
    assert calibrate(made, made / "labels.csv", tmp_path / "out", "--features", str(tmp_path / "f"), *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
