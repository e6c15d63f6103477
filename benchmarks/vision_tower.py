"""CLIP's vision tower as it answers here (weights laid out once) against the same tower of transformers, same weights.

    python benchmarks/vision_tower.py [--batch 32] [--rounds 7] [--json]

ViT-B/32 at 224 px, the size of CheXzero, with weights large enough that attention is far from uniform. All take turns in one run;
ratios are medians of the turns'. Unit vectors are compared, and in bfloat16 also with those of the plain tower in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from typing import Any

import torch
from torch.nn.functional import normalize

from vesalius.models.clip import VISION_ENCODERS
from vesalius.models.clip_config import build_config
from vesalius.models.packed import pack_for_inference

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build_tower() -> torch.nn.Module:
    """ViT-B/32 with random weights, the matrices scaled to keep what goes through them."""
    torch.manual_seed(0)
    tower = VISION_ENCODERS["clip-vit"](build_config("clip-vit-b-32", "clip-text").vision)
    for weight in tower.parameters():
        if weight.ndim > 1:
            weight.data = torch.randn_like(weight) * 1.2 / weight[0].numel() ** 0.5
    return tower.eval().requires_grad_(requires_grad=False)


def measure(batch: int = 32, rounds: int = 7) -> dict[str, Any]:
    """Returns images a second, ratios to transformers' tower in the same precision and in float32, and the greatest differences."""
    tower, images = build_tower(), torch.randn(batch, 3, 224, 224)
    jobs = {}
    for name, dtype in DTYPES.items():
        plain = copy.deepcopy(tower).to(dtype)
        jobs[f"plain_{name}"] = (plain, images.to(dtype))
        jobs[f"packed_{name}"] = (pack_for_inference(copy.deepcopy(plain)), images.to(dtype))
    times: dict[str, list[float]] = {name: [] for name in jobs}
    rows: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, (network, pixels) in jobs.items():
                start = time.perf_counter()
                pooled = network(pixels).pooled
                if turn:  # the first turn warms up
                    times[name].append(time.perf_counter() - start)
                rows[name] = normalize(pooled.float(), dim=-1)

    def ratio(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True)), 2)

    def apart(one: str, other: str) -> float:
        return float((rows[one] - rows[other]).abs().max())

    return {
        "what": f"CLIP ViT-B/32 at 224 px, batch {batch}: weights laid out once against transformers",
        "images_per_second": {name: round(batch / statistics.median(values), 1) for name, values in times.items()},
        "ratio": {name: ratio(f"plain_{name}", f"packed_{name}") for name in DTYPES},
        "ratio_bfloat16_to_plain_float32": ratio("plain_float32", "packed_bfloat16"),
        "greatest_difference": {name: apart(f"plain_{name}", f"packed_{name}") for name in DTYPES},
        "bfloat16_from_float32": {kind: apart(f"{kind}_bfloat16", "plain_float32") for kind in ("plain", "packed")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    print(json.dumps(measure(options.batch, options.rounds), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
