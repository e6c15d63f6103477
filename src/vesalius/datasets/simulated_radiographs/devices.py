"""What lies on or in the patient and the beam: leads, tubes, lead letters, collimator blades."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

FINER = 4
"""Drawn that many times larger and averaged down."""

Mask = Float32[np.ndarray, "size_px size_px"]


def draw_devices(size_px: int, spacing_mm: float, generator: np.random.Generator) -> Mask:
    """Returns g/cm² of bone-like matter that stands for metal and tubes: ECG leads with electrodes, a tube, a central line."""
    canvas = Picture.new("F", (size_px * FINER, size_px * FINER))
    pen = ImageDraw.Draw(canvas)
    mm = FINER / spacing_mm
    wide = size_px * FINER
    kinds = generator.random(3) < (0.75, 0.35, 0.45)
    if not kinds.any():
        kinds[int(generator.integers(3))] = True
    if kinds[1]:
        _tube(pen, wide, mm, generator)
    if kinds[2]:
        _central_line(pen, wide, mm, generator)
    if kinds[0]:
        _leads(pen, wide, mm, generator)
    return _shrunk(canvas, size_px)


def draw_marker(text: str, size_px: int, spacing_mm: float, left_side: bool, generator: np.random.Generator) -> Mask:
    """Returns the letters' coverage, 0 to 1, in an upper corner: on the right of the picture for the patient's left."""
    canvas = Picture.new("F", (size_px * FINER, size_px * FINER))
    pen = ImageDraw.Draw(canvas)
    mm = FINER / spacing_mm
    wide = size_px * FINER
    x = wide * float(generator.uniform(0.89, 0.94) if left_side else generator.uniform(0.04, 0.08))
    y = wide * float(generator.uniform(0.04, 0.12))
    first, *rest = text.split()
    pen.text((x, y), first, fill=1.0, font=ImageFont.load_default(15 * mm))
    for number, word in enumerate(rest):
        pen.text((x, y + (17 + 9 * number) * mm), word, fill=1.0, font=ImageFont.load_default(8 * mm))
    return _shrunk(canvas, size_px)


def draw_shutters(size_px: int, generator: np.random.Generator) -> Bool[np.ndarray, "size_px size_px"]:
    """Returns where the collimator's blades cover the film: a border on each side, slightly turned."""
    turn = np.radians(generator.uniform(-1.5, 1.5))
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, size_px)] * 2, indexing="ij")
    down = np.cos(turn) * rows - np.sin(turn) * columns
    across = np.sin(turn) * rows + np.cos(turn) * columns
    top, bottom, left, right = generator.uniform(0.86, 1.0, 4)
    covered: Bool[np.ndarray, "size_px size_px"] = (down < -top) | (down > bottom) | (across < -left) | (across > right)
    return covered


def _curve(start: tuple[float, float], end: tuple[float, float], sag: tuple[float, float]) -> list[tuple[float, float]]:
    """A cubic Bézier curve; `sag` moves both inner control points."""
    t = np.linspace(0, 1, 60)[:, None]
    ends = np.array([start, end])
    inner = ends[0] + (ends[1] - ends[0]) * np.array([[0.33], [0.66]]) + np.array(sag) * np.array([[1.0], [0.6]])
    points = (1 - t) ** 3 * ends[0] + 3 * t * (1 - t) ** 2 * inner[0] + 3 * t**2 * (1 - t) * inner[1] + t**3 * ends[1]
    return [(float(x), float(y)) for x, y in points]


def _leads(pen: ImageDraw.ImageDraw, wide: int, mm: float, generator: np.random.Generator) -> None:
    spots = [(0.27, 0.22), (0.73, 0.22), (0.76, 0.66), (0.3, 0.68)]
    way_out = (float(generator.choice([0.12, 0.5, 0.9])) * wide, 1.03 * wide)
    for spot in spots[: int(generator.integers(2, 5))]:
        at = (np.array(spot) + generator.normal(0, 0.035, 2)) * wide
        sag = generator.normal(0, 0.08, 2) * wide
        pen.line(
            _curve((float(at[0]), float(at[1])), way_out, (float(sag[0]), float(sag[1]))), fill=1.6, width=max(1, round(1.1 * mm))
        )
        for radius, metal in ((5.0, 0.9), (2.2, 9.0)):
            r = radius * mm
            pen.ellipse((at[0] - r, at[1] - r, at[0] + r, at[1] + r), fill=metal)


def _tube(pen: ImageDraw.ImageDraw, wide: int, mm: float, generator: np.random.Generator) -> None:
    """An endotracheal or a nasogastric tube: from the neck down, the latter into the stomach."""
    top = (0.5 + float(generator.normal(0, 0.008))) * wide
    if generator.random() < 0.5:
        end, width = (top + 0.005 * wide, float(generator.uniform(0.24, 0.33)) * wide), 2.0
    else:
        end, width = (float(generator.uniform(0.6, 0.7)) * wide, float(generator.uniform(0.86, 0.96)) * wide), 1.4
    pen.line(_curve((top, -2.0), end, (-0.01 * wide, 0.1 * wide)), fill=1.5, width=max(1, round(width * mm)))


def _central_line(pen: ImageDraw.ImageDraw, wide: int, mm: float, generator: np.random.Generator) -> None:
    """From the right neck or arm into the superior vena cava."""
    start = (
        (float(generator.uniform(0.34, 0.44)), -0.01) if generator.random() < 0.6 else (-0.01, float(generator.uniform(0.16, 0.3)))
    )
    end = (float(generator.uniform(0.43, 0.46)) * wide, float(generator.uniform(0.36, 0.48)) * wide)
    pen.line(_curve((start[0] * wide, start[1] * wide), end, (0.03 * wide, 0.0)), fill=1.7, width=max(1, round(1.5 * mm)))


def _shrunk(canvas: Picture.Image, size_px: int) -> Mask:
    drawn = np.asarray(canvas, dtype=np.float32).reshape(size_px, FINER, size_px, FINER)
    shrunk: Mask = drawn.mean(axis=(1, 3), dtype=np.float32)
    return shrunk
