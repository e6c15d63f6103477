"""The film with the evidence for one finding laid over it, as a picture.

What is shown is the network's own patch logits, the very numbers that were pooled into the finding's logit; nothing is computed
after the fact. They are not probabilities, and the colour bar says so. The scale is fixed, so that two films can be compared:
no colour below 0, where a patch speaks against the finding, and full colour from 4. Of a film that was read by words, calibrated or
not, it is each patch's contrast with the words times the learned 1 / temperature: on one scale for all films, but the film's own
contrast is not made of it.

Colours: the upper half of viridis (van der Walt and Smith, CC0): brighter is more in every form of colour vision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Float, Float32, UInt8

from vesalius.dicom.resample import content_box, resize_to_square
from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.reporting.file_names import file_name
from vesalius.types import Decision, EvidenceKind, Finding, Image, Prediction

LOGIT_LOW, LOGIT_HIGH = 0.0, 4.0
CONTOUR = (LOGIT_LOW + LOGIT_HIGH) / 4
"""The line is drawn at 1: a little above the first trace of colour, where the layer begins to be seen."""

SIDE_PX = 900
EFFORT = 3
"""Of packing a PNG, 0 to 9: a grainy film takes a third of the time that 6 takes, and 8 % more space."""
COLOURS = np.array([(33, 145, 140), (53, 183, 121), (144, 215, 67), (253, 231, 37)], dtype=np.float32)
OPACITY = 0.5
INK, PALE, PAPER = (240, 240, 236), (164, 168, 172), (20, 22, 26)

EVIDENCE: dict[EvidenceKind, str] = {"logits": "patch logits", "contrasts": "patches' contrasts with the words / temperature"}
"""What the foot of a picture calls the evidence."""

_MARGIN, _BAND, _FOOT, _BAR = 20, 92, 28, 132
_LINE = 20
_LEAST_WIDTH, _LEAST_HEIGHT = 640, 220

Picture = UInt8[np.ndarray, "rows columns 3"]
Map = Float32[np.ndarray, "rows columns"]


def overlay(image: Image, evidence: Float[np.ndarray, "height width"], *, side_px: int = SIDE_PX) -> Picture:
    """Returns the film in grey under the coloured evidence, with one contour; its longest side is `side_px`.

    Args:
        image: The film, as it was read.
        evidence: Patch logits over the padded square that the network saw; any number of patches.
        side_px: Longest side of the result.

    Raises:
        ShapeMismatch: The evidence is not over a square.
    """
    height, width = image.pixels.shape
    if evidence.shape[0] != evidence.shape[1]:
        raise ShapeMismatch(f"evidence of {evidence.shape} patches; it lies over a square, so both sides must be equal")
    top, left, bottom, right = content_box(height, width, side_px)
    grey = resize_to_square(image.pixels, side_px)[top:bottom, left:right]
    logits = _enlarge(evidence, side_px)[top:bottom, left:right]
    strength = np.clip((logits - LOGIT_LOW) / (LOGIT_HIGH - LOGIT_LOW), 0, 1)
    film = np.repeat(255 * grey[..., None], 3, axis=-1)
    layer = OPACITY * _presence(strength)
    mixed = (1 - layer) * film + layer * _colour(strength)
    line = _line(logits)[..., None]
    picture: Picture = np.rint((1 - line) * mixed + line * np.array(INK, dtype=np.float32)).astype(np.uint8)
    return picture


def captioned(
    image: Image, finding: Finding, evidence: Float[np.ndarray, "height width"], bundle: str, evidence_of: EvidenceKind = "logits"
) -> PIL.Image.Image:
    """Returns the overlay with what was decided above it, the colour bar beside it, and what it is not below it."""
    film = PIL.Image.fromarray(overlay(image, evidence))
    strongest = f"strongest patch {float(np.max(evidence)):+.1f}"
    parts = (f"{EVIDENCE[evidence_of]}, not probabilities; {strongest}", bundle, "not for medical use")
    font = _font(15)
    width = max(film.width + 2 * _MARGIN + _BAR, _LEAST_WIDTH, *(round(font.getlength(part)) + 2 * _MARGIN + 20 for part in parts))
    foot = _wrapped(parts, width - 2 * _MARGIN)
    below = _BAND + max(film.height, _LEAST_HEIGHT)
    canvas = PIL.Image.new("RGB", (width, below + _FOOT + _LINE * len(foot)), PAPER)
    canvas.paste(film, (_MARGIN, _BAND))
    draw = PIL.ImageDraw.Draw(canvas)
    _draw_heading(draw, finding, width - 2 * _MARGIN)
    draw.text((_MARGIN, 56), _subheading(finding), font=_font(19), fill=PALE)
    for number, line in enumerate(foot):
        draw.text((_MARGIN, below + 14 + _LINE * number), line, font=font, fill=PALE)
    _draw_bar(canvas, draw, _MARGIN + film.width + 22, _BAND, max(film.height, _LEAST_HEIGHT))
    return canvas


def save_overlays(prediction: Prediction, image: Image, folder: str | Path) -> list[Path]:
    """Writes one PNG a finding, `CASE.FINDING.png`, and returns the paths in the order of the findings.

    Raises:
        EmptyInput: The prediction has no evidence; predict with `evidence=True`.
    """
    if prediction.evidence is None:
        raise EmptyInput("the prediction holds no patch evidence: predict with evidence=True (`vesalius predict --heatmap DIR`)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = PurePosixPath(prediction.case).name  # whole: names of numbers and dots differ behind the last one
    paths = []
    for finding, evidence in zip(prediction.findings, prediction.evidence, strict=True):
        path = folder / f"{stem}.{file_name(finding.name)}.png"
        captioned(image, finding, evidence, prediction.bundle, prediction.evidence_of).save(path, compress_level=EFFORT)
        paths.append(path)
    return paths


def uncalibrated(contrast: float, how: str = "") -> str:
    """Returns what stands above the map of a film or a slide that was read by words alone; `how` patches became the contrast."""
    return f"contrast {contrast:+.3g}{f' ({how})' if how else ''}, no probability"


def _subheading(finding: Finding) -> str:
    """A probability stands only beside a decision made from it, as in the DICOM report."""
    if finding.decision is Decision.ABSTAIN:
        return "no answer" if finding.reason is None else f"no answer: {str(finding.reason).replace('_', ' ')}"
    if finding.probability is None:
        return uncalibrated(finding.logit)
    return f"calibrated probability {finding.probability:.2f}"


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Returns the parts on as few lines as they fit on, none of them cut."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]} · {part}" if lines else part
        if lines and _font(15).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _draw_heading(draw: PIL.ImageDraw.ImageDraw, finding: Finding, width: int) -> None:
    """Writes finding and decision in a size at which they fit; a name that is longer still is cut, the decision never."""
    name, decided = finding.name, "" if finding.decision is None else f": {finding.decision}"
    font = _font(next((size for size in (30, 24, 18) if _font(size).getlength(name + decided) <= width), 18))
    while font.getlength(name + decided) > width:
        name = name.removesuffix("…")[:-1] + "…"
    draw.text((_MARGIN, 16), name + decided, font=font, fill=INK)


def _enlarge(evidence: Float[np.ndarray, "height width"], side_px: int) -> Map:
    """Bilinear, so that nothing appears beyond the patches' own range."""
    patches = PIL.Image.fromarray(np.ascontiguousarray(evidence, dtype=np.float32))
    return np.asarray(patches.resize((side_px, side_px), PIL.Image.Resampling.BILINEAR))


def _colour(strength: Map) -> Float32[np.ndarray, "rows columns 3"]:
    stops = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(strength, stops, COLOURS[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def _presence(strength: Map) -> Float32[np.ndarray, "rows columns 1"]:
    """The layer fades in over the first logit, up to the contour, and then shows its colour in full."""
    fading: Float32[np.ndarray, "rows columns 1"] = np.minimum(4 * strength, 1)[..., None]
    return fading


def _line(logits: Map) -> Map:
    """How much of each pixel the contour covers: its distance to the line in pixels, from the slope there."""
    slope = np.hypot(*np.gradient(logits))
    distance_px = np.abs(logits - CONTOUR) / np.maximum(slope, 1e-6)
    cover: Map = (0.8 * np.clip(1.5 - distance_px, 0, 1)).astype(np.float32)
    return cover


def _draw_bar(canvas: PIL.Image.Image, draw: PIL.ImageDraw.ImageDraw, left: int, top: int, height: int) -> None:
    bar_height, bar_width = min(height - 70, 360), 20
    strength = np.repeat(np.linspace(1, 0, bar_height, dtype=np.float32)[:, None], bar_width, axis=1)
    shown = _presence(strength) * _colour(strength) + (1 - _presence(strength)) * np.array(PAPER, dtype=np.float32)
    canvas.paste(PIL.Image.fromarray(np.rint(shown).astype(np.uint8)), (left, top + 36))
    draw.rectangle((left - 1, top + 35, left + bar_width, top + 36 + bar_height), outline=PALE)
    draw.text((left, top), "evidence", font=_font(16), fill=PALE)
    for logit in np.linspace(LOGIT_LOW, LOGIT_HIGH, 5):
        y = top + 36 + round((1 - (logit - LOGIT_LOW) / (LOGIT_HIGH - LOGIT_LOW)) * (bar_height - 1))
        beyond = {LOGIT_LOW: " or less", LOGIT_HIGH: " or more"}.get(float(logit), "")
        draw.text((left + bar_width + 8, y - 9), f"{logit:.0f}{beyond}", font=_font(15), fill=INK)
    y = top + 36 + round((1 - (CONTOUR - LOGIT_LOW) / (LOGIT_HIGH - LOGIT_LOW)) * (bar_height - 1))
    draw.line([(left, y), (left + bar_width, y)], fill=INK, width=2)


def _font(size_px: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    return PIL.ImageFont.load_default(size=size_px)
