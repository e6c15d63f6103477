"""How surely the out-of-distribution gate tells foreign images from films, and how often it stops an ordinary one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from vesalius.audit.answers import Answers, as_answers, predict_all
from vesalius.audit.foreign import KINDS, foreign_images
from vesalius.types import Reason

if TYPE_CHECKING:
    from vesalius.audit.options import AuditOptions
    from vesalius.bundle.predictor import Predictor
    from vesalius.datasets.store import Store
    from vesalius.types import Image

TITLES = {
    "internal": "internal films",
    "internal_normal": "internal, no finding",
    "external": "external films",
    "external_normal": "external, no finding",
    "noise": "noise",
    "blank": "blank",
    "inverted": "inverted",
    "rotated_90": "rotated by 90°",
    "rotated_180": "upside down",
}
QUANTILES = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


def answer_foreign(
    predictor: Predictor, store: Store, films: Answers, options: AuditOptions, tick: Callable[[int], None]
) -> dict[str, Answers]:
    """Returns the bundle's answers to each kind of foreign image, made from the first `options.foreign_films` films."""
    chosen = films.take(np.arange(min(len(films), options.foreign_films)))
    sources = [film_alone(store, int(row)) for row in chosen.rows]
    unknown = np.full(chosen.labels.shape, np.nan)
    answers = {}
    for kind in KINDS:
        predictions = predict_all(predictor, foreign_images(kind, sources, options.seed), tick)
        answers[kind] = as_answers(predictions, predictor.findings, chosen.rows, unknown, store.manifest)
    return answers


def film_alone(store: Store, row: int) -> Image:
    """Returns a film of the store without the padding around it, so that an inverted film keeps its black surround."""
    from vesalius.dicom.resample import content_box

    image, about = store.image(row), store.manifest.iloc[row]
    top, left, bottom, right = content_box(int(about["rows"]), int(about["columns"]), store.size_px)
    return replace(image, pixels=np.ascontiguousarray(image.pixels[top:bottom, left:right]))


def describe_gate(
    cohorts: Mapping[str, Answers], foreign: Mapping[str, Answers], threshold: float, options: AuditOptions, cases: str = "films"
) -> dict[str, Any]:
    """Returns the section `out_of_distribution` of audit.json; `cases` is what the bundle reads."""
    groups = {name: part for cohort, films in cohorts.items() for name, part in _with_normal(cohort, films)} | dict(foreign)
    home = "internal" if "internal" in cohorts else next(iter(cohorts))
    kinds = {}
    for name, answers in groups.items():
        kinds[name] = _describe(TITLES[name].replace("films", cases), answers, options)
        if not name.startswith(home):
            kinds[name]["auroc"] = separation(answers, groups[home], options)
            kinds[name]["auroc_normal"] = separation(answers, groups[f"{home}_normal"], options)
    return {"threshold": threshold, "home": home, "kinds": kinds, "lowest": _lowest(kinds)}


def _with_normal(cohort: str, films: Answers) -> list[tuple[str, Answers]]:
    return [(cohort, films), (f"{cohort}_normal", films.take(films.normal))]


def _describe(title: str, answers: Answers, options: AuditOptions) -> dict[str, Any]:
    scores = answers.ood_scores[np.isfinite(answers.ood_scores)]
    poor = (answers.reasons == str(Reason.POOR_QUALITY)).all(axis=1)
    return {
        "title": title,
        "n": len(answers),
        "flagged": share(answers.flagged, answers.patients, options),
        "stopped": share(answers.flagged | poor, answers.patients, options),
        "scores": {name: float(np.quantile(scores, at)) for name, at in QUANTILES.items()} if scores.size else None,
        "auroc": None,
        "auroc_normal": None,
    }


def separation(foreign: Answers, home: Answers, options: AuditOptions) -> dict[str, Any]:
    """Returns the AUROC of the gate's score, foreign images against films, with a patient-clustered interval."""
    from vesalius.metrics import bootstrap_ranking

    scores = np.concatenate([foreign.ood_scores, home.ood_scores])
    truth = np.concatenate([np.ones(len(foreign)), np.zeros(len(home))])
    truth[np.isnan(scores)] = np.nan
    patients = np.concatenate([foreign.patients, home.patients]).astype(str)
    if not len(scores):
        return {"value": None, "low": None, "high": None, "reason": "none of them"}
    scores = np.nan_to_num(scores, nan=0.0, posinf=math.inf)
    found = bootstrap_ranking(truth[:, None], scores[:, None], patients, resamples=options.resamples, seed=options.seed)
    return found.auroc[0].to_json()


def share(hits: Bool[np.ndarray, " case"], patients: Shaped[np.ndarray, " case"], options: AuditOptions) -> dict[str, Any]:
    """Returns a share of films with a patient-clustered interval.

    Where it is none or all, every resample says the same, so the open end is Wilson's with one count a patient.
    """
    from vesalius.metrics import bootstrap, wilson_interval

    if not hits.size:
        return {"value": None, "low": None, "high": None, "reason": "none of them"}
    if hits.all() or not hits.any():
        n_patients = len(np.unique(patients.astype(str)))
        low, high = wilson_interval(n_patients if hits.all() else 0, n_patients)
        return {"value": float(hits[0]), "low": low, "high": high}
    values = hits.astype(np.float64)

    def metric(weights: Int64[np.ndarray, " case"]) -> float:
        return float(weights @ values / weights.sum())

    return bootstrap(metric, patients.astype(str), resamples=options.resamples, seed=options.seed).to_json()


def _lowest(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    known = [(kinds[name]["auroc"]["value"], name) for name in KINDS if name in kinds and kinds[name]["auroc"]["value"] is not None]
    if not known:
        return None
    _, name = min(known)
    return {"kind": name, **kinds[name]["auroc"]}
