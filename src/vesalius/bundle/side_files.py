"""What may lie beside an answer: heat maps and a DICOM report. One that fails is a warning in its case's line, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from vesalius.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.types import Image, Prediction

HEAT_MAP, DICOM_REPORT, TABLE, PYRAMID = "heat map", "DICOM report", "patch table", "pyramid"
REPORT = "sr.dcm"
"""How a DICOM report ends."""
UNFIT_HEADER = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError)
"""What pydicom and highdicom raise where a source file's header does not carry what a report needs."""


def write_heatmaps(prediction: Prediction, image: Image, folder: Path) -> Prediction:
    """Writes `CASE.FINDING.png` for each finding under `folder`; returns the prediction, with a warning if that failed."""
    from vesalius.reporting.heatmap import save_overlays

    place = place_in(folder, prediction.case)
    return _attempt(prediction, HEAT_MAP, lambda: save_overlays(prediction, image, place.parent))


def write_report(prediction: Prediction, image: Image, folder: Path) -> Prediction:
    """Writes `CASE.sr.dcm` under `folder`; returns the prediction, with a warning if that failed."""
    place = place_in(folder, prediction.case)
    place = place.with_name(f"{place.name}.{REPORT}")

    def write() -> None:
        report = prediction.to_dicom_sr(image)
        place.parent.mkdir(parents=True, exist_ok=True)
        report.save_as(place)

    return _attempt(prediction, DICOM_REPORT, write)


class Wanted(NamedTuple):
    """What is to lie beside each line.

    Attributes:
        what: In words, as a warning calls it.
        folder: None: it was not asked for.
        ending: How the last file of a case ends there.
    """

    what: str
    folder: Path | None
    ending: str


def lacks(case: str, wanted: Iterable[Wanted]) -> set[str]:
    """Returns what was asked for and does not lie beside a case's line."""
    asked = ((one.what, place_in(one.folder, case), one.ending) for one in wanted if one.folder is not None)
    return {what for what, place, ending in asked if not place.with_name(f"{place.name}.{ending}").exists()}


def unwritten(warnings: Iterable[str]) -> dict[str, str]:
    """Returns what could not be written beside a case, by what it is, and the warning that says why."""
    return {what: said for said in warnings for what in (HEAT_MAP, DICOM_REPORT) if said.startswith(f"no {what}: ")}


def ending_of_maps(findings: Sequence[str], kind: Literal["png", "tif"] = "png") -> str:
    """Returns how the last heat map of a case ends; they are written in the order of the findings."""
    from vesalius.reporting.file_names import file_name

    return f"{file_name(findings[-1])}.{kind}"


def place_in(folder: Path, case: str) -> Path:
    """Returns where a case's files go: below `folder` whatever its name says, and never where another case's go."""
    parts = [part for part in PurePosixPath(case).parts if part not in {"/", "..", "."}] or ["case"]
    return folder.joinpath(*parts)


def _attempt(prediction: Prediction, what: str, write: Callable[[], object]) -> Prediction:
    try:
        write()
    except VesaliusError as error:
        words = str(error)
    except OSError as error:
        words = f"{error.strerror or type(error).__name__}; check the folder and the disk"
    except UNFIT_HEADER as error:
        words = f"the film's header does not carry what it needs ({type(error).__name__})"  # its text may quote the header
    else:
        return prediction
    return replace(prediction, warnings=(*prediction.warnings, f"no {what}: {words}"))
