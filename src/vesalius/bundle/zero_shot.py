"""The bundle of kind `zero-shot`: the half of the towers that sees, prompts embedded and locked, and all that calibration adds.

    weights.safetensors        vision tower and projection; weights-1, weights-2 ... for an ensemble; no text tower
    text.safetensors           one vector a finding for it and one against it, of each checkpoint
    bundle.json                `prompts`: every sentence that was embedded, and how sentences were averaged

It answers `predict` and `audit` like a trained classifier. Nothing but its own findings can be asked of it: words have no way in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle import format as layout
from vesalius.bundle.describe import describe, reads_films
from vesalius.bundle.zero_shot_files import read_locked, save_locked
from vesalius.errors import BundleError
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
    provenance: Mapping[str, Any],
    *,
    assessable_views: Sequence[str] = ("PA", "AP"),
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all of `bundle.json`.

    `towers` is the bundle that was asked and `prompts` what it was asked; the rest is as in `describe.describe`.

    Raises:
        BundleError: A name that cannot be a file's, or a provenance without sites.
    """
    reads = {
        "family": towers.family,
        "findings": list(inference.findings),
        "encoder": towers.config.to_json(),
        "prompts": {**prompts.to_json(), "average": inference.heads[0].average, "towers": towers.reference},
        **reads_films(inference, assessable_views),
    }
    return describe(layout.ZERO_SHOT, name, reads, calibration, provenance, notices=(*towers.notices, *notices))


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
        towers: Whose vision towers are kept, read from their files anew: what answers is laid out for this machine.
        inference: Whose heads are locked.
        calibration: What was fitted.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: Something is there already.
    """
    texts: dict[str, np.ndarray] = {}
    for member, head in enumerate(inference.heads):
        texts[f"{member}.positive"] = head.positive
        if head.negative is not None:
            texts[f"{member}.negative"] = head.negative
    return save_locked(
        path, description, models=towers.each_model(), texts=texts, statistics=calibration.gate.state(), overwrite=overwrite
    )


def open_zero_shot(verified: VerifiedBundle, device: str) -> ZeroShotInference:
    """Returns what answers, of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from vesalius.inference.zero_shot import ZeroShotInference

    description, files = verified.description, read_locked(verified)
    asked = dict(files.prompts)
    average = asked.pop("average")
    asked.pop("towers", None)
    prompts = prompts_from_json(asked)
    if list(prompts.findings) != description["findings"]:
        raise BundleError(f"the prompts of {verified.path} are of other findings than it answers; calibrate them again")
    heads = [
        TextHead(prompts.kind, prompts.findings, average, files.texts[f"{member}.positive"], files.texts.get(f"{member}.negative"))
        for member in range(len(files.towers))
    ]
    return ZeroShotInference(files.towers, files.contract, heads, precision=description["precision"], device=device)
