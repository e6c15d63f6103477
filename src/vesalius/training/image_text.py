"""The recipe `image-text`: films and their reports in, two towers that meet out.

Setup: which films, what their reports say, towers, preprocessing contract (`vesalius.training.image_text_setting`).
Fit: the one loop (`vesalius.training.fit`) with what `vesalius.training.image_text_task` hands to it.
Done, here: `model.json` says what the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vesalius.errors import BundleError, RunError, VesaliusError
from vesalius.models.clip import VISION_ENCODERS, ImageTextModel
from vesalius.models.clip_config import build_config
from vesalius.training import state
from vesalius.training.fit import Plan, fit
from vesalius.training.image_text_options import ImageTextOptions, Score
from vesalius.training.image_text_run import IMAGE_TEXT, TOKENIZER, ImageTextRun, load_image_text_run
from vesalius.training.image_text_setting import Material, Setting, gather, settle
from vesalius.training.image_text_start import Start, begin_from, begin_text, load_start, make_tokenizer
from vesalius.training.image_text_task import make_task
from vesalius.training.optimization import average_weights, build_optimizer, build_sgd
from vesalius.training.options import save_toml, to_plain
from vesalius.training.recipe import LEAST, begun_before, launch, refuse_counts, signature
from vesalius.training.run import FORMAT, RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.training.state import Standing
    from vesalius.types import ProgressCallback

__all__ = ["ImageTextRun", "RunSummary", "Setting", "load_image_text_run", "train_image_text"]

PLACES = frozenset({"store", "out", "texts", "tokenizer", "init_from", "init_text"})
"""Paths of one machine: they stay in `run.toml` and do not travel with the model."""


@dataclass(frozen=True)
class RunSummary:
    """What a run reached.

    Attributes:
        path: Its folder.
        films: Films in each split, how many of them have a report, and labelled sentences (medclip).
        score: The figure that chose the weights.
        best: The line of `metrics.jsonl` whose weights were kept.
        seconds: Wall time, over all its starts.
        notes: What the user should know.
        nothing_to_do: The run was finished before it was asked for.
    """

    path: Path
    films: dict[str, int]
    score: Score
    best: dict[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()
    nothing_to_do: bool = False


def train_image_text(
    options: ImageTextOptions, progress: ProgressCallback | None = None, fabric: Fabric | None = None
) -> RunSummary:
    """Trains two towers, or goes on with the run in `options.out`.

    Args:
        options: Every setting.
        progress: Called with steps done and steps in all.
        fabric: Of processes that were started already.

    Raises:
        StoreError: The store is missing or unfinished.
        LabelsError: A finding is unknown to the store.
        EmptyInput: No word is shared by enough patients, or no sentence speaks of a finding (medclip).
        RunError: No film with a report, the folder holds a run with other settings, or the loss stopped being a number.
    """
    refuse_impossible(options)
    material = gather(options)
    folder = RunFolder(options.out)
    if begun_before(folder, options) and folder.model.is_file():
        return finished(folder, material)
    start = begin_text(options.init_text) if options.init_text else Start()
    start = begin_from(options.init_from) if options.init_from else start
    fabric = fabric or launch(options)
    setting, learner = begin(fabric, folder, options, material, start)
    task = make_task(fabric, options, setting)
    standing = fit(fabric, learner, task, make_plan(options, setting), options.optimization, folder, progress)
    if fabric.is_global_zero:
        describe(folder, options, setting, standing)
    return RunSummary(folder.path, films_of(setting), setting.score, state.finite(standing.best), standing.seconds, setting.notes)


def begin(
    fabric: Fabric, folder: RunFolder, options: ImageTextOptions, material: Material, start: Start
) -> tuple[Setting, state.Learner]:
    """Settles all before the first step; a run that cannot begin leaves no settings behind that would refuse the next.

    Raises:
        VesaliusError: As `train_image_text`.
    """
    begun, tokens = folder.settings.is_file(), folder.path / TOKENIZER
    given = tokens.is_file()  # a sweep's runs speak one language
    if fabric.is_global_zero:
        folder.path.mkdir(parents=True, exist_ok=True)
        save_toml(options, folder.settings)
    try:
        tokenizer = make_tokenizer(fabric, tokens, options, start.tokenizer, material.words)
        setting = settle(options, material, start, tokenizer)
        return setting, build_learner(options, setting, start)
    except VesaliusError:
        if fabric.is_global_zero and not begun:
            folder.settings.unlink()
            if not given:
                tokens.unlink(missing_ok=True)
        raise


def refuse_impossible(options: ImageTextOptions) -> None:
    """Refuses settings that no run could have.

    Raises:
        RunError: Names the setting, what was got and what is possible.
    """
    refuse_counts(options, {**LEAST, "contrasted": 2, "keep": 1, "embedding_dim": 1, "context_length": 3})
    processes = options.devices * options.nodes
    if options.contrasted < options.batch_size:
        raise RunError(
            f"--contrast-batch {options.contrasted} is less than --batch-size {options.batch_size}, which is how many of it go "
            "through the networks at once; lower --batch-size, or leave out --contrast-batch"
        )
    if options.contrasted % processes or options.batch_size < processes:
        raise RunError(
            f"--contrast-batch {options.contrasted} and --batch-size {options.batch_size} on {processes} processes: the first must "
            "be a multiple of the processes, the second at least as many"
        )
    if not options.sharpness > 0:
        raise RunError(f"--sharpness is {options.sharpness:g}; expected a number above 0")
    if not options.init_from:
        refuse_size(options)
    if options.augmentation.mixup > 0 or options.augmentation.cutmix > 0:
        raise RunError("a report speaks of one film: leave out --mixup and --cutmix")
    if options.init_from and options.init_text:
        raise RunError("--init-from brings its own text encoder: leave out --init-text")
    if options.tokenizer and (options.init_from or options.init_text):
        raise RunError("--init-from and --init-text bring their own tokenizer: leave out --tokenizer")
    if options.texts and options.recipe == "clip":
        raise RunError("--texts has reports without films, which the recipe clip cannot use; take --recipe medclip")


def refuse_size(options: ImageTextOptions) -> None:
    """Refuses squares that the encoder of films cannot see, or would see without their rim.

    Raises:
        RunError: Names the size and what fits.
    """
    tower = build_config(options.vision, options.text, size_px=options.size_px).vision
    patch = int(tower.settings.get("patch_size", 1))
    if options.size_px % patch:
        raise RunError(f"--size {options.size_px} is no multiple of the {patch} pixels of a patch of {options.vision}; name one")
    words = f"--size {options.size_px}: {options.vision} cannot see squares of {options.size_px} pixels"
    try:
        with torch.device("meta"), torch.inference_mode():  # shapes alone: nothing is computed
            VISION_ENCODERS[tower.kind](tower)(torch.zeros(1, tower.channels, tower.size_px, tower.size_px))
    except BundleError as error:
        raise RunError(f"{words}: {error}") from None
    except RuntimeError:
        raise RunError(f"{words}, they are too small for its layers; 224 is usual") from None


def build_learner(options: ImageTextOptions, setting: Setting, start: Start) -> state.Learner:
    """Builds the towers, their average and the optimizer."""
    torch.manual_seed(options.seed)
    network = ImageTextModel(setting.config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are 1.3 to 1.5 x faster so
    load_start(network, start)
    how = options.optimization
    averaged = average_weights(network, make_plan(options, setting).steps, how)
    shares = {} if how.text_rate == 1.0 else {"text.": how.text_rate}
    if how.optimizer == "sgd":
        return state.Learner(network, averaged, build_sgd(network, how, how.momentum, shares))
    return state.Learner(network, averaged, build_optimizer(network, how, options.precision, shares))


def make_plan(options: ImageTextOptions, setting: Setting) -> Plan:
    """Turns epochs into steps, and names what a checkpoint belongs to."""
    films = len(setting.train)
    steps = options.steps if options.steps is not None else max(1, round(options.epochs * films / options.contrasted))
    return Plan(
        steps=steps,
        films=options.contrasted,
        epoch_films=films,
        parts=options.parts,
        evaluations=options.evaluations,
        save_every=options.save_every,
        seed=options.seed,
        signature=signature(options, setting.fingerprint + setting.tokenizer.sha256),
        kept=options.keep,
    )


def describe(folder: RunFolder, options: ImageTextOptions, setting: Setting, standing: Standing) -> None:
    """Writes `model.json`: with it the run is finished."""
    import lightning_fabric
    import tokenizers

    names = [folder.best.name]
    if options.keep > 1:
        from vesalius.training.image_text_options import SCORES

        best = state.best_lines(folder.metrics, SCORES[setting.score], options.keep)
        names = [folder.weights_at(int(line["step"])).name for line in best]
    model = {
        "format": FORMAT,
        "kind": IMAGE_TEXT,
        "config": setting.config.to_json(),
        "preprocessing": setting.contract.to_json(),
        "tokenizer": {"kind": setting.tokenizer.kind, "sha256": setting.tokenizer.sha256},
        "weights": names,
        "findings": list(setting.findings),
        "sites": list(setting.sites),
        "store_fingerprint": setting.fingerprint,
        "films": films_of(setting),
        "score": setting.score,
        "options": {name: value for name, value in to_plain(options).items() if name not in PLACES},
        "best": standing.best,
        "seconds": standing.seconds,
        "notes": list(setting.notes),
        "versions": {
            "vesalius": version("vesalius"),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "tokenizers": tokenizers.__version__,
            "lightning-fabric": lightning_fabric.__version__,
        },
    }
    state.save_json(folder.model, model)


def films_of(setting: Setting) -> dict[str, int]:
    """Films in each split, validation films with a report, and labelled sentences."""
    counts = {"train": len(setting.train), "validation": len(setting.validation.films)}
    counts["validation_reports"] = len(setting.validation.pairs)
    return counts | ({"sentences": len(setting.sentences)} if len(setting.sentences) else {})


def finished(folder: RunFolder, material: Material) -> RunSummary:
    """Returns what the finished run in this folder reached.

    Raises:
        RunError: It was made on another store.
    """
    run = load_image_text_run(folder.path)
    if run.store_fingerprint != material.store.fingerprint:
        raise RunError(f"{folder.path} holds a run on another store, or the store has changed since; use another --out")
    return RunSummary(folder.path, run.films, material.score, run.best, run.seconds, material.notes, nothing_to_do=True)
