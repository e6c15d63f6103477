"""The contrast of more pairs than memory holds: the same gradient, peak memory that does not grow with the batch.

    python benchmarks/gradient_cache.py [--json]

Equality: the gradient of 64 pairs at once against that in parts: length of the difference over length of the gradient, in float32.
Memory: one step in a fresh process for each contrast batch, parts of 32; what the process' peak rose by above the built towers. The
same step without caching shows what it is measured against. Medians of three processes; Linux only. Time: a cached step over one of
the whole batch, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from vesalius.losses.contrastive import info_nce
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import build_config
from vesalius.training.gradient_cache import contrast_gradient

AT_ONCE, SMALL, LARGE, SIDE_PX, TOKENS = 32, 64, 512, 128, 48


@dataclass
class Part:
    """Films and words that are made when they are asked for, as training makes them."""

    first: int
    count: int

    def images(self) -> Tensor:
        """Films as the network takes them."""
        return torch.randn((self.count, 3, SIDE_PX, SIDE_PX), generator=torch.Generator().manual_seed(self.first))

    @property
    def tokens(self) -> Tensor:
        """Ids of words."""
        return torch.randint(0, 500, (self.count, TOKENS), generator=torch.Generator().manual_seed(self.first))

    @property
    def mask(self) -> Tensor:
        """Nothing is padded."""
        return torch.ones((self.count, TOKENS), dtype=torch.long)


@dataclass
class Whole(Part):
    """The same films and words, all at once."""

    parts: tuple[Part, ...] = ()

    def images(self) -> Tensor:
        """All parts' films."""
        return torch.cat([part.images() for part in self.parts])

    @property
    def tokens(self) -> Tensor:
        """All parts' words."""
        return torch.cat([part.tokens for part in self.parts])


def towers() -> ImageTextModel:
    """A vision transformer and a BERT, without dropout: whole and parts would draw it differently."""
    torch.manual_seed(0)
    config = build_config("vit-tiny", "bert-small", size_px=SIDE_PX, vocabulary=500, context_length=TOKENS, embedding_dim=256)
    larger = {
        **config.vision.settings,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    }
    quiet = {**config.text.settings, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    vision, text = replace(config.vision, settings=larger), replace(config.text, settings=quiet)
    return ImageTextModel(replace(config, vision=vision, text=text))


def step(fabric: Fabric, module: Any, pairs: int, *, cached: bool) -> float:
    parts = tuple(Part(first, AT_ONCE) for first in range(0, pairs, AT_ONCE))
    module.zero_grad(set_to_none=True)
    started = time.perf_counter()
    contrast_gradient(fabric, module, parts if cached else [Whole(0, pairs, parts)], info_nce)
    return time.perf_counter() - started


def resident_mb(kind: str) -> float:
    """VmRSS, or VmHWM: the highest since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(kind))


def rise_mb(pairs: int, *, cached: bool) -> float:
    """Peak memory of one step above that of the built towers, in a process of its own."""
    words = [sys.executable, str(Path(__file__).resolve()), "--one-step", str(pairs), *(["--cached"] if cached else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["rise_mb"])


def one_step(pairs: int, *, cached: bool) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(towers())
    step(fabric, module, AT_ONCE, cached=True)  # what the first step of any size allocates once is not what is measured
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of importing
    before = resident_mb("VmRSS")
    step(fabric, module, pairs, cached=cached)
    print(json.dumps({"rise_mb": resident_mb("VmHWM") - before}))


def gradient_of(module: Any) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


def measure(turns: int = 5) -> dict[str, Any]:
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(towers())
    step(fabric, module, SMALL, cached=False)
    whole = gradient_of(module)
    step(fabric, module, SMALL, cached=True)
    apart = float((gradient_of(module) - whole).norm() / whole.norm())
    seconds = [(step(fabric, module, SMALL, cached=False), step(fabric, module, SMALL, cached=True)) for _ in range(turns)]
    small, large = (statistics.median(rise_mb(pairs, cached=True) for _ in range(3)) for pairs in (SMALL, LARGE))
    uncached = {str(pairs): round(rise_mb(pairs, cached=False), 1) for pairs in (SMALL, LARGE)}
    return {
        "what": f"one contrast of {LARGE} pairs against {SMALL}, {AT_ONCE} through the networks at once",
        "gradient_difference": apart,
        "target_difference": 1e-5,
        "peak_rise_mb": {str(SMALL): round(small, 1), str(LARGE): round(large, 1)},
        "ratio": large / small,
        "target_ratio": "about 1",
        "peak_rise_mb_without_caching": uncached,
        "cached_step_seconds_over_whole": statistics.median(cached / whole for whole, cached in seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--one-step", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cached", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_step:
        one_step(arguments.one_step, cached=arguments.cached)
        return
    print(json.dumps(measure(), indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
