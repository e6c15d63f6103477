"""`vesalius calibrate` of a bundle of kind `image-text` and prompts: contrasts become probabilities, with thresholds and a gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK
from vesalius.errors import BundleError, PromptsError, StoreError

if TYPE_CHECKING:
    import numpy as np

    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.cli.calibrate import Command
    from vesalius.cli.calibration_films import CalibrationFilms
    from vesalius.cli.console import Console
    from vesalius.datasets.store import Store
    from vesalius.models.contracts import Contract
    from vesalius.zeroshot.prompts import PromptSet


def is_image_text(path: Path) -> bool:
    """Is this the folder of a bundle of kind `image-text`? It is verified later."""
    from vesalius.bundle.format import DESCRIPTION, IMAGE_TEXT, from_file

    return (path / DESCRIPTION).is_file() and from_file(path / DESCRIPTION).get("kind") == IMAGE_TEXT


def calibrate_words(command: Command, console: Console) -> int:
    """Calibrates what `--prompts` or `--finding` ask of the towers, writes the bundle and returns the exit code."""
    from vesalius.bundle.calibrate import calibrate, unfitted
    from vesalius.bundle.film_words import unread_words
    from vesalius.bundle.image_text import load_image_text
    from vesalius.bundle.save import check_free
    from vesalius.bundle.zero_shot import describe_zero_shot, save_zero_shot
    from vesalius.cli.calibrate import show_class_cut, words
    from vesalius.cli.calibration_films import choose_films, run_films
    from vesalius.datasets.store import Store
    from vesalius.inference.zero_shot import ZeroShotInference

    _check(command)
    check_free(command.out, overwrite=command.overwrite)
    towers, store = load_image_text(command.runs[0]), Store(command.store_at)
    asked, left_out = match_findings(read_question(command.prompts, command.finding), store.findings)
    classes = asked.kind == "classes"
    unfitted(command.calibration_options(), classes=classes)  # an option that cannot be is refused now, not after hours
    _say_what_to_mind(console, (*asked.warnings, *unread_words(towers, asked)), left_out)
    contract = contract_for(towers.contract, store)
    sites = words(command.sites) or sites_of(towers, store)
    size = contract.store_size_px
    films = choose_films(store, asked.findings, sites, words(command.views), store_size_px=size, classes=classes)
    embedder = towers.memory.prepare([asked], command.precision, command.device)
    inference = ZeroShotInference(embedder, contract, towers.memory.heads(asked, command.average))
    with console.progress("calibrate") as progress:
        output = run_films(inference, films.images(), len(films.rows), progress)
    patients = films.patients()
    calibration = calibrate(output, films.labels, patients, asked.findings, command.calibration_options(), classes=classes)
    description = describe_zero_shot(
        command.name or command.out.resolve().name,
        towers,
        inference,
        asked,
        calibration,
        provenance(command, towers, store, films, patients, classes=classes),
        assessable_views=words(command.views),
        notices=command.notice,
    )
    bundle_id = save_zero_shot(
        command.out, description, towers=towers, inference=inference, calibration=calibration, overwrite=command.overwrite
    )
    show_class_cut(console, calibration, films.labels, "films")
    command.show(console, description, bundle_id)
    return EXIT_OK


def _say_what_to_mind(console: Console, warnings: Sequence[str], left_out: Sequence[str]) -> None:
    for warning in warnings:
        console.say(f"mind: {warning}")
    if left_out:
        console.say(f"mind: no label in the store: {', '.join(left_out)}; left out")


def read_question(prompts: str | None, findings: Sequence[str]) -> PromptSet:
    """Returns what is asked: a prompt file, ours by name or the user's, or each `--finding TEXT` against its denial.

    Raises:
        PromptsError: Both or neither, or words that cannot be asked.
    """
    from vesalius.zeroshot.prompt_file import library, load_prompts
    from vesalius.zeroshot.prompts import prompts_for

    if bool(prompts) == bool(findings):
        raise PromptsError(
            "say what is asked: --finding TEXT ... or --prompts FILE, one of the two; "
            f"prompt files that come with the package: {', '.join(library())}"
        )
    return load_prompts(prompts) if prompts else prompts_for(findings)


def match_findings(asked: PromptSet, labelled: Sequence[str]) -> tuple[PromptSet, tuple[str, ...]]:
    """Returns the prompts of findings that the store has labels of, under the store's names, and the names of the others.

    Raises:
        PromptsError: No finding is labelled.
    """
    from vesalius.zeroshot.prompts import plain_name

    known = {plain_name(name): name for name in labelled}
    kept = [known[plain_name(name)] for name in asked.findings if plain_name(name) in known]
    if not kept:
        raise PromptsError(
            f"the store has no label of {', '.join(asked.findings)}; it has: {', '.join(labelled) or 'none'}; "
            "calibration needs labels: name your findings as the store does"
        )
    return asked.only(kept), tuple(name for name in asked.findings if plain_name(name) not in known)


def contract_for(contract: Contract, store: Store) -> Contract:
    """Returns the contract with films passing through the store's square first, so that store and DICOM give the same tensor.

    Raises:
        StoreError: The towers were trained on a store of another size.
    """
    from vesalius.models.contracts import FamilyContract

    if isinstance(contract, FamilyContract) and contract.store_size_px is None:
        return contract.through_store(store.size_px)
    if contract.store_size_px != store.size_px:
        raise StoreError(
            f"films of {store.path} are {store.size_px} px and the towers were trained on {contract.store_size_px} px; "
            "ingest again with --size"
        )
    return contract


def sites_of(towers: ImageTextBundle, store: Store) -> tuple[str, ...]:
    """Returns where to calibrate unless `--sites` says it: the towers' training sites that are in the store, else all of it."""
    present = set(store.manifest["site"].dropna().tolist())
    trained = [site for site in towers.description["provenance"].get("training_sites", ()) if site in present]
    return tuple(sorted(trained or present))


def provenance(
    command: Command, towers: ImageTextBundle, store: Store, films: CalibrationFilms, patients: np.ndarray, *, classes: bool
) -> dict[str, Any]:
    """Returns where data and words come from; nothing here names a place on this machine or a patient."""
    origin = dict(towers.description["provenance"])
    made_with = command.rules_asked(classes=classes) | {"average": command.average}
    notes = [*origin.get("warnings", ()), *_doubts(towers), *films.notes]
    return {
        "training_sites": sorted({*origin.get("training_sites", ()), *films.sites}),
        "store_fingerprint": store.fingerprint,
        "films": {"calibration": len(films.rows)},
        "calibration": {
            "patients": len(set(patients.tolist())),
            "sites": list(films.sites),
            "left_out": films.left_out,
            "options": made_with,
        },
        "towers": {key: value for key, value in origin.items() if key not in {"software", "warnings"}},
        "warnings": notes,
        "date": command.date,
    }


def _doubts(towers: ImageTextBundle) -> list[str]:
    from vesalius.models.contracts import FamilyContract, doubts_of_domain

    contract = towers.contract
    doubts = [*doubts_of_domain(contract, "films")]
    if not towers.description["provenance"].get("training_sites"):
        doubts.append(
            "nobody here knows which films the towers were trained on: "
            "make sure that no patient of this calibration split was one of them"
        )
    if isinstance(contract, FamilyContract) and contract.fit == "shortest" and contract.store_size_px is None:
        doubts.append(
            "the towers' authors show the network the central square of a film; films of a store are squares with black beside "
            "them, so here it sees every film whole, and one far from square otherwise than `vesalius zeroshot` shows it"
        )
    return doubts


def _check(command: Command) -> None:
    """Refuses what only a trained classifier can do.

    Raises:
        BundleError: Several bundles, or views.
    """
    if len(command.runs) != 1:
        raise BundleError(
            "one bundle of kind image-text at a time; an ensemble is one bundle of several checkpoints: `bundle import`"
        )
    if command.tta != "none":
        raise BundleError("towers of images and words look at a film as it is; leave --tta out")
