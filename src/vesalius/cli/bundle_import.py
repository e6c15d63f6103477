"""`vesalius bundle import`: authors' checkpoints, or a run of image-text training, into a bundle."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console
from vesalius.errors import BundleError, RunError

if TYPE_CHECKING:
    from vesalius.bundle.import_checkpoints import Family


@dataclass(frozen=True)
class Command:
    """Authors' checkpoints of images and words into a bundle that answers `vesalius zeroshot`; several files are an ensemble.

    Every key of a file must have its place and every place its key: what is missing, left over or of another shape is listed by
    name, and nothing is loaded in part. Where the file is of another family that stands first, and a dozen names follow (all with
    --json). Files that hold code are refused. The tokenizer is the authors' own file: none comes with this package. Unless given,
    it is looked for beside the checkpoint and where `vesalius pull` puts it; without one the bundle has no words, and answers
    `vesalius features` only. A run of `vesalius train image-text` brings its own, and needs neither --family nor --tokenizer.

        vesalius bundle import best_64.pt --family chexzero --tokenizer bpe_simple_vocab_16e6.txt.gz --out bundles/chexzero
        vesalius bundle import checkpoints/*.pt --family chexzero --tokenizer bpe_simple_vocab_16e6.txt.gz --out bundles/ten
        vesalius bundle import runs/words --out bundles/words
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """checkpoints of one family, or one run of `vesalius train image-text`"""
    out: Path
    """the bundle's folder, to be made"""
    family: Literal["of-the-run", "openai-clip", "chexzero", "biomedclip", "mi-zero", "medclip", "biovil"] = "of-the-run"
    """whose checkpoints they are: decides the layout of the file and what happens to a film before the network sees it"""
    tokenizer: Path | None = None
    """the authors' vocabulary, unless it lies beside the checkpoint: tokenizer.json, vocab.txt, vocab.json beside merges.txt, or
    CLIP's bpe_simple_vocab_16e6.txt.gz"""
    name: str | None = None
    """the bundle's name in every answer; the folder's name unless given"""
    sha256: tuple[str, ...] = ()
    """what each file must hash to, in their order"""
    smaller_vocabulary: bool = False
    """take a tokenizer with fewer tokens than the checkpoint's embedding has rows"""
    notice: tuple[str, ...] = ()
    """sentences that must stand wherever its figures are shown"""
    date: str | None = None
    """a date to keep in the card; none unless given, so that equal inputs give equal bytes"""
    overwrite: bool = False
    """replace a bundle that is there"""
    json: bool = False
    """print one machine-readable object; of a file that is refused with every name that differs"""

    def run(self) -> int:
        """Imports, writes the bundle and returns the exit code."""
        from vesalius.bundle.format import TOKENIZER, reference
        from vesalius.bundle.save import check_free

        console = Console(json=self.json)
        check_free(self.out, overwrite=self.overwrite)
        runs = [path for path in self.files if (path / "model.json").is_file() or (path / "run.toml").is_file()]
        if runs and (len(self.files) > 1 or self.family != "of-the-run" or self.tokenizer is not None):
            raise BundleError(
                "a run brings its own family and tokenizer, and its own ensemble: import one run, without --family and --tokenizer"
            )
        bundle_id, warnings = self._import_run(runs[0]) if runs else self._import_files(console)
        name = self.name or self.out.resolve().name
        for warning in warnings:
            console.say(f"mind: {warning}")
        console.say(f"bundle: {self.out}   {reference(name, bundle_id)}")
        if (self.out / TOKENIZER).is_file():
            ask = "SLIDE --prompts lung" if self.family == "mi-zero" else 'FILM --finding "pleural effusion"'
            console.say(f"next: vesalius zeroshot {self.out} {ask} --out scores.jsonl")
        console.result({"bundle": str(self.out), "name": name, "id": bundle_id, "warnings": warnings})
        return EXIT_OK

    def _import_files(self, console: Console) -> tuple[str, list[str]]:
        from vesalius.bundle.image_text import save_image_text
        from vesalius.bundle.import_checkpoints import LICENCES, choose_tokenizer, import_checkpoints

        family = self._family()
        if self.tokenizer is not None and not self.tokenizer.exists():
            raise BundleError(f"no tokenizer at {self.tokenizer}; pass the authors' own vocabulary")
        self.out.resolve().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.out.name}.", dir=self.out.resolve().parent) as folder:
            with console.progress("import", unit="checkpoints") as progress:
                read = import_checkpoints(self.files, family, Path(folder), sha256=self.sha256, progress=progress)
            words, warnings = choose_tokenizer(self.tokenizer, self.files, family, read.config, smaller=self.smaller_vocabulary)
            warnings += read.notes
            provenance = {"files": list(read.files), "licence": LICENCES[family], "warnings": warnings, "date": self.date}
            bundle_id = save_image_text(
                self.out,
                name=self.name or self.out.resolve().name,
                config=read.config,
                weights=read.weights,
                tokenizer=None if words is None else words.to_bytes(),
                contract=read.contract,
                family=family,
                provenance=provenance,
                notices=self.notice,
                overwrite=self.overwrite,
            )
        return bundle_id, warnings

    def _family(self) -> Family:
        if self.family == "of-the-run":
            places = ", ".join(str(path) for path in self.files) or "nothing"
            raise BundleError(
                f"{places}: no run of `vesalius train image-text`; for an authors' checkpoint say whose it is with --family"
            )
        return self.family

    def _import_run(self, path: Path) -> tuple[str, list[str]]:
        from vesalius.bundle.image_text import save_image_text
        from vesalius.training.image_text_run import load_image_text_run

        run = load_image_text_run(path)
        if self.sha256:
            raise RunError("--sha256 is for authors' files; a run's weights were made here")
        provenance = {
            "training_sites": list(run.sites),
            "store_fingerprint": run.store_fingerprint,
            "options": run.options,
            "best": run.best,
            "films": run.films,
            "warnings": [],
            "date": self.date,
        }
        bundle_id = save_image_text(
            self.out,
            name=self.name or self.out.resolve().name,
            config=run.config,
            weights=run.weights,
            tokenizer=run.tokenizer,
            contract=run.contract,
            family="vesalius",
            provenance=provenance,
            notices=self.notice,
            overwrite=self.overwrite,
        )
        return bundle_id, []
