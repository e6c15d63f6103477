"""The bundle of kind `zero-shot` whose prompts were learned: both towers, and a generator of prompts for each checkpoint.

    weights.safetensors        both towers; weights-1, weights-2 ... for an ensemble
    text.safetensors           the generators, with the embeddings of their words; no vocabulary is needed
    bundle.json                `prompts`: `kind` is `learned`, `design` is what the generators are made of

It answers `predict` like any other bundle, and only what was learned can be asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vesalius.bundle import format as layout
from vesalius.bundle.describe import describe, reads_films
from vesalius.bundle.image_text import ImageTextBundle, build_unfilled
from vesalius.bundle.save import save_bundle
from vesalius.errors import BundleError
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.contracts import contract_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from vesalius.bundle.calibrate import Calibration
    from vesalius.bundle.verify import VerifiedBundle
    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.zeroshot.learned_prompts import PromptGenerator

LEARNED = "learned"


def is_learned(description: dict[str, Any]) -> bool:
    """Is this a bundle of learned prompts?"""
    prompts = description.get("prompts")
    return description.get("kind") == layout.ZERO_SHOT and isinstance(prompts, dict) and prompts.get("kind") == LEARNED


def describe_learned(
    name: str,
    towers: ImageTextBundle,
    inference: LearnedPromptInference,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    *,
    assessable_views: Sequence[str] = ("PA", "AP"),
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all of `bundle.json`; `towers` is what the prompts were learned over, `notices` come beside its own.

    Raises:
        BundleError: A name that cannot be a file's, or a provenance without `training_sites`.
    """
    reads = {
        "family": towers.family,
        "findings": list(inference.findings),
        "encoder": towers.config.to_json(),
        "prompts": {"kind": LEARNED, "design": inference.generators[0].design.to_json(), "towers": towers.reference},
        **reads_films(inference, assessable_views),
    }
    return describe(layout.ZERO_SHOT, name, reads, calibration, provenance, notices=(*towers.notices, *notices))


def save_learned(
    path: str | Path,
    description: dict[str, Any],
    weights: Sequence[bytes | Path],
    generators: Sequence[PromptGenerator],
    calibration: Calibration,
    *,
    overwrite: bool = False,
) -> str:
    """Writes the bundle and returns its id.

    Args:
        path: Its folder, to be made.
        description: From `describe_learned`.
        weights: Of both towers, one file a checkpoint.
        generators: One a checkpoint.
        calibration: What was fitted.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: Something is there already, or not one generator a checkpoint.
    """
    from safetensors.torch import save

    if len(weights) != len(generators):
        raise BundleError(f"{len(weights)} checkpoint(s) and {len(generators)} generator(s); expected one each")
    arrays = {
        f"{member}.{name}": tensor.detach().cpu().contiguous()
        for member, generator in enumerate(generators)
        for name, tensor in generator.state_dict().items()
    }
    extra = {layout.TEXT: save(arrays)}
    statistics = calibration.gate.state()
    return save_bundle(path, description, weights=weights, statistics=statistics, extra=extra, overwrite=overwrite)


def open_learned(verified: VerifiedBundle, device: str) -> LearnedPromptInference:
    """Returns what answers, of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from safetensors.torch import load_file

    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.zeroshot.learned_prompts import PromptDesign, restore_generator

    description = verified.description
    config = ImageTextConfig.from_json(description["encoder"])
    design = PromptDesign.from_json(description["prompts"]["design"])
    held = load_file(verified.path / layout.TEXT)
    models, generators = [], []
    for member, name in enumerate(layout.weights_names(int(description["averaging"]["members"]))):
        model = build_unfilled(config)
        model.load_state_dict(load_file(verified.path / name))
        models.append(model)
        prefix = f"{member}."
        state = {key.removeprefix(prefix): tensor for key, tensor in held.items() if key.startswith(prefix)}
        generators.append(restore_generator(design, state))
    contract = contract_from_json(description["preprocessing"])
    return LearnedPromptInference(models, contract, generators, precision=description["precision"], device=device)
