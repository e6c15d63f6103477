"""Every family's contract against its authors' own preprocessing, and against the same steps written here from Pillow and torch.

Goldens: `data/preprocessing_goldens.json`, made by running the authors' code; its `about` names commits and versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.types import Image

GOLDENS = json.loads((Path(__file__).parent / "data" / "preprocessing_goldens.json").read_text())
SHAPES = [(61, 47), (224, 224), (320, 299), (641, 480), (350, 777)]
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Picture = PIL.Image.Image


def picture(height: int, width: int, *, colour: bool = False) -> np.ndarray:
    """Slopes, edges and a checkerboard; grey values 15 to 237; the pictures that the goldens were made of."""
    y, x = np.mgrid[:height, :width].astype(np.int64)

    def plane(k: int) -> np.ndarray:
        value = x * (7 + k) + y * (3 + 2 * k) + (x * y) // (11 + k) + ((x // 9 + y // 13) % 2) * 90 + 40 * k
        return (value % 223 + 15).astype(np.uint8)

    return np.stack([plane(k) for k in range(3)], axis=-1) if colour else plane(0)


def film(pixels: np.ndarray) -> Image:
    return Image(pixels=(pixels / 255.0).astype(np.float32), image_id="0" * 16)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("family", GOLDENS["grey"])
def test_films_become_the_authors_tensors(family: str, shape: tuple[int, int]) -> None:
    tensor = FAMILY_CONTRACTS[family].apply([film(picture(*shape))])[0]
    hold(tensor, GOLDENS["grey"][family]["x".join(map(str, shape))])


@pytest.mark.parametrize("side", [224, 256, 512])
@pytest.mark.parametrize("family", GOLDENS["colour"])
def test_patches_become_the_authors_tensors(family: str, side: int) -> None:
    tensor = FAMILY_CONTRACTS[family].apply_rgb(picture(side, side, colour=True)[None])[0]
    hold(tensor, GOLDENS["colour"][family][f"{side}x{side}"])


def hold(tensor: np.ndarray, golden: dict[str, list[float]]) -> None:
    assert list(tensor.shape) == golden["shape"]
    places = [(k * 7919 + 13) % tensor.size for k in range(12)]
    np.testing.assert_allclose(tensor.reshape(-1)[places], golden["at"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        [tensor.mean(dtype=np.float64), tensor.std(dtype=np.float64)], [golden["mean"], golden["std"]], atol=1e-5
    )


def tensor_of(image: Picture) -> Tensor:
    """[0, 1], channels first."""
    values = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return values.double() / 255


def normal(tensor: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (tensor - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std).double()[:, None, None]


def shortest(image: Picture, side: int, crop: int, resample: PIL.Image.Resampling) -> Picture:
    scale = side / min(image.size)
    image = image.resize((max(side, int(image.width * scale + 1e-9)), max(side, int(image.height * scale + 1e-9))), resample)
    left, top = (round((length - crop) / 2) for length in image.size)
    return image.crop((left, top, left + crop, top + crop))


def chexzero(image: Picture) -> Tensor:
    values = (chexzero_canvas(image).double() - 101.48761) / 83.43944
    rows = bicubic_rows(320, 224)
    return (rows @ values @ rows.T).expand(3, 224, 224)


def chexzero_canvas(image: Picture) -> Tensor:
    ratio = 320 / max(image.size)
    small = image.resize((int(image.width * ratio), int(image.height * ratio)), PIL.Image.Resampling.LANCZOS)
    canvas = np.zeros((320, 320), dtype=np.float32)
    top, left = (320 - small.height) // 2, (320 - small.width) // 2
    canvas[top : top + small.height, left : left + small.width] = np.array(small)
    return torch.from_numpy(canvas)


def bicubic_rows(before: int, after: int) -> Tensor:
    """The matrix of a bicubic resampling without antialiasing: Keys' kernel with a = -0.75, edges repeated."""
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for row in range(after):
        place = (row + 0.5) * before / after - 0.5
        first = int(np.floor(place)) - 1
        for column in range(first, first + 4):
            distance = abs(place - column)
            near = (1.25 * distance - 2.25) * distance**2 + 1
            far = ((-0.75 * distance + 3.75) * distance - 6.0) * distance + 3.0
            matrix[row, min(max(column, 0), before - 1)] += near if distance <= 1 else far
    return matrix


def medclip(image: Picture) -> Tensor:
    small = black_square(image, 224).resize((224, 224), PIL.Image.Resampling.BICUBIC)
    return (tensor_of(small) - 0.5862785803043838) / 0.27950088968644304


def black_square(image: Picture, least: int) -> Picture:
    side = max(least, *image.size)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = int((side - image.height) / 2), int((side - image.width) / 2)
    square[top : top + image.height, left : left + image.width] = np.array(image)
    return PIL.Image.fromarray(square)


def biovil(crop: int) -> Callable[[Picture], Tensor]:
    def chain(image: Picture) -> Tensor:
        values = np.array(image).astype(np.float64)
        values = (values - values.min()) / np.ptp(values) * 255
        spread = PIL.Image.fromarray(values.astype(np.uint8))
        return tensor_of(shortest(spread, 512, crop, PIL.Image.Resampling.BILINEAR))

    return chain


def plain(
    side: int, crop: int, resample: str, statistics: tuple[tuple[float, ...], tuple[float, ...]]
) -> Callable[[Picture], Tensor]:
    return lambda image: normal(tensor_of(shortest(image, side, crop, PIL.Image.Resampling[resample])), *statistics)


CHAINS: dict[str, Callable[[Picture], Tensor]] = {
    "chexzero": chexzero,
    "medclip": medclip,
    "biovil": biovil(480),
    "biovil-t": biovil(448),
    "openai-clip": plain(224, 224, "BICUBIC", CLIP),
    "biomedclip": plain(224, 224, "BICUBIC", CLIP),
    "conch": plain(448, 448, "BICUBIC", CLIP),
    "cxr-mae": plain(256, 224, "BICUBIC", ((0.5056,) * 3, (0.252,) * 3)),
    "mi-zero": plain(224, 224, "BILINEAR", IMAGENET),
}


@pytest.mark.parametrize("shape", [*SHAPES, (900, 333)], ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("family", CHAINS)
def test_every_pixel_is_that_of_the_steps_written_out(family: str, shape: tuple[int, int]) -> None:
    pixels = picture(*shape)
    expected = CHAINS[family](PIL.Image.fromarray(pixels))
    # torch finds the places of CheXzero's last step in float32, the matrix above in float64: they differ by up to 1e-4
    tolerance = 2e-4 if family == "chexzero" else 1e-4
    np.testing.assert_allclose(FAMILY_CONTRACTS[family].apply([film(pixels)])[0], expected.numpy(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("shape", [*SHAPES, (900, 333)], ids=lambda shape: "x".join(map(str, shape)))
def test_chexzeros_last_step_is_torchs_own(shape: tuple[int, int]) -> None:
    pixels = picture(*shape)
    values = (chexzero_canvas(PIL.Image.fromarray(pixels)) - 101.48761) / 83.43944
    scaled = torch.nn.functional.interpolate(values[None, None], size=(224, 224), mode="bicubic", antialias=False)
    expected = scaled[0].expand(3, 224, 224).numpy()
    np.testing.assert_allclose(FAMILY_CONTRACTS["chexzero"].apply([film(pixels)])[0], expected, atol=1e-6, rtol=0)


def test_no_family_was_left_out() -> None:
    assert set(CHAINS) == set(FAMILY_CONTRACTS)
    assert set(GOLDENS["grey"]) | set(GOLDENS["colour"]) == set(FAMILY_CONTRACTS)


@pytest.mark.parametrize("change", ["antialias", "rounding", "scale"])
def test_the_ways_in_which_others_get_chexzero_wrong_are_far_outside_the_tolerance(change: str) -> None:
    pixels = picture(641, 480)
    right = FAMILY_CONTRACTS["chexzero"].apply([film(pixels)])[0]
    assert round(480 * 320 / 641) != int(480 * 320 / 641)
    canvas = np.zeros((320, 320), dtype=np.float32)
    width = round(480 * 320 / 641) if change == "rounding" else int(480 * 320 / 641)
    small = PIL.Image.fromarray(pixels).resize((width, 320), PIL.Image.Resampling.LANCZOS)
    left = (320 - width) // 2
    canvas[:, left : left + width] = np.array(small)
    values = torch.from_numpy(canvas / 255 if change == "scale" else canvas)
    shown = ((values - 101.48761) / 83.43944)[None, None]
    wrong = torch.nn.functional.interpolate(shown, size=(224, 224), mode="bicubic", antialias=change == "antialias")
    assert np.abs(wrong[0, 0].numpy() - right[0]).max() > 0.02
