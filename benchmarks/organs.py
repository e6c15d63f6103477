"""Which organ is this tissue of? A small patch-text model on some patients, zero-shot on others: 30 H&E tiles, 7 organs.

    python benchmarks/organs.py --data DATA [--steps 300] [--seeds 3] [--quick]

DATA is a folder with `index.csv` and `hist_monuseg/`: the 30 training tiles of MoNuSeg 2018 (H&E, 40x, 1000 x 1000 pixels, one a
patient; organs by TCGA's site codes). Patients are halved within each organ; a model is trained on either half and asked about the
other, so that every tile is answered by a model that never saw its patient. Sentences are written here; prompt sets are drawn from
the templates and names of the prompt file `organs` of this package, none of whose templates, and not all of whose names, were in
training. A tile is a small slide: cut into patches, scored by 50 prompt sets at once, pooled.

Mind before believing a figure: most organs come from one or two hospitals, each with its own stain, so that colour alone tells
organs apart; the table has a line for that (nearest mean colour). Three organs have two patients: one to learn from, one to ask.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from vesalius.inference.slide import ExtractOptions, SlideEncoder, extract_features
from vesalius.losses.semantic_matching import semantic_matching_loss
from vesalius.metrics.intervals import Interval
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower
from vesalius.models.contracts import FamilyContract
from vesalius.models.tokenizer import Encoded, Tokenizer
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import open_slide
from vesalius.slides.tissue import TissueMask
from vesalius.zeroshot.prompt_file import load_prompts
from vesalius.zeroshot.prompt_sets import draw_prompt_sets
from vesalius.zeroshot.prompts import PromptSet
from vesalius.zeroshot.slide_protocol import judge_prompt_sets
from vesalius.zeroshot.slide_scores import PoolOptions, SlideScores, score_slide
from vesalius.zeroshot.text_columns import text_columns

TILE_MPP, PATCH_PX, PATCH_MPP = 0.25, 96, 1.0
EVERYWHERE = TissueMask(np.ones((1, 1), dtype=bool), 1000.0, 0.0)
"""These tiles were cut from tissue; without glass no threshold between glass and tissue can be found."""
CONTEXT = 24
KS = (1, 5, 10)
CONTRACT = FamilyContract("vesalius", PATCH_PX, "shortest", PATCH_PX, "bilinear", PATCH_PX, mean=(0.7,) * 3, std=(0.2,) * 3)
SENTENCES = (
    "This is {}.",
    "A piece of {} under the microscope.",
    "Cells and stroma of {}.",
    "The tissue is {}.",
    "Seen here is {} in pink and purple.",
)
"""What is said in training, of all names of an organ but the last."""


@dataclass(frozen=True)
class Tiles:
    """The tiles at the scale of the patches, with organ and patient."""

    paths: list[Path]
    pictures: list[np.ndarray]
    organs: np.ndarray
    patients: np.ndarray


def read_tiles(data: Path, names: Sequence[str]) -> Tiles:
    """Reads every tile of the index, reduced by area to one micrometre per pixel."""
    with (data / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith("hist_monuseg/")]
    factor = round(PATCH_MPP / TILE_MPP)
    pictures = []
    for row in rows:
        with PIL.Image.open(data / row["path"]) as picture:
            pictures.append(np.asarray(picture.convert("RGB").reduce(factor)))
    organs = np.array([names.index(row["labels"]) for row in rows])
    return Tiles([data / row["path"] for row in rows], pictures, organs, np.array([row["patient_id"] for row in rows]))


def halves(organs: np.ndarray, seed: int) -> np.ndarray:
    """0 or 1 for each tile: each organ's patients in two halves (every patient has one tile here)."""
    random = np.random.default_rng(seed)
    half = np.zeros(len(organs), dtype=int)
    for organ in np.unique(organs):
        members = random.permutation(np.flatnonzero(organs == organ))
        half[members[: len(members) // 2]] = 1
    return half


def crop(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A square of 0.8 to 1.25 times a patch, turned, mirrored, its three stains' worth of colours scaled and shifted."""
    side = int(PATCH_PX * random.uniform(0.8, 1.25))
    top, left = (int(random.integers(length - side + 1)) for length in picture.shape[:2])
    square = PIL.Image.fromarray(picture[top : top + side, left : left + side]).resize((PATCH_PX, PATCH_PX))
    turned = np.rot90(np.asarray(square), int(random.integers(4)))
    turned = turned[:, ::-1] if random.random() < 0.5 else turned
    density = -np.log(np.maximum(turned, 1) / 255)  # light absorbed, where stains add up
    density = density * random.uniform(0.7, 1.3, 3) + random.uniform(-0.05, 0.05, 3)
    return (np.exp(-density) * 255).clip(0, 255).astype(np.uint8)


def build(tokenizer: Tokenizer, seed: int) -> ImageTextModel:
    """resnet-small in colour and a BERT of two layers, both from nothing."""
    torch.manual_seed(seed)
    words = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}
    vision = VisionTower("film", PATCH_PX, 3, {"encoder": "resnet-small"}, pooling="mean")
    text = TextTower("bert", CONTEXT, {**words, "vocab_size": tokenizer.vocabulary}, "mean")
    return ImageTextModel(ImageTextConfig(vision, text, 128))


def train(
    tiles: Tiles, members: np.ndarray, said: list[list[str]], tokenizer: Tokenizer, *, steps: int, seed: int
) -> tuple[ImageTextModel, float]:
    """Contrast of patches and sentences; those of one organ are no negatives of each other. Returns the model and the last loss."""
    model, random = build(tokenizer, seed).train(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    kinds = np.unique(tiles.organs)
    losses = []
    for _ in range(steps):
        organs = np.repeat(kinds, 6)
        chosen = [random.choice(members[tiles.organs[members] == organ]) for organ in organs]
        patches = np.stack([crop(tiles.pictures[place], random) for place in chosen])
        texts = [said[organ][int(random.integers(len(said[organ])))] for organ in organs]
        tokens, mask = encode(tokenizer, texts)
        output = model(torch.from_numpy(CONTRACT.apply_rgb(patches)), torch.from_numpy(tokens), torch.from_numpy(mask))
        same = torch.from_numpy(organs[:, None] == organs[None]).float()
        same = same / same.sum(dim=1, keepdim=True)
        loss = semantic_matching_loss(output.images, output.texts, output.scale, (same, same.T))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return model.eval(), float(np.mean(losses[-20:]))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    return tokenizer.encode(texts, CONTEXT, padding="longest")


def score(
    model: ImageTextModel, tokenizer: Tokenizer, sets: Sequence[PromptSet], tiles: Tiles, asked: np.ndarray, folder: Path
) -> dict[int, SlideScores]:
    """Each tile as a slide: written as tiled TIFF with its scale, opened, cut, encoded, scored, pooled."""
    import tifffile

    columns = text_columns([model], lambda texts: encode(tokenizer, texts), sets)
    encoder = SlideEncoder([model], CONTRACT)
    grid = PatchGrid(PATCH_PX, PATCH_MPP, overlap=0.5)
    found = {}
    for place in asked:
        path = folder / f"{place}.tif"
        if not path.exists():
            with PIL.Image.open(tiles.paths[place]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            scale = {"resolution": (1e4 / TILE_MPP,) * 2, "resolutionunit": "CENTIMETER"}
            tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", metadata=None, **scale)
        with open_slide(path) as slide:
            out = folder / f"{encoder.name.rsplit(':')[-1]}-{place}.h5"
            stored = extract_features(slide, encoder, out, grid=grid, tissue=EVERYWHERE, options=ExtractOptions(16))
        batches = (encoder.project(rows) for rows in stored.batches())
        found[int(place)] = score_slide(batches, columns, stored.coordinates, PoolOptions(KS))
    return found


def by_colour(tiles: Tiles, half: np.ndarray) -> np.ndarray:
    """Scores (tile, 1, organ): nearness of a tile's mean colour to that of each organ in the other half."""
    colours = np.array([picture.reshape(-1, 3).mean(axis=0) for picture in tiles.pictures])
    scores = np.zeros((len(colours), 1, tiles.organs.max() + 1))
    for side in (0, 1):
        for organ in np.unique(tiles.organs):
            centre = colours[(half != side) & (tiles.organs == organ)].mean(axis=0)
            scores[half == side, 0, organ] = -np.linalg.norm(colours[half == side] - centre, axis=1)
    return scores


def measure(data: Path, *, steps: int = 300, seeds: int = 3, n_sets: int = 50) -> dict[str, Any]:
    """Trains on either half, asks about the other, with several seeds of halves and weights; returns the table."""
    pool = load_prompts("organs")
    tiles = read_tiles(data, pool.findings)
    said = [[text.format(name) for text in SENTENCES for name in prompt.synonyms[:-1]] for prompt in pool.prompts]
    vocabulary = [text for texts in said for text in texts] + [text for words in pool.texts().values() for text in words.positive]
    tokenizer = Tokenizer.train(vocabulary * 3, kind="bert", vocabulary=600)
    sets = draw_prompt_sets(pool, n_sets=n_sets, seed=0)
    started, runs, losses, colours = time.perf_counter(), [], [], []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(seeds):
            half, found = halves(tiles.organs, seed), {}
            for side in (0, 1):
                model, loss = train(tiles, np.flatnonzero(half != side), said, tokenizer, steps=steps, seed=2 * seed + side)
                losses.append(loss)
                found |= score(model, tokenizer, sets, tiles, np.flatnonzero(half == side), Path(name))
            runs.append([found[place] for place in range(len(tiles.organs))])
            colours.append(by_colour(tiles, half))
    return {
        "what": f"organ of {len(tiles.organs)} H&E tiles of as many patients, {len(pool.findings)} organs, chance 0.143",
        "tables": [one.to_json() for one in judged(runs, tiles)],
        "colour_alone": judge_colours(colours, tiles).to_json(),
        "seeds": seeds,
        "steps": steps,
        "last_losses": losses,
        "seconds": time.perf_counter() - started,
    }


def judged(runs: list[list[SlideScores]], tiles: Tiles) -> list[Any]:
    """Balanced accuracy of every prompt set under every pooling; a tile of another run counts as one more of the same patient."""
    slides = [slide for run in runs for slide in run]
    return judge_prompt_sets(slides, np.tile(tiles.organs, len(runs)), np.tile(tiles.patients, len(runs)))


def judge_colours(tables: list[np.ndarray], tiles: Tiles) -> Interval:
    table = np.concatenate(tables)
    return judge_prompt_sets({"colour": table}, np.tile(tiles.organs, len(tables)), np.tile(tiles.patients, len(tables)))[0].median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and hist_monuseg/")
    parser.add_argument("--steps", type=int, default=300, help="training steps a model, of 42 patches")
    parser.add_argument("--seeds", type=int, default=3, help="how often patients are halved and models trained anew")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line instead of a block")
    options = parser.parse_args()
    found = (
        measure(options.data, steps=4, seeds=1)
        if options.quick
        else measure(options.data, steps=options.steps, seeds=options.seeds)
    )
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
