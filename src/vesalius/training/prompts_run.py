"""A finished run of learned prompts, as `vesalius calibrate` finds it on disk. No torch here.

RUN/run.toml                        every setting, with the place of the image-text bundle
RUN/model.json                      the prompts' design, the bundle's id, sites, provenance; there when the run is finished
RUN/few_shot.json                   the curve: every number of shots beside hand-written prompts and a linear probe
RUN/draws/SHOTS-REPEAT/             the run of one draw: metrics.jsonl, checkpoints/
RUN/checkpoints/best.safetensors    the generator of the largest number of shots, first draw
RUN/films.safetensors               films as the frozen towers embed them, so that a run that goes on need not do it again
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import RunError
from vesalius.training.image_text_run import read_model
from vesalius.training.options import load_toml
from vesalius.training.prompts_options import PromptsOptions
from vesalius.training.run import RunFolder

KIND = "prompts"
CURVE = "few_shot.json"


@dataclass(frozen=True)
class PromptsRun:
    """A finished run of `vesalius train prompts`.

    Attributes:
        path: Its folder.
        design: What the generator is made of, as plain data.
        bundle: The image-text bundle it was learned over.
        bundle_id: SHA-256 of that bundle's manifest at training time.
        weights: The generator.
        sites: The sites whose films it was trained on; every other site is external to it.
        store_fingerprint: SHA-256 of the store's manifest at training time.
        options: Every setting, but for the paths of the machine it was made on.
        films: How many films each split had.
        best: The last row of the curve that is of learned prompts.
    """

    path: Path
    design: dict[str, Any]
    bundle: Path
    bundle_id: str
    weights: Path
    sites: tuple[str, ...]
    store_fingerprint: str
    options: dict[str, Any]
    films: dict[str, int]
    best: dict[str, Any]

    @property
    def findings(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(self.design["findings"])


def is_prompts_run(path: str | Path) -> bool:
    """Is this the folder of a run of learned prompts, finished or not?"""
    folder = RunFolder(Path(path))
    try:
        return bool(json.loads(folder.model.read_text(encoding="utf-8")).get("kind") == KIND)
    except (OSError, ValueError, AttributeError):
        return (folder.path / "draws").is_dir()


def load_prompts_run(path: str | Path) -> PromptsRun:
    """Opens a finished run; its weights are named, not read.

    Raises:
        RunError: No such run there, or it stopped before its end.
    """
    folder = RunFolder(Path(path))
    model = read_model(folder, KIND)
    if not folder.best.is_file():
        raise RunError(f"the run at {folder.path} has lost its weights ({folder.best.name}); train again")
    curve = read_curve(folder.path)["curve"]
    learned = [row for row in curve if row["method"] == "learned prompts"]
    return PromptsRun(
        path=folder.path,
        design=model["design"],
        bundle=load_toml(PromptsOptions, folder.settings).bundle,
        bundle_id=str(model["bundle"]["id"]),
        weights=folder.best,
        sites=tuple(model["sites"]),
        store_fingerprint=str(model["store_fingerprint"]),
        options=model["options"],
        films=model["films"],
        best=learned[-1] if learned else {},
    )


def read_curve(path: str | Path) -> dict[str, Any]:
    """Returns `few_shot.json` of a finished run.

    Raises:
        RunError: It is not there.
    """
    try:
        value: dict[str, Any] = json.loads((Path(path) / CURVE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError(f"the run at {path} has no {CURVE}; go on with it, or train again") from None
    return value
