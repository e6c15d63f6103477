"""Files in the authors' layouts without the authors' code: names and shapes from the goldens, values from the names themselves.

The goldens were made by giving the authors' classes these same values (`weight_of`), so that both sides start from the same state.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEFT_AS_ZERO = ("attn_mask", "relative_position_index", "position_ids")


def noise_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise of unit variance that depends on the name alone; the bit stream of PCG64 is the same in every numpy."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape)) >> np.uint64(40)
    return ((raw.astype(np.float32) / np.float32(2**23) - 1) * np.float32(math.sqrt(3))).reshape(shape)


def weight_of(name: str, shape: tuple[int, ...]) -> Tensor:
    """A value for a tensor of that name, large enough that attention is far from uniform and no activation is a straight line."""
    if name.endswith(LEFT_AS_ZERO):
        return torch.zeros(shape, dtype=torch.float32 if name.endswith("attn_mask") else torch.int64)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if shape == ():
        return torch.tensor(math.log(1 / 0.07), dtype=torch.float32)
    noise = torch.from_numpy(noise_of(name, shape))
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if len(shape) == 1:
        return 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise
    if ("embed" in name and "proj" not in name) or "bias_table" in name or "token" in name:
        return 0.5 * noise
    return noise * (1.5 / math.sqrt(math.prod(shape[1:])))


def spread(line: str) -> Iterator[str]:
    """`a.{0-2}.b` is `a.0.b`, `a.1.b`, `a.2.b`."""
    parts = re.split(r"\{(\d+)-(\d+)\}", line)
    ranges = [range(int(low), int(high) + 1) for low, high in zip(parts[1::3], parts[2::3], strict=True)]
    for numbers in itertools.product(*ranges):
        yield "".join(itertools.chain(*itertools.zip_longest(parts[::3], map(str, numbers), fillvalue="")))


def golden_of(name: str) -> dict[str, Any]:
    """What the authors' classes answered, and of which tensors they are made."""
    return json.loads((Path(__file__).parent / "goldens" / f"{name}.json").read_text())


def state_of(golden: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict that the authors' classes had."""
    return {name: weight_of(name, tuple(shape)) for line, shape in golden["tensors"].items() for name in spread(line)}


def images_of(golden: dict[str, Any]) -> Tensor:
    """The images that the goldens were made of; a grey one is repeated, as its authors' class does."""
    return torch.from_numpy(noise_of("images", tuple(golden["images_shape"]))).expand(-1, 3, -1, -1)
