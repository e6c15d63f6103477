"""Feature files: read back as CLAM and TRIDENT read them, resumed after a stop, refused when another made them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from vesalius.errors import FeaturesError, ShapeMismatch, ValueOutOfRange
from vesalius.inference.feature_file import FeatureFacts, FeatureWriter, read_features

FACTS = FeatureFacts(
    encoder="tiny@sha256:0123456789ab",
    contract={"kind": "family", "mean": [0.5, 0.5, 0.5]},
    precision="float32",
    slide_id="0" * 16,
    width=6400,
    height=4800,
    mpp=0.25,
    patch_px=224,
    patch_mpp=0.5,
    overlap=0.25,
)
PLACES = np.stack([np.arange(10) * 448, np.arange(10) * 3], axis=1)
ROWS = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)


def write(path: Path, *, until: int = 10, facts: FeatureFacts = FACTS, batch_size: int = 4) -> FeatureWriter:
    with FeatureWriter(path, facts, PLACES, dim=6, batch_size=batch_size) as writer:
        for start in range(writer.done, until, batch_size):
            writer.append(ROWS[start : min(start + batch_size, until)])
        if until == len(ROWS):
            writer.finish()
    return writer


def test_the_layout_that_others_read(tmp_path: Path) -> None:
    """As CLAM's and TRIDENT's readers open a file: by these names, shapes and attributes."""
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"features", "coords"}
        np.testing.assert_array_equal(file["features"][:], ROWS)
        np.testing.assert_array_equal(file["coords"][:], PLACES)
        assert (file["features"].dtype, file["coords"].dtype) == (np.float32, np.int64)
        about = dict(file["coords"].attrs)
        assert (about["patch_size"], about["patch_size_level0"], about["overlap"]) == (224, 448, 56)
        assert (about["level0_width"], about["level0_height"], about["mpp"], about["patch_mpp"]) == (6400, 4800, 0.25, 0.5)
        assert isinstance(about["patch_size_level0"], np.integer), "TRIDENT refuses one that is no whole number"
        assert not any("magnification" in name for name in about)
        assert file["features"].attrs["encoder"] == FACTS.encoder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"], "nothing is left on the way"


def test_read_back(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    found = read_features(tmp_path / "a.h5", expected=FACTS)
    assert (len(found), found.dim, found.facts, found.side_level0) == (10, 6, FACTS, 448.0)
    np.testing.assert_array_equal(found.whole(), ROWS)
    np.testing.assert_array_equal(np.concatenate(list(found.batches(3))), ROWS)


def test_a_file_of_others_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"] = ROWS.astype(np.float16)
        file["coords"] = PLACES.astype(np.int32)
        file["coords"].attrs["patch_size_level0"] = 512
    found = read_features(tmp_path / "b.h5")
    assert (found.facts, found.side_level0, found.coordinates.dtype) == (None, 512.0, np.int64)
    np.testing.assert_allclose(found.whole(), ROWS, atol=2e-3)
    with pytest.raises(FeaturesError, match="does not say what made it"):
        read_features(tmp_path / "b.h5", expected=FACTS)


def test_a_stop_keeps_whole_batches_and_the_next_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, until=8)
    assert not path.exists()
    with (tmp_path / "a.h5.part" / "features.f32").open("ab") as file:
        file.write(ROWS[8].tobytes() + b"torn")  # a batch that was cut off by the stop
    with FeatureWriter(path, FACTS, PLACES, dim=6, batch_size=4) as writer:
        assert writer.done == 8
        with pytest.raises(FeaturesError, match="8 of 10"):
            writer.finish()
        writer.append(ROWS[8:])
        np.testing.assert_array_equal(writer.finish().whole(), ROWS)


def test_other_batches_or_places_start_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", until=8)
    with FeatureWriter(tmp_path / "a.h5", FACTS, PLACES, dim=6, batch_size=2) as writer:
        assert writer.done == 0
        writer.append(ROWS[:2])
    with FeatureWriter(tmp_path / "a.h5", FACTS, PLACES + 1, dim=6, batch_size=2) as writer:
        assert writer.done == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoder": "other@sha256:0"}, "another encoder"),
        ({"patch_mpp": 1.0}, r"another patch mpp \(0.5 there, 1.0 asked for\)"),
        ({"contract": {"kind": "family", "mean": [0.0, 0.0, 0.0]}}, "another contract;"),
        ({"precision": "bfloat16"}, "another precision"),
        ({"slide_id": "1" * 16}, "another slide id"),
    ],
)
def test_what_another_made_is_refused(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    other = replace(FACTS, **changed)
    write(tmp_path / "whole.h5")
    write(tmp_path / "begun.h5", until=4)
    with pytest.raises(FeaturesError, match=words):
        read_features(tmp_path / "whole.h5", expected=other)
    with pytest.raises(FeaturesError, match=words):
        FeatureWriter(tmp_path / "begun.h5", other, PLACES, dim=6, batch_size=4)
    with FeatureWriter(tmp_path / "begun.h5", FACTS, PLACES, dim=6, batch_size=4) as writer:
        assert writer.done == 4, "refusing changes nothing"


def test_two_at_one_slide(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "a.h5", FACTS, PLACES, dim=6, batch_size=4) as writer:
        writer.append(ROWS[:4])
        with pytest.raises(FeaturesError, match="another process"):
            FeatureWriter(tmp_path / "a.h5", FACTS, PLACES, dim=6, batch_size=4)
        writer.append(ROWS[4:8])
        assert writer.done == 8


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "a.h5", FACTS, PLACES, dim=6, batch_size=4) as writer:
        with pytest.raises(ShapeMismatch):
            writer.append(ROWS[:4, :5])
        with pytest.raises(ShapeMismatch):
            writer.append(np.zeros((11, 6), np.float32))


def test_what_is_no_feature_file(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match="vesalius features"):
        read_features(tmp_path / "none.h5")
    (tmp_path / "words.h5").write_text("no")
    with pytest.raises(FeaturesError, match="extract it again"):
        read_features(tmp_path / "words.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"], file["coords"] = ROWS, PLACES[:5]
    with pytest.raises(FeaturesError, match="expected"):
        read_features(tmp_path / "b.h5")


def test_facts_hold_no_path_and_no_name(tmp_path: Path) -> None:
    write(tmp_path / "Somebody_Known.h5")
    with h5py.File(tmp_path / "Somebody_Known.h5") as file:
        told = json.dumps({**dict(file.attrs), **{f"c.{k}": str(v) for k, v in file["coords"].attrs.items()}}, default=str)
    assert "Somebody" not in told
    assert str(tmp_path) not in told


@pytest.mark.parametrize("name", ["facts.json", "coords.npy"])
def test_a_kill_while_the_notes_were_written_costs_the_rows_and_no_more(tmp_path: Path, name: str) -> None:
    """An open file that was cut before a byte of it was written: what is beside it cannot be trusted, and is done again."""
    write(tmp_path / "a.h5", until=8)
    (tmp_path / "a.h5.part" / name).write_bytes(b"")
    writer = write(tmp_path / "a.h5")
    assert writer.done == len(ROWS)
    np.testing.assert_array_equal(read_features(tmp_path / "a.h5", expected=FACTS).whole(), ROWS)


def test_a_batch_of_none(tmp_path: Path) -> None:
    with pytest.raises(ValueOutOfRange, match="--batch-size"):
        FeatureWriter(tmp_path / "a.h5", FACTS, PLACES, dim=6, batch_size=0)
    assert not (tmp_path / "a.h5.part").exists()
