"""From slide to features: the same rows as encoding each patch by hand, once, in order, in bounded memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.image_text import CONTRACT, make_config, make_model, make_tokenizer
from tests.slides import tissue_picture, write_pyramid
from vesalius.errors import BundleError, EmptyInput, FeaturesError, TruncatedFile
from vesalius.inference.feature_file import read_features
from vesalius.inference.slide import ExtractOptions, SlideEncoder, extract_features, grid_for
from vesalius.models.clip import ImageTextModel
from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import Slide, open_slide
from vesalius.slides.tissue import TissueMask

EVERYWHERE = TissueMask(np.ones((48, 64), dtype=bool), 10.0, 0.1)
GRID = PatchGrid(64, 0.5)
FEW = ExtractOptions(batch_size=16)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pyramid(tmp_path_factory.mktemp("slide") / "a.tif", tissue_picture())


def models(*seeds: int) -> list[ImageTextModel]:
    config = make_config(make_tokenizer())
    return [make_model(config, seed) for seed in seeds]


def by_hand(model: ImageTextModel, patches: np.ndarray) -> np.ndarray:
    """Each patch alone through the model as it was built, the contract written out: scale to [0, 1], minus mean, over std."""
    rows = []
    for patch in patches:
        tensor = (torch.from_numpy(patch).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
        with torch.inference_mode():
            rows.append(model.embed_images(tensor)[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_equal_patches_encoded_one_by_one(tmp_path: Path, path: Path, workers: int) -> None:
    picture = tissue_picture()
    encoder = SlideEncoder(models(0, 1), CONTRACT)
    with open_slide(path) as slide:
        options = ExtractOptions(16, workers)
        found = extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE, options=options)
    assert len(found) == 70
    assert found.dim == encoder.dim == 128
    patches = np.stack([picture[y : y + 64, x : x + 64] for x, y in found.coordinates])
    embeddings = encoder.project(found.whole())
    for member, model in enumerate(models(0, 1)):
        np.testing.assert_allclose(embeddings[member], by_hand(model, patches), atol=2e-6)


def test_a_file_that_is_there_is_not_computed_again(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SlideEncoder(models(0), CONTRACT)
    with open_slide(path) as slide:
        first = extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE, options=FEW)
        monkeypatch.setattr(SlideEncoder, "encode", None)
        again = extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, options=FEW)
        np.testing.assert_array_equal(first.whole(), again.whole())
        with pytest.raises(FeaturesError, match="another encoder"):
            extract_features(slide, SlideEncoder(models(1), CONTRACT), tmp_path / "a.h5", grid=GRID)
        with pytest.raises(FeaturesError, match="another patch px"):
            extract_features(slide, encoder, tmp_path / "a.h5", grid=PatchGrid(96, 0.5))


def test_a_stop_loses_one_batch_at_most_and_changes_no_bit(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SlideEncoder(models(0), CONTRACT)
    with open_slide(path) as slide:
        whole = extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE, options=FEW).whole()
        own, calls = SlideEncoder.encode, []

        def failing(self: SlideEncoder, tensor: np.ndarray) -> np.ndarray:
            calls.append(len(tensor))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return own(self, tensor)

        monkeypatch.setattr(SlideEncoder, "encode", failing)
        with pytest.raises(KeyboardInterrupt):
            extract_features(slide, encoder, tmp_path / "b.h5", grid=GRID, tissue=EVERYWHERE, options=FEW)
        seen: list[tuple[int, int]] = []
        found = extract_features(
            slide, encoder, tmp_path / "b.h5", grid=GRID, tissue=EVERYWHERE, options=FEW, progress=lambda *at: seen.append(at)
        )
    assert calls == [16, 16, 16, 16, 16, 6], "two batches were kept, the third is done again"
    assert seen == [(32, 70), (48, 70), (64, 70), (70, 70)]
    np.testing.assert_array_equal(found.whole(), whole)


def test_reading_stays_a_few_batches_ahead(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, encoded, ahead = [], [], []
    own = Slide.read
    monkeypatch.setattr(Slide, "read", lambda self, *place: read.append(place) or own(self, *place))
    encoder = SlideEncoder(models(0), CONTRACT)

    def slow(tensor: np.ndarray) -> np.ndarray:
        threading.Event().wait(0.05)
        encoded.append(len(tensor))
        ahead.append(len(read) - sum(encoded))
        return np.zeros((len(tensor), encoder.dim), np.float32)

    monkeypatch.setattr(encoder, "encode", slow)
    with open_slide(path) as slide:
        assert slide.slide_id
        read.clear()
        extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE, options=ExtractOptions(4))
    assert max(ahead) <= 4 * (2 + 2), "two batches wait, one is being read, one is on its way"


def test_what_the_reading_thread_meets_is_raised_here(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SlideEncoder(models(0), CONTRACT)

    def broken(*_: object) -> np.ndarray:
        raise TruncatedFile("the file ends")

    with open_slide(path) as slide:
        slide.slide_id  # noqa: B018
        monkeypatch.setattr(Slide, "read", broken)
        before = threading.active_count()
        with pytest.raises(TruncatedFile, match="the file ends"):
            extract_features(slide, encoder, tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE)
    assert threading.active_count() == before


def test_tissue_is_found_where_none_is_given(tmp_path: Path) -> None:
    with open_slide(write_pyramid(tmp_path / "b.tif", tissue_picture(box=(160, 120, 600, 460)))) as slide:
        found = extract_features(slide, SlideEncoder(models(0), CONTRACT), tmp_path / "a.h5", grid=PatchGrid(32, 0.5, 0.0, 0.9))
    assert (found.coordinates >= (160 - 4, 120 - 4)).all()
    assert (found.coordinates + 32 <= (600 + 4, 460 + 4)).all()


def test_bfloat16_is_close_and_another_file(tmp_path: Path, path: Path) -> None:
    with open_slide(path) as slide:
        exact = extract_features(slide, SlideEncoder(models(0), CONTRACT), tmp_path / "a.h5", grid=GRID, tissue=EVERYWHERE)
        half = SlideEncoder(models(0), CONTRACT, precision="bfloat16")
        near = extract_features(slide, half, tmp_path / "b.h5", grid=GRID, tissue=EVERYWHERE)
        assert 0 < np.abs(near.whole() - exact.whole()).max() < 0.1
        half.name = read_features(tmp_path / "a.h5").facts.encoder
        with pytest.raises(FeaturesError, match="another precision"):
            extract_features(slide, half, tmp_path / "a.h5", grid=GRID)


def test_models_that_have_no_patch_features() -> None:
    with pytest.raises(EmptyInput):
        SlideEncoder([], CONTRACT)
    with pytest.raises(BundleError, match="grey films"):
        SlideEncoder(models(0), replace(CONTRACT, mean=(0.5,), std=(0.2,)))
    config = make_config(make_tokenizer())
    config = replace(config, vision=replace(config.vision, projection="conv-mlp"))
    with pytest.raises(BundleError, match="BioViL"):
        SlideEncoder([ImageTextModel(config)], CONTRACT)


def test_the_cut_of_each_family() -> None:
    assert grid_for(FAMILY_CONTRACTS["mi-zero"]) == PatchGrid(256, 0.5)
    assert grid_for(FAMILY_CONTRACTS["conch"]) == PatchGrid(448, 0.5)
    assert grid_for(CONTRACT, 100, 1.0, overlap=0.5, least_tissue=0.1) == PatchGrid(100, 1.0, 0.5, 0.1)
