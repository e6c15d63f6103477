"""The network that answers against the machine: its FLOP/s over those of a large matrix product, same precision, same threads.

    python benchmarks/network.py [--encoder vit-base-16] [--size 224] [--batch 8] [--rounds 7]

The two take turns, and the median of the ratios is kept, so a machine whose speed drifts does not decide. The network is
the one that a bundle answers with (weights laid out once); its FLOPs are counted on the plain network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vesalius.inference.film import FilmInference
from vesalius.models.classifier import build_classifier
from vesalius.models.config import ClassifierConfig
from vesalius.models.preprocessing import Preprocessing

SIDE = 4096
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def seconds(job: Callable[[], object]) -> float:
    """Wall time of one call; an accelerator is waited for."""
    start = time.perf_counter()
    job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(precision: str, encoder: str = "vit-base-16", size: int = 224, batch: int = 8, rounds: int = 7) -> dict[str, Any]:
    """Returns both speeds in GFLOP/s and the median ratio."""
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=tuple("abcdefghijklmn"), encoder=encoder, size_px=size)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, 1, size, size))
    flops = counter.get_total_flops() * batch
    inference = FilmInference([network], Preprocessing(store_size_px=size, size_px=size), precision=precision)
    dtype, device = DTYPES[precision], inference.device
    films = torch.randn(batch, 1, size, size, dtype=dtype, device=device)
    first, second = (torch.randn(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
    product_flops = 2 * SIDE**3
    speeds, products = [], []
    with torch.inference_mode():
        for turn in range(rounds + 1):
            network_s, product_s = seconds(lambda: inference.networks[0](films)), seconds(lambda: first @ second)
            if turn:  # the first turn warms up
                speeds.append(flops / network_s)
                products.append(product_flops / product_s)
    ratios = [speed / product for speed, product in zip(speeds, products, strict=True)]
    return {
        "what": f"{encoder} at {size} px, batch {batch}, {precision}: FLOP/s over a {SIDE}^3 matrix product's",
        "network_gflops": round(statistics.median(speeds) / 1e9, 1),
        "product_gflops": round(statistics.median(products) / 1e9, 1),
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "target": {"float32": 0.9, "bfloat16": 0.7}[precision],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vit-base-16")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for precision in DTYPES:
        print(json.dumps(measure(precision, options.encoder, options.size, options.batch, options.rounds)))


if __name__ == "__main__":
    main()
