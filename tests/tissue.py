"""Painted slides of three kinds of tissue, and towers that tell the kinds apart: random, but for a projection in closed form."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tests.image_text import CONTRACT, make_config, make_image_text_bundle, make_model, make_tokenizer
from vesalius.models.clip import ImageTextModel

EXAMPLE = Path(__file__).parents[1] / "examples" / "simulated_tissue.py"
SIDE, MPP = 32, 4.0
KINDS = ("epithelium", "collagen", "keratin")
TEMPLATES = ("{}", "{} Seen.")
SYNONYMS = {
    "epithelium": ["The heart is large."],
    "collagen": ["No pneumothorax is seen."],
    "keratin": ["A nodule in the right lung."],
}
"""Any words will do for towers that have read nothing; these are of the few that the tokenizer was made of."""


def painter() -> Any:
    """The example that paints, as a module."""
    if "simulated_tissue" not in sys.modules:
        found = importlib.util.spec_from_file_location("simulated_tissue", EXAMPLE)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules["simulated_tissue"] = module
        found.loader.exec_module(module)
    return sys.modules["simulated_tissue"]


def write_slides(folder: Path, count: int, *, seed: int, first: int = 0) -> list[tuple[str, str]]:
    """Small slides, each mostly of one kind in turn; returns (file name, kind)."""
    folder.mkdir(parents=True, exist_ok=True)
    random, made = np.random.default_rng(seed), []
    for number in range(first, first + count):
        kind = KINDS[number % 3]
        picture = painter().paint_small_slide(kind, random, share=random.uniform(0.4, 0.9), side=SIDE)
        painter().write_tiff(folder / f"{number:02d}.tif", picture, MPP)
        made.append((f"{number:02d}.tif", kind))
    return made


def write_prompts(path: Path) -> Path:
    """Three classes with one synonym each and two templates."""
    names = "".join(f'  - name: {kind}\n    synonyms: ["{words[0]}"]\n' for kind, words in SYNONYMS.items())
    templates = ", ".join(f'"{template}"' for template in TEMPLATES)
    path.write_text(f"name: painted\nkind: classes\ntemplates: [{templates}]\nfindings:\n{names}")
    return path


def make_tissue_bundle(path: Path) -> str:
    """Random towers whose projections were fitted so that a kind's patches and its words meet; returns the bundle's id."""
    tokenizer = make_tokenizer()
    model = make_model(make_config(tokenizer))
    fit_projections(model, tokenizer)
    return make_image_text_bundle(path, weights=[save(model.state_dict())])


def fit_projections(model: ImageTextModel, tokenizer: Any, patches: int = 40) -> None:
    """Ridge regressions from pooled features, of painted patches and of sentences, to one axis a kind."""
    random = np.random.default_rng(0)
    sentences = [template.format(SYNONYMS[kind][0]) for kind in KINDS for template in TEMPLATES]
    with torch.inference_mode():
        tokens, mask = tokenizer.encode(sentences, 16)
        painted = np.concatenate([np.stack([painter().paint(kind, SIDE, random) for _ in range(patches)]) for kind in KINDS])
        seen = model.image_features(torch.from_numpy(CONTRACT.apply_rgb(painted))).pooled.double()
        read = model.text(torch.from_numpy(tokens), torch.from_numpy(mask)).double()
    axes = torch.eye(len(KINDS), model.config.embedding_dim, dtype=torch.float64)
    fit(model.vision_projection, seen, axes.repeat_interleave(patches, 0), 1e-3)
    fit(model.text_projection, read, axes.repeat_interleave(len(TEMPLATES), 0), 1e-6)


def fit(projection: torch.nn.Module, rows: torch.Tensor, targets: torch.Tensor, ridge: float) -> None:
    """Sets the weights of a linear projection."""
    gram = rows.T @ rows
    gram += ridge * torch.trace(gram) / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    (weight,) = projection.parameters()
    weight.data = torch.linalg.solve(gram, rows.T @ targets).T.float().contiguous()
