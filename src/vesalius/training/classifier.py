"""The recipe `classifier`: films with labels in, a network that gives a logit and patch evidence for each finding out.

Setup, here: which films and findings, the preprocessing contract, the network.
Fit: the one loop (`vesalius.training.fit`) with the three functions of `vesalius.training.film_task`.
Done, here: `model.json` says what the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Float64

from vesalius.datasets.labels import resolve
from vesalius.datasets.store import Store
from vesalius.errors import RunError
from vesalius.metrics.classification import known_labels
from vesalius.models.classifier import build_classifier
from vesalius.models.config import ClassifierConfig
from vesalius.models.preprocessing import Preprocessing
from vesalius.training import data, state
from vesalius.training.film_task import make_task
from vesalius.training.fit import Plan, fit
from vesalius.training.initialise import initialise
from vesalius.training.optimization import average_weights, build_optimizer
from vesalius.training.options import ClassifierOptions, save_toml, to_plain
from vesalius.training.recipe import LEAST, begun_before, launch, refuse_counts, signature
from vesalius.training.run import FORMAT, RunFolder, load_run

if TYPE_CHECKING:
    from vesalius.training.state import Standing
    from vesalius.types import ProgressCallback

PLACES = frozenset({"store", "out", "init_from"})
"""Paths of one machine: they stay in `run.toml` and do not travel with the model."""


@dataclass(frozen=True)
class RunSummary:
    """What a run reached.

    Attributes:
        path: Its folder.
        findings: In the order of the logits.
        films: Films in each split: `train`, `validation`.
        present: Validation films on which each finding is present.
        best: The line of `metrics.jsonl` whose weights were kept.
        seconds: Wall time, over all its starts.
        notes: What the user should know.
        nothing_to_do: The run was finished before it was asked for.
    """

    path: Path
    findings: tuple[str, ...]
    films: dict[str, int]
    present: dict[str, int]
    best: dict[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()
    nothing_to_do: bool = False


@dataclass(frozen=True)
class Setting:
    """All that is settled before the first step.

    Attributes:
        config: Of the network.
        preprocessing: The contract from film to tensor.
        train: Films to learn from.
        validation: Films that choose the weights.
        train_labels: What these films say.
        validation_truth: 1, 0, NaN.
        positive_weight: Weight of present films of each finding; None if they weigh as the others.
        evidence: Where the findings are, on the training films; None if the store has no masks or they are not wanted.
        sites: Sites of the training films.
        fingerprint: Of the store.
        notes: What the user should know.
    """

    config: ClassifierConfig
    preprocessing: Preprocessing
    train: data.Films
    train_labels: data.Labels
    validation: data.Films
    validation_truth: Float64[np.ndarray, "case finding"]
    positive_weight: Float32[np.ndarray, " finding"] | None
    evidence: data.Evidence | None
    sites: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]


def train_classifier(options: ClassifierOptions, progress: ProgressCallback | None = None) -> RunSummary:
    """Trains a classifier, or goes on with the run in `options.out`.

    Raises:
        StoreError: The store is missing or unfinished.
        LabelsError: A finding is unknown to the store, or the training films show only one side of it.
        RunError: A split is empty, the folder holds a run with other settings, or the loss stopped being a number.
    """
    refuse_impossible(options)
    setting = setup(options)
    folder = RunFolder(options.out)
    if already_finished(folder, options, setting):
        run = load_run(folder.path)
        return replace(summarise(folder, setting, run.best, run.seconds), nothing_to_do=True)
    fabric = launch(options)
    learner, notes = build_learner(options, setting)
    setting = replace(setting, notes=(*setting.notes, *notes))
    if fabric.is_global_zero:
        folder.path.mkdir(parents=True, exist_ok=True)
        save_toml(options, folder.settings)
    plan = make_plan(options, setting)
    standing = fit(fabric, learner, make_task(fabric, options, setting), plan, options.optimization, folder, progress)
    if fabric.is_global_zero:
        describe(folder, options, setting, standing)
    return summarise(folder, setting, standing.best, standing.seconds)


def refuse_impossible(options: ClassifierOptions) -> None:
    """Refuses settings that no run could have.

    Raises:
        RunError: Names the setting, what was got and what is possible.
    """
    refuse_counts(options, {**LEAST, "accumulate": 1})
    shares = options.devices * options.nodes * options.accumulate
    if options.batch_size < shares:
        raise RunError(f"--batch-size {options.batch_size} cannot be split into {shares} parts (devices x nodes x accumulate)")
    if options.balance and options.loss != "bce":
        raise RunError(f"--balance weighs the loss bce; {options.loss} has its own way with rare findings: leave one of them out")
    mixes = options.augmentation.mixup > 0 or options.augmentation.cutmix > 0
    if mixes and options.uncertain_labels == "marginalise":
        raise RunError("a label that is left open cannot be mixed: leave out --mixup and --cutmix, or use other --uncertain-labels")


def setup(options: ClassifierOptions) -> Setting:
    """Chooses films and findings, and settles the preprocessing contract.

    Raises:
        StoreError, LabelsError, RunError: As `train_classifier`.
    """
    store = Store(options.store)
    findings = data.choose_findings(store, options.findings)
    uncertain = options.uncertain_labels != "ignore"
    rows = data.choose_rows(store, "train", options.sites, findings, uncertain=uncertain)
    validation_rows = data.choose_rows(store, "validation", options.sites, findings)
    truth = store.labels(findings)
    data.refuse_one_class(truth[rows], findings)
    notes = data.unscorable(truth[validation_rows], findings)
    labels = data.Labels(truth[rows], *resolve(truth[rows], options.uncertain_labels, options.seed))
    has_masks = any(name in store.structures for name in findings)
    if options.evidence_weight > 0 and not has_masks:
        notes.append("the store has no finding masks, so patch evidence was not guided")
    films = data.Films(store, rows, options.size_px, options.cache_gb)
    mean, std = films.mean_and_spread()
    shape = {name: getattr(options, name) for name in ("encoder", "size_px", "channels", "pooling", "dropout")}
    return Setting(
        config=ClassifierConfig(findings=findings, **shape),
        preprocessing=Preprocessing(
            store_size_px=store.size_px, size_px=options.size_px, channels=options.channels, mean=mean, std=std
        ),
        train=films,
        train_labels=labels,
        validation=data.Films(store, validation_rows, options.size_px, options.cache_gb),
        validation_truth=known_labels(truth[validation_rows]),
        positive_weight=data.absent_per_present(truth[rows]) if options.balance else None,
        evidence=data.Evidence(films, findings, truth[rows]) if has_masks and options.evidence_weight > 0 else None,
        sites=tuple(sorted(store.manifest["site"].iloc[rows].dropna().unique())),
        fingerprint=store.fingerprint,
        notes=tuple(notes),
    )


def build_learner(options: ClassifierOptions, setting: Setting) -> tuple[state.Learner, list[str]]:
    """Builds network, average and optimizer; returns also what was not taken from `init_from`."""
    torch.manual_seed(options.seed)
    network = build_classifier(setting.config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are 1.3 to 1.5 x faster so
    notes = initialise(network, setting.config, options.init_from) if options.init_from else []
    steps = make_plan(options, setting).steps
    averaged = average_weights(network, steps, options.optimization)
    return state.Learner(network, averaged, build_optimizer(network, options.optimization, options.precision)), notes


def make_plan(options: ClassifierOptions, setting: Setting) -> Plan:
    """Turns epochs into steps, and names what a checkpoint belongs to."""
    films = len(setting.train)
    steps = options.steps if options.steps is not None else max(1, round(options.epochs * films / options.batch_size))
    return Plan(
        steps=steps,
        films=options.batch_size,
        epoch_films=films,
        parts=options.accumulate,
        evaluations=options.evaluations,
        save_every=options.save_every,
        seed=options.seed,
        signature=signature(options, setting.fingerprint),
    )


def describe(folder: RunFolder, options: ClassifierOptions, setting: Setting, standing: Standing) -> None:
    """Writes `model.json`: with it the run is finished."""
    import lightning_fabric

    model = {
        "format": FORMAT,
        "kind": "classifier",
        "config": setting.config.to_json(),
        "preprocessing": setting.preprocessing.to_json(),
        "sites": list(setting.sites),
        "store_fingerprint": setting.fingerprint,
        "films": films_of(setting),
        "options": {name: value for name, value in to_plain(options).items() if name not in PLACES},
        "best": standing.best,
        "seconds": standing.seconds,
        "notes": list(setting.notes),
        "versions": {"vesalius": version("vesalius"), "torch": torch.__version__, "lightning-fabric": lightning_fabric.__version__},
    }
    state.save_json(folder.model, model)


def films_of(setting: Setting) -> dict[str, int]:
    """Films in each split."""
    return {"train": len(setting.train), "validation": len(setting.validation)}


def already_finished(folder: RunFolder, options: ClassifierOptions, setting: Setting) -> bool:
    """Is there a finished run with these settings in the folder? False if there is none, or one to go on with.

    Raises:
        RunError: There is a run with other settings, or of another store; the message names what differs.
    """
    if not begun_before(folder, options) or not folder.model.is_file():
        return False
    if load_run(folder.path).store_fingerprint != setting.fingerprint:
        raise RunError(f"{folder.path} holds a run on another store, or the store has changed since; use another --out")
    return True


def summarise(folder: RunFolder, setting: Setting, best: dict[str, Any], seconds: float) -> RunSummary:
    """Returns what a run reached."""
    present = (setting.validation_truth == 1).sum(axis=0).tolist()
    return RunSummary(
        path=folder.path,
        findings=tuple(setting.config.findings),
        films=films_of(setting),
        present=dict(zip(setting.config.findings, present, strict=True)),
        best=state.finite(best),
        seconds=seconds,
        notes=setting.notes,
    )
