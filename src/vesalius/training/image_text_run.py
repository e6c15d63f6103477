"""A finished run of images and words, or of words alone, as later verbs find it on disk. No torch here.

RUN/run.toml                           every setting
RUN/model.json                         configuration, preprocessing contract, sites, provenance; there when the run is finished
RUN/tokenizer.json                     how words become ids
RUN/metrics.jsonl                      one line an evaluation
RUN/checkpoints/best.safetensors       averaged weights at the best evaluation
RUN/checkpoints/step-N.safetensors     with --keep: the best evaluations' weights
RUN/checkpoints/best-1.safetensors ... of a sweep: the best of all its runs, in order
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.errors import RunError
from vesalius.training.run import FORMAT, RunFolder

if TYPE_CHECKING:
    from vesalius.models.clip_config import ImageTextConfig, TextTower
    from vesalius.models.contracts import Contract

TOKENIZER = "tokenizer.json"
IMAGE_TEXT, LANGUAGE = "image-text", "language"


@dataclass(frozen=True)
class ImageTextRun:
    """A finished run of `vesalius train image-text`, or a finished sweep.

    Attributes:
        path: Its folder.
        config: Of both towers.
        contract: From film to tensor.
        tokenizer: The bytes of its `tokenizer.json`.
        weights: The averaged weights of each member of the ensemble, best first; one unless several were kept.
        sites: The sites whose films it was trained on; every other site is external to it.
        store_fingerprint: SHA-256 of the store's manifest at training time.
        options: Every setting, but for the paths of the machine it was made on.
        best: The best evaluation's line of `metrics.jsonl`.
        films: How many films each split had.
        findings: Findings whose labels or names it was shown.
        seconds: Wall time of the training.
    """

    path: Path
    config: ImageTextConfig
    contract: Contract
    tokenizer: bytes
    weights: tuple[Path, ...]
    sites: tuple[str, ...]
    store_fingerprint: str
    options: dict[str, Any]
    best: dict[str, Any]
    films: dict[str, int]
    findings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class LanguageRun:
    """A finished run of `vesalius train language`.

    Attributes:
        path: Its folder.
        text: The encoder of words.
        tokenizer: The bytes of its `tokenizer.json`.
        weights: The averaged weights at the best evaluation; the encoder's names begin with `text.`.
        texts: Texts in each split, and tokens of the vocabulary.
        fingerprint: Of the texts.
        best: The best evaluation's line of `metrics.jsonl`.
        seconds: Wall time of the training.
    """

    path: Path
    text: TextTower
    tokenizer: bytes
    weights: Path
    texts: dict[str, int]
    fingerprint: str
    best: dict[str, Any]
    seconds: float


def load_image_text_run(path: str | Path) -> ImageTextRun:
    """Opens a finished run or sweep; its weights are named, not read.

    Raises:
        RunError: No such run there, or it stopped before its end; the message has the command that goes on.
    """
    from vesalius.models.clip_config import ImageTextConfig
    from vesalius.models.contracts import contract_from_json

    folder = RunFolder(Path(path))
    model = read_model(folder, IMAGE_TEXT)
    weights = tuple(folder.best.parent / name for name in model["weights"])
    lost = [one.name for one in weights if not one.is_file()]
    if lost:
        raise RunError(f"the run at {folder.path} has lost its weights ({', '.join(lost)}); train again")
    return ImageTextRun(
        path=folder.path,
        config=ImageTextConfig.from_json(model["config"]),
        contract=contract_from_json(model["preprocessing"]),
        tokenizer=read_tokenizer(folder),
        weights=weights,
        sites=tuple(model["sites"]),
        store_fingerprint=model["store_fingerprint"],
        options=model["options"],
        best=model["best"],
        films=model["films"],
        findings=tuple(model["findings"]),
        seconds=float(model["seconds"]),
    )


def load_language_run(path: str | Path) -> LanguageRun:
    """Opens a finished run of language pre-training; its weights are named, not read.

    Raises:
        RunError: No such run there, or it stopped before its end; the message has the command that goes on.
    """
    from vesalius.models.clip_config import TextTower

    folder = RunFolder(Path(path))
    model = read_model(folder, LANGUAGE)
    if not folder.best.is_file():
        raise RunError(f"the run at {folder.path} has lost its weights ({folder.best.name}); train again")
    return LanguageRun(
        path=folder.path,
        text=TextTower(**model["text"]),
        tokenizer=read_tokenizer(folder),
        weights=folder.best,
        texts=model["texts"],
        fingerprint=str(model["texts_fingerprint"]),
        best=model["best"],
        seconds=float(model["seconds"]),
    )


def read_model(folder: RunFolder, kind: str) -> dict[str, Any]:
    """Returns `model.json` of a finished run of this kind.

    Raises:
        RunError: There is none, it is not finished, or of another kind or version.
    """
    verb = "vesalius train sweep" if (folder.path / "runs").is_dir() else f"vesalius train {kind}"
    if folder.settings.is_file() and not folder.model.is_file():
        raise RunError(f"the run at {folder.path} is not finished; go on with `{verb} --config {folder.settings}`, then try again")
    try:
        model: dict[str, Any] = json.loads(folder.model.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no training run at {folder.path} (no model.json); make one with `{verb}`") from None
    except ValueError:
        raise RunError(f"{folder.model} is not JSON; train again into another folder") from None
    if model.get("kind") != kind:
        raise RunError(f"{folder.path} is a run of the recipe {model.get('kind')}; expected one of `{verb}`")
    if model.get("format") != FORMAT:
        raise RunError(f"{folder.model} has format {model.get('format')!r}; this version reads {FORMAT}; train again")
    return model


def read_tokenizer(folder: RunFolder) -> bytes:
    """Returns the bytes of the run's `tokenizer.json`.

    Raises:
        RunError: It is missing.
    """
    try:
        return (folder.path / TOKENIZER).read_bytes()
    except FileNotFoundError:
        raise RunError(f"the run at {folder.path} has lost its {TOKENIZER}; train again into another folder") from None
