"""`vesalius ingest`: films and their labels into one store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.cli.console import Console
from vesalius.errors import LabelsError

if TYPE_CHECKING:
    from vesalius.datasets.ingest import IngestReport


@dataclass(frozen=True)
class Command:
    """Films and their labels into one store: DICOM, PNG, JPEG, or CheXzero's HDF5.

    Every film is brought to one square at its own grey depth; patients become keyed hashes. Killed? Run the same line again.
    Another site? The same --out, another SRC. What cannot be read is in STORE/rejects.csv, with the reason.

        vesalius ingest films/ --out store --labels labels.csv --site "Ward A"

    The labels CSV has one line a film: a column `file` (or `sop_instance_uid`, or `study_instance_uid`), if you like
    `patient_id, study_id, site, view_position, sex, age_years, report, split`, and a column a finding: 1, 0, -1 or blank.
    """

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """files and folders (with all below them)"""
    out: Path
    """the store: a new folder, or a store to extend"""
    labels: Path | None = None
    """labels CSV, see above"""
    site: str = "local"
    """where the films come from, unless the labels have a column `site`"""
    masks: Path | None = None
    """masks of findings: MASKS/FINDING/NAME.png, or with --structures one label map a film, MASKS/NAME.png or .nii.gz"""
    structures: str | None = None
    """what the values of label maps are: 1=Effusion,2=Nodule"""
    size: int = 512
    """side of the square in pixels"""
    split: str = "train=0.55,validation=0.15,calibration=0.15,test=0.15"
    """shares of the patients of each site; a column `split` in the labels comes before this"""
    seed: int = 0
    """of the splits"""
    workers: int | None = None
    """reading processes; one a core if not given. The store is the same whatever their number"""
    patient_key: Path | None = None
    """file with the secret that patients are hashed with; ~/.config/vesalius/patient-key if not given, made on first use"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Ingests and returns its exit code: 3 if some films were refused."""
        from vesalius.datasets.workers import warm_up

        warm_up()  # the readers start while this process imports what it needs itself
        from vesalius.datasets.ingest import IngestOptions, ingest

        console = Console(json=self.json)
        options = IngestOptions(
            size_px=self.size,
            site=self.site,
            labels=self.labels,
            masks=self.masks,
            structures=None if self.structures is None else parse_structures(self.structures),
            fractions=parse_fractions(self.split),
            seed=self.seed,
            workers=self.workers,
            patient_key=self.patient_key,
        )
        with console.progress("ingest") as progress:
            report = ingest(self.sources, self.out, options, progress)
        self._tell(console, report)
        return EXIT_SOME_FAILED if report.n_rejected else EXIT_OK

    def _tell(self, console: Console, report: IngestReport) -> None:
        said = (
            f"{report.n_films} films: {report.n_done} taken in, {report.n_skipped} were there before, {report.n_rejected} refused"
        )
        ignored = f"; {report.n_ignored} other files passed over" if report.n_ignored else ""
        console.say(f"{said}{ignored} ({report.seconds:.1f} s)")
        if report.n_rejected:
            reasons = ", ".join(f"{code} {count}" for code, count in report.reject_codes.items())
            console.say(f"refused: {reasons}; see {self.out / 'rejects.csv'}")
        if self.labels is not None and (report.n_without_labels or report.n_lines_without_film):
            console.say(
                f"labels: {report.n_without_labels} films without a line (kept, their labels unknown), "
                f"{report.n_lines_without_film} lines without a film"
            )
        for warning in report.warnings:
            console.say(f"note: {warning}")
        splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
        console.say(f"the store has {report.n_images} images of {report.n_patients} patients: {splits}")
        if report.findings:
            rows = [(name, *counts, report.n_images - sum(counts)) for name, counts in report.findings.items()]
            console.table("Findings", ("finding", "present", "absent", "uncertain", "unknown"), rows)
        console.result({"store": str(self.out), **asdict(report)})


def parse_structures(text: str) -> dict[int, str]:
    """Reads `1=NAME,2=NAME`.

    Raises:
        LabelsError: Not of this form.
    """
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(value.strip().isdecimal() and name.strip() for value, _, name in pairs):
        raise LabelsError("--structures was not understood; write the values of the label maps as 1=NAME,2=NAME")
    structures = {int(value): name.strip() for value, _, name in pairs}
    if len(structures) < len(pairs):
        raise LabelsError("--structures names one value twice; write each value once")
    return structures


def parse_fractions(text: str) -> dict[str, float]:
    """Reads `train=.55,test=.45`; that they add up to 1 is checked by `check_fractions`.

    Raises:
        LabelsError: Not of this form.
    """
    try:
        return {name.strip(): float(value) for name, _, value in (pair.partition("=") for pair in text.split(","))}
    except ValueError as error:
        raise LabelsError(f"--split was not understood; write shares as {Command.split}") from error
