"""Labels in, prompts learned, calibrated, and a film answered: each stop by the command a user types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vesalius as vs
from tests.image_text import make_image_text_bundle
from tests.stores import square_films
from vesalius.bundle.image_text import load_image_text
from vesalius.cli import main
from vesalius.errors import BundleError
from vesalius.inference.learned_prompts import LearnedPromptInference
from vesalius.models.preprocessing import Preprocessing
from vesalius.zeroshot.learned_prompts import PromptDesign, contrast, embed_prompts, restore_generator

CONTRACT = Preprocessing(store_size_px=64, size_px=64, channels=3, mean=0.35, std=0.2)


@pytest.fixture(scope="module", params=[8, 0], ids=["adapting", "fixed"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    make_image_text_bundle(folder / "towers", contract=CONTRACT, notices=("made up",))
    square_films(folder / "store", n=96, size_px=64)
    where = ["--store", str(folder / "store"), "--out"]
    words = f"--steps 12 --resamples 20 --score-on validation --batch-size 8 --hidden {request.param} --accelerator cpu".split()
    assert main(["train", "prompts", str(folder / "towers"), *where, str(folder / "run"), *words]) == 0
    assert main(["calibrate", str(folder / "run"), *where, str(folder / "bundle"), "--device", "cpu"]) == 0
    return folder


def test_the_bundle_answers_what_the_recipe_scored(made: Path) -> None:
    """The same contrasts, from a film that is read, as the towers and the generator give by hand from the store's square."""
    from safetensors.torch import load_file

    bundle, store = vs.load(made / "bundle", device="cpu"), vs.Store(made / "store")
    towers = load_image_text(made / "towers")
    model = next(iter(towers.each_model()))
    design = PromptDesign.from_json(json.loads((made / "run/model.json").read_text())["design"])
    generator = restore_generator(design, load_file(made / "run/checkpoints/best.safetensors"))
    rows = store.rows(split="validation")[:4]
    films = torch.from_numpy(CONTRACT.apply_pixels(store.pixels(rows)))
    with torch.no_grad():
        images, features = model.embed_images(films), model.image_features(films).pooled
        expected = contrast("pair", images, embed_prompts(model, generator(images, features))).numpy()
    output = bundle.inference.run([store.image(int(row)) for row in rows], evidence=True)
    np.testing.assert_allclose(output.logits, expected, atol=2e-6)
    assert output.evidence is not None
    assert output.evidence.shape == (4, 2, 4, 4)
    answer = bundle.predict(store.image(int(rows[0])))
    assert [finding.name for finding in answer.findings] == ["Upper", "Lower"]
    assert all(0 <= finding.probability <= 1 for finding in answer.findings if finding.probability is not None)
    assert answer["Upper"].logit == pytest.approx(float(expected[0, 0]), abs=2e-6)


def test_the_evidence_is_the_contrast_of_each_patch(made: Path) -> None:
    bundle, store = vs.load(made / "bundle", device="cpu"), vs.Store(made / "store")
    inference = bundle.inference
    assert isinstance(inference, LearnedPromptInference)
    films = CONTRACT.apply_pixels(store.pixels([0]))
    output = inference.run_tensor(films, evidence=True)
    model = next(iter(load_image_text(made / "towers").each_model()))
    with torch.no_grad():
        features = model.image_features(torch.from_numpy(films))
        patches = torch.nn.functional.normalize(model.project_patches(features.patches), dim=1)
        texts = inference.texts(0, model.project_images(features.pooled).numpy(), features.pooled.numpy())
        expected = float(model.scale) * torch.einsum("chw,fc->fhw", patches[0], (texts[:, :2] - texts[:, 2:])[0])
    assert output.evidence is not None
    np.testing.assert_allclose(output.evidence[0], expected.numpy(), atol=1e-4)


def test_what_the_bundle_says_of_itself(made: Path) -> None:
    description = json.loads((made / "bundle/bundle.json").read_text())
    assert description["kind"] == "zero-shot"
    assert description["prompts"]["kind"] == "learned"
    assert description["notices"] == ["made up"]
    text = json.dumps(description) + (made / "bundle/card.md").read_text()
    assert str(made) not in text, "no place on this machine"
    assert not (made / "bundle/tokenizer.json").exists()
    assert main(["bundle", "verify", str(made / "bundle")]) == 0
    assert main(["bundle", "inspect", str(made / "bundle")]) == 0


def test_other_towers_are_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The prompts of one text tower say nothing to another."""
    towers, aside = made / "towers", tmp_path / "aside"
    towers.rename(aside)
    try:
        make_image_text_bundle(towers, name="others", contract=CONTRACT)
        assert main(["calibrate", str(made / "run"), "--store", str(made / "store"), "--out", str(tmp_path / "bundle")]) == 2
        assert "not the bundle" in capsys.readouterr().err
    finally:
        import shutil

        shutil.rmtree(towers, ignore_errors=True)
        aside.rename(towers)


def test_a_generator_of_another_design_is_refused(made: Path) -> None:
    from safetensors.torch import load_file

    design = json.loads((made / "run/model.json").read_text())["design"]
    with pytest.raises(BundleError):
        restore_generator(PromptDesign.from_json({**design, "hidden": 5}), load_file(made / "run/checkpoints/best.safetensors"))
