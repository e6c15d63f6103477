"""Any medical-imaging model in, an honest finding out.

`read -> logits -> calibrate -> decide -> report`, with the same answer in a notebook and at the command line:

    import vesalius as vs
    result = vs.load("bundles/cxr").predict(vs.read("study/IM1.dcm"))
    result["Effusion"].decision, result["Effusion"].probability, result["Effusion"].reason

Importing the package imports nothing heavy; each name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius import metrics, uncertainty
    from vesalius.bundle.film_words import zeroshot
    from vesalius.bundle.load import load
    from vesalius.datasets.store import Store
    from vesalius.dicom.read import read
    from vesalius.errors import VesaliusError
    from vesalius.types import Decision, Finding, Image, Prediction

_HOME = {
    "read": "vesalius.dicom.read",
    "load": "vesalius.bundle.load",
    "zeroshot": "",
    "Store": "vesalius.datasets.store",
    "Image": "vesalius.types",
    "Finding": "vesalius.types",
    "Prediction": "vesalius.types",
    "Decision": "vesalius.types",
    "VesaliusError": "vesalius.errors",
    "metrics": "",
    "uncertainty": "",
}

__all__ = [
    "Decision",
    "Finding",
    "Image",
    "Prediction",
    "Store",
    "VesaliusError",
    "load",
    "metrics",
    "read",
    "uncertainty",
    "zeroshot",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vesalius' has no attribute {name!r}; it has: {', '.join(sorted(__all__))}")
    try:
        value = getattr(import_module(_HOME[name]), name) if _HOME[name] else import_module(f"vesalius.{name}")
    except ModuleNotFoundError as error:
        from vesalius.errors import MissingDependency

        raise MissingDependency.of(error, f"vesalius.{name}") or error from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
