"""What `bundle.json` says: the rules and where they come from are told alike of every bundle that answers, whatever it reads."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from vesalius.bundle import format as layout
from vesalius.errors import BundleError
from vesalius.uncertainty.class_decisions import ClassPolicy

if TYPE_CHECKING:
    from vesalius.bundle.calibrate import Calibration
    from vesalius.inference.film import FilmInference
    from vesalius.inference.zero_shot import TowerInference
    from vesalius.models.config import ClassifierConfig

SOFTWARE = ("vesalius", "torch", "transformers", "numpy", "scipy", "safetensors")
"""Packages whose version may move the last digits of an answer."""
AVERAGED = ("average logits over members and views",)


def describe(
    kind: str,
    name: str,
    reads: Mapping[str, Any],
    calibration: Calibration,
    provenance: Mapping[str, Any],
    *,
    notices: Sequence[str] = (),
    averaged: Sequence[str] = AVERAGED,
) -> dict[str, Any]:
    """Returns all of `bundle.json`.

    Args:
        kind: One of `format`.
        name: Goes into every answer.
        reads: What only this kind has to say: findings, encoder, preprocessing, precision, averaging, and what else it needs.
        calibration: What was fitted.
        provenance: Must hold `training_sites`.
        notices: Sentences that must stand wherever the bundle's figures are shown; each is kept once.
        averaged: What comes before calibration, in words and in order.

    Raises:
        BundleError: A name that cannot be a file's, or a provenance without sites.
    """
    layout.check_name(name)
    if "training_sites" not in provenance:
        raise BundleError("the provenance names no training_sites; an audit could not tell what is external")
    classes = isinstance(calibration.policy, ClassPolicy)
    return {
        "format": layout.FORMAT,
        "kind": kind,
        "name": name,
        "notices": list(dict.fromkeys(notices)),
        **reads,
        "order": [*averaged, *(layout.CLASS_RULES if classes else layout.RULES)],
        "calibrator": calibration.calibrator.to_json(),
        "policy": calibration.policy.to_json(),
        "gate": calibration.gate.to_json(),
        "calibration": calibration.table,
        "provenance": {**provenance, "software": software()},
    }


def describe_classifier(
    name: str,
    config: ClassifierConfig,
    inference: FilmInference,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    *,
    assessable_views: Sequence[str] = ("PA", "AP"),
    notices: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all of `bundle.json` of a trained classifier; see `describe` and `reads_films`."""
    reads = {"findings": list(config.findings), "encoder": config.to_json(), **reads_films(inference, assessable_views)}
    return describe(layout.CLASSIFIER, name, reads, calibration, provenance, notices=notices)


def reads_films(inference: FilmInference | TowerInference, assessable_views: Sequence[str]) -> dict[str, Any]:
    """Returns how films become logits; a film of a known view that is not among `assessable_views` is not answered."""
    return {
        "preprocessing": inference.preprocessing.to_json(),
        "precision": inference.precision,
        "averaging": {"of": "logits", "members": len(inference.networks), "views": [view.to_json() for view in inference.views]},
        "assessable_views": [str(view) for view in assessable_views],
    }


def software() -> dict[str, str]:
    """Returns the versions of Python and of the packages that may move the last digits of an answer."""
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}
