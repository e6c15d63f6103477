"""The films that everything is fitted on: which they are, and what the networks say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from vesalius.errors import EmptyInput, StoreError

if TYPE_CHECKING:
    import numpy as np

    from vesalius.datasets.store import Store
    from vesalius.inference.film import FilmInference, NetworkOutput
    from vesalius.inference.zero_shot import TowerInference
    from vesalius.types import Image, ProgressCallback

BATCH = 16


@dataclass(frozen=True)
class CalibrationFilms:
    """The films that everything is fitted on.

    Attributes:
        rows: Of the store.
        labels: 1, 0, NaN unknown: one row a film, one column a finding.
        left_out: How many of the split were not taken, by reason.
        notes: What a reader of the card should know of them.
    """

    store: Store
    rows: np.ndarray
    labels: np.ndarray
    sites: tuple[str, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    def images(self) -> Iterator[Image]:
        """Yields one film after the other."""
        return (self.store.image(int(row)) for row in self.rows)

    def patients(self) -> np.ndarray:
        """Returns whose film each is; a film of an unknown patient is a patient of its own."""
        import numpy as np

        ids = self.store.manifest["patient_id"].to_numpy(dtype=object)
        return np.array([ids[row] if isinstance(ids[row], str) else f"row {row}" for row in self.rows])


def choose_films(
    store: Store,
    findings: Sequence[str],
    sites: Sequence[str],
    views: Sequence[str],
    *,
    store_size_px: int | None,
    classes: bool = False,
) -> CalibrationFilms:
    """Returns the films of the calibration split that the bundle will be able to answer.

    `store_size_px` is what the network's contract asks of a store; None where any will do. Where the findings are classes that
    exclude each other, a film of two is of none that is known.

    Raises:
        StoreError: The store holds films of another size than the network was trained on.
        EmptyInput: There is none.
    """
    import numpy as np

    from vesalius.dicom.quality import quality_problem
    from vesalius.metrics import known_labels

    if store_size_px is not None and store.size_px != store_size_px:
        raise StoreError(
            f"films of {store.path} are {store.size_px} px and the run was trained on {store_size_px} px; "
            "use the store of the run, or ingest again with --size"
        )
    split = store.rows(split="calibration", sites=sites)
    position = store.manifest["view_position"].to_numpy(dtype=object)
    readable = [row for row in split if not isinstance(position[row], str) or position[row] in views]
    kept = [row for row in readable if quality_problem(store.image(int(row))) is None]
    if not kept:
        raise EmptyInput(
            f"no film of split `calibration` and of site {', '.join(sites)} in {store.path}; "
            "ingest with a `split` column, with more patients, or name other sites with --sites"
        )
    left_out = {"not_assessable": len(split) - len(readable), "poor_quality": len(readable) - len(kept)}
    labels, notes = known_labels(store.labels(findings)[kept]), list[str]()
    several = (labels == 1).sum(axis=1) > 1
    if classes and several.any():
        labels[several] = np.nan
        notes.append(f"{several.sum()} of {len(kept)} films are of several classes at once: their class counts as unknown")
    reasons = {reason: count for reason, count in left_out.items() if count}
    return CalibrationFilms(store, np.array(kept), labels, tuple(sites), reasons, tuple(notes))


def run_films(
    inference: FilmInference | TowerInference,
    films: Iterable[Image],
    total: int,
    progress: ProgressCallback,
) -> NetworkOutput:
    """Returns what the networks say of every film, by the very code that answers later."""
    from vesalius.inference.film import join

    outputs, rest, done = [], iter(films), 0
    while batch := list(islice(rest, BATCH)):
        outputs.append(inference.run(batch))
        done += len(batch)
        progress(done, total)
    return join(outputs)
