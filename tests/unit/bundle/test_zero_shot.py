"""The bundle of kind `zero-shot`: locked words, no text tower, the same answers as the towers it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import vesalius as vs
from tests.bundles import make_film
from tests.image_text import CONTRACT, make_image_text_bundle
from vesalius.bundle.calibrate import CalibrationOptions, calibrate
from vesalius.bundle.image_text import load_image_text
from vesalius.bundle.load import load_predictor
from vesalius.bundle.predictor import Predictor
from vesalius.bundle.verify import verify
from vesalius.bundle.zero_shot import describe_zero_shot, save_zero_shot
from vesalius.errors import BundleChanged, BundleError
from vesalius.inference.zero_shot import ZeroShotInference
from vesalius.zeroshot.prompts import prompts_for

ASKED = prompts_for(["Effusion", "No Finding"])


def make_zero_shot(folder: Path, name: str = "cal", **about: Any) -> Path:
    towers = load_image_text(folder / "words")
    contract = CONTRACT.through_store(64)
    embedder = towers.memory.prepare([ASKED], "float32", "cpu")
    inference = ZeroShotInference(embedder, contract, towers.memory.heads(ASKED, "embeddings"))
    films = [make_film(seed) for seed in range(40)]
    labels = np.array([[seed % 2, seed % 3 == 0] for seed in range(40)], dtype=np.float64)
    calibration = calibrate(inference.run(films), labels, np.arange(40), ASKED.findings, CalibrationOptions())
    provenance = about.pop("provenance", {"training_sites": ["A"]})
    description = describe_zero_shot("cal", towers, inference, ASKED, calibration, provenance, **about)
    save_zero_shot(folder / name, description, towers=towers, inference=inference, calibration=calibration)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zero-shot")
    make_image_text_bundle(path / "words", members=2, notices=["Made in a test."])
    make_zero_shot(path, notices=["Once more."])
    return path


def test_it_answers_like_any_bundle_with_the_towers_own_contrasts(folder: Path) -> None:
    locked = vs.load(folder / "cal")
    assert isinstance(locked, Predictor)
    film = make_film(50)
    result = locked.predict(film, evidence=True)
    towers = load_image_text(folder / "words")
    through = ZeroShotInference(
        towers.memory.prepare([ASKED], "float32", "cpu"), CONTRACT.through_store(64), towers.memory.heads(ASKED, "embeddings")
    )
    expected = through.run([film]).logits[0]
    np.testing.assert_allclose([finding.logit for finding in result.findings], expected, atol=1e-6)
    for finding in result.findings:
        assert finding.probability is not None
        assert 0 < finding.probability < 1
        assert finding.decision is not None
    assert result.ood is not None
    assert result.evidence is not None
    assert result.evidence.shape == (2, 4, 4)
    assert result.evidence_of == "contrasts", "the patches' contrasts are not what was pooled into the film's"
    assert locked.notices == ("Made in a test.", "Once more.")


def test_it_holds_no_text_tower_and_no_tokenizer(folder: Path) -> None:
    verified = verify(folder / "cal")
    assert verified.kind == "zero-shot"
    assert not (folder / "cal" / "tokenizer.json").exists()
    for name in ("weights-1.safetensors", "weights-2.safetensors"):
        held = set(load_file(folder / "cal" / name))
        assert held
        assert not any(key.startswith("text") for key in held)
    words = load_file(folder / "cal" / "text.safetensors")
    assert sorted(words) == ["0.negative", "0.positive", "1.negative", "1.positive"]
    assert words["0.positive"].shape == (2, 24)
    assert (folder / "cal" / "weights-1.safetensors").stat().st_size < (folder / "words" / "weights-1.safetensors").stat().st_size


def test_what_was_asked_is_on_record(folder: Path) -> None:
    description = json.loads((folder / "cal" / "bundle.json").read_bytes())
    assert description["findings"] == ["Effusion", "No Finding"]
    assert description["prompts"]["findings"][0]["synonyms"] == ["Effusion"]
    assert description["prompts"]["findings"][1]["polarity"] == -1
    assert description["prompts"]["average"] == "embeddings"
    assert description["prompts"]["towers"].startswith("tiny-words@sha256:")
    card = (folder / "cal" / "card.md").read_text()
    assert "Not audited yet" in card
    assert "Effusion" in card


def test_the_same_content_is_the_same_bundle(folder: Path) -> None:
    again = make_zero_shot(folder, "again", notices=["Once more."])
    assert verify(again).id == verify(folder / "cal").id


def test_locked_words_cannot_be_exchanged_unseen(folder: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(folder / "cal", tmp_path / "copied"))
    content = bytearray((copied / "text.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "text.safetensors").write_bytes(content)
    with pytest.raises(BundleChanged, match=r"text\.safetensors"):
        load_predictor(copied)


def test_no_other_words_can_be_asked(folder: Path) -> None:
    with pytest.raises(BundleError, match="use its `predict`"):
        vs.zeroshot(vs.load(folder / "cal"), make_film(0), ["nodule"])


def test_a_provenance_without_sites_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="training_sites"):
        make_zero_shot(folder, "none", provenance={})
