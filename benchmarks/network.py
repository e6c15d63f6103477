"""The network that answers against the machine: its FLOP/s over those of a large matrix product, same precision, same threads.

    python benchmarks/network.py [--encoder vit-base-16] [--size 224] [--batch 8] [--rounds 7]

They take turns, and the median of the ratios is kept, so a machine whose speed drifts does not decide. The network is the one
that a bundle answers with (weights laid out once); its FLOPs are counted on the plain network, attention included.

Two yardsticks: `torch.mm`, which in float32 may go through a library that does not know this processor's best instructions, and
the same product with its second factor laid out once by oneDNN, the fastest product that this build of torch has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vesalius.inference.film import FilmInference, Precision
from vesalius.models.classifier import build_classifier
from vesalius.models.config import ClassifierConfig, Encoder
from vesalius.models.packed import PackedLinear, can_pack
from vesalius.models.preprocessing import Preprocessing

SIDE = 4096
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def seconds(job: Callable[[], object]) -> float:
    """Wall time of one call; an accelerator is waited for."""
    start = time.perf_counter()
    job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def flops_of(network: torch.nn.Module, size: int) -> int:
    """Floating-point operations for one film; the counter knows attention only as the plain products it is made of."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.randn(1, 1, size, size))
    return int(counter.get_total_flops())


def yardsticks(dtype: torch.dtype, device: torch.device) -> dict[str, Callable[[], object]]:
    """Large matrix products, each of 2 SIDE**3 operations."""
    first, second = (torch.randn(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
    products: dict[str, Callable[[], object]] = {"mm": lambda: first @ second}
    if can_pack() and device.type == "cpu":
        linear = torch.nn.Linear(SIDE, SIDE, bias=False, dtype=dtype)
        packed = PackedLinear(linear)
        products["packed_mm"] = lambda: packed(first)
    return products


def measure(
    precision: Precision, encoder: Encoder = "vit-base-16", size: int = 224, batch: int = 8, rounds: int = 7
) -> dict[str, Any]:
    """Returns all speeds in GFLOP/s and the median ratios to each yardstick."""
    torch.manual_seed(0)
    network = build_classifier(ClassifierConfig(findings=tuple("abcdefghijklmn"), encoder=encoder, size_px=size)).eval()
    flops = flops_of(network, size) * batch
    inference = FilmInference([network], Preprocessing(store_size_px=size, size_px=size), precision=precision)
    films = torch.randn(batch, 1, size, size, dtype=DTYPES[precision], device=inference.device)
    jobs = {"network": (lambda: inference.networks[0](films), flops)}
    jobs |= {name: (job, 2 * SIDE**3) for name, job in yardsticks(DTYPES[precision], inference.device).items()}
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, (job, operations) in jobs.items():
                speed = operations / seconds(job) / 1e9
                if turn:  # the first turn warms up
                    speeds[name].append(speed)
    ratios = {name: [a / b for a, b in zip(speeds["network"], speeds[name], strict=True)] for name in jobs if name != "network"}
    return {
        "what": f"{encoder} at {size} px, batch {batch}, {precision}: FLOP/s over a {SIDE}^3 matrix product's",
        "gflops": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ratio": round(statistics.median(ratios["mm"]), 3),
        "lowest": round(min(ratios["mm"]), 3),
        "highest": round(max(ratios["mm"]), 3),
        "ratio_to_packed_mm": round(statistics.median(ratios["packed_mm"]), 3) if "packed_mm" in ratios else None,
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
