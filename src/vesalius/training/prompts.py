"""The recipe `prompts`: an image-text bundle and labelled films in, prompts that were learned and a few-shot curve out.

Setup, here: which films and findings; every film passes the frozen towers once.
Fit: the one loop (`vesalius.training.fit`), once for every draw of patients.
Done, here: `few_shot.json` has the curve, `model.json` says what the prompts of the largest draw are.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from lightning_fabric import Fabric

from vesalius.bundle.image_text import load_image_text
from vesalius.datasets.store import Store
from vesalius.errors import PromptsError, RunError
from vesalius.inference.zero_shot import ImageEmbedder
from vesalius.metrics.classification import known_labels
from vesalius.training import data, state
from vesalius.training.few_shot import Point, draw_shots, few_shot_curve, linear_probe
from vesalius.training.fit import Plan, fit
from vesalius.training.optimization import average_weights, build_optimizer
from vesalius.training.options import save_toml, to_plain
from vesalius.training.prompts_data import (
    EmbeddedFilms,
    check_rows,
    check_store,
    embed_rows,
    frontal_rows,
    patients_of,
    recall,
    remember,
)
from vesalius.training.prompts_options import FULL, PromptsOptions
from vesalius.training.prompts_run import CURVE, KIND, read_curve
from vesalius.training.prompts_task import Setting, build_generator, hand_written, make_task, read_generator, score
from vesalius.training.recipe import begun_before, refuse_accelerator, refuse_optimization, signature
from vesalius.training.run import FORMAT, RunFolder
from vesalius.zeroshot.learned_prompts import design_for, freeze
from vesalius.zeroshot.prompt_file import load_prompts
from vesalius.zeroshot.prompts import SLOT, PromptKind, PromptSet, Template, plain_name, prompt_for

if TYPE_CHECKING:
    from vesalius.types import ProgressCallback

PLACES = frozenset({"bundle", "store", "out"})


@dataclass(frozen=True)
class PromptsSummary:
    """What a run reached.

    Attributes:
        path: Its folder.
        findings: In the order of the logits.
        curve: One row a point: see `few_shot.few_shot_curve`.
        films: Films to learn from and films that score.
        parameters: How many numbers are learned.
        seconds: Wall time of the learning, over all draws.
        notes: What the user should know.
        nothing_to_do: The run was finished before it was asked for.
    """

    path: Path
    findings: tuple[str, ...]
    curve: list[dict[str, Any]]
    films: dict[str, int]
    parameters: int
    seconds: float
    notes: tuple[str, ...] = ()
    nothing_to_do: bool = False


def train_prompts(options: PromptsOptions, progress: ProgressCallback | None = None) -> PromptsSummary:
    """Learns prompts for every number of shots and every draw, scores them beside the baselines, or goes on with the run.

    Raises:
        BundleError: Not an image-text bundle.
        StoreError: The store is missing, or its films are of another size than the bundle reads.
        LabelsError: A finding is unknown to the store, or none can be scored.
        TextTooLong: Context and name are longer than the text tower reads.
        RunError: A split is empty, a setting is out of its range, or the folder holds a run with other settings.
    """
    shots = points_of(options)
    folder = RunFolder(options.out)
    if begun_before(folder, options) and folder.model.is_file():
        refuse_others(folder, options)
        return load_summary(folder)
    fabric = Fabric(accelerator=options.accelerator, devices=1)
    fabric.launch()
    setting = setup(options, folder, fabric)
    folder.path.mkdir(parents=True, exist_ok=True)
    save_toml(options, folder.settings)
    points, seconds = [], 0.0
    learned = [word for word in shots if word != "0"]
    total = sum(repeats_of(options, word) for word in learned) * options.steps
    tick = _ticks(progress, options.steps, total)
    for word in shots:
        point, spent = learn_point(setting, fabric, folder, word, tick)
        points += point
        seconds += spent
    curve = few_shot_curve(
        points,
        known_labels(setting.scored.truth),
        setting.scored.patients,
        setting.design.findings,
        exclusive=setting.exclusive,
        resamples=options.resamples,
        seed=options.seed,
    )
    describe(folder, setting, curve, seconds)
    return load_summary(folder, fresh=True)


def points_of(options: PromptsOptions) -> tuple[str, ...]:
    """Returns the numbers of shots, fewest first, `full` last.

    Raises:
        RunError: A word that is no number of shots, or another setting out of its range.
    """
    for name in ("repeats", "steps", "batch_size", "evaluations", "save_every"):
        if getattr(options, name) < 1:
            raise RunError(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    refuse_accelerator(options.accelerator)
    refuse_optimization(options.optimization)
    if options.score_on == "validation" and options.evaluations > 1:
        raise RunError(
            f"with --evaluations {options.evaluations} the validation films choose the weights, and would flatter them; take "
            "another --score-on, or --evaluations 1"
        )
    words = sorted(set(options.shots) - {FULL})
    if not options.shots or not all(word.isdecimal() for word in words):
        raise RunError(f"--shots is {','.join(options.shots)!r}; expected numbers and {FULL}, e.g. 0,1,2,4,8,16,{FULL}")
    return (*sorted({str(int(word)) for word in words}, key=int), *([FULL] if FULL in options.shots else []))


def repeats_of(options: PromptsOptions, shots: str) -> int:
    """Returns how often a number of shots is drawn: of no film and of all films there is one draw only."""
    return 1 if shots in {"0", FULL} else options.repeats


def setup(options: PromptsOptions, folder: RunFolder, fabric: Fabric) -> Setting:
    """Chooses films and findings, and embeds every film once.

    Raises:
        BundleError, StoreError, LabelsError, RunError, ValueOutOfRange: As `train_prompts`.
    """
    bundle, store = load_image_text(options.bundle), Store(options.store)
    check_store(store, bundle.contract)
    findings = data.choose_findings(store, options.findings)
    exclusive = options.task == "multiclass"
    splits = ("train", "validation", options.score_on)
    rows = {split: frontal_rows(store, split, options.sites, findings, exclusive=exclusive) for split in splits}
    check_rows(rows, store, findings, options.score_on)
    shape = {name: getattr(options, name) for name in ("context", "context_tokens", "hidden", "reads", "bias", "class_vectors")}
    prompts = words_for(options, findings)
    model = freeze(next(iter(bundle.each_model()))).to(fabric.device)
    key = signature(options, f"{store.fingerprint} {bundle.id}")
    everything = np.unique(np.concatenate(list(rows.values())))
    held = recall(folder.path / "films.safetensors", key, everything)
    if held is None:
        held = embed_rows(ImageEmbedder([model], bundle.contract, device=str(fabric.device)), store, everything)
        remember(folder.path / "films.safetensors", key, everything, held)
    films = EmbeddedFilms(everything, *held, store.labels(findings)[everything], patients_of(store, everything))
    parts = {split: films.take(np.searchsorted(everything, chosen)) for split, chosen in rows.items()}
    notes = ["the bundle has several checkpoints; prompts are learned over the first"] if bundle.members > 1 else []
    return Setting(
        options=options,
        bundle=bundle,
        model=model,
        prompts=prompts,
        design=design_for(prompts, **shape),
        train=parts["train"],
        validation=parts["validation"],
        scored=parts[options.score_on],
        key=key,
        sites=tuple(sorted(store.manifest["site"].iloc[rows["train"]].dropna().unique())),
        fingerprint=store.fingerprint,
        notes=tuple(notes),
    )


def words_for(options: PromptsOptions, findings: tuple[str, ...]) -> PromptSet:
    """Returns the hand-written prompts of the findings.

    Raises:
        PromptsError: No such file, no words for a finding, or pairs where classes are learned.
    """
    kind: PromptKind = "classes" if options.task == "multiclass" else "pair"
    if options.prompts is not None:
        found = load_prompts(options.prompts).only(findings)
        if found.kind != kind:
            other = "multilabel" if found.kind == "pair" else "multiclass"
            raise PromptsError(
                f"{options.prompts} asks {found.kind} and the task {options.task} needs {kind}; "
                f"add --task {other}, or name other --prompts"
            )
        return found
    named = [replace(prompt_for(plain_name(finding)), finding=finding) for finding in findings]
    if kind == "pair":
        return PromptSet("names", kind, tuple(named))
    # classes stand against each other: a normal film is one of them, and nothing is denied
    return PromptSet("names", kind, tuple(replace(prompt, polarity=1, negative=()) for prompt in named), (Template(SLOT),))


def learn_point(
    setting: Setting, fabric: Fabric, folder: RunFolder, shots: str, tick: Iterator[ProgressCallback | None]
) -> tuple[list[Point], float]:
    """Returns the points of one number of shots, learned anew or read from a draw that was finished, and the seconds it took."""
    if shots == "0":
        start = score(setting, build_generator(setting, setting.options.seed).to(setting.device), setting.scored)
        hand = hand_written(setting, setting.scored)
        return [Point("hand-written prompts", "0", hand[None], (0,)), Point("learned prompts", "0", start[None], (0,))], 0.0
    scores, probes, films, seconds = [], [], [], 0.0
    for repeat in range(repeats_of(setting.options, shots)):
        few = setting.train.take(cases_of(setting, shots, repeat))
        draw = folder_of(folder, shots, repeat)
        seconds += learn_draw(setting, fabric, draw, few, setting.options.seed + repeat, next(tick))
        generator = read_generator(build_generator(setting, setting.options.seed + repeat), draw.best)
        scores.append(score(setting, generator.to(setting.device), setting.scored))
        probes.append(linear_probe(few.images, few.truth, setting.scored.images, setting.options.probe_penalty))
        films.append(len(few))
    each = tuple(films)
    return [Point("learned prompts", shots, np.stack(scores), each), Point("linear probe", shots, np.stack(probes), each)], seconds


def cases_of(setting: Setting, shots: str, repeat: int) -> Int64[np.ndarray, " shot"]:
    """Returns the training films of one draw."""
    if shots == FULL:
        return np.arange(len(setting.train), dtype=np.int64)
    seed = setting.options.seed + repeat
    return draw_shots(setting.train.truth, setting.train.patients, int(shots), seed, exclusive=setting.exclusive)


def folder_of(folder: RunFolder, shots: str, repeat: int) -> RunFolder:
    """Returns where one draw is learned."""
    return RunFolder(folder.path / "draws" / f"{shots}-{repeat}")


def learn_draw(
    setting: Setting, fabric: Fabric, folder: RunFolder, few: EmbeddedFilms, seed: int, progress: ProgressCallback | None
) -> float:
    """Learns the prompts of one draw, from its last checkpoint if it was stopped, and returns the seconds it took."""
    options = setting.options
    if not folder.model.is_file():
        folder.path.mkdir(parents=True, exist_ok=True)
        generator = build_generator(setting, seed)
        averaged = average_weights(generator, options.steps, options.optimization)
        learner = state.Learner(generator, averaged, build_optimizer(generator, options.optimization, "float32"))
        plan = Plan(
            steps=options.steps,
            films=options.batch_size,
            epoch_films=len(few),
            evaluations=options.evaluations,
            save_every=options.save_every,
            seed=seed,
            signature=f"{setting.key} {folder.path.name}",
        )
        standing = fit(fabric, learner, make_task(setting, few, seed), plan, options.optimization, folder, progress)
        state.save_json(folder.model, {"films": len(few), "seconds": standing.seconds, "best": standing.best})
    return float(json.loads(folder.model.read_text(encoding="utf-8"))["seconds"])


def describe(folder: RunFolder, setting: Setting, curve: list[dict[str, Any]], seconds: float) -> None:
    """Writes the curve, the prompts of the largest draw and `model.json`: with it the run is finished."""
    options = setting.options
    generator = build_generator(setting, options.seed)
    last = points_of(options)[-1]
    if last != "0":
        generator = read_generator(generator, folder_of(folder, last, 0).best)
    state.save_weights(folder.best, generator)
    findings = list(setting.design.findings)
    about = {"task": options.task, "findings": findings, "split": options.score_on, "films": len(setting.scored)}
    about["patients"] = len(np.unique(setting.scored.patients))
    state.save_json(folder.path / CURVE, {**about, "repeats": options.repeats, "resamples": options.resamples, "curve": curve})
    model = {
        "format": FORMAT,
        "kind": KIND,
        "design": setting.design.to_json(),
        "bundle": {"id": setting.bundle.id, "reference": setting.bundle.reference, "family": setting.bundle.family},
        "shots": last,
        "sites": list(setting.sites),
        "store_fingerprint": setting.fingerprint,
        "films": {"train": len(setting.train), "validation": len(setting.validation), "scored": len(setting.scored)},
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "options": {name: value for name, value in to_plain(options).items() if name not in PLACES},
        "seconds": seconds,
        "notes": list(setting.notes),
        "versions": {name: version(name) for name in ("vesalius", "torch", "transformers")},
    }
    state.save_json(folder.model, model)


def refuse_others(folder: RunFolder, options: PromptsOptions) -> None:
    """Refuses a finished run over other towers or films, that lie where its own lay.

    Raises:
        RunError: They have changed since.
    """
    model = json.loads(folder.model.read_text(encoding="utf-8"))
    if model["store_fingerprint"] != Store(options.store).fingerprint:
        raise RunError(f"{folder.path} holds a run on another store, or the store has changed since; use another --out")
    if model["bundle"]["id"] != load_image_text(options.bundle).id:
        raise RunError(f"{folder.path} holds a run over another bundle, or the bundle was made anew; use another --out")


def load_summary(folder: RunFolder, *, fresh: bool = False) -> PromptsSummary:
    """Returns what a finished run reached."""
    model = json.loads(folder.model.read_text(encoding="utf-8"))
    return PromptsSummary(
        path=folder.path,
        findings=tuple(model["design"]["findings"]),
        curve=read_curve(folder.path)["curve"],
        films=model["films"],
        parameters=model["parameters"],
        seconds=model["seconds"],
        notes=tuple(model["notes"]),
        nothing_to_do=not fresh,
    )


def _ticks(progress: ProgressCallback | None, steps: int, total: int) -> Iterator[ProgressCallback | None]:
    """Yields the progress of one draw after the other, as steps of the whole run."""

    def after(before: int, whole: ProgressCallback) -> ProgressCallback:
        return lambda done, _of: whole(before + done, total)

    for draw in itertools.count():
        yield None if progress is None else after(draw * steps, progress)
