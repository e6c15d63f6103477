"""The contract from film to array: the same bits from a film and from a store."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.dicom.resample import dequantise, standardise
from vesalius.errors import BundleError, EmptyInput
from vesalius.models.preprocessing import Preprocessing
from vesalius.types import Image


def film(height: int = 300, width: int = 240, bits: int = 12, seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    return Image(pixels=pixels, image_id="0" * 16, bits_stored=bits)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize(("store", "size"), [(64, 64), (96, 64), (64, 96)])
def test_from_a_film_and_from_a_store_the_bits_are_equal(bits: int, store: int, size: int) -> None:
    contract = Preprocessing(store_size_px=store, size_px=size, channels=1, mean=0.4, std=0.2)
    image = film(bits=bits)
    kept = dequantise(standardise(image, store), bits)
    reread = Image(pixels=kept, image_id=image.image_id, bits_stored=bits)
    direct = contract.apply([image])
    np.testing.assert_array_equal(direct, contract.apply([reread]))
    np.testing.assert_array_equal(direct, contract.apply_pixels(kept[None]))
    assert direct.dtype == np.float32
    assert direct.shape == (1, 1, size, size)


def test_mean_std_and_channels() -> None:
    contract = Preprocessing(store_size_px=32, size_px=32, channels=3, mean=0.5, std=0.25)
    array = contract.apply([Image(pixels=np.full((32, 32), 1.0, np.float32), image_id="", bits_stored=8)])
    assert array.shape == (1, 3, 32, 32)
    assert (array == 2.0).all()


def test_json_and_refusals() -> None:
    contract = Preprocessing(store_size_px=64, size_px=32, mean=0.1, std=0.3)
    assert Preprocessing.from_json(contract.to_json()) == contract
    with pytest.raises(BundleError, match="another version"):
        Preprocessing.from_json({"store_size_px": 64, "size_px": 64, "crop": 1})
    with pytest.raises(BundleError, match="std"):
        Preprocessing(store_size_px=64, size_px=64, std=0.0)
    with pytest.raises(EmptyInput):
        contract.apply([])
