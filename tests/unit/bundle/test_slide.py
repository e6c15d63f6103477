"""A slide read by words: the line, what lies beside it, and slides that cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw

import vesalius
from tests.bundles import make_film
from tests.image_text import make_config, make_image_text_bundle, make_model, make_tokenizer
from tests.slides import tissue_picture, write_pyramid
from vesalius.bundle.cases import Case
from vesalius.bundle.film_words import FilmWords
from vesalius.bundle.image_text import ImageTextBundle
from vesalius.bundle.slide import SideFiles, SlideOptions, SlideWords
from vesalius.bundle.slide_lines import score_slide_case
from vesalius.errors import ValueOutOfRange
from vesalius.reporting.heatmap import save_overlays
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import open_slide
from vesalius.zeroshot.prompt_sets import draw_prompt_sets
from vesalius.zeroshot.prompts import PromptSet, prompts_for
from vesalius.zeroshot.slide_scores import PoolOptions

OPTIONS = SlideOptions(grid=PatchGrid(64, 0.5), pool=PoolOptions((1, 5)), rule="top-5")
CLASSES = PromptSet.of_classes({"lung": ["lungs", "clear lungs"], "heart": ["heart", "large heart"]}, ["{}.", "the {} is seen."])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ImageTextBundle:
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    make_image_text_bundle(path, members=2)
    return vesalius.load(path)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pyramid(tmp_path_factory.mktemp("slides") / "a.tif", tissue_picture(box=(64, 64, 620, 440)))


def by_hand(bundle: ImageTextBundle, slide: Path, coordinates: np.ndarray, texts: tuple[str, ...]) -> np.ndarray:
    """Mean over checkpoints of each patch's cosine with each sentence; every network as it was built."""
    found = []
    with open_slide(slide) as opened, torch.inference_mode():
        patches = np.stack([opened.read(int(x), int(y), 64, 64, 0.5) for x, y in coordinates])
        images = (torch.from_numpy(patches).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        for seed in (0, 1):
            model = make_model(make_config(make_tokenizer()), seed)
            rows = []
            for text in texts:
                tokens, mask = bundle.encode([text])
                rows.append(model.embed_texts(torch.from_numpy(tokens), torch.from_numpy(mask))[0])
            found.append((model.embed_images(images) @ torch.stack(rows).T).numpy())
    return np.mean(found, axis=0)


def test_the_line_is_the_pooled_contrast(tmp_path: Path, bundle: ImageTextBundle, slide: Path) -> None:
    reader = SlideWords(bundle, [prompts_for(["effusion", "nodule"])], OPTIONS)
    answer = reader.answer(slide, features=tmp_path, case="a.tif")
    cosines = by_hand(bundle, slide, answer.features.coordinates, ("effusion", "no effusion", "nodule", "no nodule"))
    contrast = cosines[:, ::2] - cosines[:, 1::2]
    np.testing.assert_allclose(answer.scores.patches, contrast, atol=2e-6)
    line = answer.prediction.to_json()
    assert [finding["name"] for finding in line["findings"]] == ["effusion", "nodule"]
    for at, finding in enumerate(line["findings"]):
        assert finding["logit"] == pytest.approx(np.sort(contrast[:, at])[-5:].mean(), abs=2e-6)
        assert (finding["probability"], finding["decision"], finding["reason"]) == (None, None, None)
    assert line["bundle"] == bundle.reference
    assert (line["case"], line["error"], len(line["image_id"])) == ("a.tif", None, 16)
    assert (tmp_path / "a.tif.h5").exists()


def test_many_prompt_sets_share_the_features(tmp_path: Path, bundle: ImageTextBundle, slide: Path) -> None:
    sets = draw_prompt_sets(CLASSES, n_sets=5, seed=1)
    together = SlideWords(bundle, sets, OPTIONS).answer(slide, features=tmp_path)
    alone = [SlideWords(bundle, [one], OPTIONS).answer(slide, features=tmp_path) for one in sets]
    logits = np.array([[finding.logit for finding in one.prediction.findings] for one in alone])
    np.testing.assert_allclose(together.scores.pooled["top-5"], logits, atol=1e-6)
    np.testing.assert_allclose([finding.logit for finding in together.prediction.findings], np.median(logits, axis=0), atol=1e-6)
    told = together.to_json()
    assert (told["prompt_sets"], told["patches"]) == (5, len(together.features))
    assert told["pooled"]["top-5"]["heart"]["maximum"] == pytest.approx(logits[:, 1].max(), abs=1e-6)


def test_what_lies_beside(tmp_path: Path, bundle: ImageTextBundle, slide: Path) -> None:
    reader = SlideWords(bundle, [CLASSES], OPTIONS)
    files = SideFiles(tmp_path / "maps", tmp_path / "pyramids", tmp_path / "tables")
    answer = reader.answer(slide, features=tmp_path / "features", case="../folder/a.tif", files=files)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "features/folder/a.tif.h5",
        "maps/folder/a.tif.heart.png",
        "maps/folder/a.tif.lung.png",
        "pyramids/folder/a.tif.heart.tif",
        "pyramids/folder/a.tif.lung.tif",
        "tables/folder/a.tif.json",
        "tables/folder/a.tif.parquet",
    ]
    table = pd.read_parquet(tmp_path / "tables/folder/a.tif.parquet")
    np.testing.assert_array_equal(table["score:heart"], answer.scores.patches[:, 1])
    assert json.loads((tmp_path / "tables/folder/a.tif.json").read_text()) == answer.to_json()
    with Image.open(tmp_path / "maps/folder/a.tif.lung.png") as picture:
        assert picture.width >= 640
    with open_slide(tmp_path / "pyramids/folder/a.tif.lung.tif") as pyramid:
        assert pyramid.mpp == pytest.approx(2.0, rel=1e-3)


def test_a_map_of_a_slide_and_one_of_a_film_say_the_same_of_a_score(
    tmp_path: Path, bundle: ImageTextBundle, slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    write = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda draw, place, text, **how: said.append(text) or write(draw, place, text, **how)
    )
    asked = prompts_for(["nodule"])
    answer = SlideWords(bundle, [asked], OPTIONS).answer(slide, features=tmp_path, files=SideFiles(tmp_path / "maps"))
    patches = len(answer.features)
    assert f"contrast {answer.prediction['nodule'].logit:+.3g} (top-5), no probability; {patches} patches" in said
    film = make_film(0)
    told = FilmWords(bundle, asked).predict(film, evidence=True)
    save_overlays(told, film, tmp_path)
    assert f"contrast {told['nodule'].logit:+.3g}, no probability" in said
    for kind in ("with the words, not probabilities", "with the words / temperature, not probabilities"):
        assert any(text.startswith(f"patches' contrasts {kind}") for text in said)


def test_a_slide_that_cannot_be_read_is_a_line(tmp_path: Path, bundle: ImageTextBundle) -> None:
    reader = SlideWords(bundle, [CLASSES], OPTIONS)
    path = write_pyramid(tmp_path / "b.tif", tissue_picture(box=(64, 64, 620, 440)), mpp=None)
    case = Case("b.tif", path)
    line = score_slide_case(reader, case, CLASSES, features=tmp_path, files=SideFiles()).to_json()
    assert (line["case"], line["findings"], line["error"]["code"]) == ("b.tif", [], "missing_spacing")
    assert "--mpp" in line["error"]["message"]
    told = replace(OPTIONS, mpp=0.5)
    reader = SlideWords(bundle, [CLASSES], told)
    assert score_slide_case(reader, case, CLASSES, features=tmp_path, files=SideFiles()).error is None


def test_a_warning_of_polarity_stands_in_the_line(tmp_path: Path, bundle: ImageTextBundle, slide: Path) -> None:
    reader = SlideWords(bundle, [prompts_for(["no effusion"])], OPTIONS)
    assert "less is seen" in reader.answer(slide, features=tmp_path).prediction.warnings[-1]


def test_words_that_the_vocabulary_cannot_spell_stand_in_the_line(tmp_path: Path, bundle: ImageTextBundle, slide: Path) -> None:
    sets = [PromptSet.of_classes({"heart": [one], "lungs": ["lungs"]}) for one in ("heart", "心臓")]
    (said,) = SlideWords(bundle, sets, OPTIONS).answer(slide, features=tmp_path).prediction.warnings
    assert said.startswith("heart: 1 of its 2 sentences, '心臓' first, have words that this model's vocabulary cannot spell")


def test_a_rule_that_is_not_pooled(bundle: ImageTextBundle) -> None:
    with pytest.raises(ValueOutOfRange, match="choose one of: top-1, top-5, mean"):
        SlideWords(bundle, [CLASSES], replace(OPTIONS, rule="top-50"))
