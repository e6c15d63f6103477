"""The bundle of kind `zero-shot-slides`: towers that see patches, words embedded and locked, and how patches become an answer.

    weights.safetensors        vision tower and projection; weights-1, weights-2 ... for an ensemble; no text tower
    text.safetensors           `columns`: one unit vector a class of each prompt set (of a pair the difference of its two)
    bundle.json                `prompts`: every sentence of every prompt set; `slide`: grid, pooling, smoothing, what the gate sees

It answers `predict` with slides. It is a kind of its own, not `zero-shot`, because a film given to it, or a slide to the other,
must be refused and not answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.bundle import format as layout
from vesalius.bundle.describe import describe
from vesalius.bundle.zero_shot_files import read_locked, save_locked
from vesalius.errors import BundleError

if TYPE_CHECKING:
    from vesalius.bundle.calibrate import Calibration
    from vesalius.bundle.slide import SlideWords
    from vesalius.bundle.verify import VerifiedBundle
    from vesalius.inference.slide_words import SlideInference
    from vesalius.zeroshot.prompts import PromptSet

COLUMNS = "columns"
AVERAGED = ("average patch scores over members", "pool patches", "median over prompt sets")


def describe_slides(
    name: str,
    reader: SlideWords,
    asked: PromptSet,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    *,
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all of `bundle.json`.

    `reader` is what read the calibration slides, `asked` the prompts its prompt sets were drawn from; the rest is as in
    `describe.describe`.

    Raises:
        BundleError: A name that cannot be a file's, or a provenance without sites.
    """
    towers, inference = reader.bundle, reader.inference
    smoothing = inference.rule.pool.smoothing
    smoothed = () if smoothing == "none" else (f"smooth {smoothing}",)
    reads = {
        "family": towers.family,
        "findings": list(inference.findings),
        "encoder": towers.config.to_json(),
        "preprocessing": towers.contract.to_json(),
        "slide": inference.rule.to_json(),
        "prompts": {
            **asked.to_json(),
            "average": reader.options.average,
            "towers": towers.reference,
            "sets": [_sentences(one) for one in reader.prompt_sets],
        },
        "precision": reader.precision,
        "averaging": {"of": "patch scores", "members": towers.members},
    }
    shown = (*towers.notices, *notices)
    return describe(layout.ZERO_SHOT_SLIDES, name, reads, calibration, provenance, notices=shown, averaged=(*smoothed, *AVERAGED))


def _sentences(one: PromptSet) -> dict[str, Any]:
    """Templates and words of one prompt set; where the words come from stands with the pool they were drawn from."""
    drawn = replace(one, about="", sources=(), prompts=tuple(replace(prompt, sources=()) for prompt in one.prompts)).to_json()
    return {"templates": drawn["templates"], "findings": drawn["findings"]}


def save_slides(
    path: str | Path, description: dict[str, Any], *, reader: SlideWords, calibration: Calibration, overwrite: bool = False
) -> str:
    """Writes the bundle and returns its id; the same content gives the same bytes.

    Args:
        path: Its folder, to be made.
        description: From `describe_slides`.
        reader: Whose words are locked; its towers are read from their files anew, since what answers is laid out for this machine.
        calibration: What was fitted.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: Something is there already.
    """
    return save_locked(
        path,
        description,
        models=reader.bundle.each_model(),
        texts={COLUMNS: np.asarray(reader.inference.columns.weights)},
        statistics=calibration.gate.state(),
        overwrite=overwrite,
    )


def open_slides(verified: VerifiedBundle, device: str) -> SlideInference:
    """Returns what answers, of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from vesalius.inference.slide import SlideEncoder
    from vesalius.inference.slide_words import SlideInference, SlideRule
    from vesalius.zeroshot.slide_scores import TextColumns

    description = verified.description
    files, findings = read_locked(verified), tuple(description["findings"])
    if [entry["name"] for entry in files.prompts["findings"]] != list(findings) or COLUMNS not in files.texts:
        raise BundleError(f"the words of {verified.path} are of other findings than it answers; calibrate them again")
    columns = TextColumns(files.texts[COLUMNS], findings, len(files.prompts["sets"]))
    # Features bear the name of the towers they were made with: those of `zeroshot` and `features` are taken up here.
    encoder = SlideEncoder(
        files.towers, files.contract, name=files.prompts["towers"], precision=description["precision"], device=device
    )
    return SlideInference(encoder, columns, SlideRule.from_json(description["slide"]))
