"""Patches of a slide through a ViT-B/16 into a feature file, against the bare network on tensors that are ready; and its memory.

    python benchmarks/slide_features.py [--quick]

The slide is synthetic: JPEG tiles of 256 pixels of stained noise at 0.25 micrometres per pixel, all tissue. Patches are 224 pixels
at 0.5, so each is read from 448 pixels of up to nine tiles and reduced. Timed is all of it: finding tissue, reading, reducing, the
family's contract, the network, writing to disk. The bare network sees the same batches as tensors that lie in memory; both take
turns. Memory is the peak of a process of its own that extracts a slide, and one of 20 times its area, with a small network.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from vesalius.inference.slide import ExtractOptions, SlideEncoder, extract_features
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import VisionEncoder, build_config
from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.slides.patches import PatchGrid
from vesalius.slides.read import open_slide

TILE, MPP = 256, 0.25
GRID = PatchGrid(224, 0.5)


def write_slide(path: Path, side_px: int) -> None:
    """A square pyramid of two levels, a factor of 8 apart, of sixteen different tiles of stained noise."""
    import tifffile

    random = np.random.default_rng(0)
    coarse = random.normal(size=(16, 16, 16, 1)) * 30 + np.array([190, 110, 160])
    tiles = []
    for blocks in np.clip(coarse, 0, 255).astype(np.uint8):
        file = io.BytesIO()
        PIL.Image.fromarray(blocks).resize((TILE, TILE), PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        tiles.append(file.getvalue())

    def some(side: int) -> Iterator[bytes]:
        return (tiles[int(number)] for number in random.integers(16, size=math.ceil(side / TILE) ** 2))

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, side in enumerate((side_px, side_px // 8)):
            file.write(
                some(side),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=min(level, 1),
                resolution=(1e4 / (MPP * 8**level),) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def encoder(vision: VisionEncoder) -> SlideEncoder:
    """Random weights: their values do not change what they cost."""
    torch.manual_seed(0)
    model = ImageTextModel(build_config(vision, "bert-tiny", vocabulary=100)).eval()
    return SlideEncoder([model], FAMILY_CONTRACTS["openai-clip"], name=vision, device="cpu")


def peak_mb(slide: Path, out: Path) -> None:
    """Extracts with the small network and prints patches and the process's peak memory."""
    torch.set_num_threads(1)
    with open_slide(slide) as opened:
        found = extract_features(opened, encoder("vit-tiny"), out, grid=GRID, options=ExtractOptions(16))
    # not getrusage: its peak outlives exec, and would be that of the process that started this one
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"patches": len(found), "mb": int(peak.split()[1]) / 1024}))


def measure_memory(folder: Path, small_px: int) -> dict[str, Any]:
    """Peak memory of a slide, and of one of 20 times the area."""
    told = []
    for name, side in (("small", small_px), ("large", round(small_px * math.sqrt(20)))):
        write_slide(folder / f"{name}.tif", side)
        command = [sys.executable, __file__, "--peak", str(folder / f"{name}.tif"), "--out", str(folder / f"{name}.h5")]
        told.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
    small, large = told
    return {
        "patches_small": small["patches"],
        "patches_large": large["patches"],
        "peak_mb_small": small["mb"],
        "peak_mb_large": large["mb"],
        "memory_ratio": large["mb"] / small["mb"],
        "target_memory_ratio": 1.1,
    }


def measure(side_px: int = 3584, batch_size: int = 16, turns: int = 3, small_px: int = 4096) -> dict[str, Any]:
    """Times the whole way and the bare network in turns and returns the ratio of their patches per second."""
    base = encoder("clip-vit-b-16")
    whole, bare = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "a.tif", side_px)
        with open_slide(folder / "a.tif") as slide:
            count = len(extract_features(slide, encoder("vit-tiny"), folder / "warm.h5", grid=GRID))
            batch = np.random.default_rng(0).normal(size=(batch_size, 3, 224, 224)).astype(np.float32)
            batches = [batch] * (count // batch_size) + ([batch[: count % batch_size]] if count % batch_size else [])
            base.encode(batch)
            for turn in range(turns):
                start = time.perf_counter()
                extract_features(slide, base, folder / f"{turn}.h5", grid=GRID, options=ExtractOptions(batch_size))
                whole.append(time.perf_counter() - start)
                start = time.perf_counter()
                for one in batches:
                    base.encode(one)
                bare.append(time.perf_counter() - start)
        memory = measure_memory(folder, small_px)
    ratios = np.array(bare) / whole
    return {
        "what": f"{count} patches of a slide through ViT-B/16 at 224 into HDF5, float32, batches of {batch_size}",
        "patches_per_second": count / float(np.median(whole)),
        "bare_network_patches_per_second": count / float(np.median(bare)),
        "ratio": float(np.median(ratios)),
        "target_ratio": 0.8,
        "ratios": ratios.tolist(),
        **memory,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small slide, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line instead of a block")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak_mb(options.peak, options.out)
        return
    found = measure(1024, 4, 1, 1024) if options.quick else measure()
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
