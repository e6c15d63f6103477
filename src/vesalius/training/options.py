"""What a training run is asked for: one frozen dataclass is the command, its help and `run.toml`.

Light: the command line reads it before anything heavy is imported.
"""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.datasets.labels import UncertainPolicy
from vesalius.errors import RunError
from vesalius.models.config import Encoder, Pooling

Loss = Literal["bce", "asymmetric", "focal"]
Precision = Literal["float32", "bf16-mixed", "16-mixed"]

Options = TypeVar("Options")


def _words_from(arguments: list[str]) -> tuple[str, ...]:
    return tuple(word.strip() for word in arguments[0].split(",") if word.strip())


Words = Annotated[
    tuple[str, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="A,B,...",
        instance_from_str=_words_from,
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(word, str) for word in value),
        str_from_instance=lambda words: [",".join(words)],
    ),
]
"""Names with commas between them on the command line, an array in `run.toml`."""


@dataclass(frozen=True)
class OptimizationOptions:
    """How the weights move: AdamW, warm-up and cosine, clipping, averaging."""

    learning_rate: float = 1e-3
    """the highest learning rate, reached after the warm-up; large networks want less, a ViT-B/16 about 1e-4"""
    weight_decay: float = 0.05
    """AdamW's decoupled decay; none on biases, norms and position embeddings"""
    warmup: float = 0.05
    """share of the steps in which the learning rate climbs"""
    final_learning_rate: float = 0.01
    """where the cosine ends, as a share of the highest"""
    clip_norm: float = 1.0
    """the gradient is scaled down to this norm; 0 = never"""
    ema_decay: float = 0.99
    """each step the averaged weights move by 1 - this towards the trained ones; 0 = no averaging"""
    swa: float = 0.0
    """over this last share of the steps, average the weights equally instead (stochastic weight averaging)"""


@dataclass(frozen=True)
class ClassifierOptions:
    """Every setting of one run of the recipe `classifier`."""

    store: Path
    """the store that `vesalius ingest` made"""
    out: Path
    """folder of the run; the same command on the same folder goes on where it stopped"""
    findings: Words = ()
    """findings to learn; all of the store's unless given"""
    sites: Words = ()
    """train and validate on films of these sites only; all unless given"""
    encoder: Encoder = "vit-base-16"
    """the network between film and patch features"""
    size_px: Annotated[int, tyro.conf.arg(name="size")] = 512
    """side of the square the network sees, in pixels"""
    channels: Literal[1, 3] = 1
    """3 repeats the film, for encoders that were trained on colour"""
    pooling: Pooling = "logsumexp"
    """how patch logits become the film's logit"""
    dropout: float = 0.0
    """share of patch features left out before the head, in training"""
    loss: Loss = "bce"
    """per-label loss; asymmetric and focal lean towards rare findings"""
    uncertain_labels: UncertainPolicy = "ignore"
    """what a -1 in the labels means while training"""
    evidence_weight: float = 6.0
    """weight of the loss that holds patch logits to the finding masks, where the store has any; 0 = none"""
    balance: bool = False
    """weigh present films of a finding by absent / present"""
    epochs: float = 30.0
    """how often every film is seen"""
    steps: int | None = None
    """optimizer steps, instead of epochs"""
    batch_size: int = 32
    """films a step, over all processes"""
    accumulate: int = 1
    """split a step's films into so many parts, where memory is short"""
    evaluations: int = 20
    """how often the validation films are scored; the best by macro-AUPRC is kept"""
    save_every: int = 200
    """steps between checkpoints, beside one at every evaluation: at most so much is lost by a stop"""
    optimization: tyro.conf.OmitArgPrefixes[OptimizationOptions] = field(default_factory=OptimizationOptions)
    """AdamW, learning rate, clipping, averaging"""
    augmentation: tyro.conf.OmitArgPrefixes[AugmentationOptions] = field(default_factory=AugmentationOptions)
    """how films are varied"""
    precision: Precision = "float32"
    """bf16-mixed is faster on most machines; 16-mixed is for older GPUs"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    devices: int = 1
    """processes a machine; each takes its share of every batch"""
    nodes: int = 1
    """machines, under torchrun or Slurm"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """what computes"""
    cache_gb: float = 4.0
    """films are kept in memory up to this size, and read again for every batch beyond it"""
    init_from: Path | None = None
    """start from the weights of this run, of this .safetensors file, or of CXR-MAE's .pth"""


def save_toml(options: Any, path: Path) -> None:
    """Writes `options`, a dataclass of settings, as a TOML file; what is None is left out."""
    path.write_text(to_toml(options), encoding="utf-8")


def to_toml(options: Any) -> str:
    """Returns the text of `run.toml`."""
    import tomli_w

    return tomli_w.dumps(to_plain(options))


def to_plain(options: Any) -> dict[str, Any]:
    """Returns settings as a dict of what TOML and JSON can hold."""
    plain: dict[str, Any] = {}
    for setting in fields(options):
        value = getattr(options, setting.name)
        if is_dataclass(value):
            plain[setting.name] = to_plain(value)
        elif isinstance(value, tuple):
            plain[setting.name] = list(value)
        elif value is not None:
            plain[setting.name] = str(value) if isinstance(value, Path) else value
    return plain


def load_toml(kind: type[Options], path: Path) -> Options:
    """Reads settings back from a `run.toml`.

    Raises:
        RunError: The file is missing, is not TOML, or has a setting that `kind` does not know or a value it cannot take.
    """
    path = path / "run.toml" if path.is_dir() else path
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no settings at {path}; expected the run.toml of an earlier run") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not a TOML file: {error}") from None
    return from_plain(kind, table, str(path))


def from_plain(kind: type[Options], table: dict[str, Any], source: str) -> Options:
    """Builds `kind` from a dict, refusing what it does not know; `source` is named in errors.

    Raises:
        RunError: An unknown or missing setting, or a value of another type than the setting's.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise RunError(
            f"{source} has settings that {kind.__name__} does not know: {', '.join(unknown)}; it knows: {', '.join(hints)}"
        )
    values = {name: _value(hints[name], value, f"{source}: {name}") for name, value in table.items()}
    try:
        return kind(**values)
    except TypeError:
        required = ", ".join(f"{name}" for name in hints if name not in values)
        raise RunError(f"{source} lacks a setting that has no default; not given: {required}") from None


def _value(kind: Any, value: Any, source: str) -> Any:
    """Turns one TOML value into what the setting holds."""
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        kind = next(choice for choice in typing.get_args(kind) if choice is not type(None))
        origin = typing.get_origin(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return from_plain(typing.cast("type[Any]", kind), value, source)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise RunError(f"{source} is {value!r}; expected one of: {', '.join(map(str, typing.get_args(kind)))}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(kind, type) or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RunError(f"{source} is {value!r}; expected {getattr(kind, '__name__', kind)}")
    return value
