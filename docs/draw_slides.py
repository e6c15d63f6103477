"""Draws the pictures of docs/slides.md and docs/slide-reading.md: CMU-1, read by a model that was trained on painted squares.

    python examples/simulated_tissue.py --out tissue
    python docs/draw_slides.py --tissue tissue --slide CMU-1-Small-Region.svs

CMU-1 is OpenSlide's test slide from Carnegie Mellon University, released under CC0; where to get it: docs/real-films.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

import vesalius
from vesalius.bundle.slide import SlideOptions, SlideWords
from vesalius.reporting.heatmap import uncalibrated
from vesalius.reporting.slide_map import PatchScores, draw_map, layer_of, paint
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import Slide, open_slide
from vesalius.slides.tissue import find_tissue
from vesalius.zeroshot.prompt_file import load_prompts
from vesalius.zeroshot.prompt_sets import draw_prompt_sets

HERE = Path(__file__).parent
GRID = PatchGrid(64, 1.0, overlap=0.5, least_tissue=0.1)
PANEL_PX, GAP, BAND = 560, 16, 44
PAPER, INK = (20, 22, 26), (240, 240, 236)
SHOWN = ("epithelium", "collagen", "keratin")


def panels(pictures: list[np.ndarray], titles: list[str]) -> PIL.Image.Image:
    """Pictures of one size side by side, each under its title."""
    height, width = pictures[0].shape[:2]
    canvas = PIL.Image.new("RGB", (len(pictures) * (width + GAP) + GAP, height + BAND + GAP), PAPER)
    draw = PIL.ImageDraw.Draw(canvas)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = GAP + number * (width + GAP)
        canvas.paste(PIL.Image.fromarray(picture), (left, BAND))
        draw.text((left, 8), title, font=PIL.ImageFont.load_default(size=24), fill=INK)
    return canvas


def draw_reading(slide: Slide, reader: SlideWords, path: Path, out: Path) -> None:
    """The slide, and the scores of three words over it; and the heat map that the command line writes for one of them."""
    with tempfile.TemporaryDirectory() as folder:
        answer = reader.answer(path, features=folder, case="slide")
    overview, downsample = slide.overview(PANEL_PX)
    grey = overview.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    pictures, names = [overview], [finding.name for finding in answer.prediction.findings]
    for name in SHOWN:
        scores = answer.scores.patches[:, names.index(name)]
        map_ = PatchScores(name, answer.features.coordinates, answer.features.side_level0 or 1.0, scores)
        pictures.append(paint(grey, layer_of(map_, 0, 0, grey.shape, downsample), map_))
        if name == "keratin":
            heading = f"{uncalibrated(answer.prediction[name].logit, 'top-50')}; {len(scores)} patches"
            foot = f"{answer.prediction.bundle} · not for medical use"
            draw_map(slide, map_, heading=heading, foot=foot, longest_px=620).save(out / "slide-heatmap.png", optimize=True)
    panels(pictures, ["CMU-1, H&E", *(f'"{name}"' for name in SHOWN)]).save(out / "slide-by-words.jpg", quality=88)


def draw_tissue(slide: Slide, out: Path) -> None:
    """The slide, what was found to be tissue, and the patches that are cut."""
    overview, downsample = slide.overview(PANEL_PX)
    tissue = find_tissue(slide)
    places = PatchGrid(224, 0.5).places(slide, tissue)
    mask = np.asarray(PIL.Image.fromarray(tissue.mask).resize(overview.shape[1::-1], PIL.Image.Resampling.NEAREST))
    shown = np.where(mask[..., None], overview, overview // 4 + 160)
    cut = PIL.Image.fromarray(overview)
    draw = PIL.ImageDraw.Draw(cut)
    side = PatchGrid(224, 0.5).side_at(slide.mpp) / downsample
    for x, y in places / downsample:
        draw.rectangle((x, y, x + side, y + side), outline=(0, 90, 160), width=2)
    titles = ["CMU-1, H&E", f"tissue: {tissue.share:.0%}", f"{len(places)} patches of 112 micrometres"]
    panels([overview, shown.astype(np.uint8), np.asarray(cut)], titles).save(out / "slide-patches.jpg", quality=88)


def main() -> None:
    """Draws all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tissue", type=Path, required=True, help="what examples/simulated_tissue.py wrote")
    parser.add_argument("--slide", type=Path, required=True, help="CMU-1-Small-Region.svs")
    options = parser.parse_args()
    sets = draw_prompt_sets(load_prompts(options.tissue / "prompts.yaml"), n_sets=50)
    reader = SlideWords(vesalius.load(options.tissue / "bundle"), sets, SlideOptions(grid=GRID))
    with open_slide(options.slide) as slide:
        draw_tissue(slide, HERE / "images")
        draw_reading(slide, reader, options.slide, HERE / "images")


if __name__ == "__main__":
    main()
