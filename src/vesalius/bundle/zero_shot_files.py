"""What bundles of kind `zero-shot` and `zero-shot-slides` hold beside the rules: image towers, and prompts embedded for good.

    weights.safetensors        an image tower with its projection; weights-1, weights-2 ... of an ensemble
    text.safetensors           arrays of the embedded prompts, one set a checkpoint
    bundle.json                `prompts`: the words themselves; `encoder`, `preprocessing`, `family` as in an image-text bundle

There is no text tower and no tokenizer: nothing can be asked of it but what was locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.bundle import format as layout
from vesalius.bundle.image_text import build_unfilled
from vesalius.bundle.save import save_bundle
from vesalius.bundle.verify import VerifiedBundle
from vesalius.errors import BundleError
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.contracts import Contract, contract_from_json

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel

OF_WORDS = ("text.", "text_projection.")


@dataclass(frozen=True)
class ZeroShotFiles:
    """What was read of a bundle of kind `zero-shot` or `zero-shot-slides`.

    Attributes:
        config: Of both towers; only the image tower is there.
        contract: From film or patch to tensor.
        models: Image towers on the CPU, ready to answer; `embed_images`, `image_features` and `project_patches` work.
        texts: Arrays of the embedded prompts.
        prompts: The words, as they were locked.
    """

    config: ImageTextConfig
    contract: Contract
    models: tuple[ImageTextModel, ...]
    texts: dict[str, np.ndarray]
    prompts: dict[str, Any]


def save_zero_shot(
    path: str | Path,
    description: dict[str, Any],
    *,
    models: Sequence[ImageTextModel],
    texts: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    overwrite: bool = False,
) -> str:
    """Writes a bundle of kind `zero-shot` or `zero-shot-slides` and returns its id; of each model only what sees images is kept.

    Args:
        path: Its folder, to be made.
        description: All of `bundle.json`: as `calibrate.describe` gives it, with kind, family, prompts and both towers as encoder.
        models: One a checkpoint, in order.
        texts: Arrays of the embedded prompts.
        statistics: Arrays of the out-of-distribution gate.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: The description lacks something, or something is there already.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    kind = description.get("kind")
    wanted = layout.REQUIRED_OF[layout.ZERO_SHOT_SLIDES if kind == layout.ZERO_SHOT_SLIDES else layout.ZERO_SHOT]
    missing = [key for key in wanted if key not in description]
    if missing or kind not in (layout.ZERO_SHOT, layout.ZERO_SHOT_SLIDES) or not models:
        raise BundleError(f"this is no description of a zero-shot bundle; it lacks: {', '.join(missing) or 'its kind, or a model'}")
    weights = [
        save({name: value for name, value in model.state_dict().items() if not name.startswith(OF_WORDS)}) for model in models
    ]
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(texts.items())}
    extra = {layout.TEXT: save_arrays(arrays)}
    return save_bundle(path, description, weights=weights, statistics=statistics, extra=extra, overwrite=overwrite)


def read_zero_shot(verified: VerifiedBundle) -> ZeroShotFiles:
    """Reads the towers and embedded prompts of a bundle that was verified.

    Raises:
        BundleError: Its parts do not fit together.
    """
    from safetensors.numpy import load_file

    description = verified.description
    try:
        config = ImageTextConfig.from_json(description["encoder"])
        names = layout.weights_names(int(description["averaging"]["members"]))
        models = tuple(_image_tower(config, verified.path / name) for name in names)
        texts = load_file(verified.path / layout.TEXT)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise BundleError(f"the bundle at {verified.path} does not fit together ({error}); calibrate it again") from error
    return ZeroShotFiles(config, contract_from_json(description["preprocessing"]), models, texts, description["prompts"])


def _image_tower(config: ImageTextConfig, path: Path) -> ImageTextModel:
    from safetensors.torch import load_file

    model = build_unfilled(config)
    del model.text, model.text_projection
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)
