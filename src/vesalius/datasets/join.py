"""Films meet their labels: one manifest row for each film that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from vesalius.datasets.identity import PatientKey
from vesalius.datasets.labels_table import LabelRow, LabelsTable, match_files
from vesalius.datasets.manifest import LABEL_PREFIX
from vesalius.datasets.parts import OLDEST_YEARS, Record
from vesalius.errors import LabelsError

_FROM_THE_TABLE = ("view_position", "sex", "age_years", "report", "split")


@dataclass(frozen=True)
class LabelJoin:
    """The labels of one ingest, ready to be asked for by film.

    Attributes:
        table: None where no labels were given.
        site: Of films whose site the table does not say.
        by_file: Rows by path, where the table is joined by file.
        by_hash: Rows by hashed UID, where it is joined by instance or study.
    """

    key: PatientKey = field(repr=False)
    table: LabelsTable | None
    site: str
    by_file: Mapping[str, LabelRow]
    by_hash: Mapping[str, LabelRow]

    @property
    def lines_with_film(self) -> set[int]:
        """Lines of the table that fit a film by its name, read or not."""
        return {row.line for row in self.by_file.values()}

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings in the table."""
        return () if self.table is None else self.table.findings

    def row(self, record: Record) -> LabelRow | None:
        """Returns the line of a film that was read, or None."""
        if self.table is None or self.table.key == "file":
            return self.by_file.get(record["path"])
        return self.by_hash.get(record["instance_id" if self.table.key == "sop_instance_uid" else "study_id"] or "")

    def site_before_reading(self, path: str) -> str | None:
        """Returns the site of a film as far as its name tells; None where the header is needed to find its line."""
        if self.table is not None and self.table.key != "file" and any("site" in row.facts for row in self.table.rows):
            return None
        return self._site(self.by_file.get(path))

    def manifest_row(self, record: Record) -> tuple[dict[str, object], bool]:
        """Returns the manifest row of a film that was read, and whether its patient is known (else it is its own patient).

        Where table and header differ, the table wins: it is what a person checked.
        """
        line = self.row(record)
        facts = {} if line is None else line.facts
        row: dict[str, object] = {name: value for name, value in record.items() if name != "instance_id"}
        row["site"] = self._site(line)
        row.update({name: facts[name] for name in _FROM_THE_TABLE if name in facts})
        if isinstance(row["age_years"], float):
            row["age_years"] = min(row["age_years"], OLDEST_YEARS)
        if "study_id" in facts:
            row["study_id"] = self.key.hash("study", str(facts["study_id"]))
        if "patient_id" in facts:
            row["patient_id"] = self.key.hash("patient", str(facts["patient_id"]))
        known = row["patient_id"] is not None
        if not known:
            only = ("patient of study", row["study_id"]) if row["study_id"] else ("patient of file", f"{row['site']}/{row['path']}")
            row["patient_id"] = self.key.hash(only[0], str(only[1]))
        row.update({LABEL_PREFIX + name: None for name in self.findings})
        if line is not None:
            row.update({LABEL_PREFIX + name: label for name, label in zip(self.findings, line.labels, strict=True)})
        return row, known

    def _site(self, line: LabelRow | None) -> str:
        return self.site if line is None else str(line.facts.get("site", self.site))


def join_labels(table: LabelsTable | None, paths: Sequence[str], site: str, key: PatientKey) -> LabelJoin:
    """Prepares the join of a table with the films of these paths.

    Raises:
        LabelsError: The table is joined by file, and no line fits any film, or one fits several.
    """
    by_file: Mapping[str, LabelRow] = {}
    by_hash: Mapping[str, LabelRow] = {}
    if table is not None and table.key == "file":
        by_file = match_files(table, paths)
        if not by_file:
            raise no_line_fits("file", len(paths))
    elif table is not None:
        kind = "instance" if table.key == "sop_instance_uid" else "study"
        by_hash = {key.hash(kind, row.key): row for row in table.rows}
    return LabelJoin(key, table, site, by_file, by_hash)


def no_line_fits(key: str, n_films: int) -> LabelsError:
    """Returns the error for a table of other films."""
    how = "file names with their ending, or paths below the source folder" if key == "file" else "the UIDs of the DICOM headers"
    return LabelsError(f"no line of the labels CSV fits any of the {n_films} films by {key}; the column {key} must hold {how}")


def as_manifest(rows: Sequence[dict[str, object]], findings: Sequence[str]) -> pd.DataFrame:
    """Returns manifest rows as a table that has a column for each finding even if there is no row."""
    table = pd.DataFrame(list(rows))
    for name in findings:
        if LABEL_PREFIX + name not in table:
            table[LABEL_PREFIX + name] = pd.Series(dtype="float64")
    return table
