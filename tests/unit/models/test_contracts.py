from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from vesalius.datasets.store import write_store
from vesalius.dicom.read import read
from vesalius.dicom.resample import quantise, resize_to_square
from vesalius.errors import BundleError, EmptyInput, ShapeMismatch
from vesalius.models.contracts import (
    FAMILY_CONTRACTS,
    TRAINED_ON,
    FamilyContract,
    Read,
    TextRule,
    contract_from_json,
    doubts_of_domain,
    family_contract,
)
from vesalius.models.preprocessing import Preprocessing
from vesalius.types import Image

FAMILIES = list(FAMILY_CONTRACTS)


def film(height: int = 90, width: int = 70, *, seed: int = 0, bits: int = 8) -> Image:
    levels = np.random.default_rng(seed).integers(0, 2**bits, (height, width))
    levels[:2, 0] = 0, 2**bits - 1
    return Image(pixels=(levels / (2**bits - 1)).astype(np.float32), image_id="0" * 16, bits_stored=bits)


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_type_and_layout(family: str) -> None:
    contract = FAMILY_CONTRACTS[family]
    tensor = contract.apply([film(), film(40, 300)])
    assert tensor.shape == (2, contract.channels, contract.size_px, contract.size_px)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert np.isfinite(tensor).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_film_is_read_by_itself(family: str) -> None:
    contract, films = FAMILY_CONTRACTS[family], [film(seed=seed) for seed in range(3)]
    together = contract.apply(films)
    for index, one in enumerate(films):
        np.testing.assert_array_equal(together[index : index + 1], contract.apply([one]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_contract_comes_back_from_json_and_cannot_be_changed(family: str) -> None:
    contract = family_contract(family)
    assert contract_from_json(contract.to_json()) == contract
    assert contract.to_json()["kind"] == "family"
    stored = contract.through_store(512)
    assert contract_from_json(stored.to_json()) == stored != contract
    with pytest.raises(FrozenInstanceError):
        contract.size_px = 1  # type: ignore[misc]


def test_the_contract_of_a_store_has_no_word_of_its_kind_and_is_read_with_or_without() -> None:
    old = Preprocessing(store_size_px=512, size_px=224, channels=3)
    assert "kind" not in old.to_json()  # bundles of classifiers keep their bytes
    assert contract_from_json(old.to_json()) == contract_from_json({"kind": "store", **old.to_json()}) == old


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "fourier"},
        {"kind": "family", "family": "chexzero"},
        {**FAMILY_CONTRACTS["chexzero"].to_json(), "sharpen": True},
        {**FAMILY_CONTRACTS["chexzero"].to_json(), "fit": "stretch"},
        {**FAMILY_CONTRACTS["chexzero"].to_json(), "std": [0.0, 1.0, 1.0]},
        {**FAMILY_CONTRACTS["chexzero"].to_json(), "mean": [0.0]},
        {**FAMILY_CONTRACTS["chexzero"].to_json(), "size_px": 0},
    ],
)
def test_a_contract_of_another_make_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        contract_from_json(value)


def test_an_unknown_family_lists_those_there_are() -> None:
    with pytest.raises(BundleError, match="chexzero, openai-clip"):
        family_contract("resnet")


@pytest.mark.parametrize("family", [family for family in FAMILIES if FAMILY_CONTRACTS[family].fit != "square"])
def test_black_is_what_a_black_film_becomes(family: str) -> None:
    contract = FAMILY_CONTRACTS[family]
    black = contract.apply([Image(pixels=np.zeros((50, 40), dtype=np.float32), image_id="0" * 16)])
    np.testing.assert_allclose(black, np.broadcast_to(contract.black[:, None, None], black.shape[1:])[None], atol=1e-5)


def test_a_deeper_film_is_rounded_to_eight_bits_not_cut() -> None:
    contract = FAMILY_CONTRACTS["openai-clip"]
    deep = np.full((224, 224), 2008.0 / 4095.0, dtype=np.float32)  # 125.04 of 255
    near = np.full((224, 224), 2040.0 / 4095.0, dtype=np.float32)  # 127.03
    almost = np.full((224, 224), 2044.5 / 4095.0, dtype=np.float32)  # 127.3
    above = np.full((224, 224), 2050.0 / 4095.0, dtype=np.float32)  # 127.65: 128 when rounded, 127 when cut
    values = [
        contract.apply([Image(pixels, "0" * 16, 12)])[0, 0, 0, 0] * 0.26862954 + 0.48145466
        for pixels in (deep, near, almost, above)
    ]
    np.testing.assert_allclose(np.array(values) * 255, [125, 127, 127, 128], atol=1e-3)


def test_a_dicom_file_and_its_eight_bit_picture_become_the_same_chexzero_tensor(tmp_path: Path) -> None:
    import PIL.Image

    levels = np.random.default_rng(5).integers(0, 256, (83, 61)).astype(np.uint8)
    levels[0, :2] = 0, 255
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.Rows, dataset.Columns = "DX", 83, 61
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PixelData = (255 - levels).tobytes() + b"\0"
    dataset.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    PIL.Image.fromarray(levels).save(tmp_path / "film.png")
    contract = FAMILY_CONTRACTS["chexzero"]
    tensors = [contract.apply([read(tmp_path / name)]) for name in ("film.dcm", "film.png")]
    np.testing.assert_array_equal(tensors[0], tensors[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_film_and_the_same_film_from_a_store_become_the_same_tensor(family: str, tmp_path: Path) -> None:
    side = 128
    images = [film(seed=seed, bits=12) for seed in range(3)]
    pixels = np.stack([quantise(resize_to_square(image.pixels, side), 12) for image in images])
    store = write_store(tmp_path / "store", pixels, pd.DataFrame({"bits_stored": [12] * 3}))
    contract = FAMILY_CONTRACTS[family].through_store(side)
    np.testing.assert_array_equal(contract.apply(images), contract.apply_pixels(store.pixels([0, 1, 2])))


def test_patches_keep_their_colours_apart() -> None:
    patch = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    patch[..., 1] = 255
    contract = FAMILY_CONTRACTS["mi-zero"]
    tensor = contract.apply_rgb(patch)[0]
    expected = (np.array([0.0, 1.0, 0.0]) - contract.mean) / contract.std
    np.testing.assert_allclose(tensor, np.broadcast_to(expected[:, None, None], tensor.shape), atol=1e-5)


def test_what_is_no_patch_is_refused() -> None:
    contract = FAMILY_CONTRACTS["conch"]
    for wrong in (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8, 4), np.uint8)):
        with pytest.raises(ShapeMismatch, match="expected uint8"):
            contract.apply_rgb(wrong)
    with pytest.raises(EmptyInput):
        contract.apply_rgb(np.zeros((0, 8, 8, 3), np.uint8))
    with pytest.raises(EmptyInput):
        contract.apply([])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (256, 256), (700, 640)])
def test_the_square_seen_is_where_a_bright_spot_is_found_again(family: str, shape: tuple[int, int]) -> None:
    contract = FAMILY_CONTRACTS[family]
    pixels = np.full(shape, 0.2, dtype=np.float32)
    row, column = shape[0] // 2 - 20, shape[1] // 2 + 30
    pixels[row - 4 : row + 5, column - 4 : column + 5] = 1.0
    bright = contract.apply([Image(pixels, "0" * 16)])[0, 0]
    weights = np.clip(bright - bright.max() * 0.5 - np.median(bright) * 0.5, 0, None)
    found = [(weights.sum(axis=1 - axis) * (np.arange(contract.size_px) + 0.5)).sum() / weights.sum() for axis in (0, 1)]
    top, left, side = contract.square_seen(*shape)
    scale = side / contract.size_px
    np.testing.assert_allclose([top + found[0] * scale, left + found[1] * scale], [row + 0.5, column + 0.5], atol=2.5)


def test_what_a_family_does_to_its_sentences() -> None:
    assert FAMILY_CONTRACTS["biovil"].text == TextRule(512, lower_case=True, strip="!?.")
    assert TextRule(9, strip="!?.").prepare("No effusion?!.") == "No effusion"
    assert TextRule(9).prepare(" as it is. ") == " as it is. "
    assert FAMILY_CONTRACTS["medclip"].text == TextRule(77, padding="longest", lower_case=True)
    assert FAMILY_CONTRACTS["cxr-mae"].text is None
    lengths = {family: contract.text.context_length for family, contract in FAMILY_CONTRACTS.items() if contract.text}
    assert lengths == {
        "chexzero": 77,
        "openai-clip": 77,
        "biomedclip": 256,
        "mi-zero": 64,
        "medclip": 77,
        "biovil": 512,
        "biovil-t": 512,
        "conch": 128,
    }


def test_one_channel_networks_get_one_channel() -> None:
    grey = FamilyContract("mine", 32, "longest", 32, "bilinear", 32, mean=(0.5,), std=(0.25,))
    assert grey.apply([film()]).shape == (1, 1, 32, 32)
    with pytest.raises(ShapeMismatch):
        grey.apply_rgb(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_very_long_film_keeps_a_pixel_of_width() -> None:
    assert FAMILY_CONTRACTS["chexzero"].apply([film(2000, 3)]).shape == (1, 3, 224, 224)


def test_a_film_of_one_grey_value_is_not_divided_by_zero() -> None:
    flat = Image(pixels=np.full((600, 600), 0.4, dtype=np.float32), image_id="0" * 16)
    np.testing.assert_allclose(FAMILY_CONTRACTS["biovil"].apply([flat]), 0.4, atol=1e-6)


def test_replacing_a_field_checks_it_again() -> None:
    with pytest.raises(BundleError):
        replace(FAMILY_CONTRACTS["chexzero"], crop_px=0)


def test_a_larger_network_of_a_family_sees_larger_squares() -> None:
    large = FAMILY_CONTRACTS["openai-clip"].at_size(336)
    assert (large.size_px, large.crop_px, large.resize_px) == (336, 336, 336)
    assert large.apply([film()]).shape == (1, 3, 336, 336)
    assert FAMILY_CONTRACTS["biovil"].at_size(240).resize_px == 256
    chexzero = FAMILY_CONTRACTS["chexzero"].at_size(288)
    assert (chexzero.resize_px, chexzero.crop_px) == (320, 320)
    assert chexzero.apply([film()]).shape == (1, 3, 288, 288)
    assert FAMILY_CONTRACTS["chexzero"].at_size(224) is FAMILY_CONTRACTS["chexzero"]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_contract_makes_may_be_written_to(family: str) -> None:
    """torch warns of an array that may not, in the middle of a user's run."""
    contract = FAMILY_CONTRACTS[family]
    assert contract.apply([film()]).flags.writeable
    if contract.channels == 3:
        assert contract.apply_rgb(np.zeros((1, 8, 9, 3), np.uint8)).flags.writeable


@pytest.mark.parametrize("size_px", [None, 96])
def test_a_film_in_a_corner_of_its_depth_is_spread_before_its_greys_are_lost(size_px: int | None) -> None:
    """Twelve bits in a 16-bit file: rounded to 8 bits first, sixteen greys would be left to spread from black to white."""
    steps = np.arange(96 * 96).reshape(96, 96) % 4096
    contract = replace(FAMILY_CONTRACTS["biovil"], size_px=96, resize_px=96, crop_px=96, store_size_px=size_px)
    deep = Image((steps / 65535).astype(np.float32), "0" * 16, 16)
    spread = np.rint(contract.apply([deep])[0, 0] * 255)
    np.testing.assert_allclose(spread, np.floor(steps / 4095 * 255), atol=1)
    assert len(np.unique(spread)) > 200


@pytest.mark.parametrize("family", ["medclip", "biovil", "chexzero"])
@pytest.mark.parametrize("store", [None, 64, 160])
def test_the_square_seen_of_a_film_smaller_than_the_network(family: str, store: int | None) -> None:
    contract = replace(FAMILY_CONTRACTS[family], store_size_px=store)
    pixels = np.full((120, 90), 0.2, dtype=np.float32)
    pixels[28:37, 58:67] = 1.0
    bright = contract.apply([Image(pixels, "0" * 16)])[0, 0]
    rows, columns = np.nonzero(bright > bright.min() + 0.7 * np.ptp(bright))
    top, left, side = contract.square_seen(120, 90)
    scale = side / contract.size_px
    found = (top + (rows.mean() + 0.5) * scale, left + (columns.mean() + 0.5) * scale)
    np.testing.assert_allclose(found, (32.5, 62.5), atol=1.5)


@pytest.mark.parametrize(
    ("family", "read", "said"),
    [
        ("chexzero", "films", None),
        ("chexzero", "slides", "trained on chest films, and slides are read here"),
        ("mi-zero", "slides", None),
        ("mi-zero", "films", "trained on patches of slides, and films are read here"),
        ("openai-clip", "slides", None),
        ("biomedclip", "films", None),
    ],
)
def test_checkpoints_of_films_say_so_of_slides_and_the_other_way_round(family: str, read: Read, said: str | None) -> None:
    doubts = doubts_of_domain(FAMILY_CONTRACTS[family], read)
    assert len(doubts) == (said is not None)
    assert said is None or said in doubts[0]


def test_every_family_but_those_of_all_sorts_says_what_it_was_trained_on() -> None:
    assert set(FAMILY_CONTRACTS) - set(TRAINED_ON) == {"openai-clip", "biomedclip"}
    assert doubts_of_domain(Preprocessing(64, 64, 3, 0.3, 0.2), "slides") == ()
