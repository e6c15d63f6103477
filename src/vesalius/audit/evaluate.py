"""The audit itself: one bundle, one store, one document of figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.audit.options import AuditOptions
from vesalius.errors import EmptyInput

if TYPE_CHECKING:
    import pandas as pd

    from vesalius.audit.answers import Answers
    from vesalius.audit.gallery import GalleryFilm
    from vesalius.audit.slide_rows import SlideRow
    from vesalius.bundle.predictor import Locked, Predictor
    from vesalius.datasets.store import Store
    from vesalius.types import ProgressCallback

FORMAT_VERSION = 1
DISCLAIMER = "Research software; not for medical use."
DEFAULTS = AuditOptions()
WHAT = {"internal": "test films of the training sites", "external": "films of other sites"}


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        document: What is written as audit.json; docs/audit.md describes it.
        gallery: Films for the HTML only; empty unless asked for. They never reach audit.json or the bundle.
        slides: A row a slide, likewise for the HTML only.
    """

    document: dict[str, Any]
    gallery: tuple[GalleryFilm, ...] = ()
    slides: tuple[SlideRow, ...] = ()

    @property
    def refused(self) -> list[str]:
        """The names of the gates that were not met."""
        return [gate["name"] for gate in self.document["gates"] if not gate["passed"]]


def audit_bundle(
    bundle: str | Path,
    store: str | Path,
    out: str | Path | None = None,
    options: AuditOptions = DEFAULTS,
    progress: ProgressCallback | None = None,
) -> AuditResult:
    """Audits, writes `out/index.html` and `out/audit.json`, and puts the card and the figures into the bundle.

    Args:
        bundle: Its folder; verified first.
        store: A store's folder, with labels.
        out: Where the report goes; `report` beside the bundle if not given.
        options: See `AuditOptions`.
        progress: Called as images are answered.

    Raises:
        BundleError: The bundle is not what its manifest says.
        StoreError: The store is missing or unfinished.
        EmptyInput: The store has no film to audit; see `audit`.
    """
    from vesalius.audit.card import audit_section
    from vesalius.audit.page import json_text
    from vesalius.audit.report import write_report
    from vesalius.bundle.card import write_card
    from vesalius.bundle.load import load_predictor
    from vesalius.bundle.save import attach_audit
    from vesalius.datasets.store import Store

    predictor = load_predictor(Path(bundle))
    result = audit(predictor, Store(Path(store)), options, progress)
    write_report(result, Path(out) if out is not None else Path(bundle).resolve().parent / "report")
    card = write_card(predictor.description, predictor.id, audit_section(result.document))
    attach_audit(Path(bundle), {"card.md": card.encode(), "audit/audit.json": json_text(result.document).encode()})
    return result


def audit(
    predictor: Predictor, store: Store, options: AuditOptions = DEFAULTS, progress: ProgressCallback | None = None
) -> AuditResult:
    """Measures a bundle on the test films of its training sites (internal) and on every film of other sites (external).

    Raises:
        EmptyInput: No film of either kind, or none of them with a known label of a finding the bundle answers.
    """
    from vesalius.audit.answers import answer_store
    from vesalius.audit.classes import are_classes, of_one_class
    from vesalius.audit.distribution import answer_foreign
    from vesalius.audit.foreign import KINDS
    from vesalius.audit.gallery import make_gallery
    from vesalius.audit.gates import check_gates

    started = time.monotonic()
    rows = choose_rows(store, predictor.training_sites)
    home = rows["internal"] if "internal" in rows else rows["external"]
    n_foreign = len(KINDS) * min(len(home), options.foreign_films)
    tick = _ticker(progress, sum(map(len, rows.values())) + n_foreign)
    cohorts = {name: answer_store(predictor, store, chosen, tick) for name, chosen in rows.items()}
    if are_classes(predictor.policy):
        cohorts = {name: of_one_class(answers) for name, answers in cohorts.items()}
    _refuse_unlabelled(cohorts, predictor, store)
    unread = [
        f"{WHAT[name].capitalize()}: none of {len(answers)} can be judged; they are left out."
        for name, answers in cohorts.items()
        if not answers.assessed.any()
    ]
    cohorts = {name: answers for name, answers in cohorts.items() if answers.assessed.any()}
    first = next(iter(cohorts.values()))
    foreign = answer_foreign(predictor, store, first, options, tick)
    document = describe(predictor, store, cohorts, foreign, options)
    document["notices"] += unread
    document["gates"] = check_gates(options.gates, document)
    gallery = make_gallery(predictor, store, cohorts) if options.images else ()
    document["made"]["seconds"] = round(time.monotonic() - started, 1)
    return AuditResult(document, gallery)


def choose_rows(store: Store, sites: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the rows of each cohort that has any: internal is split `test` at `sites`, external is every film elsewhere.

    Nothing the bundle was made from may slip in: a film of unknown site counts as one of the training sites, all films do
    if the bundle does not know its sites, and a patient whose films served the making is external nowhere.

    Raises:
        EmptyInput: Neither has a film.
    """
    manifest = store.manifest
    at_home = manifest["site"].isin(list(sites)).to_numpy(dtype=bool) | manifest["site"].isna().to_numpy() | (not sites)
    held_out = manifest["split"].eq("test").fillna(False).to_numpy(dtype=bool)
    made_of = manifest["patient_id"].isin(manifest["patient_id"][at_home & ~held_out]).to_numpy(dtype=bool)
    rows = {"internal": np.flatnonzero(at_home & held_out), "external": np.flatnonzero(~at_home & ~made_of)}
    found = {name: chosen for name, chosen in rows.items() if len(chosen)}
    if not found:
        raise EmptyInput(
            f"nothing to audit: of {len(store)} films none is of the split 'test' at {', '.join(sites)} and none is of"
            " another site; ingest films that the bundle was not made from"
        )
    return found


def _refuse_unlabelled(cohorts: Mapping[str, Answers], predictor: Predictor, store: Store) -> None:
    if not any(np.isfinite(answers.labels[answers.assessed]).any() for answers in cohorts.values()):
        raise EmptyInput(
            f"no film to audit has a known label; the bundle answers {', '.join(predictor.findings)},"
            f" the store has labels for {', '.join(store.findings) or 'nothing'} (`vesalius ingest --labels CSV`)"
        )


def describe(
    predictor: Predictor, store: Store, cohorts: Mapping[str, Answers], foreign: Mapping[str, Answers], options: AuditOptions
) -> dict[str, Any]:
    """Returns audit.json but for the verdict of the gates."""
    from vesalius.audit.classes import are_classes, settle_classes
    from vesalius.audit.distribution import describe_gate
    from vesalius.audit.key_figures import key_figures
    from vesalius.audit.performance import describe_cohort

    manifest, findings = store.manifest, tuple(predictor.findings)
    described: dict[str, Any] = dict.fromkeys(WHAT)
    for name, answers in cohorts.items():
        sites = sorted(set(manifest["site"].iloc[answers.rows].dropna().astype(str)))
        described[name] = describe_cohort(WHAT[name], answers, sites, findings, predictor.policy, options)
        if are_classes(predictor.policy):
            settle_classes(described[name], answers, findings, float(predictor.policy.thresholds[0]), options)
    document: dict[str, Any] = {
        "format": "vesalius.audit",
        "format_version": FORMAT_VERSION,
        "made": made_by(options),
        "bundle": describe_bundle(predictor),
        "store": _store(store, cohorts, options),
        "notices": notices(predictor, options),
        "key_figures": [],
        "gates": [],
        "cohorts": described,
        "out_of_distribution": describe_gate(cohorts, foreign, float(predictor.gate.threshold), options),
        "subgroups": describe_subgroups(predictor, manifest, cohorts, options),
    }
    document["key_figures"] = key_figures(document)
    return document


def made_by(options: AuditOptions) -> dict[str, Any]:
    """Returns when and with what an audit was made."""
    return {
        "utc": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": 0.0,
        "vesalius": version("vesalius"),
        "resamples": options.resamples,
        "seed": options.seed,
    }


def describe_bundle(predictor: Locked) -> dict[str, Any]:
    """Returns which bundle was audited, and where it decides."""
    policy = predictor.policy
    points = {
        name: {"threshold": float(policy.thresholds[k]), "abstain_low": float(policy.low[k]), "abstain_high": float(policy.high[k])}
        for k, name in enumerate(predictor.findings)
    }
    return {
        "name": predictor.name,
        "id": predictor.id,
        "reference": predictor.reference,
        "findings": list(predictor.findings),
        "training_sites": list(predictor.training_sites),
        "operating_points": points,
    }


def _store(store: Store, cohorts: Mapping[str, Answers], options: AuditOptions) -> dict[str, Any]:
    return {
        "name": options.store_name or store.path.resolve().name,
        "n_films": len(store),
        "n_patients": int(store.manifest["patient_id"].nunique()),
        "n_audited": sum(map(len, cohorts.values())),
        "size_px": int(store.size_px),
        "sites": sorted(set(store.manifest["site"].dropna().astype(str))),
    }


def notices(predictor: Locked, options: AuditOptions) -> list[str]:
    """Returns what must stand on top: the bundle's own notice, the command's, and that this is research software."""
    return list(dict.fromkeys((*predictor.notices, *options.notices, DISCLAIMER)))


def describe_subgroups(
    predictor: Locked, manifest: pd.DataFrame, cohorts: Mapping[str, Answers], options: AuditOptions
) -> dict[str, Any]:
    """Returns the section `subgroups` of audit.json; `manifest` says in each case's row what it is split by."""
    from vesalius.audit.classes import are_classes
    from vesalius.audit.groups import MINIMUM_CASES, MINIMUM_PATIENTS, describe_groups, excluding_zero

    thresholds = np.asarray(predictor.policy.thresholds, dtype=np.float64)
    tables = {}
    for name, answers in cohorts.items():
        assessed = answers.take(answers.assessed)
        about = manifest.iloc[assessed.rows]
        blocks = describe_groups(assessed, about, predictor.findings, thresholds, options, classes=are_classes(predictor.policy))
        n_excluding, n_gaps = excluding_zero(blocks)
        tables[name] = {"n_gaps": n_gaps, "n_excluding_zero": n_excluding, "blocks": blocks}
    return {"n_positive_min": MINIMUM_CASES, "n_patients_min": MINIMUM_PATIENTS, "cohorts": tables}


def _ticker(progress: ProgressCallback | None, total: int) -> Callable[[int], None]:
    done = 0

    def tick(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total)

    return tick
