"""What bundles of kind `zero-shot` and `zero-shot-slides` hold beside the rules: image towers, and prompts embedded for good.

    weights.safetensors        an image tower with its projection; weights-1, weights-2 ... of an ensemble
    text.safetensors           arrays of the embedded prompts
    bundle.json                `prompts`: the words themselves; `encoder`, `preprocessing`, `family` as in an image-text bundle

There is no text tower and no tokenizer: nothing can be asked of it but what was locked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.bundle import format as layout
from vesalius.bundle.save import check_free, save_bundle
from vesalius.bundle.verify import VerifiedBundle
from vesalius.errors import BundleError
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.contracts import Contract, contract_from_json

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.models.image_tower import ImageTower


@dataclass(frozen=True)
class LockedWords:
    """What was read of a bundle of kind `zero-shot` or `zero-shot-slides`.

    Attributes:
        contract: From film or patch to tensor.
        towers: On the CPU, ready to answer.
        texts: Arrays of the embedded prompts.
        prompts: The words, as they were locked.
    """

    contract: Contract
    towers: tuple[ImageTower, ...]
    texts: dict[str, np.ndarray]
    prompts: dict[str, Any]


def save_locked(
    path: str | Path,
    description: dict[str, Any],
    *,
    models: Iterable[ImageTextModel | ImageTower],
    texts: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    overwrite: bool = False,
) -> str:
    """Writes a bundle of kind `zero-shot` or `zero-shot-slides` and returns its id; of each model only what sees images is kept.

    Args:
        path: Its folder, to be made.
        description: All of `bundle.json`: as `describe.describe` gives it, with family, prompts and both towers as encoder.
        models: One a checkpoint, in order; taken one after another, so that one at a time is in memory.
        texts: Arrays of the embedded prompts.
        statistics: Arrays of the out-of-distribution gate.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: The description lacks something, there is no model, or something is there already.
    """
    from safetensors.numpy import save
    from safetensors.torch import save_file

    from vesalius.models.image_tower import tower_state

    kind = description.get("kind")
    wanted = layout.REQUIRED_OF[layout.ZERO_SHOT_SLIDES if kind == layout.ZERO_SHOT_SLIDES else layout.ZERO_SHOT]
    missing = [key for key in wanted if key not in description]
    if missing or kind not in (layout.ZERO_SHOT, layout.ZERO_SHOT_SLIDES):
        raise BundleError(f"this is no description of a zero-shot bundle; it lacks: {', '.join(missing) or 'its kind'}")
    path = Path(path)
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(texts.items())}
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.towers.", dir=path.parent) as folder:
        weights = []
        for member, model in enumerate(models):
            weights.append(Path(folder) / f"{member}.safetensors")
            save_file(tower_state(model), weights[-1])
        if not weights:
            raise BundleError("a zero-shot bundle needs at least one checkpoint")
        extra = {layout.TEXT: save(arrays)}
        return save_bundle(path, description, weights=weights, statistics=statistics, extra=extra, overwrite=overwrite)


def read_locked(verified: VerifiedBundle) -> LockedWords:
    """Reads the towers and embedded prompts of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from safetensors.numpy import load_file as load_arrays
    from safetensors.torch import load_file

    from vesalius.models.image_tower import ImageTower

    description = verified.description
    try:
        config = ImageTextConfig.from_json(description["encoder"])
        names = layout.weights_names(int(description["averaging"]["members"]))
        towers = tuple(ImageTower.from_state(config, load_file(verified.path / name)) for name in names)
        texts = load_arrays(verified.path / layout.TEXT)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise BundleError(f"the bundle at {verified.path} does not fit together ({error}); calibrate it again") from error
    return LockedWords(contract_from_json(description["preprocessing"]), towers, texts, description["prompts"])
