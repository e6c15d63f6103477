"""From paths on a command line to slides with names: named files as they are, folders searched, one case a slide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from vesalius.bundle.cases import Case, list_cases
from vesalius.errors import EmptyInput
from vesalius.slides.read import dicom_words, is_slide


def list_slides(paths: Sequence[Path], *, leave_out: Collection[Path] = ()) -> list[Case]:
    """Returns the slides that `paths` name; in a folder all else is passed over.

    A DICOM slide is a folder of files, one a resolution: of one series only the finest is a case, and OpenSlide finds the others
    beside it.

    Raises:
        EmptyInput: There is no slide.
    """
    named = {path.resolve() for path in paths if not path.is_dir()}
    try:
        found = {case.path.resolve(): case for case in reversed(list_cases(paths, leave_out=leave_out))}
    except EmptyInput:
        found = {}
    cases = [case for path, case in reversed(found.items()) if path in named or is_slide(path)]
    if not cases:
        raise EmptyInput(f"no slide in {', '.join(map(str, paths)) or 'nothing'}; name slides, or folders that hold them")
    return finest_of_series(cases, named)


def finest_of_series(cases: Sequence[Case], named: Collection[Path] = ()) -> list[Case]:
    """Leaves out DICOM files that are a coarser resolution, the label or the overview of a slide that is there; named ones stay."""
    finest: dict[str, tuple[int, Case]] = {}
    kept = set()
    for case in cases:
        told = dicom_words(case.path, "ImageType", "SeriesInstanceUID", "TotalPixelMatrixColumns")
        if told is None or "SeriesInstanceUID" not in told or case.path.resolve() in named:
            kept.add(case)
            continue
        width = int(told.get("TotalPixelMatrixColumns", 0)) if "VOLUME" in told.get("ImageType", ()) else 0
        uid = str(told["SeriesInstanceUID"])
        if uid not in finest or width > finest[uid][0]:
            finest[uid] = (width, case)
    kept |= {case for _, case in finest.values()}
    return [case for case in cases if case in kept]
