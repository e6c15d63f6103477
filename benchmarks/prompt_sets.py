"""50 prompt sets x 8 slides x 8000 patches from stored features, against reading and projecting anew for every prompt set.

    python benchmarks/prompt_sets.py [--quick]

The other way is MI-Zero's published procedure written out: for every prompt set each slide's features are read from disk, put
through the projection (768 to 512, with bias), normalised, multiplied by the set's three class vectors, and the greatest K of each
class are taken, for K of 1, 5, 10, 50 and 100. Ours reads and projects each slide once and multiplies by the columns of all sets.
Both see the same features, projection, vectors, number of threads and a warm disk; they take turns, and the scores of both are
compared. The other way is timed on some of the prompt sets and scaled up: its work is the same for each.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.inference.feature_file import FeatureFacts, FeatureWriter, read_features
from vesalius.inference.slide import SlideEncoder
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower
from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.zeroshot.slide_protocol import tables_of
from vesalius.zeroshot.slide_scores import PoolOptions, TextColumns, score_slide

KS = (1, 5, 10, 50, 100)
CLASSES = ("a", "b", "c")


def model() -> ImageTextModel:
    """CTransPath's sizes, random weights, with MI-Zero's linear projection with bias; the text tower is not used."""
    sizes = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "patch_size": 4, "window_size": 7}
    vision = VisionTower("ctranspath", 224, 3, sizes, projection="linear-bias", pooling="mean")
    words = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
    torch.manual_seed(0)
    return ImageTextModel(ImageTextConfig(vision, TextTower("bert", 64, words, "first"), 512)).eval()


def store(folder: Path, slides: int, patches: int) -> None:
    """Features of each slide twice: as our HDF5, and as the tensor file that the other way reads."""
    random = np.random.default_rng(0)
    for number in range(slides):
        rows = random.normal(size=(patches, 768)).astype(np.float32)
        places = np.stack([np.arange(patches) % 100, np.arange(patches) // 100], axis=1) * 512
        facts = FeatureFacts("bench", {}, "float32", f"{number:016x}", 51200, 51200, 0.25, 256, 0.5)
        with FeatureWriter(folder / f"{number}.h5", facts, places, dim=768, batch_size=patches) as writer:
            writer.append(rows)
            writer.finish()
        torch.save(torch.from_numpy(rows), folder / f"{number}.pt")


def anew_for_every_set(folder: Path, slides: int, projection: torch.nn.Linear, heads: np.ndarray) -> np.ndarray:
    """The published order of things: (slide, set, K, class)."""
    found = []
    with torch.inference_mode():
        for weights in torch.from_numpy(heads):  # (class, dim)
            for number in range(slides):
                rows = torch.load(folder / f"{number}.pt", weights_only=True)
                embedded = torch.nn.functional.normalize(projection(rows), dim=-1)
                logits = embedded @ weights.T
                found.append([logits.topk(min(k, len(logits)), dim=0).values.mean(dim=0).numpy() for k in KS])
    return np.array(found).reshape(len(heads), slides, len(KS), len(CLASSES)).transpose(1, 0, 2, 3)


def all_at_once(folder: Path, slides: int, encoder: SlideEncoder, columns: TextColumns) -> np.ndarray:
    """Every slide read and projected once: (slide, set, K, class)."""
    scores = []
    for number in range(slides):
        stored = read_features(folder / f"{number}.h5")
        batches = (encoder.project(rows) for rows in stored.batches())
        scores.append(score_slide(batches, columns, stored.coordinates, PoolOptions(KS)))
    tables = tables_of(scores)
    return np.stack([tables[f"top-{k}"] for k in KS], axis=2)


def measure(sets: int = 50, slides: int = 8, patches: int = 8000, timed_sets: int = 10, turns: int = 3) -> dict[str, Any]:
    """Times both in turns and returns the ratio, with the greatest difference between their scores."""
    random = np.random.default_rng(1)
    heads = random.normal(size=(sets, len(CLASSES), 512)).astype(np.float32)
    heads /= np.linalg.norm(heads, axis=-1, keepdims=True)
    network = model()
    projection = copy.deepcopy(network.vision_projection)
    assert isinstance(projection, torch.nn.Linear)
    encoder = SlideEncoder([network], FAMILY_CONTRACTS["mi-zero"], name="bench", device="cpu")
    columns = TextColumns.stack(list(heads[:, None]), CLASSES)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store(folder, slides, patches)
        all_at_once(folder, 1, encoder, columns)
        anew_for_every_set(folder, 1, projection, heads[:1])
        for _ in range(turns):
            start = time.perf_counter()
            found = all_at_once(folder, slides, encoder, columns)
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            expected = anew_for_every_set(folder, slides, projection, heads[:timed_sets])
            theirs.append((time.perf_counter() - start) / timed_sets * sets)
    return {
        "what": f"{sets} prompt sets x {slides} slides x {patches} patches from stored features, K of 1 to 100",
        "seconds": float(np.median(ours)),
        "anew_for_every_set_seconds": float(np.median(theirs)),
        "ratio": float(np.median(np.array(theirs) / ours)),
        "target_ratio": 20.0,
        "ratios": [float(ratio) for ratio in np.array(theirs) / ours],
        "greatest_difference": float(np.abs(found[:, :timed_sets] - expected).max()),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and small slides, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line instead of a block")
    options = parser.parse_args()
    found = measure(10, 2, 500, 5, 1) if options.quick else measure()
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
