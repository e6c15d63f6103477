"""The bundle of kind `zero-shot`: the half of the towers that sees, prompts embedded and locked, and all that calibration adds.

    weights.safetensors        vision tower and projection; weights-1, weights-2 ... for an ensemble; no text tower
    text.safetensors           one vector a finding for it and one against it, of each checkpoint
    bundle.json                `prompts`: every sentence that was embedded, and how sentences were averaged

It answers `predict` and `audit` like a trained classifier. Nothing but its own findings can be asked of it: words have no way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle import format as layout
from vesalius.bundle.save import save_bundle
from vesalius.errors import BundleError
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.contracts import contract_from_json
from vesalius.zeroshot.heads import TextHead
from vesalius.zeroshot.prompt_file import prompts_from_json

if TYPE_CHECKING:
    import numpy as np

    from vesalius.bundle.calibrate import Calibration
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.bundle.verify import VerifiedBundle
    from vesalius.inference.zero_shot import ZeroShotInference
    from vesalius.zeroshot.prompts import PromptSet


def describe_zero_shot(
    name: str,
    towers: ImageTextBundle,
    inference: ZeroShotInference,
    prompts: PromptSet,
    calibration: Calibration,
    provenance: dict[str, Any],
    *,
    assessable_views: Sequence[str] = ("PA", "AP"),
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all of `bundle.json`.

    `towers` is the bundle that was asked and `prompts` what it was asked; the rest is as in `calibrate.describe`.

    Raises:
        BundleError: A name that cannot be a file's, or a provenance without sites.
    """
    from vesalius.bundle.calibrate import software

    layout.check_name(name)
    if "training_sites" not in provenance:
        raise BundleError("the provenance names no training_sites; an audit could not tell what is external")
    return {
        "format": layout.FORMAT,
        "kind": layout.ZERO_SHOT,
        "name": name,
        "family": towers.family,
        "findings": list(inference.findings),
        "notices": list(dict.fromkeys((*towers.notices, *notices))),
        "encoder": towers.config.to_json(),
        "preprocessing": inference.preprocessing.to_json(),
        "prompts": {**prompts.to_json(), "average": inference.heads[0].average, "towers": towers.reference},
        "precision": inference.precision,
        "averaging": {"of": "logits", "members": len(inference.networks), "views": [view.to_json() for view in inference.views]},
        "order": list(layout.ORDER),
        "calibrator": calibration.calibrator.to_json(),
        "policy": calibration.policy.to_json(),
        "gate": calibration.gate.to_json(),
        "assessable_views": [str(view) for view in assessable_views],
        "calibration": calibration.table,
        "provenance": {**provenance, "software": software()},
    }


def save_zero_shot(
    path: str | Path,
    description: dict[str, Any],
    *,
    towers: ImageTextBundle,
    inference: ZeroShotInference,
    calibration: Calibration,
    overwrite: bool = False,
) -> str:
    """Writes the bundle and returns its id; the same content gives the same bytes.

    Args:
        path: Its folder, to be made.
        description: From `describe_zero_shot`.
        towers: Whose vision towers are kept, read from its files anew: what answers is laid out for this machine.
        inference: Whose heads are locked.
        calibration: What was fitted.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: Something is there already.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    from vesalius.models.image_tower import tower_state

    arrays: dict[str, np.ndarray] = {}
    for member, head in enumerate(inference.heads):
        arrays[f"{member}.positive"] = head.positive
        if head.negative is not None:
            arrays[f"{member}.negative"] = head.negative
    weights = [save(tower_state(model)) for model in towers.each_model()]
    extra = {layout.TEXT: save_arrays(arrays)}
    statistics = calibration.gate.state()
    return save_bundle(path, description, weights=weights, statistics=statistics, extra=extra, overwrite=overwrite)


def open_zero_shot(verified: VerifiedBundle, device: str) -> ZeroShotInference:
    """Returns what answers, of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from safetensors.numpy import load_file as load_arrays
    from safetensors.torch import load_file

    from vesalius.inference.zero_shot import ZeroShotInference
    from vesalius.models.image_tower import ImageTower

    description = verified.description
    config = ImageTextConfig.from_json(description["encoder"])
    held = load_arrays(verified.path / layout.TEXT)
    asked = dict(description["prompts"])
    average = asked.pop("average")
    asked.pop("towers", None)
    prompts = prompts_from_json(asked)
    if list(prompts.findings) != description["findings"]:
        raise BundleError(f"the prompts of {verified.path} are of other findings than it answers; calibrate them again")
    names = layout.weights_names(int(description["averaging"]["members"]))
    models = [ImageTower.from_state(config, load_file(verified.path / name)) for name in names]
    heads = [
        TextHead(prompts.kind, prompts.findings, average, held[f"{member}.positive"], held.get(f"{member}.negative"))
        for member in range(len(names))
    ]
    contract = contract_from_json(description["preprocessing"])
    return ZeroShotInference(models, contract, heads, precision=description["precision"], device=device)
