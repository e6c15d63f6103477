"""`vesalius audit`: how far to trust a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vesalius.audit.options import SUBGROUPS, AuditOptions
from vesalius.cli import EXIT_GATE_REFUSED, EXIT_OK
from vesalius.cli.console import Console

if TYPE_CHECKING:
    from vesalius.audit.evaluate import AuditResult


@dataclass(frozen=True)
class Command:
    """How far to trust a bundle: metrics with intervals, calibration, abstention, subgroups, other sites, foreign images.

    Measures the bundle on the test films of its training sites (internal) and on every film of any other site
    (external), writes one self-contained page and its numbers, and puts the numbers and a model card into the bundle.

        vesalius audit bundles/cxr --store stores/cxr --out report
        vesalius audit bundles/cxr --store stores/cxr --gates gates.toml || echo refused

    Exit code 4 when a gate is not met; the report is written all the same.
    """

    bundle: tyro.conf.Positional[Path]
    """the bundle's folder; verified before anything else"""
    store: Path
    """a store from `vesalius ingest`, with labels"""
    out: Path | None = None
    """a folder for index.html and audit.json; without it, `report` beside the bundle"""
    by: str = ",".join(SUBGROUPS)
    """manifest columns that split films into subgroups, comma separated; age_band is made from age_years"""
    gates: Path | None = None
    """TOML rules that the figures must meet (docs/gates.md)"""
    resamples: int = 1000
    """bootstrap resamples of patients behind every interval"""
    seed: int = 0
    """same seed, same numbers"""
    images: bool = False
    """put a few films with their evidence into the page; off unless asked for, since films may be private"""
    notice: str = ""
    """a sentence to stand on top of the report"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Runs the audit and returns its exit code."""
        from vesalius.audit.evaluate import audit_bundle
        from vesalius.audit.gates import read_gates

        console = Console(json=self.json)
        options = AuditOptions(
            by=tuple(word.strip() for word in self.by.split(",") if word.strip()),
            resamples=self.resamples,
            seed=self.seed,
            gates=read_gates(self.gates) if self.gates else (),
            images=self.images,
            notices=(self.notice,) if self.notice else (),
        )
        out = self.out or self.bundle.resolve().parent / "report"
        with console.progress("audit", unit="images") as progress:
            result = audit_bundle(self.bundle, self.store, out, options, progress)
        self._show(console, result, out)
        return EXIT_GATE_REFUSED if result.refused else EXIT_OK

    @staticmethod
    def _show(console: Console, result: AuditResult, out: Path) -> None:
        document = result.document
        rows = [(key["label"], key["text"], key["range"].strip("()")) for key in document["key_figures"]]
        console.table(
            f"{document['bundle']['reference']} on {document['store']['name']}", ("figure", "value", "95 % interval"), rows
        )
        for gate in document["gates"]:
            console.say(f"gate {gate['name']}: {'met' if gate['passed'] else 'REFUSED, ' + gate['why']}")
        for notice in document["notices"]:
            console.say(notice)
        console.say(f"report: {out / 'index.html'}")
        if result.refused:
            console.say(
                f"{len(result.refused)} of {len(document['gates'])} gates refused: this audit does not support using the bundle."
            )
        console.result(document | {"report": str(out / "index.html"), "refused": result.refused})
