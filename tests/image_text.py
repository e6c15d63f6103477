"""Image-text bundles of tiny random towers and a tokenizer learned from a few made-up sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vesalius.bundle.image_text import save_image_text
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig, build_config
from vesalius.models.contracts import Contract, FamilyContract
from vesalius.models.tokenizer import Tokenizer

SENTENCES = (
    "The heart is large.",
    "No pleural effusion.",
    "Pleural effusion on the left.",
    "No pneumothorax is seen.",
    "The lungs are clear.",
    "A nodule in the right lung.",
)
CONTRACT = FamilyContract("vesalius", 64, "longest", 64, "bilinear", 64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def make_tokenizer(vocabulary: int = 120) -> Tokenizer:
    """A WordPiece of the sentences above."""
    return Tokenizer.train(SENTENCES * 3, kind="bert", vocabulary=vocabulary)


def make_config(tokenizer: Tokenizer, context_length: int = 16) -> ImageTextConfig:
    """The smallest towers there are, at 64 px."""
    words = {"vocabulary": tokenizer.vocabulary, "context_length": context_length}
    built = build_config("vit-tiny", "bert-tiny", size_px=64, embedding_dim=24, **words)
    return replace(built, vision=replace(built.vision, channels=3))


def make_model(config: ImageTextConfig, seed: int = 0) -> ImageTextModel:
    """Towers of random weights."""
    torch.manual_seed(seed)
    return ImageTextModel(config).eval()


def make_image_text_bundle(
    path: Path, *, members: int = 1, contract: Contract = CONTRACT, context_length: int = 16, **about: Any
) -> str:
    """Saves random towers as a bundle and returns its id."""
    tokenizer = make_tokenizer()
    config = make_config(tokenizer, context_length)
    provenance = {"files": [{"name": f"tiny-{seed}.pt", "sha256": "0" * 64, "note": ""} for seed in range(members)]}
    return save_image_text(
        path,
        **{
            "name": "tiny-words",
            "config": config,
            "weights": [save(make_model(config, seed).state_dict()) for seed in range(members)],
            "tokenizer": tokenizer.to_bytes(),
            "contract": contract,
            "family": "vesalius",
            "provenance": provenance,
        }
        | about,
    )
