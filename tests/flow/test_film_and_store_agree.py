"""A film read from its file and the same film out of a store become the same bits before a network sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.films import film, picture_bytes, ramp, save
from vesalius.datasets.ingest import IngestOptions, ingest
from vesalius.datasets.store import Store
from vesalius.dicom.read import read
from vesalius.models.preprocessing import Preprocessing

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of several depths, shapes and photometric interpretations."""
    films = tmp_path_factory.mktemp("films")
    save(film(ramp(200, 160, bits=12)), films, "a.dcm")
    save(film(ramp(90, 150, bits=10, seed=1), bits=10, photometric="MONOCHROME1"), films, "b.dcm")
    save(film(ramp(64, 64, bits=16, seed=2), bits=16), films, "c.dcm")
    (films / "d.png").write_bytes(picture_bytes(ramp(130, 70, bits=8, seed=3), "PNG"))
    (films / "e.png").write_bytes(picture_bytes(ramp(70, 70, bits=16, seed=4), "PNG"))
    return films


@pytest.mark.parametrize("size", [SIDE, 48])
def test_bit_identical(folder: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    ingest([folder], tmp_path / "store", IngestOptions(size_px=SIDE, workers=1, patient_key=tmp_path / "key"))
    store = Store(tmp_path / "store")
    assert len(store) == 5
    contract = Preprocessing(store_size_px=SIDE, size_px=size, channels=3, mean=0.45, std=0.23)
    rows = np.arange(len(store))
    from_files = contract.apply([read(folder / Path(name).name) for name in store.manifest["path"]])
    np.testing.assert_array_equal(from_files, contract.apply_pixels(store.pixels(rows)))
    np.testing.assert_array_equal(from_files, contract.apply([store.image(int(row)) for row in rows]))
    assert from_files.std() > 0.1
