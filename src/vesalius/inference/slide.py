"""From a slide to features on disk: patches are read ahead in a thread, encoded batch by batch, and written as they come.

Memory is that of a few batches and of the tissue mask, however large the slide. What was written before a stop is not done again.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vesalius.errors import BundleError, EmptyInput, ValueOutOfRange
from vesalius.inference.feature_file import FeatureFacts, FeatureWriter, SlideFeatures, read_features
from vesalius.inference.film import Precision, device_of, dtype_of
from vesalius.models.contracts import FamilyContract
from vesalius.slides.patches import PatchGrid, read_patches
from vesalius.slides.tissue import TissueMask, find_tissue

if TYPE_CHECKING:
    import torch

    from vesalius.models.clip import ImageTextModel
    from vesalius.models.contracts import Contract
    from vesalius.models.image_tower import ImageTower
    from vesalius.slides.read import Slide
    from vesalius.types import ProgressCallback

READ_AHEAD = 2
"""Batches that wait for the network."""

MI_ZERO_PX = 256
"""MI-Zero and CLAM cut 256 pixels at "20x" (0.5 micrometres) and scale them to 224."""


class SlideEncoder:
    """Vision towers, their contract and a precision: from patches to features, and from features to the space of words.

    Attributes:
        dim: Width of a row of features; members of an ensemble lie side by side.
        name: Of the weights; goes into every feature file, so that no other encoder takes up its rows.

    Args:
        models: Members of the ensemble; their vision towers are taken over: moved to the device, cast, laid out to answer and no
            longer to be trained. Their text towers are not touched.
        contract: From RGB patch to tensor, one for all members.
        name: A bundle's reference; None: a hash of the weights.
        precision: What the vision towers are held in; features come out, and are projected, in float32.
        device: `auto` takes an accelerator where there is one.

    Raises:
        EmptyInput: No model.
        BundleError: A model of grey films, or one that projects patches before it pools them (BioViL).
    """

    def __init__(
        self,
        models: Sequence[ImageTextModel | ImageTower],
        contract: Contract,
        *,
        name: str | None = None,
        precision: Precision = "float32",
        device: str = "auto",
    ) -> None:
        from vesalius.models.image_tower import ImageTower

        if not models:
            raise EmptyInput("a slide needs at least one encoder")
        if not isinstance(contract, FamilyContract) or contract.channels != 3:
            raise BundleError("this model's contract is for grey films; a slide needs an encoder of colour patches")
        if any(model.config.vision.projection == "conv-mlp" for model in models):
            raise BundleError("this model projects before it pools, as BioViL does for films; it has no patch features to keep")
        self.contract, self.precision = contract, precision
        self.device = device_of(device)
        self.name = name or weights_name(models)
        towers = [model if isinstance(model, ImageTower) else ImageTower.of(model) for model in models]
        self.towers = [tower.answer_in(dtype_of(precision), self.device) for tower in towers]
        self.widths = tuple(tower.width for tower in self.towers)
        for tower in self.towers:
            tower.vision_projection = _packed(tower.vision_projection)

    @property
    def dim(self) -> int:
        """Width of a row of features."""
        return sum(self.widths)

    def prepare(self, patches: UInt8[np.ndarray, "patch side side 3"]) -> Float32[np.ndarray, "patch channel height width"]:
        """Returns the network's input for patches of a slide."""
        return self.contract.apply_rgb(patches)

    def encode(self, tensor: Float32[np.ndarray, "patch channel height width"]) -> Float32[np.ndarray, "patch dim"]:
        """Returns the towers' pooled features, before projection, members side by side."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(tensor).to(self.device, dtype_of(self.precision))
            rows = [tower.vision(batch).pooled.float() for tower in self.towers]
            features: Float32[np.ndarray, "patch dim"] = torch.cat(rows, dim=1).cpu().numpy()
        return features

    def project(self, features: Float32[np.ndarray, "patch dim"]) -> Float32[np.ndarray, "member patch embedding"]:
        """Returns unit vectors in the space of words, one a patch and member."""
        import torch
        from torch.nn.functional import normalize

        members = []
        with torch.inference_mode():
            for tower, part in zip(self.towers, np.split(features, np.cumsum(self.widths)[:-1], axis=1), strict=True):
                rows = tower.vision_projection(torch.from_numpy(np.ascontiguousarray(part)).to(self.device))
                members.append(normalize(rows, dim=-1).cpu().numpy())
        return np.stack(members)


@dataclass(frozen=True)
class ExtractOptions:
    """How features are extracted; none of it changes what they are, but for the last bit, which hangs on the batch.

    Attributes:
        batch_size: Patches a pass of the network.
        workers: Threads that read patches ahead of the network.

    Raises:
        ValueOutOfRange: One of them below 1.
    """

    batch_size: int = 32
    workers: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 1:
            raise ValueOutOfRange(
                f"batches of {self.batch_size} patches read by {self.workers} threads (`--batch-size`, `--workers`); "
                "expected at least 1 of each"
            )


def grid_for(
    contract: Contract, side_px: int | None = None, mpp: float = 0.5, *, overlap: float = 0.0, least_tissue: float = 0.25
) -> PatchGrid:
    """Returns a cut: patches of `side_px`, else as the family's authors cut, else of the network's own size.

    Raises:
        ValueOutOfRange: A size, scale, overlap or share of tissue that cannot be.
    """
    if side_px is None:
        mi_zero = isinstance(contract, FamilyContract) and contract.family == "mi-zero"
        side_px = MI_ZERO_PX if mi_zero else contract.size_px
    return PatchGrid(side_px, mpp, overlap, least_tissue)


def extract_features(
    slide: Slide,
    encoder: SlideEncoder,
    out: str | Path,
    *,
    grid: PatchGrid | None = None,
    tissue: TissueMask | None = None,
    options: ExtractOptions = ExtractOptions(),
    progress: ProgressCallback | None = None,
) -> SlideFeatures:
    """Writes the features of a slide's patches to `out`, or goes on where an earlier run stopped.

    Args:
        slide: Open.
        encoder: What encodes.
        out: `NAME.h5`; if it is there and whole, it is read and nothing is computed.
        grid: How the slide is cut; None: as the family's authors do.
        tissue: Where to look; None: `find_tissue`.
        options: Batch size and reading threads.
        progress: Called with (patches done, of how many).

    Raises:
        EmptyInput: No tissue, or no patch with enough of it.
        FeaturesError: What lies at `out` was made by another encoder or another cut.
        ValueOutOfRange: The slide is coarser than the patches ask for.
    """
    grid = grid or grid_for(encoder.contract)
    facts = facts_of(slide, encoder, grid)
    if Path(out).exists():
        return read_features(out, expected=facts)
    places = grid.places(slide, tissue or find_tissue(slide))
    with FeatureWriter(out, facts, places, dim=encoder.dim, batch_size=options.batch_size) as writer:
        if progress:
            progress(writer.done, len(places))
        for tensor in _read_ahead(slide, places[writer.done :], grid, encoder.prepare, options):
            writer.append(encoder.encode(tensor))
            if progress:
                progress(writer.done, len(places))
        return writer.finish()


def facts_of(slide: Slide, encoder: SlideEncoder, grid: PatchGrid) -> FeatureFacts:
    """Returns what the feature file of this slide, encoder and cut says of itself."""
    return FeatureFacts(
        encoder=encoder.name,
        contract=encoder.contract.to_json(),
        precision=encoder.precision,
        slide_id=slide.slide_id,
        width=slide.width,
        height=slide.height,
        mpp=slide.mpp,
        patch_px=grid.side_px,
        patch_mpp=grid.mpp,
        overlap=grid.overlap,
        least_tissue=grid.least_tissue,
    )


def _packed(projection: torch.nn.Module) -> torch.nn.Module:
    """The projection laid out to answer; packing replaces the children of what it is given."""
    from torch.nn import Sequential

    from vesalius.models.packed import pack_for_inference

    return next(pack_for_inference(Sequential(projection)).children())


def weights_name(models: Sequence[ImageTextModel | ImageTower]) -> str:
    """Names weights by their content: `weights@sha256:` and 12 hex digits."""
    digest = hashlib.sha256()
    for model in models:
        for name, tensor in model.vision.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return f"weights@sha256:{digest.hexdigest()[:12]}"


Prepare = Callable[[UInt8[np.ndarray, "patch side side 3"]], Float32[np.ndarray, "patch channel height width"]]


def _read_ahead(
    slide: Slide, places: Int64[np.ndarray, "patch 2"], grid: PatchGrid, prepare: Prepare, options: ExtractOptions
) -> Iterator[Float32[np.ndarray, "patch channel height width"]]:
    """Yields prepared batches in order; a thread reads ahead, and what it raises is raised here."""
    ready: queue.Queue[Float32[np.ndarray, "patch channel height width"] | BaseException | None] = queue.Queue(READ_AHEAD)
    stop = threading.Event()

    def put(item: Float32[np.ndarray, "patch channel height width"] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for patches in read_patches(slide, places, grid, batch_size=options.batch_size, workers=options.workers):
                put(prepare(patches))
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  # it is raised again in the thread that waits
            put(error)

    thread = threading.Thread(target=read, name="read-patches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
