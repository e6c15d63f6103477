"""`vesalius audit`: how far to trust a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vesalius.audit.options import SUBGROUPS, AuditOptions
from vesalius.cli import EXIT_GATE_REFUSED, EXIT_OK
from vesalius.cli.console import Console
from vesalius.errors import EmptyInput

if TYPE_CHECKING:
    from vesalius.audit.evaluate import AuditResult


@dataclass(frozen=True)
class Command:
    """How far to trust a bundle: metrics with intervals, calibration, abstention, subgroups, other sites, foreign images.

    Measures the bundle on the test films of its training sites (internal) and on every film of any other site
    (external), writes one self-contained page and its numbers, and puts the numbers and a model card into the bundle.

    A bundle that was calibrated on slides is measured on the slides that --slides lists, a CSV as `vesalius calibrate` takes it:
    lines of split `test`, or every line where there is no such column. Slides that it was calibrated on are known by their content
    and left out. The page then names slides as the CSV does.

        vesalius audit bundles/cxr --store stores/cxr --out report
        vesalius audit bundles/cxr --store stores/cxr --gates gates.toml || echo refused
        vesalius audit bundles/kidney --slides labels.csv --out report

    Exit code 4 when a gate is not met; the report is written all the same.
    """

    bundle: tyro.conf.Positional[Path]
    """the bundle's folder; verified before anything else"""
    store: Path | None = None
    """a store from `vesalius ingest`, with labels"""
    slides: Path | None = None
    """instead of --store, for a bundle of slides: a CSV of slides and what is known of them"""
    out: Path | None = None
    """a folder for index.html and audit.json (of slides audit.md as well); without it, `report` beside the bundle"""
    features: Path | None = None
    """for slides: a folder of patch features, taken up where they are there; unless given, `features` beside the bundle"""
    mpp: float | None = None
    """for slides: micrometres per pixel of the finest level, where the files do not say"""
    by: str = ",".join(SUBGROUPS)
    """manifest columns that split films into subgroups, comma separated; age_band is made from age_years. Of slides: columns of the
    CSV; unless given, those of site, scanner, sex and age_band that it has"""
    gates: Path | None = None
    """TOML rules that the figures must meet (docs/gates.md)"""
    resamples: int = 1000
    """bootstrap resamples of patients behind every interval"""
    seed: int = 0
    """same seed, same numbers"""
    images: bool = False
    """put a few films or slides with their evidence into the page; off unless asked for, since they may be private"""
    notice: str = ""
    """a sentence to stand on top of the report"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Runs the audit and returns its exit code."""
        console = Console(json=self.json)
        if self.slides is not None:
            from vesalius.cli.audit_slides import audit_labelled_slides

            return audit_labelled_slides(self, console)
        if self.store is None:
            raise EmptyInput("say what to measure on: --store STORE for films, or --slides LABELS.csv for whole slides")
        from vesalius.audit.evaluate import audit_bundle

        with console.progress("audit", unit="images") as progress:
            result = audit_bundle(self.bundle, self.store, self.report, self.options(), progress)
        self._show(console, result, self.report)
        return EXIT_GATE_REFUSED if result.refused else EXIT_OK

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.out or self.bundle.resolve().parent / "report"

    def options(self) -> AuditOptions:
        """Returns what the audit is asked for."""
        from vesalius.audit.gates import read_gates

        return AuditOptions(
            by=tuple(word.strip() for word in self.by.split(",") if word.strip()),
            resamples=self.resamples,
            seed=self.seed,
            gates=read_gates(self.gates) if self.gates else (),
            images=self.images,
            notices=(self.notice,) if self.notice else (),
        )

    @staticmethod
    def _show(console: Console, result: AuditResult, out: Path) -> None:
        document = result.document
        rows = [(key["label"], key["text"], key["range"].strip("()")) for key in document["key_figures"]]
        console.table(
            f"{document['bundle']['reference']} on {document['store']['name']}", ("figure", "value", "95 % interval"), rows
        )
        show_verdict(console, result)
        console.say(f"report: {out / 'index.html'}")
        console.result(document | {"report": str(out / "index.html"), "refused": result.refused})


def show_verdict(console: Console, result: AuditResult) -> None:
    """Prints the gates and what must stand beside the figures."""
    document = result.document
    for gate in document["gates"]:
        console.say(f"gate {gate['name']}: {'met' if gate['passed'] else 'REFUSED, ' + gate['why']}")
    for notice in document["notices"]:
        console.say(notice)
    if result.refused:
        console.say(
            f"{len(result.refused)} of {len(document['gates'])} gates refused: this audit does not support using the bundle."
        )
