"""`vesalius calibrate RUN`, where the run is one of learned prompts: frozen towers and generators into a locked bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vesalius.cli import EXIT_OK
from vesalius.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    from vesalius.bundle.calibrate import Calibration
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.cli.calibrate import Command
    from vesalius.cli.calibration_films import CalibrationFilms
    from vesalius.cli.console import Console
    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.models.contracts import Contract
    from vesalius.training.prompts_run import PromptsRun


def calibrate_prompts(command: Command, console: Console) -> int:
    """Fits calibrators, thresholds, abstention and gate to learned prompts, writes the bundle and returns the exit code.

    Raises:
        RunError: Runs over other towers, or of other prompts; or the towers are not where they were, or not what they were.
    """
    from vesalius.bundle.calibrate import unfitted
    from vesalius.bundle.learned_prompts import describe_learned, save_learned
    from vesalius.bundle.save import check_free
    from vesalius.cli.calibrate import trained_on, words
    from vesalius.cli.calibrate_words import contract_for
    from vesalius.cli.calibration_films import choose_films
    from vesalius.datasets.store import Store
    from vesalius.training.prompts_run import load_prompts_run

    check_free(command.out, overwrite=command.overwrite)
    runs = [load_prompts_run(path) for path in command.runs]
    towers = open_towers(runs)
    if command.tta != "none":
        raise RunError("learned prompts read each film as it is; leave out --tta")
    store, views = Store(command.store_at), words(command.views)
    contract = contract_for(towers.contract, store)
    inference = build_inference(runs, towers, contract, command)
    classes = inference.kind == "classes"
    unfitted(command.calibration_options(), classes=classes)  # an option that cannot be is refused now, not after hours
    sites, size = words(command.sites) or trained_on(runs), contract.store_size_px
    films = choose_films(store, inference.findings, sites, views, store_size_px=size, classes=classes)
    calibration = fit_rules(inference, films, command, console)
    provenance = command.provenance(runs, store, films, films.patients(), classes=classes)
    name = command.name or command.out.resolve().name
    shown = {"assessable_views": views, "notices": command.notice}
    description = describe_learned(name, towers, inference, calibration, provenance, **shown)
    weights = [first_checkpoint(towers)] * len(runs)
    bundle_id = save_learned(command.out, description, weights, inference.generators, calibration, overwrite=command.overwrite)
    command.show(console, description, bundle_id)
    return EXIT_OK


def fit_rules(inference: LearnedPromptInference, films: CalibrationFilms, command: Command, console: Console) -> Calibration:
    """Returns what is fitted to the films of the calibration split."""
    from vesalius.bundle.calibrate import calibrate
    from vesalius.cli.calibrate import show_class_cut
    from vesalius.cli.calibration_films import run_films

    with console.progress("calibrate") as progress:
        output = run_films(inference, films.images(), len(films.rows), progress)
    options, classes = command.calibration_options(), inference.kind == "classes"
    calibration = calibrate(output, films.labels, films.patients(), inference.findings, options, classes=classes)
    show_class_cut(console, calibration, films.labels, "films")
    return calibration


def first_checkpoint(towers: ImageTextBundle) -> Path:
    """Returns the weights that prompts are learned over."""
    from vesalius.bundle.format import weights_names

    return towers.path / weights_names(towers.members)[0]


def open_towers(runs: Sequence[PromptsRun]) -> ImageTextBundle:
    """Returns the image-text bundle that the prompts were learned over.

    Raises:
        RunError: The runs differ in bundle or prompts, or the bundle is another one by now.
    """
    from vesalius.bundle.image_text import load_image_text

    first = runs[0]
    for run in runs[1:]:
        if (run.bundle_id, run.design) != (first.bundle_id, first.design):
            raise RunError(f"{run.path} and {first.path} differ in towers or prompts; calibrate them into two bundles")
    towers = load_image_text(first.bundle)
    if towers.id != first.bundle_id:
        raise RunError(f"{first.bundle} is not the bundle that {first.path} was learned over; put that one back, or train again")
    return towers


def build_inference(
    runs: Sequence[PromptsRun], towers: ImageTextBundle, contract: Contract, command: Command
) -> LearnedPromptInference:
    """Returns towers and generators, ready to answer; the towers once for every run."""
    from safetensors.torch import load_file

    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.zeroshot.learned_prompts import PromptDesign, restore_generator

    generators = [restore_generator(PromptDesign.from_json(run.design), load_file(run.weights)) for run in runs]
    models = [next(iter(towers.each_model())) for _ in runs]
    return LearnedPromptInference(models, contract, generators, precision=command.precision, device=command.device)
