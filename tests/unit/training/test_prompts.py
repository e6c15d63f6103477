"""The recipe `prompts`: one command, every point, no patient on both sides, and towers that do not move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.image_text import make_image_text_bundle
from tests.stores import square_films
from vesalius.datasets.store import Store
from vesalius.errors import LabelsError, PromptsError, RunError, StoreError
from vesalius.models.preprocessing import Preprocessing
from vesalius.training.prompts import points_of, train_prompts, words_for
from vesalius.training.prompts_options import PromptOptimization, PromptsOptions


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    make_image_text_bundle(folder / "bundle")
    square_films(folder / "store", n=72)
    return folder


def options(given: Path, out: Path, **settings: object) -> PromptsOptions:
    smallest = {"steps": 4, "batch_size": 4, "resamples": 20, "score_on": "calibration", "accelerator": "cpu"}
    return PromptsOptions(given / "bundle", given / "store", out, **{**smallest, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def curve(given: Path) -> Path:
    """A run of the protocol, small."""
    train_prompts(options(given, given / "run", shots=("full", "2", "0", "1"), repeats=2))
    return given / "run"


def test_every_point_with_its_baselines(curve: Path) -> None:
    table = json.loads((curve / "few_shot.json").read_text())
    rows = [(row["method"], row["shots"], row["repeats"]["n"]) for row in table["curve"]]
    assert rows == [
        ("hand-written prompts", "0", 1),
        ("learned prompts", "0", 1),
        *[(method, shots, 2) for shots in ("1", "2") for method in ("learned prompts", "linear probe")],
        ("learned prompts", "full", 1),
        ("linear probe", "full", 1),
    ]
    for row in table["curve"]:
        assert 0 <= row["macro_auroc"]["value"] <= 1
        assert set(row["auroc"]) == {"Upper", "Lower"}


def test_no_patient_learns_and_scores(curve: Path, given: Path) -> None:
    store, model = Store(given / "store"), json.loads((curve / "model.json").read_text())
    split = store.manifest.groupby("patient_id")["split"].nunique()
    assert (split == 1).all()
    frontal = (store.manifest["view_position"] != "LATERAL").to_numpy()
    told = (store.labels() >= 0).any(axis=1)
    for word, name in (("train", "train"), ("scored", "calibration")):
        assert model["films"][word] == int(((store.manifest["split"] == name).to_numpy() & frontal & told).sum())


def test_a_finished_run_is_not_done_again(curve: Path, given: Path) -> None:
    before = (curve / "few_shot.json").stat().st_mtime_ns
    summary = train_prompts(options(given, curve, shots=("full", "2", "0", "1"), repeats=2))
    assert summary.nothing_to_do
    assert (curve / "few_shot.json").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="repeats was 2, is 3"):
        train_prompts(options(given, curve, shots=("full", "2", "0", "1"), repeats=3))


def test_a_finished_run_on_another_store_or_bundle_is_not_taken_for_this_one(given: Path, tmp_path: Path) -> None:
    for name in ("bundle", "store"):
        shutil.copytree(given / name, tmp_path / name)
    settings = options(tmp_path, tmp_path / "run", shots=("0",))
    train_prompts(settings)
    assert train_prompts(settings).nothing_to_do
    shutil.rmtree(tmp_path / "store")
    square_films(tmp_path / "store", n=72, seed=1)
    with pytest.raises(RunError, match="another store"):
        train_prompts(settings)
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(given / "store", tmp_path / "store")
    shutil.rmtree(tmp_path / "bundle")
    make_image_text_bundle(tmp_path / "bundle", name="other")
    with pytest.raises(RunError, match="another bundle"):
        train_prompts(settings)


def test_rates_and_devices_that_cannot_be(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(RunError, match="--learning-rate is -1"):
        train_prompts(options(given, tmp_path / "run", optimization=PromptOptimization(learning_rate=-1.0)))
    with pytest.raises(RunError, match="no GPU"):
        train_prompts(options(given, tmp_path / "run", accelerator="gpu"))


def test_films_that_choose_weights_do_not_score_them(given: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--score-on"):
        train_prompts(options(given, tmp_path / "run", score_on="validation", evaluations=2))
    assert not (tmp_path / "run").exists()


def test_the_runs_prompts_are_those_of_the_largest_draw(curve: Path) -> None:
    best, full = (
        load_file(curve / "checkpoints" / "best.safetensors"),
        load_file(curve / "draws/full-0/checkpoints/best.safetensors"),
    )
    assert all(np.array_equal(best[name], full[name]) for name in full)
    assert any(np.abs(best[name]).max() > 0 for name in ("context", "classes"))


def test_a_run_that_lost_its_end_goes_on_with_the_same_numbers(curve: Path, given: Path, tmp_path: Path) -> None:
    """A stop in the middle of the second draw: the first is kept, the second goes on from its checkpoint."""
    settings = {"shots": ("1", "2"), "steps": 6, "save_every": 2}
    whole = train_prompts(options(given, tmp_path / "whole", **settings))
    stopped = tmp_path / "stopped"

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 12
        if done == 9:
            raise Stop

    with pytest.raises(Stop):
        train_prompts(options(given, stopped, **settings), stop)
    assert (stopped / "draws/1-0/model.json").is_file()
    assert not (stopped / "draws/2-0/model.json").exists()
    assert (stopped / "draws/2-0/checkpoints/last.ckpt").is_file()
    seen: list[int] = []
    again = train_prompts(options(given, stopped, **settings), lambda done, _: seen.append(done))
    assert seen == [9, 10, 11, 12], "steps 9 to 12 are the third to the sixth of the second draw"
    assert again.curve == whole.curve
    assert (stopped / "checkpoints/best.safetensors").read_bytes() == (tmp_path / "whole/checkpoints/best.safetensors").read_bytes()


def test_exclusive_classes(given: Path, tmp_path: Path) -> None:
    summary = train_prompts(options(given, tmp_path, task="multiclass", shots=("0", "2")))
    assert all("accuracy" in row for row in summary.curve)
    assert json.loads((tmp_path / "model.json").read_text())["design"]["kind"] == "classes"


def test_prompts_that_are_the_same_for_every_image(given: Path, tmp_path: Path) -> None:
    summary = train_prompts(options(given, tmp_path, hidden=0, context_tokens=3))
    assert summary.parameters == 3 * 64 + 4 * 64


def test_the_words_of_a_prompt_file(given: Path, tmp_path: Path) -> None:
    """All sentences make the hand-written baseline, the first of each finding begins the learned prompt; names in any spelling."""
    page = tmp_path / "words.yaml"
    page.write_text(
        'name: words\nkind: pair\ntemplates: [["{}", "no {}"]]\nfindings:\n'
        "  - {name: upper, synonyms: [nodule, heart]}\n  - {name: lower, synonyms: [effusion]}\n"
    )
    train_prompts(options(given, tmp_path / "run", prompts=str(page), shots=("0",)))
    design = json.loads((tmp_path / "run/model.json").read_text())["design"]
    assert design["positive"] == ["nodule", "effusion"]
    assert design["negative"] == ["no nodule", "no effusion"]
    assert design["findings"] == ["Upper", "Lower"]
    with pytest.raises(PromptsError, match="needs classes"):
        train_prompts(options(given, tmp_path / "b", prompts=str(page), task="multiclass"))
    with pytest.raises(PromptsError, match="no prompt for"):
        train_prompts(options(given, tmp_path / "c", prompts="nih"))


def test_no_finding_is_asked_as_a_normal_film() -> None:
    pairs = words_for(PromptsOptions(Path(), Path(), Path()), ("No_Finding", "Edema"))
    assert pairs.findings == ("No_Finding", "Edema")
    assert all("normal" in text or "clear" in text for text in pairs.texts()["No_Finding"].positive[:2])
    assert pairs.texts()["Edema"].negative == ("no edema",)
    classes = words_for(PromptsOptions(Path(), Path(), Path(), task="multiclass"), ("No_Finding", "Edema"))
    assert classes.kind == "classes"
    assert classes.texts()["Edema"].positive == ("edema",)


def test_what_cannot_be_is_refused(given: Path, tmp_path: Path) -> None:
    for wrong in (("many",), (), ("-1",), ("1.5",)):
        with pytest.raises(RunError, match="expected numbers and full"):
            points_of(options(given, tmp_path, shots=wrong))
    with pytest.raises(RunError, match="--steps is 0"):
        points_of(options(given, tmp_path, steps=0))
    with pytest.raises(LabelsError, match="no finding Nose"):
        train_prompts(options(given, tmp_path / "a", findings=("Nose",)))
    with pytest.raises(RunError, match="says anything"):
        train_prompts(options(given, tmp_path / "b", sites=("C",)))
    make_image_text_bundle(given / "other", contract=Preprocessing(store_size_px=512, size_px=64, channels=3))
    with pytest.raises(StoreError, match="512"):
        train_prompts(PromptsOptions(given / "other", given / "store", tmp_path / "c"))
