"""Films as learned prompts see them: embedded once by the frozen towers, with what they say and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from vesalius.errors import LabelsError, RunError, StoreError
from vesalius.training import state

if TYPE_CHECKING:
    from pathlib import Path

    from vesalius.datasets.store import Store
    from vesalius.inference.zero_shot import ImageEmbedder
    from vesalius.models.contracts import Contract

AT_ONCE = 32


@dataclass(frozen=True)
class EmbeddedFilms:
    """Some films, as far as prompts are concerned.

    Attributes:
        rows: Of the store.
        images: Unit vectors.
        features: Pooled features of the vision tower.
        truth: 1, 0, -1, NaN.
        patients: Whose film each is; a film of an unknown patient is a patient of its own.
    """

    rows: Int64[np.ndarray, " case"]
    images: Float32[np.ndarray, "case dim"]
    features: Float32[np.ndarray, "case width"]
    truth: Float64[np.ndarray, "case finding"]
    patients: Shaped[np.ndarray, " case"]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, cases: Int64[np.ndarray, " some"]) -> EmbeddedFilms:
        """Returns some of the films."""
        return replace(self, **{name: getattr(self, name)[cases] for name in vars(self)})


def frontal_rows(
    store: Store, split: str, sites: Sequence[str], findings: Sequence[str], *, exclusive: bool
) -> Int64[np.ndarray, " case"]:
    """Returns the frontal films of a split that say something: of any finding, or of exactly one where classes are exclusive."""
    rows = store.rows(split=split, sites=list(sites) or None)
    frontal = (store.manifest["view_position"] != "LATERAL").to_numpy(dtype=bool)[rows]
    labels = store.labels(findings)[rows]
    tells = (labels == 1).sum(axis=1) == 1 if exclusive else (labels >= 0).any(axis=1)
    return np.asarray(rows[frontal & tells], dtype=np.int64)


def patients_of(store: Store, rows: Int64[np.ndarray, " case"]) -> Shaped[np.ndarray, " case"]:
    """Returns whose film each is; a film of an unknown patient is a patient of its own."""
    ids = store.manifest["patient_id"].to_numpy(dtype=object)
    return np.array([ids[row] if isinstance(ids[row], str) else f"row {row}" for row in rows])


def check_rows(rows: dict[str, Int64[np.ndarray, " case"]], store: Store, findings: Sequence[str], scored: str) -> None:
    """Refuses splits that cannot carry the protocol.

    Raises:
        RunError: No film to learn from, or none to score.
        LabelsError: No finding is both present and absent among the films that score.
    """
    for split in ("train", scored):
        if not len(rows[split]):
            raise RunError(
                f"no frontal film of split {split!r} in {store.path} says anything of {', '.join(findings)}; "
                "name other --findings or --sites, or ingest again with more patients"
            )
    labels = store.labels(findings)[rows[scored]]
    if not ((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).any():
        raise LabelsError(f"no finding is both present and absent on the {len(labels)} films of split {scored!r}: nothing to score")


def check_store(store: Store, contract: Contract) -> None:
    """Refuses films of another size than those that the towers were trained on.

    Raises:
        StoreError: The message has both sizes.
    """
    wanted = contract.store_size_px
    if wanted is not None and store.size_px != wanted:
        raise StoreError(
            f"films of {store.path} are {store.size_px} px and the bundle reads stores of {wanted} px; "
            "use the store of its run, or ingest again with --size"
        )


def embed_rows(
    embedder: ImageEmbedder, store: Store, rows: Int64[np.ndarray, " case"]
) -> tuple[Float32[np.ndarray, "case dim"], Float32[np.ndarray, "case width"]]:
    """Returns unit vectors and pooled features of films: the towers are frozen, so each film passes them once."""
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        films = embedder.preprocessing.apply_pixels(store.pixels(rows[start : start + AT_ONCE]))
        parts.append(embedder.embed_tensor(films))
    images, features = (np.concatenate(arrays) for arrays in zip(*((one.members[0], one.features) for one in parts), strict=True))
    return images, features.astype(np.float32)


def remember(path: Path, key: str, rows: Int64[np.ndarray, " case"], arrays: Sequence[Float32[np.ndarray, "case _"]]) -> None:
    """Keeps embedded films beside the run, so that a run that goes on need not embed them again."""
    from safetensors.numpy import save

    held = {"rows": rows, "images": arrays[0], "features": arrays[1]}
    state.save_atomically(path, save(held, metadata={"key": key}))


def recall(
    path: Path, key: str, rows: Int64[np.ndarray, " case"]
) -> tuple[Float32[np.ndarray, "case dim"], Float32[np.ndarray, "case width"]] | None:
    """Returns what `remember` kept for the same towers, store and films; None where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key or not np.array_equal(file.get_tensor("rows"), rows):
                return None
            return file.get_tensor("images"), file.get_tensor("features")
    except (FileNotFoundError, SafetensorError):
        return None
