from __future__ import annotations

import pickle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vesalius.datasets.images import ImagesWriter
from vesalius.datasets.store import IMAGES_FILE, MANIFEST_FILE, Store, write_store
from vesalius.errors import LabelsError, ShapeMismatch, StoreError
from vesalius.types import View

RNG = np.random.default_rng(1)
LEVELS = RNG.integers(0, 256, (5, 24, 24)).astype(np.uint16)
MASKS = (RNG.random((5, 2, 24, 24)) * 255).astype(np.uint8)
ABOUT = pd.DataFrame(
    {
        "site": ["A", "A", "B", "B", "B"],
        "split": ["train", "test", "train", "test", None],
        "view_position": ["PA", "AP", None, "LATERAL", None],
        "laterality": [None, None, "L", None, None],
        "bits_stored": [8, 12, 16, 8, 10],
        "rows": [48, 24, 24, 24, 24],
        "columns": [24, 24, 24, 24, 24],
        "spacing_mm_row": [0.2, None, 0.1, 0.1, 0.1],
        "spacing_mm_col": [0.3, None, 0.1, 0.1, 0.1],
        "label:X": [1, 0, -1, None, 1],
    }
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    known = np.array([[True, False]] * 5)
    return write_store(tmp_path / "store", LEVELS, ABOUT, masks=MASKS, masks_known=known, structures=["X", "Y"])


def test_pixels_are_levels_over_the_top_of_their_own_depth(store: Store) -> None:
    tops = np.array([255, 4095, 65535, 255, 1023])
    expected = (LEVELS / tops[:, None, None]).astype(np.float32)
    np.testing.assert_array_equal(store.pixels([4, 0, 1, 2, 3]), expected[[4, 0, 1, 2, 3]])
    assert store.pixels(np.array([], dtype=np.int64)).shape == (0, 24, 24)
    assert len(store) == 5
    assert store.size_px == 24


@pytest.mark.parametrize("rows", [[5], [-1], [0, 99]])
def test_a_row_that_is_not_there_is_an_error(store: Store, rows: list[int]) -> None:
    with pytest.raises(ShapeMismatch, match="rows 0 to 4"):
        store.pixels(rows)


def test_an_image_has_the_geometry_of_the_square(store: Store) -> None:
    image = store.image(0)
    assert image.spacing_mm == pytest.approx((0.4, 0.6)), "48 pixels became 24"
    assert (image.view_position, image.laterality, image.bits_stored) == (View.PA, None, 8)
    assert image.image_id == store.manifest["image_id"][0]
    assert image.provenance
    np.testing.assert_array_equal(image.pixels, store.pixels([0])[0])
    assert store.image(1).spacing_mm is None
    assert (store.image(2).view_position, store.image(2).laterality) == (None, "L")
    assert store.image(3).view_position is View.LATERAL


def test_labels_rows_and_masks(store: Store) -> None:
    np.testing.assert_array_equal(store.labels(), [[1], [0], [-1], [np.nan], [1]])
    np.testing.assert_array_equal(store.labels(["X"]), store.labels())
    with pytest.raises(LabelsError):
        store.labels(["Z"])
    assert store.rows().tolist() == [0, 1, 2, 3, 4]
    assert store.rows(split="train").tolist() == [0, 2]
    assert store.rows(sites=["B"]).tolist() == [2, 3, 4]
    assert store.rows(split="test", sites=["B"]).tolist() == [3]
    masks, known = store.masks([3, 1])
    np.testing.assert_array_equal(masks, MASKS[[3, 1]].astype(np.float32) / 255)
    assert known.tolist() == [[True, False], [True, False]]


def test_a_store_without_masks_has_none(tmp_path: Path) -> None:
    masks, known = write_store(tmp_path / "s", LEVELS, ABOUT).masks([0, 1])
    assert masks.shape == (2, 0, 24, 24)
    assert known.shape == (2, 0)


def test_what_is_not_given_is_filled(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", LEVELS, pd.DataFrame(index=range(5)))
    assert store.manifest["patient_id"].nunique() == store.manifest["image_id"].nunique() == store.manifest["path"].nunique() == 5
    assert set(store.manifest["site"]) == {"A"}
    assert store.findings == ()


def test_it_travels_to_other_processes_after_reading(store: Store) -> None:
    before = store.pixels([2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).pixels([2]), before)
    with get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(store.pixels, ([2],)), before)


def test_the_fingerprint_is_of_rows_labels_and_splits(store: Store, tmp_path: Path) -> None:
    same = write_store(tmp_path / "same", LEVELS, ABOUT)
    other = write_store(tmp_path / "other", LEVELS, ABOUT.assign(**{"label:X": [1, 0, -1, 0, 1]}))
    assert store.fingerprint == same.fingerprint != other.fingerprint


def test_unfinished_and_mismatched_stores_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="vesalius ingest"):
        Store(tmp_path / "nowhere")
    with ImagesWriter(store.path / IMAGES_FILE, 24) as images:
        for row in (1, 0, 2, 3, 4):
            images.append(store.manifest["image_id"][row], LEVELS[row])
    with pytest.raises(StoreError, match="do not belong together"):
        Store(store.path)
    (store.path / MANIFEST_FILE).unlink()
    with pytest.raises(StoreError, match="has not finished"):
        Store(store.path)


def test_images_beyond_the_manifest_are_left_alone(store: Store) -> None:
    with ImagesWriter(store.path / IMAGES_FILE, 24) as images:
        for row in (0, 1, 2, 3, 4, 0):
            images.append(store.manifest["image_id"][row] if len(images) < 5 else "extra", LEVELS[row])
    assert len(Store(store.path)) == 5


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ShapeMismatch, match="one square film a row"):
        write_store(tmp_path / "s", LEVELS, ABOUT[:4])
    with pytest.raises(ShapeMismatch, match="expected"):
        write_store(tmp_path / "s", LEVELS, ABOUT, masks=MASKS, structures=["X"])
    with pytest.raises(StoreError, match="holds a store already"):
        write_store(store.path, LEVELS, ABOUT)
