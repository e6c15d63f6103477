"""From a film of any size to the square every network starts from, and to the integers a store keeps.

One place for both, so that a film read from DICOM and the same film read from a store become bit-identical tensors.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt16

from vesalius.errors import ShapeMismatch
from vesalius.types import Image, Pixels


def content_box(height: int, width: int, size_px: int) -> tuple[int, int, int, int]:
    """Returns (top, left, bottom, right) of a film of `height` x `width` inside its square of `size_px`.

    The longest side fills the square, the other is centred; an odd rest goes to the bottom or the right.
    Bottom and right are exclusive, as in a slice.
    """
    longest = max(height, width)
    inner_height = max(1, (2 * height * size_px + longest) // (2 * longest))  # rounded half up, in integers: no float surprises
    inner_width = max(1, (2 * width * size_px + longest) // (2 * longest))
    top, left = (size_px - inner_height) // 2, (size_px - inner_width) // 2
    return top, left, top + inner_height, left + inner_width


def resize_to_square(pixels: Pixels, size_px: int) -> Float32[np.ndarray, "size_px size_px"]:
    """Scales a film so that its longest side is `size_px`, centres it, and pads with 0.

    Bilinear with a support that grows when shrinking (Pillow, mode "F"): antialiased, and never outside the input's range.
    A film that is that square already comes back unchanged, bit for bit.

    Raises:
        ShapeMismatch: `size_px` is below 1, or the film has no pixel; pass a positive size and a film.
    """
    height, width = pixels.shape
    if size_px < 1 or height < 1 or width < 1:
        raise ShapeMismatch(f"cannot fit a film of {height} x {width} into a square of {size_px}: all must be at least 1")
    grey = np.ascontiguousarray(pixels, dtype=np.float32)
    if (height, width) == (size_px, size_px):
        return grey
    top, left, bottom, right = content_box(height, width, size_px)
    inner = PIL.Image.fromarray(grey).resize((right - left, bottom - top), PIL.Image.Resampling.BILINEAR)
    square = np.zeros((size_px, size_px), dtype=np.float32)
    square[top:bottom, left:right] = np.asarray(inner)
    return square


def quantise(pixels: Pixels, bits_stored: int) -> UInt16[np.ndarray, "height width"]:
    """Turns [0, 1] into integers of `bits_stored` bits (1 to 16), rounded half to even; values outside are clipped."""
    levels = _levels(bits_stored)
    scaled = np.rint(np.multiply(pixels, levels, dtype=np.float64))
    quantised: UInt16[np.ndarray, "height width"] = np.clip(scaled, 0, levels).astype(np.uint16)
    return quantised


def dequantise(levels: UInt16[np.ndarray, "*shape"], bits_stored: int) -> Float32[np.ndarray, "*shape"]:
    """Turns integers of `bits_stored` bits into float32 in [0, 1]; the inverse of `quantise` on what it made."""
    return (levels / np.float64(_levels(bits_stored))).astype(np.float32)


def standardise(image: Image, size_px: int) -> UInt16[np.ndarray, "size_px size_px"]:
    """Returns what a store keeps of a film and what every network starts from: the square, at the film's own depth."""
    return quantise(resize_to_square(image.pixels, size_px), image.bits_stored)


def _levels(bits_stored: int) -> int:
    if not 1 <= bits_stored <= 16:
        raise ShapeMismatch(f"bits_stored is {bits_stored}; a store keeps 1 to 16 bits a pixel")
    return int((1 << bits_stored) - 1)
