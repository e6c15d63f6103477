"""`vesalius features`: slides into files of patch features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED
from vesalius.cli.console import Console
from vesalius.cli.slide_flags import CutFlags

if TYPE_CHECKING:
    from vesalius.bundle.cases import Case
    from vesalius.inference.slide import ExtractOptions, SlideEncoder
    from vesalius.slides.patches import PatchGrid
    from vesalius.types import ProgressCallback


@dataclass(frozen=True)
class Command:
    """The patches of slides through a bundle's vision tower: one HDF5 file a slide, as CLAM and TRIDENT read them.

    Slides are files of any format of OpenSlide, tiled DICOM, or folders that hold them. A slide that is done is not done again; one
    that was stopped goes on where it stopped. A slide that cannot be read is named with its reason, the next one still runs, and
    the exit code is 3 then.

        vesalius features bundles/patch-text slides/ --out features
    """

    bundle: tyro.conf.Positional[Path]
    """a bundle of kind image-text, made by `vesalius bundle import`; verified before anything else"""
    paths: tyro.conf.Positional[tuple[Path, ...]]
    """slides, or folders of slides"""
    out: Path
    """a folder for one file a slide: CASE.h5"""
    cut: tyro.conf.OmitArgPrefixes[CutFlags] = field(default_factory=CutFlags)
    """how slides are cut into patches"""
    batch_size: int = 32
    """patches a pass of the network"""
    workers: int = 1
    """threads that read and decode patches while the network computes"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """what weights and activations are held in; features are written in float32"""
    device: str = "auto"
    """what computes: auto, cpu, cuda, cuda:1 ..."""
    json: bool = False
    """print one machine-readable object at the end"""

    def run(self) -> int:
        """Extracts what is not there yet and returns the exit code."""
        from vesalius.bundle.image_text import load_image_text
        from vesalius.bundle.slide_cases import list_slides
        from vesalius.errors import UnreadableImage, VesaliusError
        from vesalius.inference.slide import ExtractOptions, SlideEncoder
        from vesalius.models.contracts import doubts_of_domain

        console = Console(json=self.json)
        cases = list_slides(self.paths, leave_out=[self.out, self.bundle])
        options = ExtractOptions(self.batch_size, self.workers)
        bundle = load_image_text(self.bundle)
        grid = self.cut.grid_for(bundle.contract)
        for doubt in doubts_of_domain(bundle.contract, "slides"):
            console.say(f"mind: {doubt}")
        models = tuple(bundle.each_model())
        encoder = SlideEncoder(models, bundle.contract, name=bundle.reference, precision=self.precision, device=self.device)
        rows: list[tuple[object, ...]] = []
        failed: dict[str, str] = {}
        for number, case in enumerate(cases, start=1):
            try:
                with console.progress(f"slide {number}/{len(cases)}", "patches") as progress:
                    rows.append(self._extract(case, encoder, grid, options, progress))
            except VesaliusError as error:
                failed[case.name] = error.code
                console.say(f"{case.name}: {error}")
            except OSError as error:
                failed[case.name] = UnreadableImage.code
                console.say(f"{case.name}: {error.strerror or type(error).__name__}; check the disk and its permissions")
        console.say(bundle.reference)
        console.table("slides", ("slide", "patches", "width of a row", "micrometres a pixel"), rows)
        console.say(f"features: {self.out}; failed: {len(failed)}")
        done = {str(row[0]): row[1] for row in rows}
        console.result({"bundle": bundle.reference, "out": str(self.out), "patches": done, "failed": failed})
        return EXIT_SOME_FAILED if failed else EXIT_OK

    def _extract(
        self, case: Case, encoder: SlideEncoder, grid: PatchGrid, options: ExtractOptions, progress: ProgressCallback
    ) -> tuple[object, ...]:
        from vesalius.bundle.slide import feature_path
        from vesalius.inference.slide import extract_features
        from vesalius.slides.read import open_slide

        with open_slide(case.path, mpp=self.cut.mpp) as slide:
            for warning in slide.warnings:
                Console(json=self.json).say(f"{case.name}: {warning}")
            out = feature_path(self.out, case.name)
            found = extract_features(slide, encoder, out, grid=grid, options=options, progress=progress)
            return (case.name, len(found), found.dim, f"{slide.mpp:g}")
