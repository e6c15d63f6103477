"""The audit itself: one bundle, one store, one document of figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.audit.options import AuditOptions

if TYPE_CHECKING:
    from vesalius.audit.gallery import GalleryFilm
    from vesalius.bundle.predictor import Predictor
    from vesalius.datasets.store import Store
    from vesalius.types import ProgressCallback


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        document: What is written as audit.json; docs/audit.md describes it.
        gallery: Films for the HTML only; empty unless asked for. They never reach audit.json or the bundle.
    """

    document: dict[str, Any]
    gallery: tuple[GalleryFilm, ...] = ()

    @property
    def refused(self) -> list[str]:
        """The names of the gates that were not met."""
        return [gate["name"] for gate in self.document["gates"] if not gate["passed"]]


def audit(predictor: Predictor, store: Store, options: AuditOptions = AuditOptions(), progress: ProgressCallback | None = None) -> AuditResult:
    """Measures a bundle on the test films of its training sites and on every film of other sites."""
    raise NotImplementedError


def audit_bundle(bundle: Path, store: Path, out: Path | None = None, options: AuditOptions = AuditOptions(), progress: ProgressCallback | None = None) -> AuditResult:
    """Audits, writes `out/index.html` and `out/audit.json` (default: `report` beside the bundle), and puts card and figures into the bundle."""
    raise NotImplementedError
