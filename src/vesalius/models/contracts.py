"""One frozen contract a checkpoint family: from a film or a patch to the very tensor its authors' code would have made.

A checkpoint read through another resize, padding or mean answers without complaint, and wrongly. Each contract below is data: it
goes into the bundle with the weights. Steps that the authors do on 8-bit pictures are done on 8-bit pictures here (a deeper film is
rounded to 8 bits first, or spread over them where its authors spread), by the same Pillow; what they do on tensors is done on
tensors.

Sources: the families' own code, read and run; facts and constants only. Light: torch is imported by the one family that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image
from jaxtyping import Float32, Float64, UInt8, UInt16

from vesalius.dicom.resample import dequantise, quantise, standardise
from vesalius.errors import BundleError, EmptyInput, ShapeMismatch
from vesalius.models.preprocessing import Preprocessing
from vesalius.types import Image, Pixels

Fit = Literal["longest", "square", "shortest"]
"""`longest`: longest side to `resize_px`, sides truncated, centred on black. `square`: centred on a black square no smaller than
`resize_px`, then scaled. `shortest`: shortest side to `resize_px`, then the central square of `crop_px`."""

Resample = Literal["bilinear", "bicubic", "lanczos"]
Family = Literal["chexzero", "openai-clip", "biomedclip", "mi-zero", "medclip", "biovil", "biovil-t", "cxr-mae", "conch"]

Read = Literal["films", "slides"]
TRAINED_ON: dict[str, Read] = {
    **dict.fromkeys(("chexzero", "medclip", "biovil", "biovil-t", "cxr-mae"), "films"),
    **dict.fromkeys(("mi-zero", "conch"), "slides"),
}
"""Families whose authors showed them one kind of image only; CLIP and BiomedCLIP have seen all sorts."""


@dataclass(frozen=True)
class TextRule:
    """How a family's sentences become ids.

    Attributes:
        context_length: Tokens at most, start and end among them.
        padding: To the `context` length, or to the `longest` sentence of a batch.
        lower_case: Of a `vocab.txt`: what the authors' tokenizer does, whatever the vocabulary looks like; None: as it looks.
        strip: Characters that are taken from the end of a sentence.
    """

    context_length: int
    padding: Literal["context", "longest"] = "context"
    lower_case: bool | None = None
    strip: str = ""

    def prepare(self, text: str) -> str:
        """Returns the sentence as the family's tokenizer is given it."""
        return text.rstrip(self.strip) if self.strip else text


@dataclass(frozen=True)
class FamilyContract:
    """From a film, a square of a store or an RGB patch to the tensor of one checkpoint family.

    Attributes:
        family: Whose contract.
        size_px: Side of the square the network sees.
        fit: How a picture that is not square becomes one.
        resize_px: Side that `fit` scales to.
        resample: Pillow's filter of that step; antialiased.
        crop_px: Side of the central square that is kept after `fit`.
        full_scale: Value of white before `mean` is subtracted: 1, or 255.
        mean: Subtracted, a channel.
        std: Divided by, a channel.
        stretch: Grey values are spread from black to white first, each film by itself.
        text: How its sentences become ids; None for an encoder of images alone.
        store_size_px: Every film passes through a store's square of this side first, so that a film read from DICOM and the same
            film read from a store become the same tensor; None: straight from the film, as the authors do it.

    Where `crop_px` and `size_px` differ, the normalised tensor is scaled once more: bicubic, not antialiased (CheXzero).
    """

    family: str
    size_px: int
    fit: Fit
    resize_px: int
    resample: Resample
    crop_px: int
    full_scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    stretch: bool = False
    text: TextRule | None = field(default=None)
    store_size_px: int | None = None

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit) or self.resample not in get_args(Resample):
            raise BundleError(
                f"unknown step in a preprocessing contract: {self.fit!r}, {self.resample!r}; was it made by another version?"
            )
        sizes = (self.size_px, self.resize_px, self.crop_px, self.channels, self.store_size_px or 1)
        if min(sizes) < 1 or len(self.mean) != len(self.std) or min(self.std, default=0) <= 0 or self.full_scale <= 0:
            raise BundleError(f"sizes must be at least 1, std above 0 and one a channel; got {self}")

    @property
    def channels(self) -> int:
        """How many channels the network sees; a grey film is repeated."""
        return len(self.mean)

    @property
    def black(self) -> Float64[np.ndarray, " channel"]:
        """What a black pixel becomes."""
        black: Float64[np.ndarray, " channel"] = -np.array(self.mean) / np.array(self.std)
        return black

    def through_store(self, size_px: int) -> FamilyContract:
        """Returns the contract for films of a store: every film passes through that square first, wherever it is read from."""
        return replace(self, store_size_px=size_px)

    def at_size(self, size_px: int) -> FamilyContract:
        """Returns the contract for a network of the family that sees another square: the steps before it grow alike."""
        if size_px == self.size_px:
            return self
        if self.crop_px != self.size_px:  # the tensor is scaled at the end, whatever came before
            return replace(self, size_px=size_px)
        grown = round(self.resize_px * size_px / self.size_px)
        return replace(self, size_px=size_px, crop_px=size_px, resize_px=grown)

    def apply(self, images: Sequence[Image]) -> Float32[np.ndarray, "case channel height width"]:
        """Returns the network's input for films of any size.

        Raises:
            EmptyInput: No film.
        """
        if not images:
            raise EmptyInput("no film to preprocess; pass at least one Image")
        if self.store_size_px is not None:
            squares = [dequantise(standardise(image, self.store_size_px), image.bits_stored) for image in images]
            return self.apply_pixels(np.stack(squares))
        return self._normalise(np.stack([self._fit(self._bytes(image.pixels)) for image in images])[:, None])

    def apply_pixels(self, pixels: Float32[np.ndarray, "case height width"]) -> Float32[np.ndarray, "case channel height width"]:
        """The same, from the squares that `Store.pixels` returns."""
        if not len(pixels):
            raise EmptyInput("no film to preprocess; pass at least one square")
        return self._normalise(np.stack([self._fit(self._bytes(square)) for square in pixels])[:, None])

    def apply_rgb(self, patches: UInt8[np.ndarray, "patch height width 3"]) -> Float32[np.ndarray, "patch channel height width"]:
        """Returns the network's input for colour patches of a slide, 0 to 255.

        Raises:
            ShapeMismatch: Not patches of three colours, or a network that sees one channel.
            EmptyInput: No patch.
        """
        if patches.ndim != 4 or patches.shape[-1] != 3 or patches.dtype != np.uint8 or self.channels != 3:
            raise ShapeMismatch(
                f"patches of shape {patches.shape} and type {patches.dtype} for a network of {self.channels} channel(s); "
                "expected uint8 (patch, height, width, 3) and 3 channels"
            )
        if not len(patches):
            raise EmptyInput("no patch to preprocess; pass at least one")
        spread = [stretch_to_bytes(patch) if self.stretch else patch for patch in patches]
        return self._normalise(np.stack([self._fit(patch) for patch in spread]).transpose(0, 3, 1, 2))

    def square_seen(self, height: int, width: int) -> tuple[float, float, float]:
        """Returns (top, left, side) of the square that the network sees of a film, in the film's own pixels.

        Where the network sees padding the square reaches beyond the film.
        """
        longest = max(height, width)
        shown, pixel = (
            ((height, width), 1.0) if self.store_size_px is None else ((self.store_size_px,) * 2, longest / self.store_size_px)
        )
        if self.fit == "longest":
            side = float(max(shown))
        elif self.fit == "square":
            side = float(max(*shown, self.resize_px))
        else:
            side = min(shown) * self.crop_px / self.resize_px
        side *= pixel
        return (height - side) / 2, (width - side) / 2, side

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict whose `kind` is `family`."""
        plain = asdict(self)
        return {"kind": "family", **plain, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> FamilyContract:
        """Reads what `to_json` returned.

        Raises:
            BundleError: A field is unknown, missing or out of range.
        """
        try:
            about = {name: held for name, held in value.items() if name != "kind"}
            text = None if about["text"] is None else TextRule(**about["text"])
            return cls(**{**about, "mean": tuple(about["mean"]), "std": tuple(about["std"]), "text": text})
        except (KeyError, TypeError) as error:
            raise BundleError(f"this preprocessing contract cannot be read ({error}); was it made by another version?") from error

    def _bytes(self, pixels: Pixels) -> UInt8[np.ndarray, "height width"]:
        """Returns a film in 8 bits; where its greys are spread, at their full depth first."""
        if self.stretch:
            return stretch_to_bytes(quantise(pixels, 16))
        picture: UInt8[np.ndarray, "height width"] = quantise(pixels, 8).astype(np.uint8)
        return picture

    def _fit(self, picture: UInt8[np.ndarray, "height width *colour"]) -> UInt8[np.ndarray, "side side *colour"]:
        """Returns the square of `crop_px`, still 8 bits."""
        height, width = picture.shape[:2]
        image = PIL.Image.fromarray(picture)
        resample = PIL.Image.Resampling[self.resample.upper()]
        if self.fit == "longest":
            ratio = float(self.resize_px) / max(height, width)
            image = image.resize((max(1, int(width * ratio)), max(1, int(height * ratio))), resample)
            image = _centred(image, self.resize_px)
        elif self.fit == "square":
            image = _centred(image, max(height, width, self.resize_px)).resize((self.resize_px, self.resize_px), resample)
        else:
            image = image.resize(_shortest(height, width, self.resize_px), resample)
        return np.asarray(_cropped(image, self.crop_px))

    def _normalise(
        self, squares: UInt8[np.ndarray, "case colour height width"]
    ) -> Float32[np.ndarray, "case channel height width"]:
        values = squares.astype(np.float32) / np.float32(255.0 / self.full_scale)
        mean, std = (np.array(row, dtype=np.float32)[:, None, None] for row in (self.mean, self.std))
        if squares.shape[1] == 1 and len(set(self.mean)) == len(set(self.std)) == 1:
            mean, std = mean[:1], std[:1]  # equal channels: computed once
        tensor = (values - mean) / std
        if self.crop_px != self.size_px:
            tensor = _resize_tensor(tensor, self.size_px)
        whole: Float32[np.ndarray, "case channel height width"] = np.ascontiguousarray(tensor)
        return whole if whole.shape[1] == self.channels else np.repeat(whole, self.channels, axis=1)


Contract = Preprocessing | FamilyContract


def contract_from_json(value: dict[str, Any]) -> Contract:
    """Reads a preprocessing contract of either kind, by its word `kind`; the store's own has none, or `store`.

    Raises:
        BundleError: A kind that this version does not know, or a field that cannot be read.
    """
    kind = value.get("kind", "store")
    if kind == "family":
        return FamilyContract.from_json(value)
    if kind == "store":
        return Preprocessing.from_json({name: held for name, held in value.items() if name != "kind"})
    raise BundleError(f"unknown kind of preprocessing contract {kind!r}; this version reads store and family; update vesalius")


def family_contract(family: str) -> FamilyContract:
    """Returns the contract of a family by name.

    Raises:
        BundleError: No such family; the message lists those there are.
    """
    if family not in FAMILY_CONTRACTS:
        raise BundleError(f"unknown family {family!r}; there are: {', '.join(FAMILY_CONTRACTS)}")
    return FAMILY_CONTRACTS[family]


def doubts_of_domain(contract: Contract, read: Read) -> tuple[str, ...]:
    """Returns what to mind where checkpoints are shown another kind of image than their authors showed them; nothing is refused."""
    family = contract.family if isinstance(contract, FamilyContract) else ""
    shown = TRAINED_ON.get(family, read)
    if shown == read:
        return ()
    kinds = {"films": "chest films", "slides": "patches of slides"}
    return (
        f"checkpoints of {family} were trained on {kinds[shown]}, and {read} are read here: what they say of them means little",
    )


def stretch_to_bytes(
    picture: UInt8[np.ndarray, "height width *colour"] | UInt16[np.ndarray, "height width *colour"],
) -> UInt8[np.ndarray, "height width *colour"]:
    """Returns a picture of 8 or 16 bits from black to white: least value 0, greatest 255, fractions cut off; a single value stays.

    Source: hi-ml-multimodal's remap_to_uint8, which divides by zero on a picture of a single value.
    """
    values = picture.astype(np.float64)
    values -= values.min()
    greatest = values.max()
    if greatest == 0:
        flat: UInt8[np.ndarray, "height width *colour"] = (picture if picture.dtype == np.uint8 else picture // 256).astype(
            np.uint8
        )
        return flat
    stretched: UInt8[np.ndarray, "height width *colour"] = (values / greatest * 255).astype(np.uint8)
    return stretched


def _centred(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    canvas = PIL.Image.new(image.mode, (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _shortest(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns (width, height) with the shortest side as asked and the other truncated, as torchvision's Resize."""
    short, long = min(height, width), max(height, width)
    other = int(side * long / short)
    return (side, other) if width <= height else (other, side)


def _cropped(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """Returns the central square; half a pixel goes to the even side, as torchvision's CenterCrop rounds."""
    if image.size == (side, side):
        return image
    left, top = round((image.width - side) / 2.0), round((image.height - side) / 2.0)
    return image.crop((left, top, left + side, top + side))


def _resize_tensor(
    tensor: Float32[np.ndarray, "case channel height width"], side: int
) -> Float32[np.ndarray, "case channel side side"]:
    import torch
    from torch.nn.functional import interpolate

    with torch.no_grad():
        scaled = interpolate(torch.from_numpy(tensor), size=(side, side), mode="bicubic", align_corners=False, antialias=False)
    resized: Float32[np.ndarray, "case channel side side"] = scaled.numpy()
    return resized


def _same(value: float) -> tuple[float, float, float]:
    return (value, value, value)


OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_TEXT = TextRule(77)

FAMILY_CONTRACTS: dict[str, FamilyContract] = {
    "chexzero": FamilyContract(
        "chexzero", 224, "longest", 320, "lanczos", 320, 255.0, _same(101.48761), _same(83.43944), text=CLIP_TEXT
    ),
    "openai-clip": FamilyContract(
        "openai-clip", 224, "shortest", 224, "bicubic", 224, mean=OPENAI_MEAN, std=OPENAI_STD, text=CLIP_TEXT
    ),
    "biomedclip": FamilyContract(
        "biomedclip", 224, "shortest", 224, "bicubic", 224, mean=OPENAI_MEAN, std=OPENAI_STD, text=TextRule(256, lower_case=True)
    ),
    "mi-zero": FamilyContract(
        "mi-zero", 224, "shortest", 224, "bilinear", 224, mean=IMAGENET_MEAN, std=IMAGENET_STD, text=TextRule(64, lower_case=True)
    ),
    "medclip": FamilyContract(
        "medclip",
        224,
        "square",
        224,
        "bicubic",
        224,
        mean=_same(0.5862785803043838),
        std=_same(0.27950088968644304),
        text=TextRule(77, padding="longest", lower_case=True),
    ),
    "biovil": FamilyContract(
        "biovil", 480, "shortest", 512, "bilinear", 480, stretch=True, text=TextRule(512, lower_case=True, strip="!?.")
    ),
    "biovil-t": FamilyContract(
        "biovil-t", 448, "shortest", 512, "bilinear", 448, stretch=True, text=TextRule(512, lower_case=True, strip="!?.")
    ),
    "cxr-mae": FamilyContract("cxr-mae", 224, "shortest", 256, "bicubic", 224, mean=_same(0.5056), std=_same(0.252)),
    "conch": FamilyContract("conch", 448, "shortest", 448, "bicubic", 448, mean=OPENAI_MEAN, std=OPENAI_STD, text=TextRule(128)),
}
"""What each family's published code does between a picture and its network; docs/image-text-bundles.md has the table with sources.

Checked against: the authors' own preprocessing, run on pictures of every awkward shape (tests/reference/test_contracts.py)."""
